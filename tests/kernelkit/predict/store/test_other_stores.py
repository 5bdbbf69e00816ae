import shutil
from pathlib import Path

import numpy as np
import pytest

from kernelkit.errors import RecipeError, SubmissionError
from kernelkit.predict.report import ImageReport
from kernelkit.predict.store.other_stores import OtherStores
from kernelkit.predict.store.store import Layers, Store, Stored
from kernelkit.recipe import Recipe
from tests.made.handed import RECIPE_OF_STORES, Handed, smooth_bytes

SIZE = (40, 60)
VALUES = smooth_bytes((4, 1, *SIZE), 0)
FPN, UNET = ("fpn/fold_0", "fpn/fold_1"), ("unet/fold_0", "unet/fold_1")


@pytest.fixture
def handed(tmp_path: Path) -> Handed:
    return Handed(tmp_path, Recipe.parse(RECIPE_OF_STORES), {"a": SIZE, "b": SIZE})


def test_stores_are_merged_without_a_model(handed: Handed, tmp_path: Path) -> None:
    """Layers of two notebooks make the masks that one notebook with all of them makes."""
    first = handed.other(tmp_path / "first", FPN, VALUES[:2])
    second = handed.other(tmp_path / "second", UNET, VALUES[2:])
    done = handed.merge(first, second)
    wanted = np.mean(VALUES[:, 0] / 255, axis=0) > 0.5
    for name in "ab":
        [mask] = done.masks[name]
        assert (mask.to_array() != wanted).sum() <= 1
        handed.put(name, (*FPN, *UNET), VALUES)
    assert [image.status for image in done.report.images] == ["kept", "kept"]
    handed.hand_in()
    for name in ("submission.csv", "submissions/all.csv", "submissions/unet.csv"):
        assert (tmp_path / "merged" / name).read_bytes() == (tmp_path / "out" / name).read_bytes()
    assert [path.name for path in done.submissions] == ["all.csv", "unet.csv"]


def test_layers_of_other_runs_join_those_of_this_one(handed: Handed, tmp_path: Path) -> None:
    """Own layers come first, and patterns of runs choose among all."""
    for name in "ab":
        handed.put(name, FPN, VALUES[:2])
    others = OtherStores([handed.other(tmp_path / "other", UNET, VALUES[2:])])
    wanted = np.mean(VALUES[:, 0] / 255, axis=0) > 0.5
    for [mask] in handed.masks(others).values():
        assert (mask.to_array() != wanted).sum() <= 1
    [alone] = handed.masks()["a"]
    assert (alone.to_array() != wanted).sum() > 20


def test_a_layer_at_another_size_is_resized(handed: Handed, tmp_path: Path) -> None:
    """What another run stored at the size of its network joins what is stored at the image's."""
    fine = handed.other(tmp_path / "fine", FPN, VALUES[:2])
    coarse = handed.other(tmp_path / "coarse", UNET, smooth_bytes((2, 1, 20, 30), 1))
    done = handed.merge(fine, coarse)
    assert done.masks["a"][0].shape == SIZE


def test_another_image_of_the_same_name_is_not_merged(handed: Handed, tmp_path: Path) -> None:
    """Its layers are of other pixels, so the image has only the fallback row."""
    folder = handed.other(tmp_path / "first", UNET)
    path = tmp_path / "competition/test/b.png"
    shutil.copy(tmp_path / "competition/test/a.png", path)
    done = handed.merge(folder)
    a, b = done.report.images
    assert (a.status, b.status) == ("kept", "fallback")
    assert "no store holds layers of it with the content that its files have" in b.note


def test_an_image_that_a_store_lacks_is_merged_without_it_and_noted(
    handed: Handed, tmp_path: Path
) -> None:
    """As in the hidden rerun, whose images no other notebook has seen."""
    first = handed.other(tmp_path / "first", UNET)
    second = handed.other(tmp_path / "second", FPN)
    overwritten = Store(second / "masks")
    overwritten.entry("b", handed.content("b"), "key").remove()
    overwritten.close()
    a, b = handed.merge(first, second).report.images
    assert (a.notes, b.notes) == (
        [],
        [f"{second / 'masks'} holds no layers of it, so the others are merged"],
    )


def test_a_mount_is_searched_for_stores(handed: Handed, tmp_path: Path) -> None:
    """Its database tells a store, wherever in the output of a notebook it lies."""
    handed.other(tmp_path / "input/fpn/version 3", FPN)
    handed.other(tmp_path / "input/unet", UNET)
    found = OtherStores([tmp_path / "input", tmp_path / "input/unet"])
    assert [store.folder.parent.name for store in found.stores] == ["version 3", "unet"]


