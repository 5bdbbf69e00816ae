"""Faults of stores of other runs: what may be mounted, and the sentence that refuses it."""

from pathlib import Path
from typing import Any

import pytest

from kernelkit.errors import OutputError, RecipeError
from kernelkit.mask import BitMask
from kernelkit.predict.report import ImageReport
from kernelkit.predict.store.store import Store, Stored
from kernelkit.recipe import Recipe
from tests.made.handed import RECIPE_OF_STORES, Handed, smooth_bytes

SIZE = (40, 60)
FPN, UNET = ("fpn/fold_0", "fpn/fold_1"), ("unet/fold_0", "unet/fold_1")


@pytest.fixture
def handed(tmp_path: Path) -> Handed:
    return Handed(tmp_path, Recipe.parse(RECIPE_OF_STORES), {"a": SIZE, "b": SIZE})


def masks_of(handed: Handed, folder: Path) -> Path:
    """The store of a run that stores masks."""
    store = Store(folder / "masks")
    stored = Stored(ImageReport("a", "one", height=40, width=60), [BitMask.zeros(*SIZE)])
    store.entry("a", handed.content("a"), "key").save(stored)
    store.close()
    return folder


# A fault: what it is called, the layers of a second store, and a part of the sentence.
FAULTS: list[tuple[str, tuple[str, ...], tuple[int, ...], str]] = [
    ("a member twice", ("fpn/fold_1",), (1, 1, *SIZE), "it holds fpn/fold_1, as "),
    ("two classes", UNET, (2, 2, *SIZE), "its layers have 2 class(es), wanted 1"),
    ("models beside members", ("unet",), (1, 1, *SIZE), "its layers are of the level model, which"),
    ("an ensemble", ("",), (1, 1, *SIZE), "its layers are of the level ensemble, which"),
    ("no such run", ("resnet/fold_0",), (1, 1, *SIZE), "no run of one matches unet* (there are"),
]


@pytest.mark.parametrize(
    ("names", "shape", "wanted"), [pytest.param(*fault[1:], id=fault[0]) for fault in FAULTS]
)
def test_stores_that_cannot_be_merged_are_found_first(
    handed: Handed, tmp_path: Path, names: tuple[str, ...], shape: Any, wanted: str
) -> None:
    """Each is one sentence before any image is looked at."""
    first = handed.other(tmp_path / "first", FPN)
    second = handed.other(tmp_path / "second", names, smooth_bytes(shape, 1))
    with pytest.raises(RecipeError) as caught:
        handed.merge(first, second)
    assert wanted in str(caught.value)
    assert not (tmp_path / "merged/submission.csv").exists()


def test_a_store_of_masks_is_found_first(handed: Handed, tmp_path: Path) -> None:
    """Bits cannot be merged, and the sentence says what to write instead."""
    with pytest.raises(RecipeError, match="the store holds no probabilities that could be merged"):
        handed.merge(masks_of(handed, tmp_path / "masks"))


@pytest.mark.parametrize("make", [Path.mkdir, Path.touch, lambda _: None])
def test_a_folder_without_a_store_is_found_first(handed: Handed, tmp_path: Path, make: Any) -> None:
    """An empty folder, a file and nothing at all are each one sentence."""
    make(tmp_path / "empty")
    with pytest.raises(OutputError, match="no such folder of stores|no store is in it or below it"):
        handed.merge(tmp_path / "empty")
