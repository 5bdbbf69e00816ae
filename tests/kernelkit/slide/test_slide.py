"""A slide: any window of any layout, byte for byte what tifffile reads."""

import functools
import multiprocessing
import os
import pickle
import time
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st

from kernelkit.errors import GridError, SlideError
from kernelkit.grid import Window
from kernelkit.slide import Slide
from kernelkit.slide.pixels import FILLS, area_average
from kernelkit.slide.tiff import read_pages
from kernelkit.vocabulary import Fill
from tests.made.layouts import (
    LAYOUTS,
    LOSSLESS,
    picture,
    seen_by_tifffile,
    spoil_block,
    window_of,
    write,
)

SHAPE = (301, 427)
KINDS = [(3, "uint8"), (1, "uint8"), (1, "uint16"), (16, "uint16"), (2, "float32")]


@functools.cache
def written(folder: Path, layout: str, bands: int, dtype: str) -> tuple[Path, np.ndarray]:
    """Write an image once per session. Return its path and what tifffile reads from it."""
    path = folder / f"{layout}-{bands}-{dtype}.tif"
    write(path, picture(bands, *SHAPE, dtype), layout)
    return path, seen_by_tifffile(path, bands)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the images of these tests lie."""
    return tmp_path_factory.mktemp("slides")


@st.composite
def readings(draw: st.DrawFn) -> tuple[Window, int, Fill]:
    """Windows in, across and beyond the image, with a scale that divides them."""
    scale = draw(st.integers(1, 5))
    window = Window(
        draw(st.integers(-200, SHAPE[0] + 50)),
        draw(st.integers(-200, SHAPE[1] + 50)),
        draw(st.integers(1, 60)) * scale,
        draw(st.integers(1, 60)) * scale,
    )
    return window, scale, draw(st.sampled_from(FILLS))


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_window_of_every_layout(folder: Path, layout: str, kind: tuple[int, str]) -> None:
    """It equals numpy's padding of tifffile's image, shrunk by OpenCV, byte for byte."""
    if layout == "jpeg" and kind != (3, "uint8"):
        pytest.skip("TIFF holds JPEG of colour images only")
    path, whole = written(folder, layout, *kind)
    with Slide(path) as slide:
        assert (slide.bands, slide.height, slide.width) == whole.shape
        assert slide.dtype == whole.dtype

        @settings(max_examples=12)
        @given(readings())
        def check(reading: tuple[Window, int, Fill]) -> None:
            window, scale, fill = reading
            found = slide.read(window, scale, fill)
            assert np.array_equal(found, window_of(whole, window, scale, fill))

        check()


@pytest.mark.parametrize("layout", LOSSLESS)
def test_the_pixels_are_those_that_were_written(folder: Path, layout: str) -> None:
    """Bands come in their order, whatever lies between them in the file."""
    path, _ = written(folder, layout, 16, "uint16")
    with Slide(path) as slide:
        assert np.array_equal(slide.read(slide.bounds), picture(16, *SHAPE, "uint16"))


@pytest.mark.parametrize(
    ("layout", "words"),
    [
        ("tiled", "tiled 256x256 LZW, interleaved"),
        ("planar-strips", "strips of 8 rows LZW, planar"),
        ("subdatasets", "tiled 256x256 LZW, 3 datasets"),
        ("none", "tiled 256x256 uncompressed, interleaved"),
    ],
)
def test_the_layout_in_words(folder: Path, layout: str, words: str) -> None:
    """A log says in a few words how the file is laid out."""
    assert Slide(written(folder, layout, 3, "uint8")[0]).layout == words


def test_reads_straight_into_an_array(folder: Path) -> None:
    """`out` may be any view, and only its pixels change."""
    path, whole = written(folder, "tiled", 3, "uint8")
    canvas = np.full((3, 400, 400), 7, np.uint8)
    with Slide(path) as slide:
        slide.read(Window(10, 20, 90, 120), scale=3, out=canvas[:, 100:130, 50:90])
    expected = np.full_like(canvas, 7)
    expected[:, 100:130, 50:90] = window_of(whole, Window(10, 20, 90, 120), 3, "zero")
    assert np.array_equal(canvas, expected)


def test_a_large_window_is_averaged_in_parts(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading a few rows at a time changes no pixel."""
    path, whole = written(folder, "strips", 3, "uint8")
    monkeypatch.setattr("kernelkit.slide.level._CHUNK_BYTES", 20_000)
    window = Window(-4, 7, 280, 315)
    with Slide(path) as slide:
        assert np.array_equal(slide.read(window, 7), window_of(whole, window, 7, "zero"))


