import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile

from devkit.demo.large import LargeSlide, bands_of_rows, write_large_competition, write_slide
from devkit.demo.sources import read_he_texture
from devkit.tools import REPOSITORY
from kernelkit.slide import Slide

DOWNLOADS = REPOSITORY / "build" / "demo" / "downloads"

SMALL_SLIDES = (
    LargeSlide("tiled", 1501, 1203, "lzw", seed=1),
    LargeSlide("pages", 1203, 1501, "deflate", by_page=True, seed=2),
    LargeSlide("strips", 1003, 2111, "lzw", block=(8, 0), bigtiff=True, seed=3),
    LargeSlide("jpeg", 1001, 1203, "jpeg", bigtiff=True, seed=4),
)


@pytest.mark.parametrize("slide", SMALL_SLIDES, ids=lambda slide: slide.id)
def test_a_large_slide_holds_the_rows_that_it_is_made_of(slide: LargeSlide, tmp_path: Path) -> None:
    """Cut into blocks, compressed and read back, a slide's rows are the generated ones."""
    texture = read_he_texture(DOWNLOADS)
    wanted = np.concatenate(list(bands_of_rows(texture, slide)))
    assert wanted.shape == (slide.height, slide.width, 3)
    path = tmp_path / f"{slide.id}.tiff"
    write_slide(texture, slide, path)
    with Slide(path) as written:
        pixels = written.read(written.bounds).transpose(1, 2, 0)
    if slide.compression == "jpeg":
        assert np.abs(pixels.astype(float) - wanted).mean() < 10
    else:
        np.testing.assert_array_equal(pixels, wanted)
    with tifffile.TiffFile(path) as file:
        assert file.is_bigtiff == slide.bigtiff
        assert len(file.pages) == (3 if slide.by_page else 1)
        assert file.pages.first.is_tiled == bool(slide.block[1])


def test_a_large_slide_is_no_repeated_tile() -> None:
    """Of all the squares that lie in the tissue, no two have the same pixels."""
    slide = replace(SMALL_SLIDES[0], height=4001, width=4003)
    rows = np.concatenate(list(bands_of_rows(read_he_texture(DOWNLOADS), slide)))
    squares = [
        rows[row : row + 64, col : col + 64].tobytes()
        for row in range(0, 3900, 64)
        for col in range(0, 3900, 64)
    ]
    tissue = [s for s in squares if np.frombuffer(s, np.uint8).std() > 10]
    assert len(tissue) > len(squares) / 3
    assert len(set(tissue)) == len(tissue)


def test_a_large_slide_is_written_in_bounded_memory(tmp_path: Path) -> None:
    """A slide of four times the rows takes no more memory to write."""
    texture = read_he_texture(DOWNLOADS)
    peaks = []
    for height in (2001, 8001):
        slide = replace(SMALL_SLIDES[0], height=height, width=2001)
        tracemalloc.start()
        write_slide(texture, slide, tmp_path / "slide.tiff")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0]


def test_the_large_competition_lists_its_slides(tmp_path: Path) -> None:
    """The sample submission asks for every slide that lies in test/."""
    write_large_competition(read_he_texture(DOWNLOADS), tmp_path, SMALL_SLIDES[:1])
    assert (tmp_path / "sample_submission.csv").read_text() == "id,predicted\ntiled,\n"
    assert [path.name for path in (tmp_path / "test").iterdir()] == ["tiled.tiff"]
