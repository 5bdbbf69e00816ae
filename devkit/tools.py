"""What commands share: where uv is, tools whose failure is an error, and text files of users."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from devkit.bars import waiting
from devkit.errors import ToolError
from kernelkit.errors import KernelKitError

__all__ = ["REPOSITORY", "find_uv", "read_text", "run_tool"]

REPOSITORY = Path(__file__).resolve().parent.parent

_OWN_UV = REPOSITORY / ".tools" / "uv" / "bin" / "uv"

_BYTE_ORDER_MARKS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}
# Bytes. The longest list of an image's packages has 40 kB.
_MOST_BYTES = 1 << 24


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


def read_text(path: Path, error: type[KernelKitError]) -> str:
    """Read a text file that a user wrote. It is UTF-8, with or without a byte order mark.

    Parameters
    ----------
    path
        The file.
    error
        What is raised, such as ResolveError.

    Raises
    ------
    KernelKitError
        The class `error`. There is no such file, or it is not plain text in UTF-8.
    """
    try:
        if path.is_file() and path.stat().st_size > _MOST_BYTES:
            raise error(f"{path}: found {path.stat().st_size} bytes, wanted a text. Check the path")
        content = path.read_bytes()
    except (OSError, ValueError) as problem:
        reason = getattr(problem, "strerror", None) or "no file can have this name"
        raise error(f"{path} cannot be read: {reason}. Check the path") from None
    for mark, encoding in _BYTE_ORDER_MARKS.items():
        if content.startswith(mark):
            raise error(f"{path}: found {encoding}, wanted UTF-8. Save it as UTF-8")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        line = content.count(b"\n", 0, problem.start) + 1
        raise error(
            f"{path}, line {line}: found the byte 0x{content[problem.start]:02x}, wanted UTF-8. "
            "Save it as UTF-8"
        ) from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise error(f"{path}, line {line}: found a zero byte, wanted text. Save it as UTF-8")
    return text


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
        with waiting(_name(words)):
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
