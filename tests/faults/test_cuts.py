"""Faults of cuts: what is put in, and the sentence that says so before the first step."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from kernelkit.errors import KernelKitError, LabelError, OutputError, TrainingError
from tests.made.cut_competition import CutCompetition

SIZES = {"a": (90, 120), "b": (120, 90), "c": (60, 60)}


def removed(path: str) -> Callable[[CutCompetition], Any]:
    return lambda made: shutil.rmtree(made.folder / path)


def spoilt(name: str) -> Callable[[CutCompetition], Any]:
    return lambda made: (made.folder / f"train/{name}.tif").write_bytes(b"no image")


def mask(name: str, height: int, width: int) -> Callable[[CutCompetition], Any]:
    return lambda made: made.write_mask(name, np.zeros((height, width), np.uint8))


def no_target(made: CutCompetition) -> None:
    for name, (height, width) in SIZES.items():
        mask(name, height, width)(made)


def all_spoilt(made: CutCompetition) -> None:
    for name in SIZES:
        spoilt(name)(made)


def in_the_way(made: CutCompetition) -> None:
    made.cuts.write_text("a file")


def polygons(text: str) -> Callable[[CutCompetition], Any]:
    return lambda made: (made.folder / "train/a.json").write_text(text)


def nothing(_: CutCompetition) -> None:
    pass


DRAWN = {"drawn": {"around": "polygons", "size": 9, "polygons": "train/{image}.json"}}
# What a fault is called, what makes it, keys of the training, the error, a part of its sentence.
FAULTS: list[
    tuple[str, Callable[[CutCompetition], Any], dict[str, Any], type[KernelKitError], str]
] = [
    ("no folder", removed("."), {}, TrainingError, "there is no such folder. Name the compet"),
    ("no images", removed("train"), {}, TrainingError, "found no image, wanted some that match *"),
    (
        "no such image",
        nothing,
        {"only": ["d*"]},
        TrainingError,
        "found 3 images (a, b, c), wanted some that match d*. Correct images or only",
    ),
    ("all unreadable", all_spoilt, {}, TrainingError, "none of the 3 images can be read. "),
    ("no masks", removed("masks"), {}, LabelError, "none of the 3 images has"),
    ("a mask of another size", mask("b", 60, 45), {}, LabelError, "b.png"),
    ("no target anywhere", no_target, {}, LabelError, "no pixel of the 3 images is labelled"),
    (
        "background that there is not",
        nothing,
        {"windows": {"empty": {"around": "background", "size": 99, "count": 2}}},
        TrainingError,
        "windows.empty: found no window around background in any image. Choose a smaller size",
    ),
    ("no polygons", nothing, {"windows": DRAWN}, TrainingError, "no image has a file of polygons"),
    (
        "polygons that are none",
        polygons("{"),
        {"windows": DRAWN},
        TrainingError,
        "windows.drawn: ",
    ),
    (
        "a fold that lists an unreadable image alone",
        spoilt("a"),
        {},
        TrainingError,
        "found no image that validates, wanted at least one fold",
    ),
    ("a file in the way", in_the_way, {}, OutputError, "cannot be written (Not a directory)"),
]


@pytest.mark.parametrize(
    ("make", "keys", "kind", "wanted"), [pytest.param(*fault[1:], id=fault[0]) for fault in FAULTS]
)
def test_what_cannot_be_cut_is_one_sentence(
    make: Callable[[CutCompetition], Any],
    keys: dict[str, Any],
    kind: type[KernelKitError],
    wanted: str,
    tmp_path: Path,
) -> None:
    """It names what was found, and what to do."""
    made = CutCompetition(tmp_path, SIZES)
    run = made.run(**keys)
    make(made)
    made.run = lambda **_: run  # type: ignore[method-assign]
    with pytest.raises(kind) as caught:
        made.make()
    assert wanted in str(caught.value)
    assert not str(caught.value).endswith(".")


def test_an_unreadable_image_costs_no_other(tmp_path: Path) -> None:
    """A file that is no image, one that is cut short and a picture of no pixels are left out."""
    made = CutCompetition(tmp_path, SIZES | {"d": (200, 200), "e": (50, 50)})
    path = made.folder / "train/b.tif"
    path.write_bytes(path.read_bytes()[:200])
    spoilt("c")(made)
    (made.folder / "train/e.tif").write_bytes(b"")
    cuts = made.make()
    assert list(cuts.images) == ["a", "d"]
    assert sorted(cuts.left_out) == ["b", "c", "e"]
    for name, reason in cuts.left_out.items():
        assert f"{name}.tif" in reason


def test_a_whole_picture_that_cannot_be_read_costs_no_other(tmp_path: Path) -> None:
    """So it is with pictures that share batches."""
    made = CutCompetition(tmp_path, SIZES | {"d": (90, 120)})
    for name in SIZES:
        path = made.folder / f"train/{name}.png"
        cv2.imwrite(str(path), np.full((*SIZES[name], 3), 9, np.uint8))
    (made.folder / "train/d.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    cuts = made.make(
        tiles="whole", images="train/{image}.png", windows=None, crop=None, size=[32, 32]
    )
    assert list(cuts.images) == ["a", "b", "c"]
    assert "d.png" in cuts.left_out["d"]
