"""Files that a format allows and few people write: their pixels, and what is said of them."""

import gzip
import struct
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
from kernelkit.slide import Slide

RGB = np.random.default_rng(0).integers(0, 256, (70, 90, 3), dtype=np.uint8)
GREY = RGB[..., 0]
WIDE = GREY.astype(np.uint16)


class Row(NamedTuple):
    """An odd file, and the right answer.

    Attributes
    ----------
    name
        What is odd about it.
    make
        Writes it to a path without a suffix, and returns its path.
    truth
        Its pixels, (h, w) or (h, w, bands). None if they are not compared.
    note
        A part of one of its notes. Empty if there must be none.
    error
        A part of the error's sentence, if it is refused.
    """

    name: str
    make: Callable[[Path], Path]
    truth: np.ndarray | None = None
    note: str = ""
    error: str = ""


def tiff(array: np.ndarray, **options: Any) -> Callable[[Path], Path]:
    """A TIFF by tifffile."""
    colour = "rgb" if array.ndim == 3 else "minisblack"

    def make(path: Path) -> Path:
        path = path.with_suffix(".tif")
        tifffile.imwrite(path, array, **({"photometric": colour, "metadata": None} | options))
        return path

    return make


def gdal(array: np.ndarray, driver: str = "GTiff", suffix: str = ".tif", **options: Any):
    """An image by GDAL."""

    def make(path: Path) -> Path:
        path = path.with_suffix(suffix)
        bands = np.moveaxis(array, -1, 0) if array.ndim == 3 else array[None]
        profile = {"count": len(bands), "height": 70, "width": 90, "dtype": array.dtype, **options}
        with rasterio.open(path, "w", driver=driver, **profile) as file:
            file.write(bands)
        return path

    return make


def tagged(make: Callable[[Path], Path], tag: int, value: int) -> Callable[[Path], Path]:
    """A TIFF, classic or big, one of whose tags says another number."""

    def made(path: Path) -> Path:
        path = make(path)
        data = bytearray(path.read_bytes())
        big = data[2] == 43
        first = struct.unpack_from("<Q" if big else "<I", data, 8 if big else 4)[0]
        count = struct.unpack_from("<Q" if big else "<H", data, first)[0]
        step, start = (20, first + 8) if big else (12, first + 2)
        for at in range(start, start + count * step, step):
            if struct.unpack_from("<H", data, at)[0] == tag:
                struct.pack_into(
                    "<HQQ" if big else "<HII", data, at + 2, 16 if big else 4, 1, value
                )
        path.write_bytes(data)
        return path

    return made


def pillow(suffix: str, *frames: np.ndarray, **options: Any) -> Callable[[Path], Path]:
    """An image by Pillow, of one frame or more."""

    def make(path: Path) -> Path:
        path = path.with_suffix(suffix)
        first, *others = (Image.fromarray(frame) for frame in frames)
        if others:
            options.update(save_all=True, append_images=others)
        first.save(path, **options)
        return path

    return make