@pytest.mark.parametrize("dtype", ["int8", "int32", "uint32", "float64"])
def test_dtypes_that_opencv_does_not_shrink(dtype: str) -> None:
    """They are averaged too, and integers are rounded."""
    lowest = 0 if dtype == "uint32" else -100
    pixels = (np.random.default_rng(0).random((2, 12, 15)) * 200 + lowest).astype(dtype)
    mean = pixels.reshape(2, 4, 3, 5, 3).mean(axis=(2, 4))
    found = np.empty(mean.shape, dtype)
    area_average(pixels, 3, found)
    # OpenCV multiplies by a ninth in float32
    assert np.abs(found - mean).max() <= (0.5 if found.dtype.kind in "iu" else 0) + 1e-5


def test_overviews_are_used_only_when_asked_for(folder: Path) -> None:
    """A plain read is the area average. With `overviews` it starts from the file's own pyramid."""
    path = folder / "pyramid-odd.tif"
    write(path, picture(3, 512, 512), "pyramid")
    with rasterio.open(path, "r+") as file:  # a pyramid that tells where its pixels came from
        file.build_overviews([2, 4, 8], rasterio.enums.Resampling.nearest)
    whole = seen_by_tifffile_page(path)
    window = Window(64, 128, 256, 256)
    with Slide(path) as plain, Slide(path, overviews=True) as quick:
        assert np.array_equal(plain.read(window, 8), window_of(whole, window, 8, "zero"))
        with rasterio.open(path, overview_level=2) as level:
            eighth = level.read()
        assert np.array_equal(quick.read(window, 8), eighth[:, 8:40, 16:48])
        sixteenth = np.empty((3, 16, 16), np.uint8)
        area_average(eighth[:, 8:40, 16:48], 2, sixteenth)
        assert np.array_equal(quick.read(window, 16), sixteenth)
        assert np.array_equal(quick.read(window, 1), plain.read(window, 1))


def seen_by_tifffile_page(path: Path) -> np.ndarray:
    """Return the first page of a file of several sizes."""
    import tifffile

    return tifffile.imread(path, key=0).transpose(2, 0, 1)


@pytest.mark.parametrize("layout", ["tiled", "pyramid", "subdatasets"])
def test_a_thumbnail_shows_the_whole_image(folder: Path, layout: str) -> None:
    """It fits the side that was asked for. It is the area average of image or overview."""
    path, whole = written(folder, layout, 3, "uint8")
    with Slide(path) as slide:
        thumbnail = slide.thumbnail(61)
    if layout == "pyramid":
        with rasterio.open(path, overview_level=1) as file:
            whole = file.read()
    scale = 2 if layout == "pyramid" else 7
    height, width = (-(-side // scale) for side in whole.shape[1:])
    everything = Window(0, 0, height * scale, width * scale)
    assert max(height, width) <= 61
    assert np.array_equal(thumbnail, window_of(whole, everything, scale, "edge"))


def test_a_thumbnail_of_a_small_image_is_the_image(folder: Path) -> None:
    """Nothing is enlarged."""
    path, whole = written(folder, "tiled", 3, "uint8")
    assert np.array_equal(Slide(path).thumbnail(5000), whole)


def _radar(path: Path, pixels: np.ndarray, **changes: object) -> Path:
    """Write one polarisation of a radar image, with a place on earth."""
    profile = {
        "driver": "GTiff",
        "height": pixels.shape[0],
        "width": pixels.shape[1],
        "count": 1,
        "dtype": "float32",
        "crs": "EPSG:32637",
        "transform": rasterio.Affine(10, 0, 5e5, 0, -10, 3e6),
        "nodata": 0,
    }
    with rasterio.open(path, "w", **(profile | changes)) as file:
        file.write(pixels, 1)
    return path


def test_several_files_are_the_bands_of_one_image(tmp_path: Path) -> None:
    """VV and VH of one acquisition are read as two bands, with their place on earth."""
    image = picture(2, 130, 170, "float32")
    paths = [_radar(tmp_path / f"{name}.tif", band) for name, band in zip("vh", image, strict=True)]
    with Slide(paths) as slide:
        assert np.array_equal(slide.read(slide.bounds), image)
        assert (slide.name, slide.crs.to_epsg(), slide.transform.a) == ("v", 32637, 10)


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"transform": rasterio.Affine(10, 0, 5e5, 0, -10, 3e6 + 10)}, "transform"),
        ({"crs": "EPSG:32638"}, "CRS"),
        ({"height": 129}, "size"),
    ],
)
def test_files_of_different_ground_are_refused(tmp_path: Path, changes: dict, what: str) -> None:
    """The error names both files, what was found and what was wanted."""
    band = picture(1, 130, 170, "float32")[0]
    first = _radar(tmp_path / "vv.tif", band)
    second = _radar(tmp_path / "vh.tif", band[: changes.get("height", 130)], **changes)
    with pytest.raises(SlideError, match=rf"vh\.tif: found {what} .* wanted .* as in .*vv\.tif"):
        Slide([first, second])


