"""Faults of what crops are cut from: each is one sentence, before the first step."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from kernelkit.errors import KernelKitError, RecipeError
from kernelkit.training.crops import CropData
from tests.made.crops import cut_image, cuts_of, small_cuts, small_run
from tests.made.pseudo import crops_of, pseudo_run, write_competition, write_store

HARD = {"windows": "grid", "images": ["image1", "image9"]}
FLOATS = {"dtype": "float32"}

# A fault: what it is called, what cuts hold, what the run says, and a part of the sentence.
CUTS: list[tuple[str, dict[str, Any], dict[str, Any], str]] = [
    (
        "a hard image that does not exist",
        {},
        {"sources": {"grid": 1, "hard": HARD}},
        "sources.hard.images: found 'image9', which is no image of the cuts. They begin with "
        "image0, image1, image2",
    ),
    (
        "a source without windows",
        {},
        {"windows": {"objects": {"around": "objects", "size": 64}}},
        "sources.objects: found no such windows in the cuts",
    ),
    (
        "targets where nothing is labelled",
        {"skip": lambda table: table["target_share"] > 0},
        {"sources": {"grid": {"target": 0.5}}},
        "sources.grid: found 0 of 6 windows with a labelled pixel, wanted 50% of the crops",
    ),
    (
        "nothing but targets where a share is wanted",
        {"skip": lambda table: table["target_share"] == 0},
        {"sources": {"grid": {"target": 0.5}}},
        "sources.grid: found 6 of 6 windows with a labelled pixel",
    ),
    (
        "a fold in which all images validate",
        {},
        {"sources": {"hard": {"windows": "grid", "images": ["image3"]}}},
        "fold 0 has no windows to train on",
    ),
    ("clahe on float32", FLOATS, {"augment": ["clahe"]}, "found clahe with 3 bands of float32"),
    ("clahe on uint16", {"dtype": "uint16"}, {"augment": ["clahe"]}, "wanted RGB of uint8"),
    ("a gamma of float32", FLOATS, {"augment": ["two_gamma"]}, "wanted integers"),
    ("hues of float32", FLOATS, {"augment": ["hsv"]}, "wanted three bands of integers"),
    (
        "a fault in one_of",
        FLOATS,
        {"augment": [{"one_of": ["noise", "stain"]}]},
        "found stain with 3 bands of float32",
    ),
    (
        "windows of two sizes without a crop",
        {"narrow": True},
        {"crop": None},
        "found windows of 96 x 40 and of 96 x 96 pixels, wanted one size in a batch",
    ),
]


@pytest.mark.parametrize(
    ("held", "says", "wanted"),
    [pytest.param(held, says, wanted, id=name) for name, held, says, wanted in CUTS],
)
def test_crops_that_cannot_be_cut_are_refused(
    held: dict[str, Any], says: dict[str, Any], wanted: str, tmp_path: Path
) -> None:
    """The sentence names the source or the step, and says what to do."""
    cuts = small_cuts(tmp_path, held.get("dtype", "uint8"))
    if "skip" in held:
        cuts.windows.loc[held["skip"](cuts.windows), "skip"] = "blank"
    if "narrow" in held:
        cuts.windows.loc[0, "width"] = 40
    with pytest.raises(KernelKitError) as caught:
        CropData(small_run(tmp_path, **says), cuts, cuts.folds, 0)
    check(str(caught.value), wanted)


def check(message: str, wanted: str) -> None:
    """Whether a message has what is wanted, and the house's form."""
    assert wanted in message
    assert "\n" not in message
    assert not message.endswith(".")
    assert len(message) < 500


