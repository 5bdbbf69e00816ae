"""Python as it lies in modules and in the cells of notebooks, ready for the lint.

Lines that only a notebook understands (`!pip install x`, `%time`, `%%bash`) are taken out of the
code, whose line numbers stay what they were, and kept beside it as commands.
"""

import ast
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from devkit.errors import DatasetError

__all__ = ["Command", "Unit", "read_units"]

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
        Where it lies; the cell counts from 1 as notebooks show them, or None in a module.
    tree
        The parsed code, or None where it cannot be parsed.
    commands
        Of a cell.
    """

    path: Path
    cell: int | None
    tree: ast.Module | None
    commands: tuple[Command, ...] = ()


def read_units(path: Path) -> list[Unit]:
    """The code of a module or of a notebook's cells.

    Raises
    ------
    DatasetError
        When there is no such file, or a notebook is not one.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path} cannot be read: {error}") from None
    if path.suffix != ".ipynb":
        return [Unit(path, None, _parse(text))]
    try:
        cells = json.loads(text)["cells"]
        sources = [(cell["cell_type"], "".join(cell["source"])) for cell in cells]
    except (ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{path}: not a notebook: {error!r}") from None
    return [
        _cell(path, number, source)
        for number, (kind, source) in enumerate(sources, 1)
        if kind == "code"
    ]


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
