"""The tools that commands run: where uv is, and a run whose failure is an error with its output."""

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
    """Find uv on PATH, or the one that the Makefile fetched into the project's own tools folder.

    Raises
    ------
    ToolError
        If there is neither.
    """
    on_path = shutil.which("uv")
    if on_path:
        return Path(on_path)
    if os.access(_OWN_UV, os.X_OK):
        return _OWN_UV
    raise ToolError(
        f"{_OWN_UV}: uv is neither there nor on PATH. Run `make lint` once, it fetches uv"
    )


def run_tool(command: Sequence[str | Path], timeout: float = 3600) -> str:
    """Run a command in the repository's folder and return what it wrote to its standard output.

    The folder matters: `.python-version` there names the interpreters that uv may pick.

    Parameters
    ----------
    command
        The program and its arguments.
    timeout
        Seconds until the command is ended.

    Raises
    ------
    ToolError
        If the command cannot be started, fails or takes too long. It holds the command's own words.
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
        raise ToolError(
            f"{words[0]}: there is no such program. Install it, or check the path"
        ) from None
    except subprocess.TimeoutExpired:
        raise ToolError(f"{_name(words)} took longer than {timeout:.0f} s and was ended") from None
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
