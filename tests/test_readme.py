"""What the pages show runs, and what they name is there."""

import ast
import importlib
import importlib.util
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import yaml

from devkit.demo.layouts import write
from kernelkit.recipe import Recipe
from kernelkit.training.recipe.settings import RunSettings
from tests.made.competition import write_models

REPOSITORY = Path(__file__).resolve().parent.parent
PAGES = [
    *sorted(REPOSITORY.glob("*.md")),
    REPOSITORY / "competitions" / "README.md",
    *sorted((REPOSITORY / "docs").rglob("*.md")),
]
# Made by commands, so not in a fresh clone.
MADE = ("build/", "wheels/downloads/", "wheels/local/", "competitions/my-", "competitions/nuclei-")

# Pages whose examples have a test beside the page's subject.
ELSEWHERE: tuple[str, ...] = ("devices",)

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
            assert named.removeprefix("help-") in targets, code


def test_the_page_of_commands_has_all() -> None:
    """Each command that `make` lists stands on that page."""
    listed = re.findall(r"^([a-z0-9-]+):.*##", (REPOSITORY / "Makefile").read_text(), re.M)
    page = (REPOSITORY / "docs" / "commands.md").read_text()
    assert set(listed) == set(re.findall(r"`make ([a-z0-9-]+)`", page)) - {"help-train"}


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
        assert (page.parent / link.partition("#")[0]).exists(), link


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
    rows = [[cell.strip(" `") for cell in line.split("|")[1:-1]] for line in table.splitlines()]
    for column, world in enumerate(("kernelkit", "devkit")):
        lines = [row[column] for row in rows if row[column]]
        assert lines == [line.replace(" | ", ", ") for line in contracts[world]["layers"]]


def test_the_page_of_the_architecture_has_all_folders() -> None:
    """Each folder of both worlds stands in its table."""
    text = (REPOSITORY / "docs" / "architecture.md").read_text()
    tables = text.partition("## The folders\n")[2].partition("\n## ")[0].split("`devkit/`")
    worlds = [REPOSITORY / "kernel_src" / "kernelkit", REPOSITORY / "devkit"]
    for world, table in zip(worlds, tables, strict=True):
        there = {path.parent.name for path in world.glob("*/__init__.py")}
        assert there == set(re.findall(r"`(\w+)/`", table)), world


@each_page
def test_names_exist(page: Path) -> None:
    """Each dotted name of kernelkit or devkit that a page names can be imported."""
    for code in code_in(page):
        if not re.fullmatch(r"(kernelkit|devkit)(\.\w+)+", code):
            continue
        module, _, name = code.rpartition(".")
        found = getattr(importlib.import_module(module), name, None)
        assert found is not None or importlib.util.find_spec(code), code


def blocks_of(page: Path, language: str) -> list[str]:
    """The blocks of code of one language on a page, without their indentation."""
    text = page.read_text(encoding="utf-8")
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```", text, re.S | re.M)
    return [re.sub(f"^{indent}", "", block, flags=re.M) for indent, block in found]


PYTHON = [(page, block) for page in PAGES for block in blocks_of(page, "python")]
OURS = [(page, block) for page, block in PYTHON if not block.startswith("# there")]


@pytest.mark.parametrize(("page", "block"), OURS, ids=[page.stem for page, _ in OURS])
def test_examples_name_what_is_there(page: Path, block: str) -> None:
    """Each name that an example imports from kernelkit is there."""
    for node in ast.walk(ast.parse(block)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("kernelkit"):
            for each in node.names:
                assert hasattr(importlib.import_module(node.module or ""), each.name), page


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_examples_run(tmp_path: Path) -> None:
    """They end without an error, in a folder with a slide and models. A last line is a mask's."""
    write_models(tmp_path / "models")
    pixels = np.random.default_rng(0).integers(0, 255, (3, 900, 700), dtype=np.uint8)
    write(tmp_path / "kidney.tiff", pixels, "subdatasets")
    examples = [(page.stem, block) for page, block in OURS if page.stem not in ELSEWHERE]
    for number, (name, block) in enumerate(examples):
        (tmp_path / f"{number:02}_{name}.py").write_text(block)
    run_all = """
import pathlib, runpy
for path in sorted(pathlib.Path().glob("*.py")):
    print(f"\\n== {path.stem}")
    runpy.run_path(str(path), run_name="__main__")
"""
    done = subprocess.run(  # one process for all, since to import torch takes longer than they do
        [sys.executable, "-c", run_all],
        cwd=tmp_path,
        env={"PYTHONPATH": str(REPOSITORY / "kernel_src"), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    printed = done.stdout.split("\n== ")[1:]
    assert len(printed) == len(examples)
    for (_, block), text in zip(examples, printed, strict=True):
        if "to_rle()" in block.splitlines()[-1]:
            words = text.splitlines()[-1].split()  # a progress bar stands before it
            runs, dice = (words[:-1], words[-1]) if "dice" in block else (words, "0")
            assert len(runs) % 2 == 0
            assert 0 <= float(dice) <= 1


def parts(section: object, path: str = "") -> dict[str, object]:
    """The values of a section of YAML, by the paths of their keys."""
    if isinstance(section, dict):
        found = [parts(value, f"{path}.{key}") for key, value in section.items()]
        return {key: value for each in found for key, value in each.items()}
    return {path: section}


@pytest.mark.parametrize("name", ["hubmap", "clouds", "salt", "unosat"])
def test_a_competition_s_page_quotes_its_recipe(name: str) -> None:
    """Each value in the lines of the recipe on its page is the one of the recipe."""
    page = REPOSITORY / "docs" / "competitions" / f"{name}.md"
    file = REPOSITORY / "kernel_src" / "kernelkit" / "recipe" / f"{name}.yaml"
    [block] = blocks_of(page, "yaml")
    quoted, whole = yaml.safe_load(block), yaml.safe_load(file.read_text())
    for text in (quoted, whole):
        text["ensembles"] = text["ensembles"][0]
    there = parts(whole)
    for path, value in parts(quoted).items():
        assert there[path] == value, path


def test_the_example_of_a_recipe_is_one(tmp_path: Path) -> None:
    """The block that shows how a recipe is read can be loaded."""
    [block] = blocks_of(REPOSITORY / "docs" / "recipes.md", "yaml")
    (tmp_path / "recipe.yaml").write_text(f"name: mine\n{block}")
    assert Recipe.load(str(tmp_path / "recipe.yaml")).ensembles[0].name == "kidney"


@each_page
def test_keys_exist(page: Path) -> None:
    """Each block of YAML on a page has the keys of a recipe, or of a recipe of training."""
    fields = [*Recipe.model_fields.items(), *RunSettings.model_fields.items()]
    known = {"MODEL", "predicts", "runs", *(field.alias or name for name, field in fields)}
    for block in blocks_of(page, "yaml"):
        sections = yaml.safe_load(block)
        assert set(sections) <= known, block
