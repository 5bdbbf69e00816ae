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


def test_any_other_error_is_shown_whole() -> None:
    """A fault of the program itself keeps its traceback."""

    @command("cook")
    def main() -> int:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        main()


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
