"""Files with bytes changed, cut or added: they are read, or one sentence says what is wrong."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pandas as pd
import pytest
import rasterio
import shapely
import tifffile
from PIL import Image
from rasterio.crs import CRS

from kernelkit.competition.tables import submission_rows
from kernelkit.errors import KernelKitError
from kernelkit.grid import Window
from kernelkit.maps import DrawnLabels
from kernelkit.slide import Slide

RGB = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
MAP = CRS.from_epsg(32633)
SHAPES = geopandas.GeoDataFrame(geometry=[shapely.box(0, 0, 9, 9)], crs=32633)
# So many files of each kind are damaged.
TRIES = 40
# Larger images are opened, but not read here.
LARGE = 1 << 20


def tiff(**options: Any) -> Callable[[Path], None]:
    return lambda path: tifffile.imwrite(path, RGB, photometric="rgb", **options)


def pillow(path: Path) -> None:
    Image.fromarray(RGB).save(path)


def jp2(path: Path) -> None:
    size = {"count": 3, "height": 40, "width": 50, "dtype": "uint8"}
    with rasterio.open(path, "w", driver="JP2OpenJPEG", **size) as file:
        file.write(np.moveaxis(RGB, 2, 0))


def table(path: Path) -> None:
    pd.DataFrame({"id": ["a", "b"], "predicted": ["1 2", None]}).to_parquet(path)


def read_image(path: Path) -> None:
    with Slide(path) as slide:
        slide.read_valid(Window(0, 0, 9, 9))
        if slide.height * slide.width * slide.bands < LARGE:
            slide.read_whole()
            slide.thumbnail(32)


def read_shapes(path: Path) -> None:
    DrawnLabels(path, crs=MAP).mask(Window(0, 0, 30, 30))


def read_table(path: Path) -> None:
    list(submission_rows(path))


type Step = Callable[[Path], Any]

KINDS: list[tuple[str, str, Step, Step]] = [
    ("a TIFF", "a.tif", tiff(), read_image),
    ("a TIFF in tiles", "a.tif", tiff(tile=(16, 16), compression="zlib"), read_image),
    ("a BigTIFF", "a.tif", tiff(bigtiff=True, byteorder=">", tile=(16, 16)), read_image),
    ("a PNG", "a.png", pillow, read_image),
    ("a JPEG", "a.jpg", pillow, read_image),
    ("a JPEG 2000", "a.jp2", jp2, read_image),
    ("a WebP", "a.webp", pillow, read_image),
    ("a BMP", "a.bmp", pillow, read_image),
    ("an array", "a.npy", lambda path: np.save(path, RGB), read_image),
    ("a GeoJSON", "a.geojson", SHAPES.to_file, read_shapes),
    ("a GeoPackage", "a.gpkg", SHAPES.to_file, read_shapes),
    ("a Shapefile", "a.shp", SHAPES.to_file, read_shapes),
    ("a Parquet table", "a.parquet", table, read_table),
]


def damaged(content: bytes, source: np.random.Generator) -> bytes:
    """The content with some bytes changed, most of them in its head, or cut, or with more."""
    data = bytearray(content)
    for _ in range(source.choice([1, 2, 5])):
        reach = min(len(data), int(source.choice([40, 400, len(data)])))
        place, kind = int(source.integers(reach)), source.random()
        if kind < 0.7:
            data[place] = int(source.choice([0, 255, source.integers(256)]))
        elif kind < 0.85:
            del data[place + 1 :]
        else:
            data[place:place] = source.bytes(5)
    return bytes(data)


@pytest.mark.parametrize("kind", KINDS, ids=[kind[0] for kind in KINDS])
@pytest.mark.filterwarnings("ignore")
def test_damaged_bytes_are_read_or_said(kind: tuple[str, str, Step, Step], tmp_path: Path) -> None:
    """No error of a library comes through, and no sentence has several lines."""
    _, name, write, read = kind
    write(tmp_path / name)
    parts = {path: path.read_bytes() for path in tmp_path.iterdir()}
    source = np.random.default_rng(0)
    said = []
    for _ in range(TRIES):
        for path, content in parts.items():
            is_spoilt = len(parts) == 1 or source.random() < 0.5
            path.write_bytes(damaged(content, source) if is_spoilt else content)
        try:
            read(tmp_path / name)
        except KernelKitError as error:
            said.append(str(error))
    assert said
    assert not [each for each in said if "\n" in each or each.endswith(".")]
