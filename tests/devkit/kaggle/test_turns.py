import hashlib
import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from filelock import FileLock

from devkit.kaggle.service.client import Client
from devkit.kaggle.submissions.ledger import Entry, Ledger, make_tag
from kernelkit.files import file_sha256
from tests.made.kaggle_home import (
    DATASET,
    KERNEL,
    Home,
)
from tests.made.kaggle_service import COMPETITION, SAMPLE


def entry(tag: str) -> Entry:
    return Entry(competition="c", file="a.csv", fingerprint="0", message="m", tag=tag)


@pytest.mark.parametrize(
    ("what", "command"),
    [
        (f"the upload of {DATASET}", "push"),
        (f"the push of {KERNEL}", "push"),
        ("the submission of a.csv", "submit -f FILE"),
    ],
)
def test_what_another_terminal_does_is_waited_for(
    home: Home, monkeypatch: pytest.MonkeyPatch, what: str, command: str
) -> None:
    """So nothing is uploaded, pushed or submitted by two commands at once."""
    csv = home.folder / "a.csv"
    csv.write_bytes(SAMPLE)
    state = home.folder / "s"
    state.mkdir()
    name = hashlib.sha256(what.encode()).hexdigest()[:12]
    lock = FileLock(state / f"{name}.lock")
    lock.acquire()
    said: list[str] = []

    def say(_: Client, text: str) -> None:
        said.append(text)
        if "another command" in text:  # which ends now
            lock.release()

    monkeypatch.setattr(Client, "say", say)
    result = home.run(*command.replace("FILE", str(csv)).split())
    assert result.code == 0, result.err
    assert f"{what}: another command here is at it, waiting for its end" in said


def test_two_terminals_lose_no_line_of_the_ledger(tmp_path: Path) -> None:
    """Each takes what the other wrote for whole."""
    path = tmp_path / "submissions.jsonl"
    tags = [f"kk-{number}" for number in range(40)]
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda tag: Ledger(path).append(entry(tag)), tags))
    assert sorted(each.tag for each in Ledger(path).entries()) == sorted(tags)


def test_a_ledger_of_the_future_is_not_waited_for(home: Home) -> None:
    """A clock was wrong when the command was cut off. The file is sent after all."""
    csv = home.folder / "a.csv"
    csv.write_bytes(SAMPLE)
    tag = make_tag(COMPETITION, file_sha256(csv))
    line = entry(tag).model_copy(update={"competition": COMPETITION})
    content = line.model_dump(mode="json") | {"time": "2999-01-01T00:00:00Z"}
    (home.folder / "submissions.jsonl").write_text(f"{json.dumps(content)}\n")
    result = home.run("submit", "-f", str(csv))
    assert result.code == 0, result.err
    assert home.server.count("CreateSubmission") == 1


def test_a_note_of_the_future_is_no_upload(home: Home) -> None:
    """What was noted by a wrong clock is sent, and not waited for."""
    assert home.run("push").code == 0
    home.write_dataset("cccc" * 16)
    noted = {"fingerprint": "cccc" * 16, "version": 2, "time": time.time() + 1e6}
    (home.folder / "s" / f"{DATASET.replace('/', '--')}.json").write_text(json.dumps(noted))
    result = home.run("push")
    assert result.code == 0, result.err
    assert len(home.service.datasets[DATASET]) == 2
