import argparse
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from devkit.arguments import Arguments
from devkit.competitions import (
    OwnCompetition,
    add_name,
    competition_folder,
    fill_in,
    find,
    models_folder,
)
from devkit.dataset.own import find_own
from devkit.errors import SettingsError
from devkit.forget.places import kept_places
from devkit.kaggle.settings import load_settings
from devkit.tools import REPOSITORY
from kernelkit.errors import KernelKitError, OwnCodeError, RecipeError
from kernelkit.own import own_code
from kernelkit.recipe import Recipe
from kernelkit.training.recipe import TrainingRecipe


@pytest.fixture(autouse=True)
def competitions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KERNELKIT_RECIPES", str(tmp_path / "competitions"))
    return tmp_path / "competitions"


def write(competitions: Path, name: str, recipe: str = "hubmap") -> OwnCompetition:
    """A competition of one's own with recipes of kernelkit."""
    own = OwnCompetition(competitions / name)
    own.folder.mkdir(parents=True)
    packaged = Path("kernel_src/kernelkit")
    own.recipe.write_bytes((packaged / f"recipe/{recipe}.yaml").read_bytes())
    text = (packaged / f"training/recipe/{recipe}.yaml").read_text()
    own.training_recipe.write_text(text.replace(f"predicts: {recipe}", "predicts: recipe.yaml"))
    return own


def filled(*arguments: str) -> argparse.Namespace:
    parser = Arguments("look")
    add_name(parser)
    parser.add_argument("--recipe")
    parser.add_argument("--competition", type=Path)
    parser.add_argument("--models", type=Path)
    options = parser.parse_args(arguments)
    fill_in(
        parser,
        options,
        recipe="training_recipe",
        competition="data_folder",
        models=("models_folder", "build/models"),
    )
    return options


def test_the_only_competition_needs_no_name(competitions: Path) -> None:
    """With two of them, none is meant."""
    own = write(competitions, "my-slides")
    assert find() == own
    write(competitions, "others")
    assert find() is None
    assert find("my-slides") == own


def test_the_only_competition_may_not_have_any_name(competitions: Path) -> None:
    """Its slugs on Kaggle are made of it, and nobody was asked for it."""
    write(competitions, "My_Slides")
    with pytest.raises(SettingsError, match="found 'My_Slides' as NAME, wanted"):
        find()
    assert {place.name for place in kept_places()} & {"My_Slides/made", "environment"}


def test_a_command_gets_its_arguments_from_the_only_competition(competitions: Path) -> None:
    """Recipe, data and models lie in its folder."""
    own = write(competitions, "my-slides")
    options = filled()
    assert options.recipe == str(own.training_recipe)
    assert options.competition == own.folder / "data"
    assert options.models == own.folder / "models"


def test_what_was_given_wins(competitions: Path) -> None:
    """A recipe without a name means no competition of one's own."""
    own = write(competitions, "my-slides")
    options = filled("--recipe", "hubmap", "--competition", "data")
    assert (options.recipe, options.competition) == ("hubmap", Path("data"))
    assert options.models == Path("build/models")
    options = filled("--name", "my-slides", "--recipe", "hubmap")
    assert (options.recipe, options.competition) == ("hubmap", own.data_folder)


