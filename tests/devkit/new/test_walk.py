"""A competition of one's own: from `make new` to a notebook that finds its recipes."""

import argparse
import shutil
from pathlib import Path

import pytest

from build_dataset import make_builder
from build_dataset import parse as parse_dataset
from devkit.competitions import OwnCompetition
from devkit.dataset.builder import Builder
from devkit.dataset.pack import Packed, pack
from devkit.dataset.verify import LOAD_RECIPES
from devkit.kaggle.marks import read_marks
from devkit.new.__main__ import make_new
from kernelkit.errors import RecipeError
from tests.made.dataset import LISTING, make_source, run_first_cell
from tests.made.wheels import make_resolver, profile_of_here


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OwnCompetition:
    monkeypatch.setenv("KERNELKIT_RECIPES", str(tmp_path / "competitions"))
    return make_new("my-slides", "a-slug")


def builder_of(tmp_path: Path, own: OwnCompetition) -> Builder:
    """A builder with a small kernelkit."""
    source = tmp_path / "source"
    if not source.exists():
        make_source(source)
    resolver = make_resolver(tmp_path, profile_of_here(tmp_path / "profiles"))
    files = [source / "kernelkit" / "__init__.py"]
    return Builder(resolver, LISTING, files, source, str, settings_file=own.settings_file)


def packed_alone(tmp_path: Path, own: OwnCompetition) -> Packed:
    """A dataset of kernelkit as it is, with these recipes."""
    here = profile_of_here(tmp_path / "profiles")
    return pack(here, [], {}, LISTING, tmp_path / "dataset", competition=own)


def test_the_notebook_finds_the_recipe_in_the_twin(own: OwnCompetition, tmp_path: Path) -> None:
    """It is installed from the dataset as it was packed, and both load by the name."""
    packed = packed_alone(tmp_path, own)
    place = tmp_path / "input/datasets/someone/a-kernel"
    shutil.copytree(packed.folder, place)
    result = run_first_cell(
        tmp_path / "input", tmp_path / "work", packed.fingerprint, then=LOAD_RECIPES
    )
    assert result.returncode == 0, result.stderr
    assert "recipe.yaml of my-slides loads" in result.stdout
    assert "train.yaml of my-slides loads" in result.stdout
    assert "kernelkit_recipes-0-py3-none-any.whl" in result.stdout


def test_the_fingerprint_covers_both_recipes(own: OwnCompetition, tmp_path: Path) -> None:
    """A changed recipe is another dataset, and the same recipes are the same bytes."""
    first = builder_of(tmp_path, own).build(tmp_path / "one")
    again = builder_of(tmp_path, own).build(tmp_path / "two")
    assert again.fingerprint == first.fingerprint
    assert "the recipes of my-slides" in [entry["why"] for entry in first.files]
    own.training_recipe.write_text(own.training_recipe.read_text().replace("batch: 8", "batch: 4"))
    changed = builder_of(tmp_path, own).build(tmp_path / "three")
    assert changed.fingerprint != first.fingerprint


def test_the_folder_says_what_it_was_made_from(own: OwnCompetition, tmp_path: Path) -> None:
    """A note of each source stays at home, beside the metadata of the upload."""
    packed = builder_of(tmp_path, own).build(tmp_path / "one")
    sources = {source.what: source for source in read_marks(packed.folder).sources or ()}
    assert list(sources) == ["kernelkit", "requirements", "own wheels", "recipes"]
    assert not any(source.has_changed for source in sources.values())
    own.recipe.write_text(own.recipe.read_text() + "# a word\n")
    assert [what for what, source in sources.items() if source.has_changed] == ["recipes"]


def test_a_recipe_that_would_not_load_there_is_not_packed(
    own: OwnCompetition, tmp_path: Path
) -> None:
    """The builder's lint names the key."""
    own.training_recipe.write_text(own.training_recipe.read_text().replace("epochs:", "epohcs:"))
    with pytest.raises(RecipeError, match=r"train\.yaml.*epohcs"):
        builder_of(tmp_path, own).build(tmp_path / "one")


def test_the_command_builds_the_dataset_of_the_only_competition(own: OwnCompetition) -> None:
    """Its slug is that of the competition's settings."""
    options: argparse.Namespace = parse_dataset(["--upgrade"])
    builder = make_builder(options)
    assert builder.made_by == "make kernel-dataset NAME=my-slides"
    assert builder.competition == own
    assert builder.listing.slug == "my-slides-code"