def chunk(kind: bytes, data: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(
    array: np.ndarray,
    bits: int,
    kind: int,
    *before: bytes,
    interlaced: bool = False,
    parts: int = 1,
) -> Callable[[Path], Path]:
    """A PNG by hand, of any depth, with chunks before its pixels."""

    def make(path: Path) -> Path:
        path = path.with_suffix(".png")
        passes = [array]
        if interlaced:
            steps = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2)]
            steps += [(0, 1, 2, 2), (1, 0, 2, 1)]
            passes = [array[y::down, x::right] for y, x, down, right in steps]
        rows = b"".join(b"\0" + packed(row, bits) for each in passes for row in each)
        body = zlib.compress(rows)
        step = -(-len(body) // parts)
        header = struct.pack(">IIBBBBB", 90, 70, bits, kind, 0, 0, interlaced)
        pixels = [chunk(b"IDAT", body[i : i + step]) for i in range(0, len(body), step)]
        mark = b"\x89PNG\r\n\x1a\n"
        path.write_bytes(
            b"".join([mark, chunk(b"IHDR", header), *before, *pixels, chunk(b"IEND", b"")])
        )
        return path

    return make


def packed(row: np.ndarray, bits: int) -> bytes:
    """A row of samples as a PNG holds them."""
    if bits >= 8:
        return row.astype(">u2" if bits == 16 else "u1").tobytes()
    return np.packbits(np.unpackbits(row[:, None], axis=1)[:, -bits:].reshape(-1)).tobytes()


def raw(suffix: str, content: bytes) -> Callable[[Path], Path]:
    """A file of some bytes."""

    def make(path: Path) -> Path:
        path = path.with_suffix(suffix)
        path.write_bytes(content)
        return path

    return make


def missing_tile(path: Path) -> Path:
    """A planar TIFF that lacks a tile of its second band."""
    path = gdal(RGB, tiled=True, blockxsize=16, blockysize=16, interleave="band")(path)
    for tag in (324, 325):
        [where] = [t for t in tifffile.TiffFile(path).pages[0].tags.values() if t.code == tag]
        data = bytearray(path.read_bytes())
        size = 4 if where.dtype == 4 else 2
        data[where.valueoffset + size * 35 : where.valueoffset + size * 36] = bytes(size)
        path.write_bytes(data)
    return path


def reduced_first(path: Path) -> Path:
    """A TIFF whose overview comes before its image."""
    path = path.with_suffix(".tif")
    with tifffile.TiffWriter(path) as file:
        file.write(RGB[::2, ::2], photometric="rgb", subfiletype=1, metadata=None)
        file.write(RGB, photometric="rgb", metadata=None)
    return path


def far_tables(path: Path) -> Path:
    """A BigTIFF whose tables of blocks lie where no file has a byte, and have no end."""
    path = tiff(RGB, bigtiff=True, tile=(16, 16))(path)
    data = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as file:
        tags = file.pages[0].tags
        places = [tags[name].offset for name in ("TileOffsets", "TileByteCounts")]
    for at in places:
        struct.pack_into("<QQ", data, at + 4, 2**60, 2**63 + 9)
    path.write_bytes(data)
    return path


def sub_directories(path: Path) -> Path:
    """A TIFF whose overviews lie in directories below that of the image."""
    path = path.with_suffix(".tif")
    with tifffile.TiffWriter(path) as file:
        file.write(RGB, photometric="rgb", subifds=1, metadata=None)
        file.write(RGB[::2, ::2], photometric="rgb", subfiletype=1, metadata=None)
    return path


def scaled(path: Path) -> Path:
    """A TIFF whose values are to be halved."""
    path = gdal(GREY)(path)
    with rasterio.open(path, "r+") as file:
        file.scales = (0.5,)
    return path


def bmp_from_the_top(path: Path) -> Path:
    """A BMP whose first row is stored first."""
    path = pillow(".bmp", RGB[::-1])(path)
    data = bytearray(path.read_bytes())
    struct.pack_into("<i", data, 22, -70)
    path.write_bytes(data)
    return path


def jp2_without_end(path: Path) -> Path:
    """A JPEG 2000 in which the box of the colours says that it goes on to the file's end."""
    options = {"quality": 100, "reversible": "YES"}
    path = gdal(RGB, "JP2OpenJPEG", ".jp2", **options)(path)
    data = bytearray(path.read_bytes())
    at = data.index(b"colr")
    data[at - 4 : at] = bytes(4)
    path.write_bytes(data)
    return path


HOLE = RGB.copy()
HOLE[0:16, 80:90, 1] = 0  # tile 35 of a band of 30: the sixth of the second band's first row
STORED = "read as stored"
DEPTHS = np.stack([RGB[..., 0], RGB[..., 1], RGB[..., 2], GREY])
TWO = "only the first is read"
FLOATS = (RGB / 7).astype(np.float32)
ANIMATED = pillow(".webp", RGB, RGB[::-1], lossless=True)
METADATA = "<!DOCTYPE x [<!ENTITY a 'aaaa'>]><GDALMetadata><Item name='x'>&a;</Item></GDALMetadata>"

ROWS = [
    Row("tiles of 16", tiff(RGB, tile=(16, 16), compression="zlib"), RGB),
    Row("tiles higher than the image", tiff(RGB, tile=(512, 16)), RGB),
    Row("predictor 3", tiff(FLOATS, predictor=3, compression="zlib", tile=(32, 32)), FLOATS),
    Row("predictor 3 of 64 bits", gdal(RGB / 7, compress="lzw", predictor=3), RGB / 7),
    Row("half floats, predictor 3",
        tiff(FLOATS[..., 0].astype("f2"), predictor=3, compression="zlib"),
        FLOATS[..., 0].astype("f2")),
    Row("int8", tiff(GREY.astype("i1")), GREY.astype("i1")),
    Row("big-endian", tiff((WIDE - 9).astype(">i2"), byteorder=">"), (WIDE - 9).astype("i2")),
    Row("64 bits", tiff(GREY.astype("u8") << 40), GREY.astype("u8") << 40),
    Row("negative 64 bits", tiff(-(GREY.astype("i8") << 40)), -(GREY.astype("i8") << 40)),
    Row("1 bit", tiff(GREY > 99), (GREY > 99).astype("u1"), STORED),
    Row("2 bits", gdal(GREY % 4, nbits=2), GREY % 4, STORED),
    Row("4 bits", gdal(GREY % 16, nbits=4), GREY % 16, STORED),
    Row("4 bits in colour", gdal(RGB % 16, nbits=4, photometric="rgb"), RGB % 16, STORED),
    Row("10 bits in tiles of LZW",
        gdal(WIDE * 3, nbits=10, compress="lzw", tiled=True, blockxsize=16, blockysize=16),
        WIDE * 3),
    Row("12 bits", gdal(WIDE * 15, nbits=12), WIDE * 15),
    Row("complex", tiff(GREY + 1j * GREY), error="complex128, wanted whole numbers"),
    Row("planar, a tile missing", missing_tile, HOLE),
    Row("planar", tiff(np.moveaxis(RGB, -1, 0).copy(), planarconfig="separate",
        photometric="rgb"), RGB),
    Row("two samples too many", tiff(np.concatenate([RGB, RGB[..., :2]], -1), extrasamples=[0, 0]),
        np.concatenate([RGB, RGB[..., :2]], -1)),
    Row("two alphas", tiff(np.concatenate([RGB, RGB[..., :2]], -1), extrasamples=[2, 2]),
        np.concatenate([RGB, RGB[..., :2]], -1), "says nothing of missing data"),
    Row("overview first", reduced_first, RGB),
    Row("directories below", sub_directories, RGB),
    Row("depths and channels of OME",
        tiff(DEPTHS.reshape(2, 2, 70, 90), ome=True, photometric="minisblack",
            metadata={"axes": "ZCYX"}),
        np.moveaxis(DEPTHS, 0, 2), "several depths (2) or times (1): all 4 are read as bands"),
    Row("channels of OME",
        tiff(DEPTHS, ome=True, photometric="minisblack", metadata={"axes": "CYX"}),
        np.moveaxis(DEPTHS, 0, 2)),
    Row("BigTIFF", tiff(RGB, bigtiff=True), RGB),
    Row("BigTIFF, its directory nowhere",
        lambda path: raw(".tif", b"II+\0\x08\0\0\0" + b"\xfe" + b"\xff" * 6 + b"\x7f")(path),
        error="truncated or damaged"),
    Row("BigTIFF, its pixels nowhere", tagged(tiff(RGB, bigtiff=True), 273, 2**62),
        error="wanted at least 46116860184"),
    Row("BigTIFF, the places of its blocks nowhere", far_tables, error="Found 0 blocks"),
    Row("pixels beyond the end", tagged(tiff(RGB), 273, 2**31), error="the file is truncated"),
    Row("a strip of 4 GB", tagged(tiff(RGB, compression="zlib"), 279, 2**32 - 1),
        error="the file is truncated"),
    Row("no width", tagged(tiff(RGB), 256, 0), error="a TIFF without a page"),
    Row("a width of 2 gigapixels", tagged(tiff(RGB, compression="zlib"), 256, 2**31),
        error="cannot hold them"),
    Row("65535 samples", tagged(tiff(RGB), 277, 65535), error="cannot hold them"),
    Row("7 bits", tagged(tiff(GREY), 258, 7), note=STORED),
    Row("65535 bits", tagged(tiff(GREY), 258, 65535), error="cannot hold them"),
    Row("samples of kind 9", tagged(tiff(GREY.astype("i2")), 339, 9), error="SampleFormat"),
    Row("compression 65000", tagged(tiff(RGB), 259, 65000),
        error="compression 65000, for which GDAL has no decoder"),
    Row("a palette that is not there", tagged(tiff(GREY), 262, 3), GREY, "that is not there"),
    Row("strips of no rows", tagged(tiff(RGB), 278, 0), error="truncated or damaged"),
    Row("one strip of 2^32 rows", tagged(tiff(RGB), 278, 2**32 - 1), RGB),
    Row("YCbCr of no JPEG", tiff(RGB, photometric="ycbcr", compression="zlib"),
        note="the image is YCbCr: GDAL's conversion to RGB"),
    Row("Lab", tiff(RGB, photometric="cielab"), note="the image is CIELab: GDAL's conversion"),
    Row("metadata with entities", tiff(RGB, extratags=[(42112, 2, 0, METADATA, True)]), RGB),
    Row("nodata of letters", tiff(RGB, extratags=[(42113, 2, 0, "none", True)]), RGB),
    Row("a scale", scaled, GREY, "without it"),
    Row("a long private tag", tiff(RGB, extratags=[(50000, 2, 0, "x" * 100_000, True)]), RGB),
    Row("a long description", tiff(RGB, description="x" * 5_000_000), RGB),
    Row("PNG of 16 bits", png(RGB.astype("u2") * 257, 16, 2), RGB.astype("u2") * 257),
    Row("PNG of 16 bits with a transparent grey",
        png(WIDE * 257, 16, 0, chunk(b"tRNS", struct.pack(">H", 300))), WIDE * 257),
    Row("PNG, interlaced", png(RGB, 8, 2, interlaced=True), RGB),
    Row("PNG of 1 bit", png(GREY % 2, 1, 0), GREY % 2, STORED),
    Row("PNG of 4 bits", png(GREY % 16, 4, 0), GREY % 16, STORED),
    Row("PNG in a thousand parts", png(RGB, 8, 2, parts=1000), RGB),
    Row("PNG with a gamma", png(RGB, 8, 2, chunk(b"gAMA", struct.pack(">I", 100_000))), RGB),
    Row("PNG with 60 MB of text in 60 kB",
        png(RGB, 8, 2, chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(60_000_000)))), RGB),
    Row("PNG of two sizes",
        png(RGB, 8, 2, chunk(b"IHDR", struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0))),
        error="IHDR: out of place"),
    Row("PNG as iPhones have it", png(RGB, 8, 2, chunk(b"CgBI", bytes(4))),
        error="unhandled critical chunk"),
    Row("PNG without rows", png(RGB[:0], 8, 2), error="could not be decoded"),
    Row("APNG", pillow(".png", RGB, RGB[::-1]), RGB, TWO),
    Row("JPEG of two pictures", pillow(".jpg", RGB, RGB[::-1], format="MPO"), note=TWO),
    Row("GIF that moves", pillow(".gif", RGB, RGB[::-1]), note=TWO),
    Row("WebP that moves", ANIMATED, error="an animated WebP, wanted one picture"),
    Row("WebP that loses nothing", pillow(".webp", RGB, lossless=True), RGB),
    Row("BMP from the top", bmp_from_the_top, RGB),
    Row("JPEG 2000 of 16 bits",
        gdal(RGB.astype("u2") * 257, "JP2OpenJPEG", ".jp2", quality=100, reversible="YES"),
        RGB.astype("u2") * 257),
    Row("JPEG 2000 below 0",
        gdal(GREY.astype("i2") - 128, "JP2OpenJPEG", ".jp2", quality=100, reversible="YES"),
        GREY.astype("i2") - 128),
    Row("JPEG 2000 of a box without end", jp2_without_end),
    Row("an array without the end of its header",
        raw(".npy", b"\x93NUMPY\1\0\x10\0{'descr': '|u1   \n"), error="no whole array of numbers"),
    Row("a web page", raw(".tif", b"\n<!DOCTYPE html><html>404"), error="a web page, wanted"),
    Row("a pointer of Git LFS", raw(".tif", b"version https://git-lfs.github.com/spec/v1\noid"),
        error="pointer to a file"),
    Row("a packed TIFF", raw(".tif", gzip.compress(b"II*\0")), error="no image that GDAL can open"),
    Row("a drawing", raw(".png", b"<svg/>"), error="a text that describes one"),
]  # fmt: skip


