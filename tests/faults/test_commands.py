"""Faults of commands: odd outputs, odd ends, arguments that do not go together, a damaged demo.

Each row ends in one line and a true exit code, or is mended in silence.
"""

import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from devkit.commands import command
from devkit.demo.prepare import Demo
from devkit.demo.stage import Stage
from devkit.dryrun.__main__ import main
from devkit.dryrun.scoring import score
from devkit.tools import REPOSITORY
from kernelkit.competition import Row
from kernelkit.errors import KernelKitError, RecipeError
from kernelkit.mask import BitMask

# ---- outputs

COOK = r"""
import sys, time
from devkit.commands import command, forgiving_output

@command("cook", go_on="Cook on")
def main(how):
    if how == "wait":
        print("cooking", flush=True)
        time.sleep(60)
    if how == "file":
        with forgiving_output():
            print("soup \u00e9\ud800\n" * 9999)
            open("soup", "w").close()
        return 0
    print("soup \u00e9\ud800\n" * 9999)
    return 0

sys.exit(main(sys.argv[1]))
"""

# name, the shell's words after the command, how it cooks, its exit code, and what stderr says
OUTPUTS = [
    ("a file", "> out", "print", 0, ""),
    ("ASCII", "> out", "ascii", 0, ""),
    ("a full disk", "> /dev/full", "print", 1, "cook failed: No space left on device"),
    ("a full disk, result a file", "> /dev/full", "file", 0, "is not complete (No space left"),
    ("closed", ">&-", "print", 0, ""),
    ("closed, result a file", ">&-", "file", 0, ""),
    ("all closed", "<&- >&- 2>&-", "print", 0, ""),
    ("both full", "> /dev/full 2> /dev/full", "print", 1, ""),
    ("both full, result a file", "> /dev/full 2> /dev/full", "file", 0, ""),
    ("unread", "| true", "print", 141, ""),
]


