"""Commands of make that are printed: they can be pasted, whatever was given."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from devkit.arguments import Arguments
from devkit.kaggle.built import dry_run_command
from devkit.kaggle.service.endings import explain_ending
from devkit.kaggle.settings import SETTINGS_FILE, Settings, load_settings
from devkit.make import make_command

# The module that has a table of words, in which `explain_ending` replaces them.
WORDS = ("devkit/kaggle/service/endings.py",)
CODE = [
    path
    for folder in ("devkit", "kernel_src/kernelkit")
    for path in sorted(Path(folder).rglob("*.py"))
    if path.as_posix() not in WORDS
]
# The targets that need a NAME if there are several competitions of the user's own. Two mean the
# demo without it.
TARGETS = re.findall(r"^([a-z-]+):.*\(NAME=", Path("Makefile").read_text(), re.M)
NAMED = [target for target in TARGETS if target not in ("dry-run", "shell")]
PERHAPS = re.compile(rf"\bmake\W+({'|'.join(NAMED)})\b")
PRINTED = re.compile(rf"\bmake ({'|'.join(NAMED)})\b(?! NAME=)")


def texts(path: Path) -> Iterator[str]:
    """What a module may print: its texts, but for docstrings."""
    written = path.read_text()
    if not PERHAPS.search(written):
        return
    tree = ast.parse(written)
    kinds = ast.Module | ast.ClassDef | ast.FunctionDef
    documented = [node for node in ast.walk(tree) if isinstance(node, kinds)]
    docstrings = {id(node.body[0].value) for node in documented if _has_docstring(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts = [part.value if isinstance(part, ast.Constant) else "{}" for part in node.values]
            yield "".join(map(str, parts))
        elif isinstance(node, ast.Constant) and id(node) not in docstrings:
            yield str(node.value)


def _has_docstring(node: ast.Module | ast.ClassDef | ast.FunctionDef) -> bool:
    return bool(node.body) and isinstance(node.body[0], ast.Expr)


def test_no_module_writes_out_a_command_that_may_need_a_name() -> None:
    """`make_command` and `Settings.command` add it. kernelkit alone knows no make at all."""
    found = [f"{path}: {text}" for path in CODE for text in texts(path) if PRINTED.search(text)]
    assert not found
    assert {"push", "logs", "train", "download-data"} < set(NAMED)


@pytest.mark.parametrize(
    ("variables", "command"),
    [
        ({}, "make push"),
        ({"NAME": None, "NOTEBOOK": "", "AGAIN": False}, "make push"),
        ({"NAME": "my-slides", "AGAIN": True}, "make push NAME=my-slides AGAIN=1"),
        ({"MODELS": Path("/my runs")}, "make push MODELS='/my runs'"),
        ({"MESSAGE": "5$"}, "make push MESSAGE='5$$'"),
    ],
)
def test_a_command_of_make_is_quoted_for_a_shell(variables: dict, command: str) -> None:
    """make reads a dollar as the begin of a variable, so there are two."""
    assert make_command("push", **variables) == command


def slides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The settings of a competition of the user's own."""
    monkeypatch.setenv("KERNELKIT_RECIPES", str(tmp_path))
    folder = tmp_path / "my-slides"
    folder.mkdir()
    for recipe, place in (("recipe", "recipe"), ("train", "training/recipe")):
        text = Path(f"kernel_src/kernelkit/{place}/hubmap.yaml").read_text()
        (folder / f"{recipe}.yaml").write_text(text)
    (folder / "kaggle.toml").touch()
    return load_settings(folder / "kaggle.toml", {})


def test_a_command_has_what_was_given_and_what_its_target_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name, the notebook, and the competition that the command line named."""
    settings = slides(tmp_path, monkeypatch)
    assert settings.command("logs") == "make logs NAME=my-slides"
    training = settings.for_notebook("train")
    assert training.command("logs") == "make logs NAME=my-slides NOTEBOOK=train"
    assert training.command("kernel-dataset") == "make kernel-dataset NAME=my-slides"
    ending = explain_ending(settings, "Notebook Threw Exception")
    assert "Rehearse it with make dry-run NAME=my-slides RERUN=1, and" in ending
    other = settings.for_competition("salt")
    assert other.command("submissions") == "make submissions NAME=my-slides COMPETITION=salt"
    assert other.command("push") == "make push NAME=my-slides"


def test_a_command_names_the_settings_file_unless_it_would_be_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it the repository's file is meant, or that of the only competition there is."""
    monkeypatch.setenv("KERNELKIT_RECIPES", str(tmp_path))
    assert load_settings(SETTINGS_FILE, {}).command("push") == "make push"
    other = load_settings(tmp_path / "my other.toml", {"KERNELKIT_OWN": "/code"})
    assert other.for_notebook("train").command("logs") == (
        f"make logs SETTINGS='{tmp_path}/my other.toml' NOTEBOOK=train"
    )
    rehearsal = dry_run_command(other)
    assert "SETTINGS=" not in rehearsal
    assert rehearsal.endswith("OWN=/code")
    slides(tmp_path, monkeypatch)
    assert load_settings(SETTINGS_FILE, {}).command("push") == "make push SETTINGS=kaggle.toml"


def test_every_target_takes_the_settings_file_that_is_printed_for_it() -> None:
    """Those that read no settings are known by their names."""
    takes = set(re.findall(r"^([a-z-]+):.*\bSETTINGS=", Path("Makefile").read_text(), re.M))
    printed: set[str] = set()
    for path in sorted(Path("devkit/kaggle").rglob("*.py")):
        printed |= set(re.findall(r"\bcommand\(\s*\"([a-z-]+)\"", path.read_text()))
    assert printed - takes == {"dry-run"}


def pack() -> Arguments:
    parser = Arguments("pack", "python -m devkit.pack")
    parser.add_argument("models", nargs="?", variable="MODELS")
    parser.add_argument("--name", variable="NAME")
    parser.add_argument("--profile", default="py312", variable="PROFILE")
    parser.add_argument("--own", variable="OWN")
    parser.add_argument("--fast", action="store_true", variable="FAST")
    parser.add_argument("--title")
    return parser


@pytest.mark.parametrize(
    ("given", "command"),
    [
        ("", "make pack NAME=x"),
        ("runs --profile py312", "make pack MODELS=runs NAME=x"),
        ("runs --name y --fast", "make pack MODELS=runs NAME=x FAST=1"),
        ("runs --own code", "make pack MODELS=runs OWN=code NAME=x"),
        (
            "runs --title t",
            "PYTHONPATH=kernel_src .venv/bin/python -m devkit.pack runs --title t --name x",
        ),
    ],
)
def test_the_command_of_some_arguments_is_one_of_make_if_it_can(given: str, command: str) -> None:
    """Otherwise it is Python's, with what make would have added."""
    assert pack().as_command(given.split(), NAME="x", OWN=None) == command