@pytest.mark.parametrize("suffix", [".ppm", ".bmp", ".png", ".jpg", ".webp"])
def test_a_picture_lies_nowhere_on_the_map(suffix: str, tmp_path: Path) -> None:
    """GDAL makes up a place for some formats that cannot say one."""
    with Slide(pillow(suffix, RGB)(tmp_path / "a")) as slide:
        assert slide.crs is None
        assert slide.transform == rasterio.Affine.identity()


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
@pytest.mark.filterwarnings("ignore:'mode' parameter:DeprecationWarning")
def test_an_odd_image(row: Row, tmp_path: Path) -> None:
    """Its pixels are those that were written, and a note says what a viewer shows otherwise."""
    path = row.make(tmp_path / "a")
    if row.error:
        with pytest.raises(SlideError, match=row.error) as caught, Slide(path) as slide:
            slide.read(slide.bounds)
        assert str(path) in str(caught.value)
        assert not str(caught.value).endswith(".")
        return
    with Slide(path) as slide:
        said = slide.notes
        assert bool(said) == bool(row.note), said
        assert row.note in " ".join(said)
        pixels = slide.read(slide.bounds)
    if row.truth is not None:
        truth = row.truth if row.truth.ndim == 3 else row.truth[..., None]
        np.testing.assert_array_equal(pixels, np.moveaxis(truth, -1, 0))