def test_tiles_of_other_scales_are_merged_on_one_grid(tmp_path: Path) -> None:
    """Layers at scale 2 join those at scale 3. Those of no whole scale are refused."""
    text = RECIPE_OF_STORES.replace(
        "tiles: whole", "tiles: {core: 24, scale: 3}\nstitching: {upsample: band}"
    )
    handed = Handed(tmp_path, Recipe.parse(text), {"a": (100, 143)})
    handed.put("a", FPN, smooth_bytes((2, 1, 34, 48), 0))
    others = OtherStores([handed.other(tmp_path / "b", UNET, smooth_bytes((2, 1, 50, 72), 1))])
    [mask] = handed.masks(others)["a"]
    assert mask.shape == (100, 143)
    odd = OtherStores([handed.other(tmp_path / "c", UNET, smooth_bytes((2, 1, 40, 72), 1))])
    handed.hand_in(odd)
    assert "which no whole scale makes of it" in handed.report.images[0].note


def test_a_store_damaged_in_part_costs_only_that(handed: Handed, tmp_path: Path) -> None:
    """The other stores are merged without it, and the report names the database."""
    first = handed.other(tmp_path / "first", FPN)
    second = Store(handed.other(tmp_path / "second", UNET) / "masks")
    layers = Layers(UNET, VALUES[:2])
    second.entry("x", "content").save(Stored(ImageReport("x"), layers=layers))
    second.close()
    *_, newest = sorted(second.folder.glob("*.sqlite"))
    newest.write_bytes(b"x" * 5000)
    done = handed.merge(first, tmp_path / "second")
    assert {image.status for image in done.report.images} == {"kept"}
    assert any(newest.name in note for note in done.report.notes)


GATED = RECIPE_OF_STORES.replace("    merge", "    gate: {runs: [nmc]}\n    merge")
GATED = GATED.partition("submissions")[0] + "submissions: {all: {}, off: {gate: off}}"


def gated_store(
    handed: Handed, folder: Path, names: tuple[str, ...], gate: float | None, is_gated: bool = False
) -> Path:
    """The store of a run with a gate, over the same images."""
    store = Store(folder / "masks")
    found = None if gate is None else np.array([gate], np.float32)
    for name in handed.sizes:
        layers = Layers(names, VALUES[: len(names)], None, found, is_gated)
        report = ImageReport(name, "one", height=SIZE[0], width=SIZE[1])
        store.entry(name, handed.content(name)).save(Stored(report, layers=layers))
    store.close()
    return folder


@pytest.mark.parametrize(
    ("gate", "is_gated", "message"),
    [
        (None, False, "one: its gate's answer is in none of the stores"),
        (0.9, True, "stores: a submission is without the gate, but their runs asked no network"),
    ],
)
def test_stores_that_cannot_serve_a_gate_are_refused(
    tmp_path: Path, gate: float | None, is_gated: bool, message: str
) -> None:
    """Else a submission would be without its gate, or have one, and nobody would see it."""
    handed = Handed(tmp_path, Recipe.parse(GATED), {"a": SIZE})
    folder = gated_store(handed, tmp_path / "first", FPN, gate, is_gated)
    with pytest.raises(RecipeError, match=message):
        handed.merge(folder)


def test_stores_of_two_gates_are_not_merged(tmp_path: Path) -> None:
    """One gate on two devices answers nearly the same. Answers further apart are of two gates."""
    handed = Handed(tmp_path, Recipe.parse(GATED), {"a": SIZE})
    first = gated_store(handed, tmp_path / "first", FPN, 0.4)
    same = gated_store(handed, tmp_path / "same", UNET, 0.41)
    assert handed.merge(first, same).masks["a"][0].area
    other = gated_store(handed, tmp_path / "other", UNET, 0.6)
    with pytest.raises(SubmissionError, match=r"found \[0.4\d*\] and \[0.6\d*\] as the gate's"):
        handed.merge(first, other)


def test_rows_that_stored_classes_cannot_be_about_are_refused(
    handed: Handed, tmp_path: Path
) -> None:
    """One row per image says not which of three stored classes it is about."""
    folder = handed.other(tmp_path / "first", FPN, smooth_bytes((2, 3, *SIZE), 0))
    with pytest.raises(RecipeError, match=r"the layers in the stores have 3 class\(es\)"):
        handed.merge(folder)
