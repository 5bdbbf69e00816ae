"""Damaged files of every codec that GDAL has: what the codec can tell is told, and costs its block.

JPEG, WebP and fax decoders make pixels up and go on. PNG's rows are unpacked whatever their
checksum says. Both must not pass as the image.
"""

import logging
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.shutil

from kernelkit.errors import SlideError
from kernelkit.grid import TileGrid, Window
from kernelkit.reader import TileReader
from kernelkit.slide import Slide
from kernelkit.slide.tiff import read_pages
from tests.made.layouts import picture

SIDE, BLOCK = 512, 128
# the block that is spoilt, and how: its second half becomes zeros, noise or 0xff, or all of it 0
SPOILT = Window(128, 128, 128, 128)

TIFFS = [
    ("LZW", "half", {}),
    ("LZW", "noise", {"predictor": 2}),
    ("DEFLATE", "all", {}),
    ("DEFLATE", "all", {"predictor": 2}),
    ("ZSTD", "half", {}),
    ("ZSTD", "all", {}),
    ("LZMA", "noise", {}),
    ("PACKBITS", "half", {}),
    ("JPEG", "half", {"photometric": "YCBCR"}),
    ("JPEG", "noise", {"photometric": "YCBCR"}),
    ("JPEG", "ones", {"photometric": "YCBCR"}),
    ("JPEG", "half", {}),
    ("JPEG", "noise", {}),
    ("JPEG", "all", {}),
    ("WEBP", "all", {}),
    ("WEBP", "ones", {"WEBP_LOSSLESS": True}),
    ("LERC", "noise", {}),
    ("LERC", "half", {}),
    ("LERC_DEFLATE", "noise", {}),
    ("LERC_ZSTD", "half", {}),
]


