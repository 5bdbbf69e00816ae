"""The house's form: what every file must keep to, whoever writes it."""

import ast
import doctest
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
TESTS = REPOSITORY / "tests"
SOURCES = [
    *sorted((REPOSITORY / "kernel_src").rglob("*.py")),
    *sorted((REPOSITORY / "devkit").rglob("*.py")),
    REPOSITORY / "build_dataset.py",
]
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
