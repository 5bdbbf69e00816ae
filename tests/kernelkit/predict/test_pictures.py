from pathlib import Path

import numpy as np
import pytest

from kernelkit.mask import BitMask
from kernelkit.predict.pictures import save_disagreement, show_disagreement, show_overlays
from tests.made.layouts import picture, write


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "image.tiff"
    write(path, picture(3, 120, 90), "tiled")
    return path


def test_a_mask_is_drawn_over_its_image(image: Path) -> None:
    """The panel shows the image's pixels, greener inside of the mask."""
    pixels = np.zeros((120, 90), bool)
    pixels[:, :45] = True
    figure = show_overlays({"a": [image]}, {"a": [BitMask.from_array(pixels)]})
    drawn = figure.axes[0].images[0].get_array()
    bare = (
        show_overlays({"a": [image]}, {"a": [BitMask.zeros(120, 90)]}).axes[0].images[0].get_array()
    )
    assert np.array_equal(drawn[:, 50:], bare[:, 50:])
    assert (drawn[5:-5, 5:40, 1].astype(int) > bare[5:-5, 5:40, 1]).mean() > 0.9


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
