"""What the pages show runs, and what they name is there."""

import importlib
import importlib.util
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

from devkit.demo.layouts import write
from tests.made.competition import write_models

REPOSITORY = Path(__file__).resolve().parent.parent
PAGES = [*sorted(REPOSITORY.glob("*.md")), *sorted((REPOSITORY / "docs").rglob("*.md"))]
# Made by commands, so not in a fresh clone.
MADE = ("build/", "wheels/downloads/", "wheels/local/")

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


def code_in(page: Path) -> list[str]:
    """The pieces of code in a page's text, and the lines of its blocks of shell."""
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"^ *```sh\n(.*?)^ *```", text, re.S | re.M)
    lines = [line.split("#")[0].strip() for block in blocks for line in block.splitlines()]
    rest = re.sub(r"^ *```.*?^ *```", "", text, flags=re.S | re.M)
    return [*lines, *(" ".join(code.split()) for code in re.findall(r"`([^`]+)`", rest))]


@each_page
def test_targets_exist(page: Path) -> None:
    """Each `make` command that a page names is a target of the Makefile."""
    targets = re.findall(r"^([a-z0-9-]+):", (REPOSITORY / "Makefile").read_text(), re.M)
    for code in code_in(page):
        for named in re.findall(r"\bmake ([a-z][a-z0-9-]*)(?!\w*=)", code):
            assert named in targets, code


@each_page
def test_programs_exist(page: Path) -> None:
    """Each module, script and tool of the environment that a page's commands start is there."""
    for code in code_in(page):
        for module in re.findall(r"python -m ([\w.]+)", code):
            assert importlib.util.find_spec(module), code
        for script in re.findall(r"python ([\w/]+\.py)", code):
            assert (REPOSITORY / script).is_file(), code
        for tool in re.findall(r"^\.venv/bin/([\w-]+)", code):
            assert Path(sys.executable).with_name(tool).exists(), code


@each_page
def test_files_exist(page: Path) -> None:
    """Each file and folder of the repository that a page names or links to is there."""
    tops = {path.name for path in REPOSITORY.iterdir()}
    for code in code_in(page):
        for word in code.split():
            is_path = re.fullmatch(r"[\w.-]+(/[\w.-]+)*/?", word) and word.split("/")[0] in tops
            if is_path and not word.startswith(MADE) and not word.startswith("."):
                assert (REPOSITORY / word).exists(), code
    for link in re.findall(r"\]\(([^):]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / link).exists(), link


@each_page
def test_functions_exist(page: Path) -> None:
    """Each name that a page gives for a file stands in that file."""
    pairs = re.findall(r"((?:`\w+`(?:, | and )?)+) in `([\w/]+\.py)`", page.read_text())
    for names, path in pairs:
        for name in re.findall(r"\w+", names.replace(" and ", " ")):
            assert re.search(rf"\b{name}\b", (REPOSITORY / path).read_text()), f"{name}, {path}"


def test_the_import_rule_is_the_contract() -> None:
    """The table of who may import whom has the lines of the contracts, in their order."""
    settings = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    contracts = {each["id"]: each for each in settings["tool"]["importlinter"]["contracts"]}
    text = (REPOSITORY / "docs" / "architecture.md").read_text()
    table = text.partition("| kernelkit | devkit |\n|---|---|\n")[2].partition("\n\n")[0]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()]
    for column, world in enumerate(("kernelkit", "devkit")):
        lines = [row[column] for row in rows if row[column]]
        assert lines == [line.replace(" | ", ", ") for line in contracts[world]["layers"]]


@each_page
def test_names_exist(page: Path) -> None:
    """Each dotted name of kernelkit or devkit that a page names can be imported."""
    for code in code_in(page):
        if not re.fullmatch(r"(kernelkit|devkit)(\.\w+)+", code):
            continue
        module, _, name = code.rpartition(".")
        found = getattr(importlib.import_module(module), name, None)
        assert found is not None or importlib.util.find_spec(code), code


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_the_pieces_by_themselves(tmp_path: Path) -> None:
    """The example goes from a slide to a run-length encoding, with the files that it names."""
    [example] = re.findall(r"```python\n(.*?)```", (REPOSITORY / "README.md").read_text(), re.S)
    script = tmp_path / "example.py"
    script.write_text(example)
    write_models(tmp_path / "models")
    pixels = np.random.default_rng(0).integers(0, 255, (3, 1700, 900), dtype=np.uint8)
    write(tmp_path / "kidney.tiff", pixels, "subdatasets")
    done = subprocess.run(
        [sys.executable, script],
        cwd=tmp_path,
        env={"PYTHONPATH": str(REPOSITORY / "kernel_src"), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    *runs, dice = done.stdout.splitlines()[-1].split()  # a progress bar stands before it
    assert len(runs) % 2 == 0
    assert 0 <= float(dice) <= 1
