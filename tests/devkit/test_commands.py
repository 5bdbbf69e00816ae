import os
import subprocess
import sys

import pytest

from devkit.commands import command
from kernelkit.errors import RecipeError


def test_a_command_ends_with_its_own_exit_code() -> None:
    """What the main function returns is what the command returns."""
    assert command("cook")(lambda code: code)(7) == 7


def test_a_refusal_is_one_line_and_an_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    """An error of kernelkit ends the command in one line, with exit code 1."""

    @command("cook")
    def main() -> int:
        raise RecipeError("soup.yaml: there is no salt")

    assert main() == 1
    assert capsys.readouterr().err == "cook failed: soup.yaml: there is no salt\n"


def stumble() -> int:
    raise ZeroDivisionError("division by\nzero")


def test_any_other_error_is_one_line_that_says_how_to_see_more(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A fault of the program itself is no bare traceback. The exit code is 1."""
    assert command("cook")(stumble)() == 1
    error = capsys.readouterr().err
    assert error.startswith(
        "cook failed: a fault of kernelkit, ZeroDivisionError (division by zero) in "
        "test_commands.py, line "
    )
    assert error.endswith("Set KERNELKIT_DEBUG=1 to see the traceback, and report it\n")
    assert error.count("\n") == 1


def test_the_traceback_can_be_asked_for(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stands before the line."""
    monkeypatch.setenv("KERNELKIT_DEBUG", "1")
    assert command("cook")(stumble)() == 1
    error = capsys.readouterr().err
    assert error.startswith("Traceback (most recent call last):")
    assert "in stumble" in error
    assert error.splitlines()[-1].startswith("cook failed: ")


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(28, "No space left on device", "soup"), "soup: No space left on device."),
        (OSError(28, "No space left on device"), "No space left on device."),
        (MemoryError(), "the machine has too little memory ("),
        (RecursionError(), "a fault of kernelkit, RecursionError in test_commands.py"),
    ],
)
def test_an_error_of_the_machine_is_said_in_its_words(
    error: Exception, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A full disk is no fault of the program."""

    @command("cook")
    def main() -> int:
        raise error

    assert main() == 1
    assert capsys.readouterr().err.startswith(f"cook failed: {line}")


COOK = """
import sys
from devkit.commands import command

@command("cook")
def main():
    print(sys.argv[1] * 100_000)
    return 0

sys.exit(main())
"""


def test_any_text_can_be_printed_on_any_stdout() -> None:
    """An ASCII terminal shows escapes."""
    done = subprocess.run(
        [sys.executable, "-c", COOK, "\u00e9"],
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith(r"\xe9\xe9")


def test_a_reader_that_goes_away_ends_the_command_in_silence() -> None:
    """`make submissions | head` is no error to be told."""
    with subprocess.Popen(
        [sys.executable, "-c", COOK, "x"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(1)
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


@pytest.mark.parametrize(
    ("go_on", "line"),
    [("", "cook was interrupted\n"), ("Cook on", "cook was interrupted. Cook on\n")],
)
def test_ctrl_c_is_one_line_and_an_exit_code(
    go_on: str, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ctrl-C ends the command in one line, with the exit code that a shell expects."""

    @command("cook", go_on)
    def main() -> int:
        raise KeyboardInterrupt

    assert main() == 130
    assert capsys.readouterr().err == line