def test_where_there_is_data(tmp_path: Path) -> None:
    """Pixels outside hold none, nor do those whose every band is nodata. All of a square must."""
    band = picture(1, 40, 40, "float32")[0] + 1
    band[:10] = 0
    slide = Slide(_radar(tmp_path / "vv.tif", band))
    valid = slide.read_valid(Window(-2, 0, 44, 44))
    assert valid[12:42, :40].all()
    assert valid.sum() == 30 * 40
    assert slide.read_valid(Window(8, 0, 12, 4), scale=4).tolist() == [[False], [True], [True]]
    without = Slide(_radar(tmp_path / "vh.tif", band, nodata=None))
    assert without.read_valid(without.bounds).all()
    stated = Slide(without.paths, nodata=0)
    assert stated.read_valid(stated.bounds).sum() == 30 * 40


@settings(max_examples=60)
@given(reading=readings(), dtype=st.sampled_from(["float32", "uint16", "uint8"]))
def test_means_leave_out_what_holds_no_data(
    folder: Path, reading: tuple[Window, int, Fill], dtype: str
) -> None:
    """A mean is that of the pixels with data. It is 0 if there are none, as numpy has it."""
    path = folder / f"holes-{dtype}.tif"
    image = picture(2, *SHAPE, dtype) // 2 + 1
    holes = picture(1, *SHAPE, "uint8", seed=5)[0] > 140
    image[:, holes] = 255 if dtype == "uint8" else 0
    if not path.exists():
        _several(path, image, 255 if dtype == "uint8" else 0)
    window, scale, fill = reading
    clean = np.where(holes, 0, image).astype(np.float64)
    held = np.ones((1, *SHAPE)) * ~holes
    sums = window_of_sums(clean, window, scale, fill)
    counts = window_of_sums(held, window, scale, fill)
    if fill == "zero":  # what the fill adds takes part
        counts += scale**2 - window_of_sums(np.ones((1, *SHAPE)), window, scale, fill)
    wanted = sums / np.maximum(counts, 1)
    with Slide(path) as slide:
        found = slide.read(window, scale, fill)
        valid = slide.read_valid(window, scale)
    whole = window_of_sums(held, window, scale, "zero")[0] == scale**2
    assert np.array_equal(valid, whole)
    assert np.abs(found - wanted).max() <= (1e-2 if dtype == "float32" else 0.51)


def window_of_sums(image: np.ndarray, window: Window, scale: int, fill: Fill) -> np.ndarray:
    """Return the sums of squares of a window that numpy pads."""
    pixels = window_of(image, window, 1, fill)
    bands, rows, columns = pixels.shape
    return pixels.reshape(bands, rows // scale, scale, columns // scale, scale).sum(axis=(2, 4))


def _several(path: Path, image: np.ndarray, nodata: float) -> None:
    """Write bands that declare a value for no data."""
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        count=len(image),
        height=image.shape[1],
        width=image.shape[2],
        dtype=image.dtype,
        nodata=nodata,
    ) as file:
        file.write(image)


def test_opening_pages_takes_a_time_that_grows_with_their_number(tmp_path: Path) -> None:
    """Ten times the pages take ten times as long to look at, and not a hundred."""
    import tifffile

    def seconds(count: int) -> float:
        path = tmp_path / f"{count}.tif"
        with tifffile.TiffWriter(path) as file:
            for _ in range(count):
                file.write(np.zeros((8, 8), "u1"), contiguous=False, metadata=None)
        started = time.process_time()
        pages, _ = read_pages(path)
        assert len(pages) == count
        return time.process_time() - started

    assert seconds(3000) < 40 * max(seconds(300), 0.005)


