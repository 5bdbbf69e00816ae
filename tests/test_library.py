"""The package as a library: what is public, what its docstrings say, and its page."""

import importlib
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import kernelkit

REPOSITORY = Path(__file__).resolve().parent.parent
PAGE = (REPOSITORY / "docs" / "library.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
LISTED = {
    module: re.findall(r"`(\w+)`", names)
    for module, names in re.findall(r"^\| `(kernelkit[\w.]*)` \| (.*) \|$", PAGE, re.MULTILINE)
}
# Their classes are one by one on the page of recipes, or among the errors.
ELSEWHERE = ("kernelkit.recipe", "kernelkit.errors")
HEAVY = ("torch", "numpy", "pandas", "rasterio", "numba", "pydantic")


def public() -> Iterator[tuple[str, Any]]:
    """The classes and functions that are public, each once."""
    seen = set()
    for name in (*LISTED, *ELSEWHERE):
        module = importlib.import_module(name)
        for each in module.__all__:
            value = getattr(module, each)
            is_ours = getattr(value, "__module__", "").startswith("kernelkit")
            if is_ours and value not in seen:
                seen.add(value)
                yield f"{name}.{each}", value


def callables(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """A function, or a class with its public methods."""
    yield name, value
    if inspect.isclass(value):
        for key, member in vars(value).items():
            if not key.startswith("_") and isinstance(member, classmethod | staticmethod):
                yield f"{name}.{key}", getattr(value, key)
            elif not key.startswith("_") and inspect.isfunction(member):
                yield f"{name}.{key}", member


def documented(value: Any, *headings: str) -> list[str]:
    """The names in the sections of a docstring."""
    found: list[str] = []
    text = inspect.getdoc(value) or ""
    for heading in headings:
        section = re.search(rf"^{heading}\n-+\n(.*?)(?=^\w[\w ]*\n-+\n|\Z)", text, re.M | re.S)
        lines = re.findall(r"^(\w[\w, *]*)\n(?= +\S)", section[1] if section else "", re.MULTILINE)
        found += [name.strip(" *") for line in lines for name in line.split(",")]
    return found


def parameters(value: Any) -> list[str]:
    """The names in a signature, without those that a caller does not give. Errors take a text."""
    if inspect.isclass(value) and issubclass(value, Exception):
        return []
    names = inspect.signature(value).parameters
    return [name for name in names if name not in ("self", "cls") and not name.startswith("_")]


PUBLIC = list(public())
CALLABLES = [each for name, value in PUBLIC for each in callables(name, value)]


def test_the_package_is_imported_without_its_pieces() -> None:
    """`import kernelkit` loads nothing that takes time."""
    program = f"import sys, kernelkit; print([m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", kernelkit.__all__)
def test_each_piece_is_there_when_it_is_asked_for(name: str) -> None:
    """It is the object of its own package, and tools that complete names see it."""
    value = getattr(kernelkit, name)
    assert getattr(importlib.import_module(value.__module__), name) is value
    assert name in dir(kernelkit)


def test_a_name_that_is_not_there_is_said() -> None:
    """As for any module."""
    with pytest.raises(AttributeError, match=r"module 'kernelkit' has no attribute 'Sllide'"):
        _ = kernelkit.Sllide


@pytest.mark.parametrize("module", LISTED)
def test_the_page_lists_what_is_public(module: str) -> None:
    """The names in its table are those of each `__all__`, sorted."""
    names = importlib.import_module(module).__all__
    assert LISTED[module] == list(names) == sorted(names)


@pytest.mark.parametrize("name", kernelkit.__all__)
def test_the_page_has_an_example_of_each_piece(name: str) -> None:
    """A block of the page imports it from kernelkit, and uses it."""
    imported = [
        block
        for block in BLOCKS
        if re.search(rf"^from kernelkit import .*\b{name}\b", block, re.MULTILINE)
    ]
    assert any(len(re.findall(rf"\b{name}\b", block)) > 1 for block in imported)


def test_a_network_of_one_s_own_takes_15_lines() -> None:
    """The first example of the page is short, from imports to run lengths."""
    lines = [line for line in BLOCKS[0].splitlines() if line.strip()]
    assert len(lines) <= 15
    assert "TileReader" in BLOCKS[0]
    assert "canvas.finish()" in BLOCKS[0]


@pytest.mark.parametrize(("name", "value"), CALLABLES, ids=[name for name, _ in CALLABLES])
def test_docstrings_name_the_parameters_that_there_are(name: str, value: Any) -> None:
    """Each public thing has a docstring, and no parameter in it that its signature has not."""
    assert inspect.getdoc(value), name
    unknown = set(documented(value, "Parameters")) - set(parameters(value))
    assert not unknown


@pytest.mark.parametrize(("name", "value"), PUBLIC, ids=[name for name, _ in PUBLIC])
def test_every_parameter_is_documented(name: str, value: Any) -> None:
    """Functions and constructors document each parameter, or a dataclass its attribute."""
    if name in ("kernelkit.errors.as_sentence", "kernelkit.errors.kind_of"):
        return  # their first line names the one parameter
    given = documented(value, "Parameters", "Attributes")
    for kind in getattr(value, "__mro__", ())[1:]:
        given += documented(kind, "Attributes") if kind.__doc__ else []
    missing = [each for each in parameters(value) if each not in given]
    assert not missing, name


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_examples_have_the_types_that_the_package_states(tmp_path: Path) -> None:
    """mypy finds nothing in them, so that the package's types are right for its users."""
    assert (Path(kernelkit.__file__).parent / "py.typed").is_file()
    for number, block in enumerate(BLOCKS):
        (tmp_path / f"example_{number}.py").write_text(block)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "mypy", "--config-file", REPOSITORY / "pyproject.toml"),
            *("--cache-dir", REPOSITORY / ".mypy_cache"),
            *sorted(tmp_path.glob("*.py")),
        ],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
