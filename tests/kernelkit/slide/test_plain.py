"""The short way to plain PNGs: the pixels of a slide, or none at all."""

import io
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from kernelkit.errors import SlideError
from kernelkit.files import file_sha256
from kernelkit.slide import Slide
from kernelkit.slide.plain import look_at_plain, read_plain
from tests.made.layouts import picture

RGB = np.ascontiguousarray(picture(3, 40, 57).transpose(1, 2, 0))


def png(image: Image.Image, **options: Any) -> bytes:
    """Return a picture as the bytes of a PNG."""
    file = io.BytesIO()
    image.save(file, "PNG", **options)
    return file.getvalue()


def chunk(kind: bytes, content: bytes) -> bytes:
    """Return a chunk of a PNG with its checksum."""
    checksum = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + checksum


def with_chunk(kind: bytes, content: bytes) -> bytes:
    """Return a PNG with a chunk after its header."""
    whole = png(Image.fromarray(RGB))
    return whole[:33] + chunk(kind, content) + whole[33:]


def made_of(raw: bytes) -> bytes:
    """Return a PNG of 40 x 57 pixels with these rows, packed."""
    header = chunk(b"IHDR", struct.pack(">II5B", 57, 40, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", raw) + chunk(b"IEND", b"")


def rows(count: int) -> bytes:
    """Return rows of pixels as a PNG packs them."""
    return b"".join(b"\0" + row.tobytes() for row in RGB[:count])


def text() -> PngInfo:
    """Return a comment and a time, as ImageMagick writes them."""
    info = PngInfo()
    info.add_text("Software", "made here")
    info.add_text("Description", "long " * 200, zip=True)
    info.add(b"tIME", bytes((7, 230, 1, 2, 3, 4, 5)))
    return info


def turned() -> Image.Exif:
    """Return what asks a viewer to turn a picture."""
    exif = Image.Exif()
    exif[274] = 6
    return exif


PLAIN = {
    "rgb": png(Image.fromarray(RGB)),
    "grey": png(Image.fromarray(RGB[..., 0])),
    "a pixel": png(Image.fromarray(RGB[:1, :1])),
    "a row": png(Image.fromarray(RGB[:1])),
    "not packed": png(Image.fromarray(RGB), compress_level=0),
    "noise": png(Image.fromarray(np.random.default_rng(0).integers(0, 256, (99, 201, 3), "u1"))),
    "texts": png(Image.fromarray(RGB), pnginfo=text()),
    "a size in metres": png(Image.fromarray(RGB), dpi=(300, 300)),
    "gamma": with_chunk(b"gAMA", struct.pack(">I", 45455)),
    "sRGB": with_chunk(b"sRGB", b"\0"),
    "chroma": with_chunk(b"cHRM", struct.pack(">8I", *range(30000, 38000, 1000))),
    "significant bits": with_chunk(b"sBIT", b"\5\5\5"),
}
OTHERS = {
    "alpha": png(Image.fromarray(np.dstack([RGB, RGB[..., :1]]))),
    "grey with alpha": png(Image.fromarray(RGB[..., :2])),
    "palette": png(Image.fromarray(RGB).quantize(16)),
    "16 bits": png(Image.fromarray(picture(1, 40, 57, "uint16")[0])),
    "1 bit": png(Image.fromarray(RGB[..., 0] > 99)),
    "a colour that is transparent": png(Image.fromarray(RGB), transparency=(1, 2, 3)),
    "turned": png(Image.fromarray(RGB), exif=turned()),
    "a chunk that nobody knows": with_chunk(b"vpAg", b"what"),
    "an animation": with_chunk(b"acTL", struct.pack(">II", 1, 0)),
    "rows that are missing": made_of(zlib.compress(rows(20))),
    "packed rows that are cut": made_of(zlib.compress(rows(40))[:-9]),
    "a wrong checksum": made_of(zlib.compress(rows(40))[:-4] + b"none"),
    "a filter that is none": made_of(zlib.compress(b"\x09" + rows(40)[1:])),
    "rows that are not packed": made_of(rows(40)),
    "something after the end": png(Image.fromarray(RGB)) + b"\0",
    "two headers": with_chunk(b"IHDR", struct.pack(">II5B", 57, 40, 8, 2, 0, 0, 0)),
    "no content": b"",
    "a JPEG": b"\xff\xd8\xff",
}


@pytest.mark.parametrize("name", PLAIN)
def test_a_plain_png_is_what_its_slide_is(tmp_path: Path, name: str) -> None:
    """Pixels and layout are the same."""
    path = tmp_path / "picture.png"
    path.write_bytes(PLAIN[name])
    found = read_plain(path)
    assert found is not None
    with Slide(path) as slide:
        pixels, held = slide.read_whole()
        assert np.array_equal(found.pixels, pixels)
        assert np.array_equal(pixels.transpose(2, 0, 1), slide.read(slide.bounds))
        assert found.layout == slide.layout
        assert found.sha256 == file_sha256(path)
        assert look_at_plain(path) == (slide.height, slide.width, slide.bands)
        assert (held, slide.notes) == (None, [])


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_not_plain_is_left_to_the_slide(tmp_path: Path, name: str) -> None:
    """So its pixels, notes and sentences are the slide's."""
    path = tmp_path / "picture.png"
    path.write_bytes(OTHERS[name])
    assert read_plain(path) is None


def test_paths_that_no_slide_opens(tmp_path: Path) -> None:
    """Nothing is opened that could stand still or lie outside."""
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    names = ["pipe.png", "folder.png", "gone.png", "a\0b.png", "\udcff.png"]
    assert [read_plain(tmp_path / name) for name in names] == [None] * len(names)
    assert read_plain(Path("/vsimem/picture.png")) is None


def test_rows_after_the_last_are_left_alone(tmp_path: Path) -> None:
    """As viewers do it. GDAL refuses them if it is asked for all rows at once."""
    path = tmp_path / "picture.png"
    path.write_bytes(made_of(zlib.compress(rows(40) + rows(3))))
    found = read_plain(path)
    assert found is not None
    assert np.array_equal(found.pixels, RGB)


@settings(max_examples=400)
@given(st.sampled_from(("rgb", "grey", "texts", "gamma")), st.data())
def test_a_damaged_file_is_never_read_otherwise(
    tmp_path_factory: pytest.TempPathFactory, name: str, data: st.DataObject
) -> None:
    """Whatever byte is changed, cut out or put in, there are the slide's pixels or none."""
    content = bytearray(PLAIN[name])
    at = data.draw(st.integers(0, len(content) - 1))
    done = data.draw(st.sampled_from(("change", "cut", "end", "put in")))
    if done == "change":
        content[at] ^= data.draw(st.integers(1, 255))
    elif done == "end":
        del content[at:]
    elif done == "cut":
        del content[at : at + data.draw(st.integers(1, 40))]
    else:
        content[at:at] = data.draw(st.binary(min_size=1, max_size=8))
    path = tmp_path_factory.getbasetemp() / "damaged.png"
    path.write_bytes(content)
    found = read_plain(path)
    if found is not None:
        with Slide(path) as slide:
            assert np.array_equal(found.pixels, slide.read_whole()[0])


def test_a_png_that_declares_more_than_it_holds(tmp_path: Path) -> None:
    """It is left to the slide, which refuses it before memory is taken."""
    header = chunk(b"IHDR", struct.pack(">II5B", 60_000, 60_000, 8, 2, 0, 0, 0))
    path = tmp_path / "picture.png"
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    )
    assert read_plain(path) is None
    with pytest.raises(SlideError, match="declares 60000 x 60000 pixels"):
        Slide(path)
