"""The tools the builder runs: where uv is, and a run whose failure is an error with its output."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from devkit.errors import ToolError

__all__ = ["REPOSITORY", "find_uv", "run_tool"]

REPOSITORY = Path(__file__).resolve().parent.parent

_OWN_UV = REPOSITORY / ".tools" / "uv" / "bin" / "uv"


def find_uv() -> Path:
    """The uv on PATH, or the one that the Makefile fetched into the project's own tools folder.

    Raises
    ------
    ToolError
        When there is neither.
    """
    on_path = shutil.which("uv")
    if on_path:
        return Path(on_path)
    if os.access(_OWN_UV, os.X_OK):
        return _OWN_UV
    raise ToolError(
        f"uv is neither on PATH nor at {_OWN_UV}; run any of the Makefile's targets once, "
        "they fetch it"
    )


def run_tool(command: Sequence[str | Path], timeout: float = 3600) -> str:
    """Run `command` in the repository's folder and return what it wrote to its standard output.

    The folder matters: `.python-version` there names the interpreters that uv may pick.

    Raises
    ------
    ToolError
        With the command's own words, when it cannot be started, fails or takes longer than
        `timeout` seconds.
    """
    words = [str(word) for word in command]
    try:
        result = subprocess.run(
            words,
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
    except FileNotFoundError:
        raise ToolError(f"{words[0]} is not there to be run") from None
    except subprocess.TimeoutExpired:
        raise ToolError(f"{_name(words)} took longer than {timeout:.0f} s") from None
    if result.returncode != 0:
        output = (result.stderr + result.stdout).strip()
        raise ToolError(
            f"{_name(words)} failed with exit code {result.returncode}:\n{output}", output
        )
    return result.stdout


def _name(words: Sequence[str]) -> str:
    """A short name of a command: `python -m pip download`, not its forty arguments."""
    head = [Path(words[0]).name]
    for word in words[1:4]:
        if word.startswith("/") or (word.startswith("-") and word != "-m"):
            break
        head.append(word)
    return " ".join(head)
