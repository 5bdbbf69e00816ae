"""Python as it lies in modules and in the cells of notebooks, ready for the lint.

Only a notebook understands lines such as `!pip install x`, `%time` and `%%bash`. They are taken out
of the code and kept beside it as commands. Line numbers stay what they were.
"""

import ast
import functools
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devkit.errors import LintError

__all__ = ["Command", "Unit", "nodes_of", "read_notebook", "read_units"]

_LINE_COMMAND = re.compile(r"^(\s*)(?:[A-Za-z_][\w, ]*=\s*)?([!%]|\?)(.*)$")
# cell magics whose body is Python all the same
_PYTHON_CELLS = ("%%time", "%%timeit", "%%capture", "%%prun")


@dataclass(frozen=True, slots=True)
class Command:
    """A line for the shell or for a magic, without its `!` or `%`."""

    line: int
    text: str


@dataclass(frozen=True)
class Unit:
    """A module, or one code cell of a notebook.

    Attributes
    ----------
    path, cell
        Where it lies. Cells count from 1, as notebooks show them. In a module it is None.
    tree
        The parsed code, or None if it cannot be parsed.
    commands
        Of a cell.
    """

    path: Path
    cell: int | None
    tree: ast.Module | None
    commands: tuple[Command, ...] = ()


def read_units(path: Path) -> list[Unit]:
    """Read the code of a module or of a notebook's cells.

    Raises
    ------
    LintError
        There is no such file, or a notebook is none.
    """
    if path.suffix != ".ipynb":
        return [Unit(path, None, _parse(_text(path)))]
    return [
        _cell(path, number, "".join(cell["source"]))
        for number, cell in enumerate(read_notebook(path)["cells"], 1)
        if cell["cell_type"] == "code"
    ]


@functools.lru_cache(maxsize=1)
def nodes_of(tree: ast.Module) -> tuple[ast.AST, ...]:
    """All nodes of a tree, as `ast.walk` gives them.

    To walk takes longer than to parse. So all rules that look at one tree share one walk.
    """
    return tuple(ast.walk(tree))


def read_notebook(path: Path) -> dict[str, Any]:
    """Read a notebook as the tables of its file.

    Raises
    ------
    LintError
        There is no such file, or it is no notebook.
    """
    try:
        notebook = json.loads(_text(path))
        for cell in notebook["cells"]:
            "".join((cell["cell_type"], *cell["source"]))
    except (ValueError, KeyError, TypeError) as error:
        raise LintError(f"{path} is not a notebook: {error!r}. Save it again") from None
    return dict(notebook)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise LintError(f"{path} cannot be read: {error}") from None


def _parse(code: str) -> ast.Module | None:
    try:
        return ast.parse(code)
    except SyntaxError:
        return None


def _cell(path: Path, number: int, source: str) -> Unit:
    first = source.lstrip().split("\n", 1)[0]
    if first.startswith("%%") and not first.startswith(_PYTHON_CELLS):
        commands = tuple(
            Command(line, text.lstrip("%")) for line, text in enumerate(source.splitlines(), 1)
        )
        return Unit(path, number, _parse(""), commands)
    code: list[str] = []
    commands = tuple(_split(source, code))
    return Unit(path, number, _parse("\n".join(code)), commands)


def _split(source: str, code: list[str]) -> Iterator[Command]:
    """Yield the commands in a cell and append its code, line by line, to `code`."""
    lines = source.splitlines()
    number = 0
    while number < len(lines):
        found = _LINE_COMMAND.match(lines[number])
        start = number
        if found:
            text = found[3]
            while text.endswith("\\") and number + 1 < len(lines):
                number += 1
                text = text[:-1] + lines[number]
            code.append(f"{found[1]}pass")
            code += [""] * (number - start)
            yield Command(start + 1, text.lstrip("!%").strip())
        else:
            code.append(lines[number])
        number += 1
