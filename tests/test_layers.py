"""The architecture: who may import whom, and that each test says what it shows."""

import ast
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
PACKAGE = REPOSITORY / "kernel_src/kernelkit"
MODULES = sorted(
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
    for path in PACKAGE.rglob("*.py")
    if path.stem != "__init__"
)

# Each of these is a module, or a folder of modules, which counts as one.
# the ground floor: each knows none of the others, but for parts of its own
GROUND = {
    "grid": set(),
    "mask": set(),
    "merge": set(),
    "tta": set(),
    "recipe": {"sections"},
    "deadline": set(),
}
# the upper floor: each may import the ground floor and the parts of those before it
UPPER = [
    "slide",
    "foreground",
    "reader",
    "checkpoints",
    "ensemble",
    "canvas",
    "postprocess",
    "one_image",
    "submission",
    "predict",
]


def imports(path: Path) -> set[str]:
    """The modules of kernelkit that a file imports, also inside functions, without its name."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "kernelkit":
            above = (node.module or "").removeprefix("kernelkit").removeprefix(".")
            names = [f"{above}.{alias.name}".removeprefix(".") for alias in node.names]
            found |= {name if name in MODULES else above for name in names}
        elif isinstance(node, ast.Import):
            assert not any(alias.name.startswith("kernelkit.") for alias in node.names)
    return found


def files_of(module: str) -> list[Path]:
    """The file of a module, or all files of a folder of modules."""
    path = PACKAGE / module.replace(".", "/")
    return sorted(path.glob("*.py")) if path.is_dir() else [path.with_suffix(".py")]


def reach(module: str, whole_folders: bool = True) -> set[str]:
    """All modules that a module imports, by way of others too; a folder is one, or is its class."""
    seen: set[str] = set()
    todo = [module]
    while todo:
        name = todo.pop()
        files = files_of(name)
        if not whole_folders and len(files) > 1:
            files = [PACKAGE / name / "__init__.py"]
        found = {other for file in files for other in imports(file)}
        if whole_folders:
            found = {other.split(".")[0] for other in found} - {module.split(".")[0]}
        todo += found - seen
        seen |= found
    return seen


@pytest.mark.parametrize("module", GROUND)
def test_the_ground_floor_knows_nobody(module: str) -> None:
    """A module of the ground floor reaches its own parts, the errors and the compiler, no other."""
    assert reach(module) <= GROUND[module] | {"errors", "jit"}


@pytest.mark.parametrize("module", UPPER)
def test_the_upper_floor_looks_only_down(module: str) -> None:
    """A module of the upper floor reaches none that comes after it."""
    later = set(UPPER[UPPER.index(module) + 1 :])
    assert not reach(module) & later


@pytest.mark.parametrize("module", MODULES)
def test_nothing_points_back(module: str) -> None:
    """No module imports itself by way of others, and none but predict's callers knows predict."""
    found = reach(module, whole_folders=False)
    assert module not in found
    assert "predict" not in found


def test_the_package_never_reaches_for_devkit() -> None:
    """What runs on Kaggle has only what is packed."""
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not any(name.split(".")[0] == "devkit" for name in names), path.name


@pytest.mark.parametrize(
    "path", sorted((REPOSITORY / "tests").glob("test_*.py")), ids=lambda path: path.stem
)
def test_every_test_says_what_it_shows(path: Path) -> None:
    """Each test has a docstring."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            assert ast.get_docstring(node), f"{path.name}:{node.lineno} {node.name}"
