"""Faults of whole pictures: all of them in one competition, and none may cost another its mask."""

import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import yaml
from PIL import Image

from kernelkit.competition import CompetitionFolder
from kernelkit.predict import load_models, predict
from kernelkit.predict.report import ImageReport
from kernelkit.recipe import Recipe
from tests.made.competition import write_models

RGB = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
RECIPE = {
    "name": "whole",
    "competition": {"slug": "whole", "images": "test/{image}.png"},
    "tiles": "whole",
    "ensembles": [{"name": "one", "thresholds": 0.5}],
    "batch": 4,
}


class Row(NamedTuple):
    """A fault.

    Attributes
    ----------
    name
        What is wrong with the picture. It is its id, too.
    write
        Writes it.
    reason
        Why it gets the fallback row. Empty if it is predicted.
    note
        What is said of it if it is predicted.
    """

    name: str
    write: Callable[[Path], None]
    reason: str = ""
    note: str = ""


def saved(pixels: np.ndarray = RGB, form: str = "PNG", spoil: Callable[[bytes], bytes] = bytes):
    """A picture of a format, whose bytes are spoilt."""

    def write(path: Path) -> None:
        Image.fromarray(pixels).save(path, format=form)
        path.write_bytes(spoil(path.read_bytes()))

    return write


def half(content: bytes) -> bytes:
    """The first half of a file."""
    return content[: len(content) // 2]


def one_bit(content: bytes) -> bytes:
    """A file of which one bit is another."""
    return content[:900] + bytes([content[900] ^ 4]) + content[901:]


def ends(content: bytes) -> bytes:
    """A JPEG with a mark of its end in its midst."""
    at = len(content) * 2 // 3
    return content[:at] + b"\xff\xd9" * 30 + content[at + 60 :]


def moving(path: Path) -> None:
    """An animation of two frames."""
    first, second = Image.fromarray(RGB), Image.fromarray(RGB[::-1])
    first.save(path, save_all=True, append_images=[second])


def declared(path: Path) -> None:
    """A PNG of a kilobyte that says it has 60 000 x 60 000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + checksum

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(bytes(10**6)))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + pixels + chunk(b"IEND", b""))


ROWS = [
    Row("as it should be", saved()),
    Row("half a PNG", saved(spoil=half), "the file is truncated"),
    Row("nothing in it", saved(spoil=lambda _: b""), "the file is empty"),
    Row("a bit of a PNG", saved(spoil=one_bit), "checksum of its part IDAT"),
    Row("four bytes of a PNG", saved(spoil=lambda content: content[:4]), "begins with"),
    Row("half a JPEG", saved(form="JPEG", spoil=half), "Premature end of JPEG file"),
    Row("a JPEG that ends midway", saved(form="JPEG", spoil=ends), "premature end of data segment"),
    Row("a whole JPEG", saved(form="JPEG")),
    Row("grey", saved(RGB[..., 0]), "takes band 3, but the image has 1"),
    Row("with alpha", saved(np.dstack([RGB, RGB[..., 0]])), "", "band 4 is alpha"),
    Row("one pixel", saved(RGB[:1, :1])),
    Row("one row", saved(np.tile(RGB[:1], (1, 40, 1)))),
    Row("one column", saved(np.tile(RGB[:, :1], (40, 1, 1)))),
    Row("60000 x 60000", declared, "cannot hold them"),
    Row("animated", moving, "", "only the first is read"),
    Row("a folder", lambda path: path.mkdir(), "no image file of this id"),
    Row("not there", lambda _: None, "no image file of this id"),
    Row("a web page", lambda path: path.write_text("<html>"), "found a web page"),
]  # fmt: skip


@pytest.fixture(scope="module", params=[0, 2], ids=["this process", "two readers"])
def reports(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, ImageReport]:
    """What became of each picture, in one run over all of them."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "in/test").mkdir(parents=True)
    for row in ROWS:
        row.write(folder / f"in/test/{row.name}.png")
    sample = "id,predicted\n" + "".join(f"{row.name},\n" for row in ROWS)
    (folder / "in/sample_submission.csv").write_text(sample)
    recipe = Recipe.parse(yaml.safe_dump(RECIPE))
    models = load_models(recipe, write_models(folder / "models"))
    competition = CompetitionFolder.read(folder / "in", recipe.competition)
    done = predict(competition, recipe, models, folder / "out", workers=request.param)
    return {image.image: image for image in done.report.images}


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_a_whole_picture(row: Row, reports: dict[str, ImageReport]) -> None:
    """It is predicted as it is meant, or has the fallback row and says why in one sentence."""
    report = reports[row.name]
    assert report.status == ("fallback" if row.reason else "predicted"), report.notes
    if row.reason:
        assert row.reason in report.notes[-1]
        assert not report.notes[-1].endswith(".")
    else:
        assert bool(report.notes) == bool(row.note)
        assert row.note in " ".join(report.notes)
