import json
import sys
from pathlib import Path
from typing import Any

import pytest

from devkit.audit import LOCKS, audit, locked_packages, main
from devkit.errors import LockError, ToolError

LOCK = """# made by uv
one-thing==1.0 \\
    --hash=sha256:00
Two.thing[extra]==2.0.post1 ; python_version < "4" \\
    --hash=sha256:11
    # via one-thing
"""
ADVISORY = {"id": "PYSEC-1", "aliases": ["CVE-1"], "fix_versions": ["1.1"], "description": "bad"}


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    path = tmp_path / "lock.txt"
    path.write_text(LOCK)
    return path


def auditor(folder: Path, answer: Any, code: int = 0) -> Path:
    """A program that answers like pip-audit, and notes what it was asked."""
    path = folder / "pip-audit"
    text = answer if isinstance(answer, str) else json.dumps(answer)
    asked = folder / "asked.txt"
    path.write_text(
        f"#!{sys.executable}\nimport shutil, sys\n"
        f"shutil.copy(sys.argv[2], {str(asked)!r})\n"
        f"print({text!r})\nprint('no route to the registry', file=sys.stderr)\nsys.exit({code})\n"
    )
    path.chmod(0o755)
    return path


def answer(*vulns: dict[str, Any], skipped: str = "") -> dict[str, Any]:
    second = {"name": "two-thing", "version": "2.0.post1", "vulns": []}
    if skipped:
        second = {"name": "two-thing", "skip_reason": skipped}
    return {"dependencies": [{"name": "one-thing", "version": "1.0", "vulns": vulns}, second]}


def test_every_lock_of_the_repository_is_read() -> None:
    """Each has packages, those of the dataset too."""
    names = {f"{path.parent.name}/{path.name}" for path in LOCKS}
    assert {"requirements/dev.txt", "requirements/audit.txt", "requirements/uv.txt"} <= names
    assert {"kaggle-py312/pylock.toml", "kaggle-py313/pylock.toml"} <= names
    for path in LOCKS:
        assert locked_packages(path), path


def test_the_kaggle_client_and_its_authorities_are_new_enough() -> None:
    """Each environment that has the client has 2.2.5 or newer, and certifi of October 2026."""
    for name in ("dev", "dev-py313", "bench"):
        [path] = [path for path in LOCKS if path.name == f"{name}.txt"]
        pins = dict(pin.split("==") for pin in locked_packages(path))
        assert tuple(map(int, pins["kaggle"].split("."))) >= (2, 2, 5)
        assert pins["certifi"].replace(".post", ".").split(".") >= ["2026", "10", "19", "1"]


def test_a_lock_without_an_advisory_is_fine(lock: Path, tmp_path: Path) -> None:
    """All of its packages were asked for, each at its version."""
    found = audit(lock, auditor(tmp_path, answer()))
    assert (found.count, found.findings, found.unknown) == (2, [], [])
    assert (tmp_path / "asked.txt").read_text() == "one-thing==1.0\nTwo.thing==2.0.post1\n"


def test_an_advisory_is_told_with_the_version_that_mends_it(lock: Path, tmp_path: Path) -> None:
    """pip-audit ends with 1 then. So does the command."""
    found = audit(lock, auditor(tmp_path, answer(ADVISORY), code=1))
    assert found.findings == ["one-thing 1.0: PYSEC-1, CVE-1. Mended in 1.1"]


def test_a_package_that_the_registry_does_not_know_is_not_called_fine(
    lock: Path, tmp_path: Path
) -> None:
    """pip-audit says `No known vulnerabilities found` and ends with 0."""
    found = audit(lock, auditor(tmp_path, answer(skipped="not found on PyPI")))
    assert found.unknown == ["Two.thing==2.0.post1"]


def test_a_registry_without_advisories_is_an_error(lock: Path, tmp_path: Path) -> None:
    """A mirror that knows no package audits nothing, although pip-audit ends with 0."""
    both = [{"name": name, "skip_reason": "not found"} for name in ("one-thing", "two-thing")]
    with pytest.raises(ToolError, match="the registry knows none of its 2 packages"):
        audit(lock, auditor(tmp_path, {"dependencies": both}))


def test_a_registry_that_cannot_be_asked_is_an_error(lock: Path, tmp_path: Path) -> None:
    """Without a network nothing was audited, and the last words of pip-audit are shown."""
    with pytest.raises(ToolError, match=r"could not be asked \(no route to the registry\)"):
        audit(lock, auditor(tmp_path, "", code=1))


def test_without_pip_audit_it_is_said_what_installs_it(lock: Path, tmp_path: Path) -> None:
    """The Makefile makes its environment."""
    with pytest.raises(ToolError, match="pip-audit: it cannot be run .*Run make audit"):
        audit(lock, tmp_path / "pip-audit")


@pytest.mark.parametrize(
    "content", [b"\xff\xfe", b"packages = 5", b"[[packages]]\nname = 'a'", b"packages = ["]
)
def test_a_lock_that_is_none_is_named(tmp_path: Path, content: bytes) -> None:
    """It is not taken for a lock without packages."""
    path = tmp_path / "pylock.toml"
    path.write_bytes(content)
    with pytest.raises(LockError, match="it is not a lock. Make it again"):
        locked_packages(path)


@pytest.mark.parametrize(
    ("accepted", "code"), [("", 1), ('[[accepted]]\nid = "CVE-1"\nreason = "of no concern"', 0)]
)
def test_an_advisory_can_be_accepted_with_a_reason(
    lock: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], accepted: str, code: int
) -> None:
    """The command's exit code tells whether anything is left."""
    path = tmp_path / "accepted.toml"
    path.write_text(accepted)
    program = auditor(tmp_path, answer(ADVISORY), code=1)
    options = ["--auditor", str(program), "--accepted", str(path)]
    assert main([str(lock), *options]) == code
    assert f"2 packages, {code} advisories, 0 unknown" in capsys.readouterr().out


def test_an_acceptance_without_a_reason_is_refused(
    lock: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is left out without a word."""
    path = tmp_path / "accepted.toml"
    path.write_text('[[accepted]]\nid = "CVE-1"\n')
    assert main([str(lock), "--accepted", str(path)]) == 1
    assert "wanted tables [[accepted]] with an id and a reason" in capsys.readouterr().err
