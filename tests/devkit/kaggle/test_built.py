"""A push of a dataset that is no longer what would be built: refused, with what to do."""

import json
import os
import shutil
from pathlib import Path

import pytest

from devkit.kaggle.marks import CLIENT_FILE, Source
from mounted import WEIGHTS_MANIFEST
from tests.made.kaggle_home import Home, make_home  # noqa: F401, a fixture


def note(folder: Path, **marks: object) -> None:
    """Write notes of the builder into the folder of a dataset."""
    path = folder / CLIENT_FILE
    content = json.loads(path.read_text()) if path.exists() else {}
    content["kernelkit"] = content.get("kernelkit", {}) | marks
    path.write_text(json.dumps(content))


def sources(home: Home, what: str, place: Path) -> None:
    found = Source.at(what, place).model_dump(mode="json")
    note(home.kernel_dataset, sources=[found])


def code(home: Home) -> Path:
    folder = home.folder / "code"
    folder.mkdir()
    (folder / "my_steps.py").write_text("WIDTH = 3\n")
    return folder


@pytest.mark.parametrize("command", ["push", "prepare"])
def test_changed_code_of_ones_own_is_not_left_at_home(home: Home, command: str) -> None:
    """As long as it is the same, it is pushed. A cache of Python's is no change."""
    folder = code(home)
    sources(home, "own code", folder)
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__/my_steps.pyc").write_bytes(b"0")
    assert home.run(command).code == 0
    (folder / "my_steps.py").write_text("WIDTH = 4\n")
    result = home.run(command)
    assert result.code == 1
    assert f"own code in {folder} changed after the dataset was built" in result.err
    assert "Run make kernel-dataset PROFILE=kaggle-py312" in result.err


def test_code_that_the_settings_name_must_be_in_the_dataset(home: Home) -> None:
    """It is another folder, or none was packed."""
    home.settings["own"] = str(code(home))
    result = home.run("push")
    assert result.code == 1
    assert f"it has no own code, wanted own code of {home.folder / 'code'}" in result.err


def own_competition(home: Home) -> Path:
    """A competition of the user's own, with the datasets of this home."""
    place = home.folder / "competitions/my-slides"
    place.mkdir(parents=True)
    shutil.copy("kernel_src/kernelkit/recipe/hubmap.yaml", place / "recipe.yaml")
    settings = home.write_settings().read_text().replace("kernelkit-", "my-slides-")
    (place / "kaggle.toml").write_text(settings)
    folders = {"dataset_folder": home.kernel_dataset, "weights_folder": home.weights_dataset}
    for key, folder in folders.items():
        text = f'{key} = "{folder}"\n' + (place / "kaggle.toml").read_text()
        (place / "kaggle.toml").write_text(text)
    sources(home, "recipes", place)
    return place


def test_a_changed_recipe_is_not_left_at_home(home: Home) -> None:
    """The name of the competition is part of the command that builds it again."""
    place = own_competition(home)
    result = home.run_own("my-slides", "prepare")
    assert result.code == 0, result.err
    recipe = (place / "recipe.yaml").read_text()
    (place / "recipe.yaml").write_text(recipe.replace("0.55", "0.5"))
    result = home.run_own("my-slides", "prepare")
    assert result.code == 1
    assert "recipes in" in result.err
    assert "Run make kernel-dataset PROFILE=kaggle-py312 NAME=my-slides" in result.err


def test_weights_that_are_older_than_a_training_are_pushed_with_a_warning(home: Home) -> None:
    """They may be meant, since another training may still be going on."""
    run = own_competition(home) / "models/unet"
    run.mkdir(parents=True)
    (run.parent / "notes.txt").touch()
    assert home.run_own("my-slides", "push").code == 0
    (run / "e1.pth").touch()
    packed = (home.weights_dataset / WEIGHTS_MANIFEST).stat().st_mtime
    for seconds, is_newer in ((-10, False), (10, True)):
        os.utime(run / "e1.pth", (packed + seconds, packed + seconds))
        result = home.run_own("my-slides", "push")
        assert result.code == 0, result.err
        warning = f"warning: {run} has a checkpoint that is newer than the packed weights"
        assert (warning in result.out + result.err) == is_newer


def test_a_dataset_that_does_not_say_it_is_built_again(home: Home) -> None:
    """One that an older version built."""
    note(home.kernel_dataset, sources=None)
    result = home.run("push")
    assert "it does not say what it was made from. Run make kernel-dataset" in result.err


def test_weights_without_a_run_that_the_recipe_names_are_not_pushed(home: Home) -> None:
    """The error names what is packed."""
    home.settings["recipe"] = "nuclei"
    result = home.run("push")
    assert result.code == 1
    assert "the recipe nuclei names the runs 'he_*', and none of them is packed" in result.err
    assert "(found unet). Run make weights-dataset" in result.err


@pytest.mark.parametrize(
    ("packed", "said"),
    [
        (["best"], "takes the last checkpoints of fpn_320x480, and packed are the best"),
        (["best", "last"], ""),
        (["all"], ""),
    ],
)
def test_weights_without_a_checkpoint_that_the_recipe_takes_are_not_pushed(
    home: Home, packed: list[str], said: str
) -> None:
    """The recipe clouds takes the best and the last of each run."""
    home.settings["recipe"] = "clouds"
    note(home.weights_dataset, checkpoints={"fpn_320x480": packed})
    result = home.run("prepare")
    assert (result.code == 1) == bool(said)
    assert said in result.err


def test_a_p100_is_warned_of(home: Home) -> None:
    """The push goes on, since an image of one's own may have another torch."""
    home.settings["accelerator"] = "NvidiaTeslaP100"
    result = home.run("push")
    assert result.code == 0, result.err
    assert "warning: accelerator is NvidiaTeslaP100" in result.out + result.err
    home.settings["accelerator"] = "NvidiaTeslaT4"
    result = home.run("push")
    assert "warning" not in result.out + result.err


def test_doctor_says_the_next_step_in_the_order_of_the_work(home: Home) -> None:
    """First what lies at home, then the push, the run and the submission."""
    manifest = home.weights_dataset / "kernelkit-weights.json"
    content = manifest.read_bytes()
    manifest.unlink()
    assert "next     make weights-dataset (there is no" in home.run("doctor").out
    manifest.write_bytes(content)
    assert "next     make push (Kaggle does not have" in home.run("doctor").out
    assert home.run("push").code == 0
    assert "next     make " in home.run("doctor").out
    sources(home, "own code", code(home))
    (home.folder / "code/my_steps.py").write_text("WIDTH = 5\n")
    said = home.run("doctor").out
    assert "next     make kernel-dataset PROFILE=kaggle-py312 (" in said
    assert "own code in" in said
