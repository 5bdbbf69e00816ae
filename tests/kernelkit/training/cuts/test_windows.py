"""Where windows lie, against scipy and plain counting."""

import json
from typing import Any

import numpy as np
import pytest
import scipy.ndimage
from hypothesis import given
from hypothesis import strategies as st

from kernelkit.errors import TrainingError
from kernelkit.grid import Window
from kernelkit.training.cuts.windows import _starts
from tests.made.cut_competition import CutCompetition

SIZES = {"a": (300, 260), "b": (200, 410)}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> CutCompetition:
    return CutCompetition(tmp_path_factory.mktemp("windows"), SIZES)


def windows_of(made: CutCompetition, image: str, **source: Any) -> list[Window]:
    """The windows of one source in one image, at scale 1."""
    cuts = made.make(tiles={"core": 64}, windows={"one": source})
    rows = cuts.windows[cuts.windows["image"] == image]
    return [Window(*map(int, row)) for row in rows[["row", "col", "height", "width"]].to_numpy()]


@pytest.mark.parametrize("image", SIZES)
def test_objects_lie_in_the_middle_of_their_windows(made: CutCompetition, image: str) -> None:
    """One window per component, as scipy finds them, with its centre of mass in the middle."""
    labelled, count = scipy.ndimage.label(made.masks[image], np.ones((3, 3)))
    centres = scipy.ndimage.center_of_mass(labelled > 0, labelled, range(1, count + 1))
    found = windows_of(made, image, around="objects", size=40)
    assert len(found) == count > 1
    for window, centre in zip(found, centres, strict=True):
        middle = window.row + 19.5, window.col + 19.5
        assert np.abs(np.subtract(middle, centre)).max() <= 0.5


@given(length=st.integers(1, 3000), size=st.integers(1, 900), step=st.integers(1, 900))
def test_a_grid_covers_an_axis_with_as_few_windows_as_can_be(
    length: int, size: int, step: int
) -> None:
    """The last window reaches the end, and the one before does not."""
    starts = list(_starts(length, size, step))
    assert starts == [step * number for number in range(len(starts))]
    assert starts[-1] + size >= length
    assert len(starts) == 1 or starts[-2] + size < length


def test_background_holds_no_target(made: CutCompetition) -> None:
    """There are as many windows as were asked for, inside the image, and none sees a label."""
    found = windows_of(made, "b", around="background", size=32, count=9)
    assert len(set(found)) == 9
    for window in found:
        assert window.intersection(Window(0, 0, *SIZES["b"])) == window
        assert not made.masks["b"][window.slices].any()


def test_random_windows_depend_on_their_own_image_alone(made: CutCompetition) -> None:
    """Without the other image they are the same, and another seed draws others."""
    wanted = {"around": "background", "size": 32, "count": 5}
    source = {"windows": {"one": wanted}, "tiles": {"core": 64}}
    both, alone, other = (
        made.make(**source, **keys).windows.query("image == 'b'")[["row", "col"]].to_numpy()
        for keys in ({}, {"only": ["b", "a"]}, {"seed": 1})
    )
    assert np.array_equal(both, alone)
    assert not np.array_equal(both, other)


def draw(made: CutCompetition, image: str, boxes: list[tuple[int, int, int, int]]) -> None:
    """Write rectangles as GeoJSON in pixels: left, top, right, bottom."""
    features = [
        {
            "type": "Feature",
            "properties": {"classification": {"name": "Cortex"}},
            "geometry": {
                "type": "Polygon",
                "coordinates": [[[x0, y0], [x1, y0], [x1, y1], [x0, y1], [x0, y0]]],
            },
        }
        for x0, y0, x1, y1 in boxes
    ]
    (made.folder / f"train/{image}.json").write_text(json.dumps(features))


def test_a_window_lies_around_each_polygon(made: CutCompetition) -> None:
    """Its middle is the polygon's, at the scale of the training. An image may have no file."""
    draw(made, "a", [(30, 60, 90, 120), (180, 210, 240, 270)])
    source = {"around": "polygons", "size": 20, "polygons": "train/{image}.json"}
    cuts = made.make(windows={"cortex": source})
    assert cuts.windows[["image", "row", "col"]].to_numpy().tolist() == [
        ["a", 20, 10],
        ["a", 70, 60],
    ]
    assert "windows.cortex: 1 of 2 images have no file of polygons" in cuts.notes


def test_random_windows_lie_inside_of_each_polygon(made: CutCompetition) -> None:
    """So many have their middle in it as `count` says."""
    draw(made, "a", [(30, 60, 90, 120), (180, 210, 240, 270)])
    source = {"around": "polygons", "size": 20, "polygons": "train/{image}.json", "count": 7}
    rows = made.make(windows={"cortex": source}).windows
    middles = rows[["row", "col"]].to_numpy() + 10
    for part, (top, left) in ((middles[:7], (20, 10)), (middles[7:], (70, 60))):
        assert len(part) == 7
        assert (part >= (top, left)).all()
        assert (part <= (top + 20, left + 20)).all()


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        (
            {"around": "background", "size": 400, "count": 3},
            "around background in any image. Choose",
        ),
        (
            {"around": "polygons", "size": 9, "polygons": "{image}.json"},
            "windows.one: no image has a file of polygons. Of the first it would be",
        ),
    ],
)
def test_a_source_without_windows_is_refused(
    made: CutCompetition, source: dict[str, Any], wanted: str
) -> None:
    """The sentence names the source, and what it lies around."""
    with pytest.raises(TrainingError, match=wanted):
        windows_of(made, "a", **source)
