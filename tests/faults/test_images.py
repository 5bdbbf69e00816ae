"""Images as strangers write them: each row is a file, and what a slide makes of it."""

import struct
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import rasterio
import tifffile
from PIL import Image

from kernelkit.errors import SlideError
from kernelkit.grid import Window
from kernelkit.slide import Slide, budget

GREY = np.arange(64 * 64, dtype=np.uint8).reshape(64, 64)
RGB = np.stack([GREY, GREY[::-1], GREY.T], axis=-1)
NAN = float("nan")
RNG = np.random.default_rng(0)


class Row(NamedTuple):
    """A fault: how its file is made, and the right answer.

    Attributes
    ----------
    name
        What is wrong with the file.
    make
        Writes it into a folder and returns its path, or several.
    error
        A pattern of the error's sentence, empty if the image opens.
    shape
        (bands, height, width), if it opens.
    note
        A pattern of one of the notes, empty if there must be none.
    layout
        A pattern that stands in the layout.
    check
        Says of the open slide whether it is right.
    """

    name: str
    make: Callable[[Path], Any]
    error: str = ""
    shape: tuple[int, ...] = ()
    note: str = ""
    layout: str = ""
    check: Callable[[Slide], bool] = lambda _: True


def pages(*arrays: np.ndarray, **options: Any) -> Callable[[Path], Path]:
    """A TIFF of several pages. An array may come with options of its own."""

    def make(folder: Path) -> Path:
        with tifffile.TiffWriter(folder / "a.tif") as file:
            for each in arrays:
                array, own = each if isinstance(each, tuple) else (each, {})
                colour = "rgb" if array.ndim == 3 and array.shape[-1] in (3, 4) else "minisblack"
                file.write(
                    array,
                    **({"photometric": colour, "metadata": None, "contiguous": False}
                    | options | own),
                )  # fmt: skip
        return folder / "a.tif"

    return make


def raster(array: np.ndarray, name: str = "a.tif", driver: str = "GTiff", **options: Any):
    """An image (C, H, W) that GDAL writes."""

    def make(folder: Path) -> Path:
        config = {"GDAL_TIFF_INTERNAL_MASK": "YES"}
        mask = options.pop("mask", None) if "mask" in options else None
        with (
            rasterio.Env(**config),
            rasterio.open(
                folder / name,
                "w",
                driver=driver,
                count=array.shape[0],
                height=array.shape[1],
                width=array.shape[2],
                dtype=array.dtype,
                **options,
            ) as file,
        ):
            file.write(array)
            if mask is not None:
                file.write_mask(mask)
        return folder / name

    return make


def pillow(mode: str, name: str, **options: Any) -> Callable[[Path], Path]:
    """An image that Pillow writes."""

    def make(folder: Path) -> Path:
        Image.new(mode, (90, 70), **options.get("new", {})).save(
            folder / name, **options.get("save", {})
        )
        return folder / name

    return make


def patched(make: Callable[[Path], Path], **tags: int) -> Callable[[Path], Path]:
    """A classic TIFF whose first directory says other numbers."""
    numbers = {
        "width": 256,
        "height": 257,
        "compression": 259,
        "photometric": 262,
        "orientation": 274,
        "rows": 278,
        "size": 279,
        "tile_width": 322,
        "tile_height": 323,
        "offsets": 273,
    }

    def made(folder: Path) -> Path:
        path = make(folder)
        data = bytearray(path.read_bytes())
        (first,) = struct.unpack_from("<I", data, 4)
        (count,) = struct.unpack_from("<H", data, first)
        wanted = {numbers[name]: value for name, value in tags.items()}
        for index in range(count):
            at = first + 2 + 12 * index
            (tag,) = struct.unpack_from("<H", data, at)
            if tag in wanted:
                struct.pack_into("<HII", data, at + 2, 4, 1, wanted[tag])
        path.write_bytes(data)
        return path

    return made


def palette(name: str) -> Callable[[Path], Path]:
    """An image of indices into colours."""

    def make(folder: Path) -> Path:
        image = Image.fromarray(np.tile(np.arange(90, dtype=np.uint8), (70, 1)), "P")
        image.putpalette([value for n in range(256) for value in (n, 200, 255 - n)])
        image.save(folder / name)
        return folder / name

    return make


def exif(orientation: int) -> dict[str, Any]:
    """What makes Pillow write an orientation."""
    found = Image.Exif()
    found[274] = orientation
    return {"save": {"exif": found}}


