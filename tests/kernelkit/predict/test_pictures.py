from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from kernelkit.mask import BitMask
from kernelkit.predict.pictures import save_disagreement, show_disagreement, show_overlays
from tests.made.layouts import picture, write


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "image.tiff"
    write(path, picture(3, 120, 90), "tiled")
    return path


def first_panel(figure: Figure) -> np.ndarray:
    return np.asarray(figure.axes[0].images[0].get_array())


def test_a_mask_is_drawn_over_its_image(image: Path) -> None:
    """The panel shows the image's pixels, greener inside of the mask."""
    pixels = np.zeros((120, 90), bool)
    pixels[:, :45] = True
    figure = show_overlays({"a": [image]}, {"a": [BitMask.from_array(pixels)]})
    drawn = first_panel(figure)
    bare = first_panel(show_overlays({"a": [image]}, {"a": [BitMask.zeros(120, 90)]}))
    assert np.array_equal(drawn[:, 50:], bare[:, 50:])
    assert (drawn[5:-5, 5:40, 1].astype(int) > bare[5:-5, 5:40, 1]).mean() > 0.9


def test_masks_of_the_submitted_size_are_drawn_over_the_whole_picture(image: Path) -> None:
    """A mask of a third of the size covers the same part of the picture."""
    pixels = np.zeros((40, 30), bool)
    pixels[:, :15] = True
    masks = {"a": [BitMask.from_array(pixels)]}
    figure = show_overlays({"a": [image]}, masks, size=(40, 30))
    small = first_panel(figure).astype(int)
    whole = BitMask.from_array(pixels.repeat(3, 0).repeat(3, 1))
    full = first_panel(show_overlays({"a": [image]}, {"a": [whole]}))
    assert np.abs(small - full)[:, :43].max() <= 1
    assert np.array_equal(small[:, 50:], full[:, 50:])


def test_each_class_has_a_colour_that_is_named(image: Path) -> None:
    """Four masks over each other leave four colours, and a legend that names them."""
    quarters = np.kron(np.arange(4).reshape(2, 2), np.ones((60, 45), int))
    masks = {"a": [BitMask.from_array(quarters == label) for label in range(4)]}
    figure = show_overlays({"a": [image]}, masks, classes=["Fish", "Flower", "$a_{", "Sugar"])
    figure.canvas.draw()
    [legend] = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["Fish", "Flower", "$a_{", "Sugar"]
    drawn = first_panel(figure)
    outlines = [tuple(drawn[row, col]) for row in (0, -1) for col in (0, -1)]
    colours = [to_rgb(patch.get_facecolor()) for patch in legend.get_patches()]
    named = [tuple(round(255 * band) for band in colour) for colour in colours]
    assert outlines == named
    assert len(set(named)) == 4


def test_a_mask_of_another_size_is_not_drawn(image: Path) -> None:
    """The file was changed after it was predicted, and its panel says so."""
    figure = show_overlays({"a": [image]}, {"a": [BitMask.zeros(40, 30)]})
    assert "120 x 90 pixels, but its mask has 40 x 30" in " ".join(
        figure.axes[0].texts[0].get_text().split()
    )


def test_what_cannot_be_drawn_says_so_in_its_place(image: Path, tmp_path: Path) -> None:
    """A damaged, a deleted and a badly named image leave their panels, and the others theirs."""
    damaged = tmp_path / "damaged.tiff"
    damaged.write_bytes(image.read_bytes()[:200])
    images = {"$bad_{": [tmp_path / "none.tiff"], "damaged": [damaged], "$good_{": [image]}
    figure = show_overlays(images, {name: [BitMask.zeros(120, 90)] for name in images})
    figure.canvas.draw()
    assert [len(axes.images) for axes in figure.axes[:3]] == [0, 0, 1]
    assert "no picture" in figure.axes[0].texts[0].get_text()


def test_disagreement_that_is_gone_says_so_in_its_place(tmp_path: Path) -> None:
    """A picture that somebody deleted does not end the notebook."""
    path = tmp_path / "a.png"
    save_disagreement(path, np.full((1, 8, 8), 0.25, np.float32))
    figure = show_disagreement({"a": path, "b": tmp_path / "none.png"})
    figure.canvas.draw()
    assert [len(axes.images) for axes in figure.axes[:2]] == [1, 0]