@pytest.mark.parametrize(
    ("redirection", "how", "code", "said"),
    [row[1:] for row in OUTPUTS],
    ids=[r[0] for r in OUTPUTS],
)
def test_any_output_does(redirection: str, how: str, code: int, said: str, tmp_path: Path) -> None:
    """A command whose result is a file goes on, any other one says what is wrong."""
    (tmp_path / "cook.py").write_text(COOK)
    words = f"set -o pipefail; {sys.executable} cook.py {how} {redirection}"
    environment = {"PYTHONPATH": f"{REPOSITORY}:{REPOSITORY}/kernel_src"}
    if how == "ascii":
        environment |= {"PYTHONIOENCODING": "ascii", "LANG": "C"}
    done = subprocess.run(
        ["bash", "-c", words],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert done.stderr.count("\n") == bool(said)
    assert (tmp_path / "soup").exists() == (how == "file")


# ---- ends


@pytest.mark.parametrize(
    ("number", "code", "line"),
    [
        (signal.SIGINT, 130, "cook was interrupted. Cook on\n"),
        (signal.SIGTERM, 143, "cook was ended by SIGTERM. Cook on\n"),
        (signal.SIGKILL, -9, ""),
    ],
)
def test_a_signal_ends_a_command_in_one_line(number: signal.Signals, code: int, line: str) -> None:
    """There is no traceback, and the exit code is what a shell expects."""
    process = subprocess.Popen(
        [sys.executable, "-c", COOK, "wait"],
        cwd=REPOSITORY,
        env={"PYTHONPATH": f"{REPOSITORY}:{REPOSITORY}/kernel_src"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    process.stdout.readline()
    process.send_signal(number)
    _, error = process.communicate(timeout=30)
    assert (process.returncode, error) == (code, line)


ENDS: list[tuple[BaseException, int, str]] = [
    (RecipeError("soup.yaml: no salt"), 1, "cook failed: soup.yaml: no salt"),
    (OSError(28, "No space left on device", "soup"), 1, "soup: No space left on device"),
    (PermissionError(13, "Permission denied", "soup"), 1, "soup: Permission denied"),
    (MemoryError(), 1, "the machine has too little memory"),
    (RecursionError("too deep"), 1, "a fault of kernelkit"),
    (UnicodeEncodeError("ascii", "\u00e9", 0, 1, "no"), 1, "a fault of kernelkit"),
    (KeyError("salt"), 1, "a fault of kernelkit"),
    (ValueError("one\ntwo\n\nthree"), 1, "(one two three)"),
    (RecipeError("\udcff.yaml: no salt"), 1, ".yaml: no salt"),
    (ExceptionGroup("two", [KeyError("a"), KeyError("b")]), 1, "a fault of kernelkit"),
    (KeyboardInterrupt(), 130, "cook was interrupted"),
]


@pytest.mark.parametrize(
    ("error", "code", "said"), ENDS, ids=[f"{type(row[0]).__name__}-{row[2][:20]}" for row in ENDS]
)
def test_any_error_is_one_line(
    error: BaseException, code: int, said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """The line names the command, and the exit code is never 0."""

    @command("cook")
    def cook() -> int:
        raise error

    assert cook() == code
    line = capfd.readouterr().err
    assert said in line
    assert line.startswith("cook ")
    assert line.count("\n") == 1


# ---- arguments of the dry-run

OWN = ["--competition", "c", "--models", "m", "--recipe", "r"]

# the arguments, and what is said
ARGUMENTS = [
    (OWN[2:4], "found MODELS without COMPETITION and RECIPE"),
    (OWN[4:], "found RECIPE without COMPETITION and MODELS"),
    (["--recipe", "hubmap"], "Alone, RECIPE can be nuclei, clouds, salt"),
    (["--recipe", "salt", "--models", "m"], "found MODELS and RECIPE without COMPETITION"),
    (["--recipe", "salt", "--size", "large"], "SIZE=large is for the demo's slides"),
    (OWN[2:], "found MODELS and RECIPE without COMPETITION"),
    (OWN[:2], "found COMPETITION without MODELS and RECIPE"),
    (OWN[:4], "found COMPETITION and MODELS without RECIPE"),
    ([*OWN[:2], *OWN[4:]], "found COMPETITION and RECIPE without MODELS"),
    ([*OWN[:2], "--models", "", *OWN[4:]], "found COMPETITION and RECIPE without MODELS"),
    ([*OWN, "--size", "large"], "SIZE=large is for the demo's slides"),
    (["--size", "large", "--rerun"], "SIZE=large has no hidden rerun"),
    (["--workers", "-1"], "found WORKERS=-1, wanted 0 or more"),
    (["--memory", "0"], "found MEMORY=0, wanted more than 0 GiB"),
    (["--memory", "-3"], "found MEMORY=-3, wanted more than 0 GiB"),
    (["--memory", "nan"], "found MEMORY=nan, wanted more than 0 GiB"),
]


@pytest.mark.parametrize(("arguments", "said"), ARGUMENTS, ids=[row[1] for row in ARGUMENTS])
def test_arguments_that_contradict_each_other_are_refused_at_once(
    arguments: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is made before, not even a folder."""
    assert main(arguments, tmp_path / "build") == 1
    error = capsys.readouterr().err
    assert error.startswith("dry-run failed: ")
    assert said in error
    assert error.count("\n") == 1
    assert not (tmp_path / "build").exists()


# what is given to make, and words of the command that it runs
MAKES = [
    ("dry-run RECIPE=r", '--recipe "r"'),
    ("dry-run RECIPE=clouds RERUN=1", '--recipe "clouds"'),
    ("dry-run MODELS=m COMPETITON=c", '--models "m"'),
    ("dry-run 'MODELS=my runs'", '--models "my runs"'),
    ("dry-run COMPETITION=c MODELS=m RECIPE=r", '--competition "c" --models "m"'),
    ("dry-run RERUN=1 WORKERS=0 MEMORY=3", "--workers 0 --profile kaggle-py312 --rerun"),
    ("dry-run MEMORY=3", '--memory "3"'),
    ("weights-dataset 'MODELS=my runs'", 'weights "my runs"'),
]


@pytest.mark.parametrize(("given", "wanted"), MAKES, ids=[row[0] for row in MAKES])
def test_make_hands_on_what_it_is_given(given: str, wanted: str) -> None:
    """Each variable becomes an argument, also one that lacks its partner."""
    done = subprocess.run(
        f"make -n {given}", cwd=REPOSITORY, shell=True, capture_output=True, text=True, check=True
    )
    assert wanted in " ".join(done.stdout.split())


# ---- the demo


def cooked(folder: Path) -> Stage:
    stage = Stage(folder, "cook", "key")
    with stage.draft() as draft:
        (draft / "pots").mkdir()
        (draft / "pots/one").write_text("soup")
        (draft / "two").write_text("salt")
    return stage


def record(folder: Path) -> Path:
    return folder / ".stages/cook.json"


def turn_into_link(path: Path) -> None:
    shutil.rmtree(path)
    path.symlink_to("/nowhere")


def turn_into_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


# name, and what is done to a finished stage
STAGES: list[tuple[str, Callable[[Path], object]]] = [
    ("record empty", lambda f: record(f).write_text("")),
    ("record garbage", lambda f: record(f).write_bytes(b"\xff\x00")),
    ("record a number", lambda f: record(f).write_text("5")),
    ("record a list", lambda f: record(f).write_text("[]")),
    ("record without key", lambda f: record(f).write_text('{"files": {}}')),
    ("record without files", lambda f: record(f).write_text('{"key": "key"}')),
    ("record of odd files", lambda f: record(f).write_text('{"key": "key", "files": [1]}')),
    ("record of NUL", lambda f: record(f).write_text('{"key": "key", "files": {"\\u0000": 1}}')),
    ("record deep", lambda f: record(f).write_text("[" * 9999)),
    ("record a folder", lambda f: turn_into_folder(record(f))),
    ("record gone", lambda f: record(f).unlink()),
    ("file gone", lambda f: (f / "two").unlink()),
    ("file shorter", lambda f: (f / "two").write_text("s")),
    ("file a folder", lambda f: turn_into_folder(f / "two")),
    ("folder gone", lambda f: shutil.rmtree(f / "pots")),
    ("folder a link", lambda f: turn_into_link(f / "pots")),
    ("draft a file", lambda f: (record(f).unlink(), (f / ".stages/cook.draft").write_text("x"))),
    (
        "draft half",
        lambda f: (record(f).unlink(), (f / ".stages/cook.draft/x/y").mkdir(0o777, True)),
    ),
]


@pytest.mark.parametrize("spoil", [row[1] for row in STAGES], ids=[row[0] for row in STAGES])
def test_a_broken_stage_is_made_anew(spoil: Callable[[Path], object], tmp_path: Path) -> None:
    """It counts as not done, and afterwards everything is there again."""
    stage = cooked(tmp_path)
    assert stage.is_done()
    spoil(tmp_path)
    assert not stage.is_done()
    assert cooked(tmp_path).is_done()
    assert (tmp_path / "pots/one").read_text() == "soup"
    assert not (tmp_path / "pots").is_symlink()


# name, what the labels hold, and what is said
LABELS = [
    ("none", None, "there is no such file of labels"),
    ("empty", b"", "it is empty"),
    ("no text", b"\xff\xfe", "it is not text in UTF-8"),
    ("other columns", b"id,mask\na,1 1\n", "the columns are ['id', 'mask']"),
    ("cut", b"id,encoding\na\n", "line 2 has 1 fields"),
    ("an id missing", b"id,encoding\nb,1 1\n", "there is no label of 'a'"),
    ("an id twice", b"id,encoding\na,1 1\na,1 1\n", "'a' has more than one row"),
    ("no encoding", b"id,encoding\na,soup\n", "the label of 'a'"),
    ("of another image", b"id,encoding\na,1 100\n", "the label of 'a'"),
]


@pytest.mark.parametrize(
    ("content", "said"), [row[1:] for row in LABELS], ids=[row[0] for row in LABELS]
)
def test_damaged_labels_are_one_sentence(content: bytes | None, said: str, tmp_path: Path) -> None:
    """The sentence names the file."""
    path = tmp_path / "solution.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(KernelKitError) as caught:
        score({Row("a", "a", 0): BitMask.zeros(5, 5)}, path)
    assert str(caught.value).startswith(f"{path}: ")
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "{}", '{"members": 1, "ensembles": {}}', '{"members": [{}], "ensembles": {}}'],
)
def test_damaged_scores_are_one_sentence(content: str, tmp_path: Path) -> None:
    """The sentence names the file and says what to do."""
    (tmp_path / "report.json").write_text(content)
    with pytest.raises(KernelKitError, match=r"report.json: the demo's scores cannot be read\. "):
        print(Demo(tmp_path).scores)