def test_a_slide_pickles_as_its_path(folder: Path) -> None:
    """The copy in another process opens the file for itself, with the same options."""
    path, whole = written(folder, "subdatasets", 3, "uint8")
    with Slide(path, nodata=3, overviews=True) as slide:
        message = pickle.dumps(slide)
    assert len(message) < 500
    again = pickle.loads(message)
    assert (again.nodata, again.height) == (3, 301)
    assert np.array_equal(again.read(again.bounds), whole)


def _read_in_child(slide: Slide, window: Window, pipe: Connection) -> None:
    pipe.send(slide.read(window))
    pipe.close()


@pytest.mark.timeout(60)
@pytest.mark.filterwarnings("ignore:This process")
def test_a_slide_survives_a_fork(folder: Path) -> None:
    """Parent and child read the same file at once, each with a handle of its own."""
    path, whole = written(folder, "tiled", 3, "uint8")
    context = multiprocessing.get_context("fork")
    with Slide(path) as slide:
        slide.read(slide.bounds)
        mine, theirs = context.Pipe(duplex=False)
        child = context.Process(target=_read_in_child, args=(slide, slide.bounds, theirs))
        child.start()
        assert np.array_equal(slide.read(slide.bounds), whole)
        assert np.array_equal(mine.recv(), whole)
        child.join()


def test_a_closed_slide_holds_no_file(folder: Path) -> None:
    """The context manager gives all handles back. Reading again opens them again."""
    path, whole = written(folder, "subdatasets", 3, "uint8")

    def handles() -> int:
        links = Path("/proc/self/fd").iterdir()
        return sum(os.path.realpath(link) == str(path.resolve()) for link in links)

    with Slide(path) as slide:
        slide.read(slide.bounds)
        assert handles() == 3
    assert handles() == 0
    assert np.array_equal(slide.read(slide.bounds), whole)
    slide.close()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file"),
        (b"", "the file is empty"),
        (b"hello, this is no image" * 9, "found no image that GDAL can open"),
        ("half", r"truncated\. Found \d+ bytes, wanted at least \d+"),
        ("folder", "found a folder, wanted an image file"),
    ],
    ids=["missing", "empty", "text", "truncated", "folder"],
)
def test_what_is_no_image_is_named(
    tmp_path: Path, content: bytes | str | None, message: str
) -> None:
    """The error names the file and what was found."""
    path = tmp_path / "image.tiff"
    if content == "half":
        write(path, picture(3, 600, 600), "tiled")
        path.write_bytes(path.read_bytes()[:-1000])
    elif content == "folder":
        path.mkdir()
    elif isinstance(content, bytes):
        path.write_bytes(content)
    with pytest.raises(SlideError, match=message) as caught:
        Slide(path)
    assert str(path) in str(caught.value)


def test_a_corrupt_block_names_file_and_window(tmp_path: Path) -> None:
    """A read that meets it is a SlideError. A read beside it works."""
    path = write(tmp_path / "image.tif", picture(3, 600, 600), "deflate")
    spoil_block(path, 256, 256)
    with Slide(path) as slide:
        slide.read(Window(0, 0, 256, 600))
        with pytest.raises(SlideError, match=r"image\.tif: rows 200:300, columns 200:300 could"):
            slide.read(Window(200, 200, 100, 100))


def test_a_corrupt_block_holds_no_data(tmp_path: Path) -> None:
    """One that cannot be decoded costs its own pixels, and the others are still asked."""
    image = picture(2, 600, 600, "float32")
    image[:, 5, 7] = np.nan
    path = write(tmp_path / "image.tif", image, "deflate")
    spoil_block(path, 256, 256)
    wanted = np.ones((600, 600), bool)
    wanted[5, 7] = False
    wanted[256:512, 256:512] = False
    with Slide(path) as slide:
        assert np.array_equal(slide.read_valid(slide.bounds), wanted)
        assert np.array_equal(
            slide.read_valid(Window(300, 300, 290, 290)), wanted[300:590, 300:590]
        )


def test_a_scale_that_does_not_divide_is_refused(folder: Path) -> None:
    """The error names the window's size and the scale."""
    slide = Slide(written(folder, "tiled", 3, "uint8")[0])
    with pytest.raises(GridError, match="scale 3 does not divide a window of 100 x 99"):
        slide.read(Window(0, 0, 100, 99), scale=3)
    with pytest.raises(GridError, match='found fill "mirror", wanted "zero", "reflect" or "edge"'):
        slide.read(Window(0, 0, 99, 99), fill="mirror")  # type: ignore[arg-type]
