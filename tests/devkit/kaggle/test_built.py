"""A push of a dataset that is no longer what would be built: refused, with what to do."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

from devkit.kaggle.marks import CLIENT_FILE, Source, What
from devkit.kaggle.trained import note_weights
from kernelkit.vocabulary import Prefer
from tests.made.dataset import make_source
from tests.made.kaggle_home import Home


def note(folder: Path, **marks: object) -> None:
    """Write notes of the builder into the folder of a dataset."""
    path = folder / CLIENT_FILE
    content = json.loads(path.read_text()) if path.exists() else {}
    content["kernelkit"] = content.get("kernelkit", {}) | marks
    path.write_text(json.dumps(content))


def sources(home: Home, what: What, place: Path) -> None:
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
    home.settings["own"] = str(folder)
    sources(home, "own code", folder)
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__/my_steps.pyc").write_bytes(b"0")
    assert home.run(command).code == 0
    (folder / "my_steps.py").write_text("WIDTH = 4\n")
    result = home.run(command)
    assert result.code == 1
    assert f"own code in {folder} changed after the dataset was built" in result.err
    assert f"Run {home.make('kernel-dataset')} PROFILE=kaggle-py312" in result.err


def test_code_that_the_settings_name_must_be_in_the_dataset(home: Home) -> None:
    """It is another folder, or none was packed."""
    home.settings["own"] = str(code(home))
    result = home.run("push")
    assert result.code == 1
    assert f"it has no own code, wanted own code of {home.folder / 'code'}" in result.err


def test_code_that_the_settings_no_longer_name_is_not_pushed(home: Home) -> None:
    """The dataset still has it. Code that only the build command named is meant."""
    folder = code(home)
    sources(home, "own code", folder)
    result = home.run("push")
    assert result.code == 1
    assert f"own code of {folder}, which the settings do not name any more" in result.err
    assert f"Run {home.make('kernel-dataset')} PROFILE=kaggle-py312" in result.err
    given = Source.at("own code", folder, is_given=True).model_dump(mode="json")
    note(home.kernel_dataset, sources=[given])
    assert home.run("prepare").code == 0


def test_recipes_that_the_settings_do_not_name_are_not_pushed(home: Home) -> None:
    """They are those of a competition of the user's own."""
    sources(home, "recipes", home.folder)
    assert "recipes of" in home.run("prepare").err


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
    assert "Run make kernel-dataset NAME=my-slides PROFILE=kaggle-py312" in result.err


def test_every_file_that_decides_the_bytes_of_a_dataset_is_watched(tmp_path: Path) -> None:
    """Among them are what makes kernelkit's wheel, wheels of the user's own, and the lock."""
    place = make_source(tmp_path / "kernel_src")
    watched: list[tuple[What, Path, str]] = [
        ("kernelkit", place, "build_backend.py"),
        ("kernelkit", place, "../LICENSE"),
        ("kernelkit", place, "kernelkit/grid.py"),
        ("own wheels", tmp_path / "local", "mine-1.0-py3-none-any.whl"),
        ("profile and lock", tmp_path / "image", "pylock.toml"),
        ("profile and lock", tmp_path / "image", "profile.toml"),
        ("requirements", tmp_path / "requirements.in", ""),
    ]
    for what, folder, name in watched:
        before = Source.at(what, folder)
        assert not before.has_changed
        path = folder / name if name else folder
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"another {name}")
        assert before.has_changed, path
        assert not Source.at(what, folder).has_changed


def test_the_lock_of_the_twin_alone_changes_no_dataset(tmp_path: Path) -> None:
    """A dry-run may write it."""
    before = Source.at("profile and lock", tmp_path)
    (tmp_path / "pylock.twin.toml").write_text("packages = []")
    assert not before.has_changed


def trained(home: Home, name: str = "unet") -> Path:
    """A run of one fold, by the names of its files."""
    run = home.folder / "models" / name
    fold = run / "fold_0/models"
    fold.mkdir(parents=True)
    (fold / "e1_0.5.pth").write_bytes(b"weights")
    (run / "cfg.yaml").write_text("MODEL: {}\n")
    return run


def note_runs(home: Home, *runs: Path) -> None:
    words: dict[str, tuple[Prefer, ...]] = {run.name: ("best",) for run in runs}
    noted = note_weights(home.folder / "models", words).model_dump(mode="json")
    note(home.weights_dataset, checkpoints=words, weights=noted, made_by=home.make("it"))


def trained_anew(run: Path) -> None:
    (run / "fold_0/models/e1_0.5.pth").write_bytes(b"another")


def trained_on(run: Path) -> None:
    (run / "fold_0/models/e2_0.6.pth").write_bytes(b"better")


def trained_with_another_fold(run: Path) -> None:
    shutil.copytree(run / "fold_0", run / "fold_1")


