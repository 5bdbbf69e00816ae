"""Lint: does the code name a folder of the builder's machine, or write where Kaggle only reads?"""

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from devkit.lint.imports import dotted_name
from devkit.lint.source import Command, nodes_of
from devkit.tools import REPOSITORY

__all__ = ["builder_paths", "collect_constants", "input_writes", "shell_problems"]

_INPUT = "/kaggle/input"
_HOMES = re.compile(r"(/home/|/Users/|/root/|[A-Za-z]:[\\/])")

# The positions of the arguments that name what is written. -1 is the object of the method.
_WRITERS: Mapping[str, tuple[int, ...]] = {
    **dict.fromkeys(("write_text", "write_bytes", "touch", "rmdir", "symlink_to"), (-1,)),
    **dict.fromkeys(("hardlink_to", "chmod", "mkdir", "unlink"), (-1, 0)),
    **dict.fromkeys(("makedirs", "remove", "removedirs", "rmtree", "imwrite", "savefig"), (0,)),
    **dict.fromkeys(("savez", "savez_compressed", "savetxt"), (0,)),
    **dict.fromkeys(("to_csv", "to_parquet", "to_json", "to_pickle", "to_file", "to_excel"), (0,)),
    **dict.fromkeys(("copy", "copy2", "copyfile", "copytree"), (1,)),
    **dict.fromkeys(("save_file", "symlink", "link"), (1,)),
    **dict.fromkeys(("save", "move"), (0, 1)),
}
_TARGETS = frozenset(("path", "dst", "file", "fname", "f", "path_or_buf"))
_INSTALLS = re.compile(
    r"\b(pip3?|conda|mamba|apt|apt-get)\s+(\S+\s+)*?install\b"
    r"|\b(wget|curl|gdown|kaggle|git clone)\s"
)
_SHELL_WRITES = re.compile(
    rf">>?\s*{_INPUT}|^writefile\s+(-a\s+)?{_INPUT}|\b(mkdir|touch|rm|rmdir|tee)\b.*\s{_INPUT}"
    rf"|\b(cp|mv|ln)\b.*\s{_INPUT}\S*\s*$"
)


def builder_paths(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Find strings that name a folder which only the builder's machine has.

    Docstrings may name what they like.
    """
    docstrings = {id(node.value) for node in nodes_of(tree) if isinstance(node, ast.Expr)}
    own = tuple(f"{folder}/" for folder in (REPOSITORY, Path.home()) if folder != Path("/"))
    for node in nodes_of(tree):
        if not isinstance(node, ast.Constant) or id(node) in docstrings:
            continue
        text = node.value
        if isinstance(text, str) and (f"{text}/".startswith(own) or _HOMES.match(text)):
            yield node.lineno, f"'{text}' is a path of the builder's machine"


def collect_constants(tree: ast.Module, known: dict[str, ast.expr]) -> None:
    """Add each name and its value to `known`. A path that is a parameter is then known too."""
    for node in nodes_of(tree):
        if isinstance(node, ast.Assign):
            known.update({t.id: node.value for t in node.targets if isinstance(t, ast.Name)})
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value:
            known[node.target.id] = node.value


def input_writes(tree: ast.Module, known: Mapping[str, ast.expr]) -> Iterator[tuple[int, str]]:
    """Find calls that write below the input mounts, which are read-only."""
    for node in nodes_of(tree):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else dotted_name(node.func)
        for target in _written(node, name):
            path = _leading_text(target, known, 8)
            if path.startswith(_INPUT):
                yield node.lineno, f"{name} writes to {path}, but input mounts are read-only"
                break


def shell_problems(commands: tuple[Command, ...]) -> Iterator[tuple[int, str]]:
    """Find commands of a cell that need the network or write below the input mounts."""
    for command in commands:
        text = command.text
        if _INSTALLS.search(text) and "--no-index" not in text:
            yield command.line, f"'{text}' needs the network, which is off in the kernel"
        if _SHELL_WRITES.search(text):
            yield command.line, f"'{text}' writes to {_INPUT}, but input mounts are read-only"


def _written(call: ast.Call, name: str) -> Iterator[ast.expr]:
    receiver = call.func.value if isinstance(call.func, ast.Attribute) else None
    if name == "open":
        if _is_writing_mode(call, receiver):
            yield from filter(None, (receiver, *call.args[:1]))
            yield from (keyword.value for keyword in call.keywords if keyword.arg in _TARGETS)
        return
    if name in ("rename", "replace") and receiver is not None:
        # A path's takes one argument, a string's takes two. Those of `os` take two paths.
        is_function = dotted_name(receiver) == "os"
        yield from call.args if is_function else [receiver] if len(call.args) == 1 else []
        return
    if name not in _WRITERS:
        return
    for position in _WRITERS[name]:
        if position < 0 and receiver is not None:
            yield receiver
        elif 0 <= position < len(call.args):
            yield call.args[position]
    yield from (keyword.value for keyword in call.keywords if keyword.arg in _TARGETS)


def _is_writing_mode(call: ast.Call, receiver: ast.expr | None) -> bool:
    """Whether `open(path, mode)`, `path.open(mode)` or `rasterio.open(path, mode)` may write."""
    modes = [keyword.value for keyword in call.keywords if keyword.arg == "mode"]
    modes += call.args[:2] if receiver is not None else call.args[1:2]
    return any(
        isinstance(mode, ast.Constant)
        and isinstance(mode.value, str)
        and re.fullmatch(r"[rwaxbt+U]{1,4}", mode.value) is not None
        and any(letter in mode.value for letter in "wax+")
        for mode in modes
    )


def _leading_text(node: ast.expr, known: Mapping[str, ast.expr], depth: int) -> str:
    """What a path certainly begins with, or nothing if that cannot be seen."""
    if depth == 0:
        return ""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    if isinstance(node, ast.JoinedStr) and node.values:
        first = node.values[0]
        return _leading_text(
            first.value if isinstance(first, ast.FormattedValue) else first, known, depth - 1
        )
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div | ast.Add):
        return _leading_text(node.left, known, depth - 1)
    if isinstance(node, ast.Name) and node.id in known:
        return _leading_text(known[node.id], known, depth - 1)
    if isinstance(node, ast.Call) and node.args:
        name = dotted_name(node.func).split(".")[-1]
        if name in ("Path", "PosixPath", "join", "str", "fspath", "abspath"):
            return _leading_text(node.args[0], known, depth - 1)
    if isinstance(node, ast.Attribute) and node.attr == "parent":
        return _leading_text(node.value, known, depth - 1)
    return ""