def test_images_of_two_kinds_share_no_batch(tmp_path: Path) -> None:
    """The image that differs from the first is named."""
    labels = np.zeros((1, 96, 96), np.uint8)
    images = [
        cut_image(tmp_path, name, np.zeros((bands, 96, 96), np.uint8), labels)
        for name, bands in (("a", 3), ("b", 1), ("c", 3))
    ]
    windows = [{"image": each.id, "row": 0, "col": 0, "height": 64, "width": 64} for each in images]
    cuts = cuts_of(tmp_path, images, windows, {"a": -1, "b": -1, "c": 0})
    with pytest.raises(KernelKitError) as caught:
        CropData(small_run(tmp_path), cuts, cuts.folds, 0)
    check(str(caught.value), "b: found 1 bands of uint8, wanted 3 of uint8 as in a")


def of_three_classes(folder: Path) -> None:
    shutil.rmtree(folder / "found")
    write_store(folder, folder / "found", classes=3)


def in_colours(folder: Path) -> None:
    shutil.rmtree(folder / "found")
    (folder / "found").mkdir()
    for name in ("t4", "t5"):
        colours = np.random.default_rng(0).integers(0, 255, (96, 96, 3), np.uint8)
        cv2.imwrite(str(folder / "found" / f"{name}.png"), colours)


def of_doubts(folder: Path) -> None:
    shutil.rmtree(folder / "found")
    (folder / "found").mkdir()
    for name in ("t4", "t5"):
        cv2.imwrite(str(folder / "found" / f"{name}.png"), np.full((96, 96), 140, np.uint8))


# A fault of pseudo-labels: what it is called, what is done to them, and a part of the sentence.
PSEUDO: list[tuple[str, Callable[[Path], object], str]] = [
    (
        "none there",
        lambda folder: shutil.rmtree(folder / "found"),
        "sources.found.pseudo: found no",
    ),
    ("of three classes", of_three_classes, "found probabilities of 3 classes, wanted 1 as the"),
    ("of colours", in_colours, "t4.png: found a picture in colours"),
    ("never sure", of_doubts, "has a probability of 0.9 or more. Lower least"),
    (
        "of images that are not there",
        lambda folder: [path.unlink() for path in (folder / "test").glob("*.png")],
        "test/{image}.png: found no image",
    ),
    (
        "of other images",
        lambda folder: [path.rename(path.with_stem("z" + path.stem)) for path in images_of(folder)],
        "none of the 2 images has probabilities in the store",
    ),
]


def images_of(folder: Path) -> list[Path]:
    return sorted((folder / "test").glob("*.png"))


@pytest.mark.parametrize(
    ("spoil", "wanted"), [pytest.param(spoil, wanted, id=name) for name, spoil, wanted in PSEUDO]
)
def test_pseudo_labels_that_are_none_are_refused(
    spoil: Callable[[Path], object], wanted: str, tmp_path: Path
) -> None:
    """The sentence names the store or the file."""
    write_competition(tmp_path)
    write_store(tmp_path, tmp_path / "found")
    spoil(tmp_path)
    run = pseudo_run(tmp_path, tmp_path / "found", soft=True, least=0.9)
    with pytest.raises(KernelKitError) as caught:
        crops_of(run, tmp_path)
    check(str(caught.value), wanted)


# A fault of a recipe: what it says, and a part of the sentence.
RECIPES: list[tuple[dict[str, Any], str]] = [
    ({"augment": ["mosaic"]}, "augment"),
    ({"augment": [{"blur": {"kernel": [2, 4]}}]}, "wanted two odd numbers"),
    ({"augment": [{"affine": {"rotate": 200}}]}, "rotate"),
    ({"sources": {"grid": {"target": 1.5}}}, "sources.grid.target"),
    ({"sources": {"grid": {"least": 0.9}}}, "found least without pseudo"),
    ({"sources": {"trees": 1}}, "found the source trees of the windows trees"),
    ({"crop": {"size": 0}}, "crop.size"),
]


@pytest.mark.parametrize(("says", "wanted"), RECIPES)
def test_recipes_that_say_no_crop_are_refused(
    says: dict[str, Any], wanted: str, tmp_path: Path
) -> None:
    """The key is named."""
    with pytest.raises(RecipeError) as caught:
        small_run(tmp_path, **says)
    check(str(caught.value), wanted)