def test_a_missing_argument_says_what_to_give(
    competitions: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It names the competitions that there are, or how one is made."""
    with pytest.raises(SystemExit):
        filled()
    assert "give RECIPE= (--recipe), or make a" in capsys.readouterr().err
    write(competitions, "one-of-them")
    write(competitions, "two-of-them")
    with pytest.raises(SystemExit):
        filled()
    assert "(--recipe), or NAME=one-of-them or two-of-them, which" in capsys.readouterr().err


def test_code_that_its_settings_name_is_found_by_all_commands(
    competitions: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network of one's own is trained by the same command as others."""
    monkeypatch.setenv("KERNELKIT_OWN", "")
    monkeypatch.delenv("KERNELKIT_OWN")
    own = write(competitions, "my-slides")
    own.settings_file.write_text('own = "code"\n')
    filled()
    assert os.environ["KERNELKIT_OWN"] == str(own.folder / "code")


@pytest.mark.parametrize("name", ["My-Slides", "a", "x" * 41, "../up", "a--b", "hubmap", "nuclei"])
def test_a_name_that_cannot_be_is_refused(name: str) -> None:
    """Kaggle has it in slugs, and kernelkit's own recipes keep theirs."""
    with pytest.raises(SettingsError, match=r"found .* as NAME, w"):
        find(name)


def test_a_name_that_is_not_there_names_those_that_are(competitions: Path) -> None:
    """It says how one is made."""
    write(competitions, "my-slides")
    with pytest.raises(SettingsError, match="There are my-slides. Make it with make new NAME=typo"):
        find("typo")


def test_recipes_load_by_the_name_of_the_competition(competitions: Path) -> None:
    """Both of them, and the one that trains finds the one that predicts beside it."""
    own = write(competitions, "my-slides")
    assert Recipe.load("my-slides") == Recipe.load(own.recipe)
    assert TrainingRecipe.load("my-slides").recipe == Recipe.load("hubmap")
    with pytest.raises(RecipeError, match="Name one of clouds, .*, my-slides, or give the path"):
        Recipe.load("my-slide")


def test_a_folder_with_the_name_of_a_recipe_of_kernelkit_hides_nothing(competitions: Path) -> None:
    """Neither wins in silence."""
    write(competitions, "hubmap")
    for load in (Recipe.load, TrainingRecipe.load):
        with pytest.raises(RecipeError, match="of kernelkit too, and one would hide the other"):
            load("hubmap")


def test_a_name_that_the_shell_exports_is_of_something_else() -> None:
    """Some systems export the machine's name so. Only what is said to make counts."""
    environment = {"PATH": os.environ["PATH"], "NAME": "MY-LAPTOP"}
    said = {
        arguments: subprocess.run(
            ["make", "-n", "look", *arguments],
            cwd=REPOSITORY,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for arguments in ((), ("NAME=my-slides",))
    }
    assert "--name" not in said[()]
    assert '--name "my-slides"' in said[("NAME=my-slides",)]


def test_a_link_to_a_competition_is_that_competition(tmp_path: Path, competitions: Path) -> None:
    """Its settings are those of its name, and not those of the repository."""
    write(tmp_path / "elsewhere", "my-slides").settings_file.touch()
    competitions.mkdir()
    (competitions / "linked").symlink_to(tmp_path / "elsewhere/my-slides")
    own = OwnCompetition.of_settings(competitions / "linked/kaggle.toml")
    assert own == find("linked")
    settings = load_settings(competitions / "linked/kaggle.toml", {})
    assert (settings.recipe, settings.kernel) == ("linked", "linked-inference")
    assert OwnCompetition.of_settings(tmp_path / "elsewhere/my-slides/kaggle.toml") is None


@pytest.mark.parametrize("named", ["data", "models"])
def test_a_folder_that_is_not_there_yet_is_fetched_or_made(competitions: Path, named: str) -> None:
    """The command that does so has the competition's name, if it is one."""
    own = write(competitions, "my-slides")
    check = {"data": competition_folder, "models": models_folder}[named]
    command = {"data": "make download-data", "models": "make train"}[named]
    with pytest.raises(KernelKitError, match=f"with {command} NAME=my-slides$"):
        check(own.folder / named)
    target = command.removeprefix("make ")
    with pytest.raises(KernelKitError, match="give NAME=my-slides, or"):
        check(competitions.parent / named)
    shutil.rmtree(own.folder)
    with pytest.raises(KernelKitError, match=rf"first \(make help-{target} says how\)$"):
        check(competitions.parent / named)


@pytest.mark.parametrize("named", ["~nobody-at-all/code", "no-such-code"])
def test_code_in_a_folder_that_is_not_there_is_named(
    competitions: Path, named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever gives it: the settings, the command line, or make."""
    own = write(competitions, "my-slides")
    own.settings_file.write_text(f'own = "{named}"\n')
    monkeypatch.setenv("KERNELKIT_OWN", "")
    monkeypatch.delenv("KERNELKIT_OWN")
    filled()
    with pytest.raises(OwnCodeError, match=f"{named}: there is no such folder"):
        own_code()
    with pytest.raises(OwnCodeError, match=f"{named}: there is no such folder"):
        find_own(Path(named))