def smooth() -> np.ndarray:
    """A picture that JPEG and WebP keep in many bytes, (3, 512, 512)."""
    random = np.random.default_rng(0)
    coarse = picture(3, SIDE // 8, SIDE // 8).repeat(8, axis=1).repeat(8, axis=2)
    return (coarse // 2 + random.integers(0, 99, coarse.shape, dtype=np.uint8)).astype(np.uint8)


def spoil(data: bytearray, start: int, size: int, how: str) -> None:
    """Overwrite a part of a file's bytes."""
    middle = start + size // 2
    noise = np.random.default_rng(1).integers(0, 256, 64, dtype=np.uint8).tobytes()
    match how:
        case "half":
            data[middle : start + size] = bytes(start + size - middle)
        case "all":
            data[start : start + size] = bytes(size)
        case "noise":
            data[middle : middle + len(noise)] = noise
        case "ones":
            data[middle : middle + 40] = b"\xff" * 40


def spoil_block(path: Path, how: str, number: int) -> None:
    """Spoil one block of a TIFF."""
    [page], _ = read_pages(path)
    data = bytearray(path.read_bytes())
    spoil(data, int(page.offsets.read()[number]), int(page.sizes.read()[number]), how)
    path.write_bytes(data)


def tiles_of(path: Path, workers: int = 0) -> tuple[np.ndarray, list[Window]]:
    """The image as a reader delivers it, and what it could not decode."""
    with Slide(path) as slide:
        grid = TileGrid(slide.height, slide.width, core=192)
        found = np.zeros((slide.bands, grid.rows * 192, grid.columns * 192), slide.dtype)
        reader = TileReader(slide, grid, workers)
        for tile, pixels in reader:
            found[:, *tile.read.slices] = pixels
        return found[:, : slide.height, : slide.width], reader.stats.bad_windows


@pytest.mark.parametrize(
    ("codec", "how", "options", "workers"),
    [(*row, 0) for row in TIFFS] + [("LZW", "half", {}, 2), ("JPEG", "half", {}, 2)],
)
def test_a_spoilt_block_of_a_tiff_is_zeroed_and_named(
    tmp_path: Path, codec: str, how: str, options: dict, workers: int
) -> None:
    """The block is in the list of bad ones and reads as 0. Every other pixel is the file's."""
    path = tmp_path / "image.tif"
    profile = {"width": SIDE, "height": SIDE, "count": 3, "dtype": "uint8", "tiled": True}
    profile |= {"blockxsize": BLOCK, "blockysize": BLOCK, "interleave": "pixel", **options}
    with rasterio.open(path, "w", driver="GTiff", compress=codec, **profile) as file:
        file.write(smooth())
    whole, bad = tiles_of(path)
    assert not bad
    spoil_block(path, how, number=5)
    found, bad = tiles_of(path, workers)
    assert bad == [SPOILT]
    whole[:, *SPOILT.slices] = 0
    np.testing.assert_array_equal(found, whole)
    with Slide(path) as slide, pytest.raises(SlideError, match="could not be decoded"):
        slide.read(slide.bounds)


@pytest.mark.parametrize("codec", ["CCITTRLE", "CCITTFAX3", "CCITTFAX4"])
@pytest.mark.parametrize("how", ["noise", "half"])
def test_a_spoilt_strip_of_a_fax_is_named(tmp_path: Path, codec: str, how: str) -> None:
    """A strip of one bit per pixel that does not decode to whole lines is zeroed and named."""
    path = tmp_path / "image.tif"
    rows, columns = np.mgrid[:SIDE, :SIDE]
    pixels = ((rows // 37 + columns // 53) % 2).astype(np.uint8)
    profile = {"width": SIDE, "height": SIDE, "count": 1, "dtype": "uint8", "nbits": 1}
    with rasterio.open(path, "w", driver="GTiff", compress=codec, **profile) as file:
        file.write(pixels, 1)
    whole, bad = tiles_of(path)
    assert not bad
    spoil_block(path, how, number=1)
    found, [strip] = tiles_of(path)
    assert strip.row > 0
    whole[:, *strip.slices] = 0
    np.testing.assert_array_equal(found, whole)


def write_as(path: Path, driver: str, **options: str) -> None:
    """Write the picture with one of GDAL's drivers that can only copy."""
    source = path.with_suffix(".source.tif")
    profile = {"width": SIDE, "height": SIDE, "count": 3, "dtype": "uint8"}
    with rasterio.open(source, "w", driver="GTiff", **profile) as file:
        file.write(smooth())
    rasterio.shutil.copy(source, path, driver=driver, **options)


@pytest.mark.parametrize("how", ["half", "ones", "all", "cut"])
@pytest.mark.parametrize("workers", [0, 2])
def test_a_jpeg_is_read_down_to_where_its_decoder_complains(
    tmp_path: Path, how: str, workers: int
) -> None:
    """Rows from there on are zeroed and named. Those above the damage are the file's."""
    path = tmp_path / "image.jpg"
    write_as(path, "JPEG")
    whole, _ = tiles_of(path)
    data = bytearray(path.read_bytes())
    if how == "cut":
        del data[len(data) // 2 :]
    else:
        spoil(data, len(data) // 2, len(data) // 8, how)
    path.write_bytes(data)
    found, bad = tiles_of(path, workers)
    first = min(window.row for window in bad)
    sure = first if how == "cut" else 200  # what is overwritten lies lower
    assert first >= sure > 100
    np.testing.assert_array_equal(found[:, :sure], whole[:, :sure])
    assert not found[:, first:].any()
    assert sum(window.height for window in bad) == SIDE - first


def test_a_progressive_jpeg_that_is_cut_has_no_row(tmp_path: Path) -> None:
    """Every scan covers all rows, so a cut file has none that is whole."""
    path = tmp_path / "image.jpg"
    write_as(path, "JPEG", PROGRESSIVE="YES")
    path.write_bytes(path.read_bytes()[:-5000])
    with Slide(path) as slide, pytest.raises(SlideError, match="Premature end of JPEG file"):
        slide.read(Window(0, 0, 10, 10))


@pytest.mark.parametrize("how", ["half", "all", "noise", "ones"])
def test_a_png_with_a_wrong_checksum_is_refused(tmp_path: Path, how: str) -> None:
    """The error names the part of the file and what to do, before a pixel is read."""
    path = tmp_path / "image.png"
    write_as(path, "PNG")
    tiles_of(path)
    data = bytearray(path.read_bytes())
    spoil(data, len(data) // 2, len(data) // 8, how)
    path.write_bytes(data)
    with pytest.raises(SlideError, match=r"The checksum of its part IDAT at byte \d+ is wrong"):
        Slide(path)


def test_a_wrong_checksum_of_a_comment_costs_nothing(tmp_path: Path) -> None:
    """A PNG whose text was edited by hand is read all the same."""
    path = tmp_path / "image.png"
    write_as(path, "PNG")
    data = path.read_bytes()
    comment = b"\0\0\0\x04tEXtab\0c" + b"\0\0\0\0"
    path.write_bytes(data[:33] + comment + data[33:])
    with Slide(path) as slide:
        np.testing.assert_array_equal(slide.read(slide.bounds), smooth())


@pytest.mark.parametrize(("driver", "suffix"), [("JP2OpenJPEG", ".jp2"), ("WEBP", ".webp")])
def test_a_file_that_is_cut_has_no_pixel(tmp_path: Path, driver: str, suffix: str) -> None:
    """JPEG 2000 in one tile, and WebP, decode as a whole or not at all."""
    path = tmp_path / f"image{suffix}"
    write_as(path, driver)
    path.write_bytes(path.read_bytes()[:-5000])
    found, bad = tiles_of(path)
    assert not found.any()
    assert sum(window.area for window in bad) == SIDE * SIDE


def test_complaints_are_not_printed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What becomes an error is no warning too. Harmless words of a decoder go to the log."""
    path = tmp_path / "image.jpg"
    write_as(path, "JPEG")
    data = bytearray(path.read_bytes())
    spoil(data, len(data) // 2, len(data) // 8, "half")
    path.write_bytes(data)
    with caplog.at_level(logging.WARNING):
        tiles_of(path)
    assert not caplog.records
    extra = bytes.fromhex("00112233")
    good = tmp_path / "good.jpg"
    write_as(good, "JPEG")
    data = bytearray(good.read_bytes())
    good.write_bytes(data[:-2] + extra + data[-2:])
    _, bad = tiles_of(good)
    assert not bad
