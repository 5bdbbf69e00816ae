"""Engines take the place of those from before: all of them, with their recipe, or none."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from kernelkit import files
from kernelkit.engines.placing import place_runs, refuse_runs, staging
from kernelkit.errors import EngineError, OutputError

pytestmark = [
    pytest.mark.timeout(60),
    pytest.mark.filterwarnings("ignore:This process:DeprecationWarning"),
]

ENGINE = "model.onnx"
OLD = {"a": "old", "b": "old", "c": "of another recipe", "recipe": "old"}
NEW = {"a": "new", "b": "new", "d": "new", "c": "of another recipe", "recipe": "new"}


def write_runs(folder: Path, runs: dict[str, str]) -> None:
    """Run folders, each with an engine and its record."""
    for run, text in runs.items():
        (folder / run).mkdir()
        (folder / run / ENGINE).write_text(text)
        (folder / run / f"{ENGINE}.json").write_text("{}")


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """Engines of two recipes, and a file beside them."""
    folder = tmp_path / "engines"
    folder.mkdir()
    write_runs(folder, {run: text for run, text in OLD.items() if run != "recipe"})
    (folder / "recipe.yaml").write_text("old")
    (folder / "notes.txt").write_text("mine")
    return folder


def found(output: Path) -> dict[str, str]:
    """The text of each engine, and of the recipe."""
    texts = {path.parent.name: path.read_text() for path in output.glob(f"*/{ENGINE}")}
    recipe = output / "recipe.yaml"
    return texts | ({"recipe": recipe.read_text()} if recipe.is_file() else {})


def replace(output: Path) -> None:
    """Stage new engines of one recipe, and let them replace the old ones."""
    with staging(output) as staged:
        write_runs(staged, dict.fromkeys("abd", "new"))
        place_runs(staged, "new", output)


def killed(work: Callable[[], None]) -> None:
    """Do some work in a process that ends itself midway."""
    child = os.fork()
    if not child:
        try:
            work()
        finally:
            os._exit(1)  # no other status than that of an end that was not meant
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


@pytest.mark.parametrize(("is_before", "left"), [(True, OLD), (False, NEW)])
def test_a_kill_leaves_the_old_engines_or_the_new_ones(
    output: Path, monkeypatch: pytest.MonkeyPatch, is_before: bool, left: dict[str, str]
) -> None:
    """There is one exchange of names, and at no moment do old and new runs lie together."""
    exchange = files._exchanged

    def die(one: Path, other: Path) -> bool:
        if not is_before:
            assert exchange(one, other)
        os._exit(9)

    monkeypatch.setattr(files, "_exchanged", die)
    killed(lambda: replace(output))
    assert found(output) == left
    monkeypatch.undo()
    replace(output)
    assert found(output) == NEW
    assert (output / "notes.txt").read_text() == "mine"


def test_a_kill_where_names_cannot_be_exchanged_is_mended_by_the_next_run(
    output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old folder lies aside then. It comes back, and runs of other recipes with it."""
    monkeypatch.setattr(files, "_exchanged", lambda *_: False)
    rename = Path.rename

    def die_at_the_second(path: Path, target: Path) -> Path:
        if path.name == "runs":  # the new folder, once the old one lies aside
            os._exit(9)
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", die_at_the_second)
    killed(lambda: replace(output))
    monkeypatch.setattr(Path, "rename", rename)
    replace(output)
    assert found(output) == NEW


def test_a_folder_that_holds_more_stays_and_has_no_recipe_meanwhile(
    output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs are exchanged one by one there, as in a notebook's working folder."""
    (output / "other/deep").mkdir(parents=True)
    inode = output.stat().st_ino
    exchange = files._exchanged
    recipes: list[bool] = []

    def look(one: Path, other: Path) -> bool:
        recipes.append((output / "recipe.yaml").exists())
        return exchange(one, other)

    monkeypatch.setattr(files, "_exchanged", look)
    replace(output)
    assert found(output) == NEW
    assert recipes == [False, False]
    assert output.stat().st_ino == inode
    assert (output / "other/deep").is_dir()


def test_engines_that_cannot_be_placed_leave_those_that_are_there(output: Path) -> None:
    """All of them come back if the last move of all fails."""
    (output / "other").mkdir()
    (output / "recipe.yaml").unlink()
    (output / "recipe.yaml").mkdir()
    with pytest.raises(OutputError, match="engines cannot be written here"):
        replace(output)
    assert found(output) == {key: text for key, text in OLD.items() if key != "recipe"}


def test_nothing_is_left_beside_the_engines(output: Path) -> None:
    """What was replaced is gone, and so is what a killed run had staged inside."""
    (output / ".engines-killed/runs").mkdir(parents=True)
    replace(output)
    assert {path.name for path in output.parent.iterdir()} == {"engines"}
    assert {path.name for path in output.iterdir()} == {*"abcd", "recipe.yaml", "notes.txt"}


def test_a_link_to_a_folder_stays_a_link(output: Path, tmp_path: Path) -> None:
    """What it leads to gets the engines."""
    link = tmp_path / "link"
    link.symlink_to(output)
    replace(link)
    assert link.is_symlink()
    assert found(output) == NEW


def test_a_run_without_an_engine_is_never_replaced(output: Path) -> None:
    """It is one of training."""
    (output / "d").mkdir()
    with pytest.raises(EngineError, match="found a folder without an engine"):
        refuse_runs(output, ["a", "d"])
