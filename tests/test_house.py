"""The house's form: what every file must keep to, whoever writes it."""

import ast
import doctest
import functools
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.made.prose import REPOSITORY, files_by_folder, read_folder

TESTS = REPOSITORY / "tests"
SOURCES = [
    *sorted((REPOSITORY / "kernel_src").rglob("*.py")),
    *sorted((REPOSITORY / "devkit").rglob("*.py")),
    REPOSITORY / "build_dataset.py",
]
WORDS_PER_SENTENCE = 13
WITH_EXAMPLES = [path for path in SOURCES if ">>>" in path.read_text()]


def name_of(path: Path) -> str:
    """The module that lies in a file."""
    parts = list(path.relative_to(REPOSITORY).with_suffix("").parts)
    if parts[0] == "kernel_src":
        del parts[0]
    if parts[-1] == "__init__":
        del parts[-1]
    return ".".join(parts)


def docstrings(path: Path) -> Iterator[str]:
    """The docstrings in a file, those that Python does not keep too."""
    for node in ast.walk(ast.parse(path.read_text())):
        body = getattr(node, "body", None)
        first = body[0] if isinstance(body, list) and body else None
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
            yield str(first.value.value)


@pytest.mark.parametrize("path", sorted(TESTS.rglob("test_*.py")), ids=lambda path: path.stem)
def test_every_test_says_what_it_shows(path: Path) -> None:
    """Each test has a docstring."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            assert ast.get_docstring(node), f"{path.name}:{node.lineno} {node.name}"


@pytest.mark.parametrize("path", WITH_EXAMPLES, ids=name_of)
def test_examples_run(path: Path) -> None:
    """Each example of a docstring gives what stands below it, and none is left out."""
    module = importlib.import_module(name_of(path))
    written = sum(len(doctest.DocTestParser().get_examples(each)) for each in docstrings(path))
    assert "doctest: +SKIP" not in path.read_text(), "each example runs"
    done = doctest.testmod(module)
    assert done.failed == 0, "the output above says which"
    assert done.attempted == written, "an example stands where doctest does not look"


def imported(path: Path) -> Iterator[tuple[str, str]]:
    """The modules of this repository that a file imports from, each with a name."""
    for node in ast.walk(ast.parse(path.read_text())):
        module = getattr(node, "module", None) if isinstance(node, ast.ImportFrom) else None
        if module and module.split(".")[0] in ("kernelkit", "devkit", "tests"):
            yield from ((module, alias.name) for alias in node.names)


@pytest.mark.parametrize(
    "path", sorted((REPOSITORY / "benchmarks").glob("*.py")), ids=lambda path: path.stem
)
def test_what_a_benchmark_imports_is_there(path: Path) -> None:
    """No test runs a benchmark, so a name that has moved would be missed in its own run alone."""
    for module, name in imported(path):
        assert hasattr(importlib.import_module(module), name), f"{module} has no {name}"


@functools.cache
def error_classes() -> set[str]:
    """The names of the errors that kernelkit, devkit and the first cell raise on purpose."""
    bases = {
        node.name: {getattr(base, "id", getattr(base, "attr", "")) for base in node.bases}
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef)
    }
    found = {"KernelKitError", "BootstrapError"}
    while more := {name for name, above in bases.items() if above & found} - found:
        found |= more
    return found


def name_called(call: ast.Call) -> str:
    """The name of what is called, without what stands before its last dot."""
    return str(getattr(call.func, "id", getattr(call.func, "attr", "")))


class Endings:
    """How the texts that a file builds can end."""

    def __init__(self, tree: ast.Module) -> None:
        self.given: dict[str, list[ast.expr]] = {}
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                self.given.setdefault(node.targets[0].id, []).append(node.value)
            elif isinstance(node, ast.FunctionDef):
                returned = [each.value for each in ast.walk(node) if isinstance(each, ast.Return)]
                self.given.setdefault(node.name, []).extend(filter(None, returned))

    def of(self, node: ast.expr, depth: int = 0) -> set[str]:
        """The last pieces of text that an expression can give. What it cannot tell is "?"."""
        if depth > 5:
            return {"?"}
        match node:
            case ast.Constant(value=str(text)):
                return {text}
            case ast.JoinedStr(values=[*before, ast.FormattedValue(value=value)]):
                return self.joined(ast.JoinedStr(before), value, depth)
            case ast.JoinedStr(values=[*_, last]):
                return self.of(last, depth + 1)
            case ast.JoinedStr(values=[]):
                return {""}
            case ast.BinOp(left=left, right=right):
                return self.joined(left, right, depth)
            case ast.IfExp(body=body, orelse=other):
                return self.of(body, depth + 1) | self.of(other, depth + 1)
            case ast.BoolOp(values=values):
                return {end for value in values for end in self.of(value, depth + 1)}
            case ast.Name(id=name) | ast.Call(func=ast.Name(id=name)) if name in self.given:
                return {end for value in self.given[name] for end in self.of(value, depth + 1)}
        return {"?"}

    def joined(self, left: ast.expr, right: ast.expr, depth: int) -> set[str]:
        """The ends of two texts in a row: the second's, or the first's if the second is empty."""
        ends = self.of(right, depth + 1)
        return ends - {""} | (self.of(left, depth + 1) if "" in ends else set())


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_errors_end_without_a_full_stop(path: Path) -> None:
    """The message of each error that kernelkit or devkit makes has the one ending of the house."""
    tree = ast.parse(path.read_text())
    endings, ours = Endings(tree), error_classes()
    raised = {id(node.exc) for node in ast.walk(tree) if isinstance(node, ast.Raise)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and (id(node) in raised or name_called(node) in ours):
            for argument in node.args[:1]:
                ends = {end.rstrip() for end in endings.of(argument)}
                bad = {end for end in ends if end.endswith((".", ";")) and not end.endswith("...")}
                assert not bad, f"{path.name}:{node.lineno} {bad}"


@pytest.mark.parametrize(("name", "paths"), files_by_folder().items(), ids=list(files_by_folder()))
def test_the_prose_is_plain(name: str, paths: list[Path]) -> None:
    """No sentence has a semicolon, and on average a sentence of a folder has 13 words at most."""
    folder = read_folder(name, paths)
    joined = [
        f"{each.path}:{each.line} {each.text}" for each in folder.sentences if each.semicolons
    ]
    assert not joined, "\n".join(joined)
    longest = sorted(folder.sentences, key=lambda each: -each.words)[:10]
    shown = "\n".join(f"{each.path}:{each.line} {each.text}" for each in longest)
    assert folder.words_each <= WORDS_PER_SENTENCE, shown