def normalised_otherwise(run: Path) -> None:
    (run / "cfg.yaml").write_text("MODEL: {in_channels: 4}\n")


def finished_anew(run: Path) -> None:
    path = run / "fold_0/models/e1_0.5.pth"
    path.rename(path.with_name("e9_0.4.pth"))


@pytest.mark.parametrize(
    ("happens", "said"),
    [
        (trained_anew, "fold_0/models/e1_0.5.pth has changed"),
        (trained_on, "fold_0/models/e1_0.5.pth is no longer taken"),
        (trained_with_another_fold, "fold_1/models/e1_0.5.pth is new"),
        (normalised_otherwise, "cfg.yaml has changed"),
        (finished_anew, "fold_0/models/e1_0.5.pth has vanished"),
    ],
)
def test_weights_that_were_trained_anew_under_their_name_are_packed_first(
    home: Home, happens: Callable[[Path], None], said: str
) -> None:
    """The error says how, by the command that packed them, and what else may be meant."""
    run = trained(home)
    note_runs(home, run)
    assert home.run("prepare").code == 0
    happens(run)
    result = home.run("push")
    assert result.code == 1
    assert (
        f"since it was packed, {run}/{said}. Run {home.make('it')}, or rename the run" in result.err
    )
    run.rename(run.with_name("unet-2"))
    assert home.run("prepare").code == 0


def test_weights_that_were_only_copied_are_the_same(home: Home) -> None:
    """Their content counts, whenever it was written. So does a worse checkpoint beside them."""
    run = trained(home)
    note_runs(home, run)
    os.utime(run / "fold_0/models/e1_0.5.pth", (1, 1))
    (run / "fold_0/models/e2_0.4.pth").write_bytes(b"worse")
    assert home.run("prepare").code == 0


def test_other_runs_at_home_are_said_and_the_packed_ones_pushed(home: Home) -> None:
    """They may be meant: another training may be going on, and room may have been made."""
    run = trained(home)
    note_runs(home, run)
    assert "warning" not in home.run("push").out
    other = trained(home, "fpn")
    assert "warning: fpn is trained, and is not packed" in home.run("push").out
    assert (
        f"next     {home.make('it')} (fpn is trained, and is not packed)" in home.run("doctor").out
    )
    with FileLock(other.with_name(".fpn.lock")), FileLock(run.with_name(".unet.lock")):
        trained_on(run)
        said = home.run("push")
        assert said.code == 0
        assert "warning: unet is being trained, and is pushed as it was packed" in said.out
        assert "fpn" not in said.out
    shutil.rmtree(home.folder / "models")
    said = home.run("push")
    assert said.code == 0
    assert "warning: unet is no longer at home, and is pushed as it was packed" in said.out


def test_weights_that_do_not_say_what_they_were_made_from_are_warned_of(home: Home) -> None:
    """An older version packed them."""
    note(home.weights_dataset, weights=None)
    said = home.run("push")
    assert said.code == 0
    assert "does not say what it was made from, so trained runs are not compared" in said.out
    assert f"Run {home.make('weights-dataset')} MODELS=build/models to be sure" in said.out


def test_the_command_that_built_a_dataset_is_what_builds_it_again(home: Home) -> None:
    """But not if it was for other settings, or for another image."""
    folder = code(home)
    home.settings["own"] = str(folder)
    sources(home, "own code", folder)
    before = f"python build_dataset.py --settings {home.folder}/kaggle.toml --find-links mine"
    note(home.kernel_dataset, made_by=before)
    (folder / "my_steps.py").write_text("WIDTH = 4\n")
    assert f"Run {before}" in home.run("push").err
    note(home.kernel_dataset, made_by="make kernel-dataset")
    assert f"Run {home.make('kernel-dataset')} PROFILE=kaggle-py312" in home.run("push").err
    note(home.kernel_dataset, made_by=before)
    home.settings["profile"] = "kaggle-py313"
    home.settings["dataset_folder"] = str(home.kernel_dataset)
    assert f"Run {home.make('kernel-dataset')} PROFILE=kaggle-py313" in home.run("push").err


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
    weights = f"{home.make('weights-dataset')} MODELS=build/models"
    assert f"next     {weights} (there is no" in home.run("doctor").out
    manifest.write_bytes(content)
    assert f"next     {home.make('push')} (Kaggle does not have" in home.run("doctor").out
    assert home.run("push").code == 0
    assert "next     make " in home.run("doctor").out
    home.settings["own"] = str(code(home))
    sources(home, "own code", home.folder / "code")
    (home.folder / "code/my_steps.py").write_text("WIDTH = 5\n")
    said = home.run("doctor").out
    assert f"next     {home.make('kernel-dataset')} PROFILE=kaggle-py312 (" in said
    assert "own code in" in said