def written(name: str, content: bytes) -> Callable[[Path], Path]:
    """A file of these bytes."""

    def make(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return make


def cut(make: Callable[[Path], Path], share: float) -> Callable[[Path], Path]:
    """The beginning of a file."""

    def made(folder: Path) -> Path:
        path = make(folder)
        data = path.read_bytes()
        path.write_bytes(data[: int(len(data) * share)])
        return path

    return made


def png_of(height: int, width: int) -> bytes:
    """A PNG that declares a size and holds next to nothing."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        crc = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + crc

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(bytes(1000)))
    return b"\x89PNG\r\n\x1a\n" + header + body + chunk(b"IEND", b"")


def joined(*makes: Callable[[Path], Path]) -> Callable[[Path], list[Path]]:
    """Several files, each in a folder of its own."""

    def make(folder: Path) -> list[Path]:
        paths = []
        for index, each in enumerate(makes):
            (folder / str(index)).mkdir()
            paths.append(each(folder / str(index)))
        return paths

    return make


def place(step: float, shift: float = 0.0) -> dict[str, Any]:
    """A place on earth."""
    return {
        "crs": "EPSG:4326",
        "transform": rasterio.Affine(step, 0, -0.78 + shift, 0, -step, 38.1),
    }


def imagej(count: int) -> Callable[[Path], Path]:
    """A stack of ImageJ whose further planes lie behind its only page."""

    def make(folder: Path) -> Path:
        text = f"ImageJ=1.53t\nimages={count}\nslices={count}\n"
        return pages((GREY, {"description": text}))(folder)

    return make


def sparse(height: int, width: int, **options: Any) -> Callable[[Path], Path]:
    """A TIFF that leaves all blocks out but one."""

    def make(folder: Path) -> Path:
        with rasterio.open(
            folder / "a.tif",
            "w",
            driver="GTiff",
            count=3,
            height=height,
            width=width,
            dtype="uint8",
            sparse_ok=True,
            tiled=True,
            compress="lzw",
            **options,
        ) as file:
            file.write(np.full((3, 256, 256), 9, "u1"), window=((0, 256), (0, 256)))
        return folder / "a.tif"

    return make


def data_at(slide: Slide, row: int, col: int) -> bool:
    """Whether a pixel holds data."""
    return bool(slide.read_valid(Window(row, col, 1, 1))[0, 0])


def pixel(slide: Slide, row: int, col: int) -> list[float]:
    """The bands of one pixel."""
    return slide.read(Window(row, col, 1, 1))[:, 0, 0].tolist()


def spotted(value: float, dtype: str, bands: int = 1, of: tuple[int, ...] = ()) -> np.ndarray:
    """An image of ones, (bands, 64, 64), with a value at [10, 10] in some bands."""
    image = np.ones((bands, 64, 64), dtype)
    for band in of or range(bands):
        image[band, 10, 10] = value
    return image


def is_spot_left_out(slide: Slide) -> bool:
    """Pixel [10, 10] holds no data and is read as 0, and its neighbours are whole."""
    mean = slide.read(Window(8, 8, 4, 4), scale=4)[:, 0, 0]
    valid = slide.read_valid(slide.bounds)
    return (
        slide.may_lack_data
        and not valid[10, 10]
        and valid.sum() == 64 * 64 - 1
        and pixel(slide, 10, 10) == [0] * slide.bands
        and mean.tolist() == [1] * slide.bands
        and not slide.read_valid(Window(8, 8, 4, 4), scale=4)[0, 0]
    )


def is_whole(slide: Slide) -> bool:
    """Every pixel holds data."""
    return bool(slide.read_valid(slide.bounds).all())


MASK = np.full((64, 64), 255, np.uint8)
MASK[10, 10] = 0
ALPHA = np.concatenate([np.ones((3, 64, 64), "u1"), MASK[np.newaxis]])
ALPHA[:3, 10, 10] = 77
GREY_ALPHA = np.stack([np.where(MASK, 1, 77).astype("u1"), MASK])
BIG = np.zeros((400, 320, 3), np.uint8)
BIG[...] = (200, 60, 120)
HALF = BIG[::2, ::2]
LABEL = np.full((93, 77, 3), (240, 180, 20), np.uint8)
MACRO = np.full((86, 256, 3), (20, 180, 240), np.uint8)
REDUCED = {"subfiletype": 1}


def shows_tissue(slide: Slide) -> bool:
    """A small thumbnail has the colour of the image, not of its label."""
    return slide.thumbnail(50)[:, 5, 5].tolist() == [200, 60, 120]


ROWS = [
    # pages
    Row("thumbnail ahead", pages(RGB[:9, :9], RGB), shape=(3, 64, 64), note="9 x 9"),
    Row("grey thumbnail ahead", pages(GREY[:9, :9], GREY), shape=(1, 64, 64), note="9 x 9"),
    Row("label behind", pages(RGB, RGB[:20, :30]), shape=(3, 64, 64), note="20 x 30"),
    Row("many sizes", pages(RGB, *(RGB[:n] for n in (9, 8, 7, 6))), shape=(3, 64, 64), note="4 p"),
    Row("z-stack of colour", pages(*[RGB] * 5), shape=(3, 64, 64), note="first of 5 pages"),
    Row("pages are bands", pages(GREY, GREY + 1), shape=(2, 64, 64)),
    Row("a mask page", raster(spotted(1, "u1", 3), mask=MASK), shape=(3, 64, 64)),
    Row("bands and a thumbnail", pages(GREY[:9], GREY, GREY), shape=(2, 64, 64), note="9 x 64"),
    Row("pages of other depth", pages(GREY, GREY.astype("u2")), shape=(1, 64, 64), note="64 x 64"),
    Row("hyperstack of ImageJ", imagej(12), shape=(1, 64, 64), note="counts 12 planes"),
    Row("one plane of ImageJ", imagej(1), shape=(1, 64, 64)),
    Row("only reduced pages", pages((RGB, REDUCED)), shape=(3, 64, 64)),
    Row("513 pages", pages(*[GREY[:2, :2]] * 513), error="513 pages of 2 x 2 .* at most 512"),
    # overviews
    Row(
        "label and macro of Aperio",
        pages((BIG, {"tile": (128, 128)}), (LABEL, REDUCED), (MACRO, {"subfiletype": 9})),
        shape=(3, 400, 320),
        note="93 x 77 is no overview",
        check=shows_tissue,
    ),
    Row("an overview", pages(BIG, (HALF, REDUCED)), shape=(3, 400, 320), check=shows_tissue),
    Row(
        "an overview and a label",
        pages(BIG, (HALF, REDUCED), (LABEL, REDUCED)),
        shape=(3, 400, 320),
        note="93 x 77",
        check=lambda s: shows_tissue(s) and s._overview_factors == [2],
    ),
    Row(
        "a grey overview",
        pages(BIG, (HALF[..., 0], REDUCED)),
        shape=(3, 400, 320),
        note="no overview",
        check=lambda s: shows_tissue(s) and not s._overview_factors,
    ),
    Row(
        "an overview as large as the image",
        pages(BIG, (BIG, REDUCED)),
        note="no overview",
        check=lambda s: not s._overview_factors,
    ),
    Row(
        "odd sizes rounded down",
        pages(BIG[:399, :319], (HALF[:199, :159], REDUCED)),
        check=lambda s: s._overview_factors == [2],
    ),
    Row(
        "odd sizes rounded up",
        pages(BIG[:399, :319], (HALF, REDUCED)),
        check=lambda s: s._overview_factors == [2],
    ),
    # colours
    Row("palette", palette("a.png"), shape=(3, 70, 90), note="palette",
        layout="palette"),
    Row("palette in a TIFF", palette("a.tif"), shape=(3, 70, 90), note="palette", layout="palette",
        check=lambda s: pixel(s, 0, 3) == [3, 200, 252]),
    Row("a grey palette", pillow("P", "a.tif"), shape=(1, 70, 90), note="its grey"),
    Row(
        "indices for labels",
        raster(GREY[np.newaxis]),
        shape=(1, 64, 64),
    ),
    Row("alpha", pillow("RGBA", "a.png"), shape=(4, 70, 90), note="alpha", layout="alpha"),
    Row("grey and alpha", pillow("LA", "a.png"), shape=(2, 70, 90), note="alpha", layout="alpha"),
    Row("CMYK in a JPEG", pillow("CMYK", "a.jpg"), shape=(3, 70, 90), note="CMYK", layout="CMYK"),
    Row("CMYK in a TIFF", pillow("CMYK", "a.tif"), shape=(3, 70, 90), note="CMYK", layout="CMYK",
        check=is_whole),
    Row("white is 0", pages(GREY, photometric="miniswhite"), note="MINISWHITE",
        layout="white is 0", check=lambda s: pixel(s, 0, 5) == [5]),
    Row("turned TIFF", patched(pages(RGB, extratags=[(274, 3, 1, 1, True)]), orientation=6),
        note="orientation 6", layout="orientation 6"),
    Row("turned JPEG", pillow("RGB", "a.jpg", **exif(6)), note="orientation 6",
        layout="orientation 6"),
    Row("turned PNG", pillow("RGB", "a.png", **exif(8)), note="orientation 8"),
    Row("turned WebP", pillow("RGB", "a.webp", **exif(3)), note="orientation 3"),
    Row("upright JPEG", pillow("RGB", "a.jpg", **exif(1)), shape=(3, 70, 90)),
    # no data
    Row("NaN in one band", raster(spotted(NAN, "f4", 2, (1,))), check=is_spot_left_out),
    Row("NaN in all bands", raster(spotted(NAN, "f4", 2)), check=is_spot_left_out),
    Row("infinite", raster(spotted(np.inf, "f4")), check=is_spot_left_out),
    Row("minus infinite", raster(spotted(-np.inf, "f8", 3)), check=is_spot_left_out),
    Row("NaN as nodata", raster(spotted(NAN, "f4"), nodata=NAN), check=is_spot_left_out),
    Row("-9999", raster(spotted(-9999, "f4"), nodata=-9999), check=is_spot_left_out),
    Row("-9999 in one band", raster(spotted(-9999, "f4", 3, (2,)), nodata=-9999),
        check=is_spot_left_out),
    Row("-3.4e38", raster(spotted(np.finfo("f4").min, "f4"), nodata=float(np.finfo("f4").min)),
        check=is_spot_left_out),
    Row("255 of 8 bits", raster(spotted(255, "u1", 3), nodata=255), check=is_spot_left_out),
    Row("255 in one of three colours", raster(spotted(255, "u1", 3, (0,)), nodata=255),
        check=lambda s: is_whole(s) and pixel(s, 10, 10) == [255, 1, 1]),
    Row("0 of 16 bits", raster(spotted(0, "u2", 2), nodata=0), check=is_spot_left_out),
    Row("-32768", raster(spotted(-32768, "i2"), nodata=-32768), check=is_spot_left_out),
    Row("nodata that no pixel can hold", raster(spotted(3, "u1"), nodata=0), check=is_whole),
    Row("an internal mask", raster(spotted(77, "u1", 3), mask=MASK), check=is_spot_left_out),
    Row("a mask over floats", raster(spotted(77, "f4"), mask=MASK), check=is_spot_left_out),
    Row("alpha is 0", raster(ALPHA, photometric="rgb", alpha="yes"), note="alpha",
        check=lambda s: not data_at(s, 10, 10) and pixel(s, 10, 10) == [0] * 4),
    Row("alpha is 0 in a PNG", raster(ALPHA, "a.png", "PNG"), note="alpha",
        check=lambda s: not data_at(s, 10, 10) and pixel(s, 10, 10) == [0] * 4),
    Row("grey alpha is 0", raster(GREY_ALPHA, "a.png", "PNG"), note="alpha",
        check=lambda s: not data_at(s, 10, 10) and data_at(s, 11, 11)),
    Row("a transparent colour", pillow("P", "a.png", save={"transparency": 0}), note="palette",
        check=lambda s: s.may_lack_data and not data_at(s, 0, 0)),
    Row("plain 8 bits", raster(spotted(255, "u1", 3)), check=lambda s: not s.may_lack_data),
    Row("plain 16 bits", raster(spotted(0, "u2")), check=lambda s: not s.may_lack_data),
    Row("NaN in a strip", raster(spotted(NAN, "f4"), blockysize=1), check=is_spot_left_out),
    Row("NaN under LZW", raster(spotted(NAN, "f4"), compress="lzw", predictor=3),
        check=is_spot_left_out),
    Row("half floats", pages(spotted(NAN, "f2")[0]), check=is_spot_left_out),
    Row("two files, NaN in one", joined(raster(spotted(NAN, "f4")), raster(spotted(1, "f4"))),
        check=is_spot_left_out),
    Row("pages, NaN in the second", pages(spotted(1, "f4")[0], spotted(NAN, "f4")[0]),
        check=is_spot_left_out),
    # several files
    Row("transforms 3e-19 apart", joined(
        raster(spotted(1, "f4"), **place(8.983152841195215e-05)),
        raster(spotted(1, "f4"), **place(8.983152841195184e-05)),
    ), shape=(2, 64, 64)),
    Row("origins 1e-17 apart", joined(
        raster(spotted(1, "f4"), **place(1e-4)), raster(spotted(1, "f4"), **place(1e-4, 1e-12)),
    ), shape=(2, 64, 64)),
    Row("a thousandth of a pixel apart", joined(
        raster(spotted(1, "f4"), **place(1e-4)), raster(spotted(1, "f4"), **place(1e-4, 1e-7)),
    ), error="found transform"),
    Row("steps that drift by a pixel", joined(
        raster(spotted(1, "f4"), **place(1e-4)), raster(spotted(1, "f4"), **place(1.02e-4)),
    ), error="found transform"),
    # samples and codecs
    Row("complex_int16", lambda folder: _complex(folder, "complex_int16"),
        error="type complex_int16, wanted"),
    Row("complex64", lambda folder: _complex(folder, "complex64"), error="type complex64, wanted"),
    *(
        Row(f"compression {code}", patched(pages(GREY), compression=code),
            error=f"found {name}, for which GDAL has no decoder here. Convert")
        for code, name in ((33003, "Aperio JPEG 2000"), (33005, "Aperio JPEG 2000"),
                           (50002, "JPEG XL"), (34934, "JPEG XR"), (34661, "JBIG"),
                           (54321, "compression 54321"))
    ),
    Row("THUNDERSCAN", patched(raster(GREY[np.newaxis] >> 4, nbits=4), compression=32809),
        layout="THUNDERSCAN", note="samples have 4 bit(s)"),
    # what a file cannot hold
    Row("60000 x 60000 in 1 kB",
        patched(pages(GREY, compression="zlib"), width=60000, height=60000, rows=60000),
        error="declares 60000 x 60000 pixels, but its .* bytes of DEFLATE|takes 9.0 GB"),
    Row("60000 x 60000 of LZW",
        patched(pages(GREY, compression="lzw"), width=60000, height=60000, rows=60000),
        error="declares 60000 x 60000 pixels|takes 9.0 GB"),
    Row("30000 x 9000 of LZW",
        patched(pages(GREY, compression="lzw"), width=9000, height=30000, rows=30000),
        error="declares 30000 x 9000 pixels, but its .* bytes of LZW"),
    Row("one strip of 1.6 GB", lambda folder: _inflating(folder, 40_000),
        shape=(1, 40_000, 40_000), check=lambda s: s.in_order and pixel(s, 9, 9) == [0]),
    Row("strips of 3.2 GB", lambda folder: _inflating(folder, 80_000, 40_000),
        error="one block of 40000 x 80000 takes 8.0 GB"),
    Row("too few strips", patched(pages(GREY, compression="zlib"), height=60000, rows=64),
        error="Found 1 blocks, wanted 938"),
    Row("uncompressed and short", patched(pages(GREY), width=60000, height=60000, rows=60000,
        size=60000 * 60000), error="truncated"),
    Row("uncompressed and shorter", patched(pages(GREY), width=60000, height=60000, rows=60000),
        error="declares 60000 x 60000"),
    Row("a tile of 2 gigapixels", patched(pages(GREY, compression="zlib", tile=(64, 64)),
        tile_width=50000, tile_height=48000), error="a block of 48000 x 50000 cannot"),
    Row("PNG of 60000 x 60000", written("a.png", png_of(60000, 60000)), error="declares 60000"),
    Row("PNG of 100000 x 20000", written("a.png", png_of(100000, 20000)), error="declares 100000"),
    Row("half a TIFF", cut(pages(BIG, compression="zlib", tile=(64, 64)), 0.5), error="truncated"),
    Row("half a PNG", cut(raster(BIG.transpose(2, 0, 1), "a.png", "PNG"), 0.5),
        error="truncated. It ends without"),
    Row("a PNG without its last byte", cut(raster(BIG.transpose(2, 0, 1), "a.png", "PNG"), 0.999),
        error="truncated. It ends without"),
    *(
        Row(f"half a {driver}", cut(raster(BIG.transpose(2, 0, 1), name, driver), 0.5),
            error="|".join(("could not be decoded", "no image that GDAL", "truncated")))
        for name, driver in (("a.jpg", "JPEG"), ("a.webp", "WEBP"), ("a.bmp", "BMP"),
                             ("a.jp2", "JP2OpenJPEG"))
    ),
    Row("a TIFF's first 100 bytes", cut(pages(BIG), 0.0003), error="truncated"),
    Row("a TIFF's header", written("a.tif", b"II*\0\x08\0\0\0"), error="truncated or damaged"),
    Row("a TIFF without a page", written("a.tif", b"II*\0\0\0\0\0"), error="without a page"),
    Row("a directory of no entries", written("a.tif", b"II*\0\x08\0\0\0" + bytes(64)),
        error="0 entries"),
    Row("a loop of directories", lambda folder: _loop(folder), shape=(1, 64, 64), note="earlier"),
    Row("a next page that is not there", lambda folder: _loop(folder, 1 << 30),
        shape=(1, 64, 64), note="damaged and left out"),
    Row("sparse", sparse(50_000, 50_000), shape=(3, 50_000, 50_000),
        check=lambda s: pixel(s, 3, 3) == [9] * 3 and pixel(s, 40_000, 40_000) == [0] * 3),
    Row("sparse and big", sparse(50_000, 50_000, bigtiff=True), shape=(3, 50_000, 50_000)),
    Row("nothing but left out", lambda folder: _empty(folder), shape=(1, 512, 512),
        note="no block of pixels"),
    Row("one pixel", pages(GREY[:1, :1]), shape=(1, 1, 1)),
    Row("one column", pages(GREY[:, :1]), shape=(1, 64, 1)),
]  # fmt: skip


def _inflating(folder: Path, side: int, rows: int | None = None) -> Path:
    """An image of zeros in a few kilobytes, as one strip or several."""
    rows = rows or side
    unit = zlib.compressobj(9, wbits=-15)
    once = unit.compress(bytes(1 << 24)) + unit.flush(zlib.Z_FULL_FLUSH)
    strip = b"\x78\xda" + once * (rows * side // (1 << 24) + 1)
    return tifffile_strips(folder / "a.tif", side, rows, strip)


def tifffile_strips(path: Path, side: int, rows: int, strip: bytes) -> Path:
    """Write a TIFF whose strips are all the same bytes."""
    count = side // rows
    at = 8 + len(strip) + len(strip) % 2
    tags = [(256, 1, side), (257, 1, side), (258, 1, 8), (259, 1, 8), (262, 1, 1)]
    tags += [(273, count, 8 if count == 1 else at), (277, 1, 1), (278, 1, rows)]
    tags += [(279, count, len(strip) if count == 1 else at + 4 * count)]
    lists = (
        b"" if count == 1 else struct.pack(f"<{2 * count}I", *[8] * count, *[len(strip)] * count)
    )
    body = struct.pack("<H", len(tags))
    body += b"".join(struct.pack("<HHII", tag, 4, number, value) for tag, number, value in tags)
    head = b"II*\0" + struct.pack("<I", at + len(lists))
    path.write_bytes(head + strip + bytes(len(strip) % 2) + lists + body + bytes(4))
    return path


def _complex(folder: Path, dtype: str) -> Path:
    with rasterio.open(
        folder / "a.tif", "w", driver="GTiff", count=1, height=64, width=64, dtype=dtype
    ):
        return folder / "a.tif"


def _loop(folder: Path, target: int | None = None) -> Path:
    """Let the only directory lead back to itself, or to a place."""
    path = pages(GREY)(folder)
    data = bytearray(path.read_bytes())
    (first,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, first)
    struct.pack_into("<I", data, first + 2 + 12 * count, target or first)
    path.write_bytes(data)
    return path


def _empty(folder: Path) -> Path:
    with rasterio.open(
        folder / "a.tif",
        "w",
        driver="GTiff",
        count=1,
        height=512,
        width=512,
        dtype="uint8",
        tiled=True,
        compress="lzw",
        sparse_ok=True,
    ):
        return folder / "a.tif"


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_an_image(row: Row, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It opens as it is meant, with what is left out said, or it is refused in a sentence."""
    monkeypatch.setattr(budget, "available_memory", lambda: 4 << 30)
    path = row.make(tmp_path)
    started = time.process_time()
    if row.error:
        with pytest.raises(SlideError, match=row.error) as caught, Slide(path) as slide:
            slide.read(slide.bounds)
        assert str(tmp_path) in str(caught.value)
        assert not str(caught.value).endswith(".")
    else:
        with Slide(path) as slide:
            assert not row.shape or (slide.bands, slide.height, slide.width) == row.shape
            assert row.layout in slide.layout
            said = " | ".join(slide.notes)
            assert row.note in said
            assert bool(row.note) == bool(slide.notes), said
            assert row.check(slide)
    assert time.process_time() - started < 1.0
