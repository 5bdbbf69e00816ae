"""A small competition of the shape of UNOSAT. The radar is synthetic, and the outlines are real.

Nuclei of the H&E picture stand for settlements. They are bright in speckle of four looks, with the
means of the seed's radar. Each acquisition of a city has speckle of its own and another zone of
zeros, as ortho-rectification leaves one. One acquisition lacks a band.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import rasterio
from affine import Affine
from rasterio.crs import CRS

from devkit.demo.cuts import Part, encoded, windows, write_rows
from kernelkit.maps import polygons, write_polygons
from kernelkit.mask import BitMask

__all__ = ["BANDS", "Scene", "scenes_of", "write_unosat"]

BANDS = ("vh", "vv")
SIZE = (576, 768)
# Ground of a city in the H&E picture, which is enlarged to the size above.
_PIECE = (144, 192)
_LOOKS = 4
# Mean power of (background, settlement) for each band.
_POWER = {"vh": (0.012, 0.075), "vv": (0.06, 0.36)}
_METRES = 10.0
_CRS = CRS.from_epsg(32638)
# How many acquisitions each city has. Their number is that of the cities.
_TRAINING, _PUBLIC, _HIDDEN = (2, 2, 2), (3, 3), (4, 1, 3)


@dataclass(frozen=True)
class Scene:
    """One acquisition of a city.

    Attributes
    ----------
    city, date
        Their names in the paths.
    files
        The file of each band, by its name. One that is missing is not in it.
    """

    city: str
    date: str
    files: dict[str, Path]

    @property
    def id(self) -> str:
        """The id of its row."""
        return f"{self.city}/{self.date}"


def write_unosat(
    training: Part, test: Part, competition: Path, solution: Path, is_hidden: bool = False
) -> None:
    """Write the competition's folder, and the labels of its test scenes.

    Training cities have a Shapefile each. The test has no sample submission, since Shapefiles are
    submitted.

    Parameters
    ----------
    training, test
        The two parts of the H&E picture.
    competition
        The folder. It must not hold a competition yet.
    solution
        A CSV file of `id,encoding`.
    is_hidden
        Whether to write the test of the hidden rerun: other cities, and more of them.
    """
    _write_cities(training, "train", "a", _TRAINING, competition)
    prefix, cities = ("c", _HIDDEN) if is_hidden else ("b", _PUBLIC)
    rows = _write_cities(test, "test", prefix, cities, competition)
    last = scenes_of(competition / "test")[-1]
    last.files["vv"].unlink()  # it lacks a band
    write_rows(solution, ("id", "encoding"), rows)


def scenes_of(folder: Path) -> list[Scene]:
    """The acquisitions below a folder of cities, in the order of their names."""
    found: dict[tuple[str, str], dict[str, Path]] = {}
    for path in sorted(folder.rglob("*.tif")):
        _, date, band = path.stem.split("_")
        found.setdefault((path.relative_to(folder).parts[0], date), {})[band] = path
    return [Scene(city, date, files) for (city, date), files in found.items()]


def _write_cities(
    part: Part, kind: str, prefix: str, cities: tuple[int, ...], competition: Path
) -> list[tuple[str, str]]:
    """Write cities with so many acquisitions each, and return the rows of their labels."""
    rows = []
    # cities lie apart from each other, so none shows what another one shows
    grounds = list(windows(part, _PIECE))[:: 2 if kind == "train" else 1]
    for number, acquisitions in enumerate(cities):
        city = f"{prefix}{number + 1:02d}"
        piece = grounds[number]
        nuclei = (part.kinds[piece.slices] > 0).astype(np.float32)
        settled = cv2.resize(nuclei, SIZE[::-1], interpolation=cv2.INTER_LINEAR) > 0.5
        place = Affine(_METRES, 0, 400_000 + 1e4 * number, 0, -_METRES, 4_000_000)
        rng = np.random.default_rng([ord(prefix), number])
        for acquisition in range(acquisitions):
            date = f"2018{7 + acquisition:02d}{number + 11}"
            folder = competition / kind / city / f"pass{acquisition + 1}"
            _write_scene(folder, date, settled, acquisition, place, rng)
            rows.append((f"{city}/{date}", encoded(settled)))
        if kind == "train":
            shapes = polygons(BitMask.from_array(settled), place)
            write_polygons(competition / kind / f"{city}.shp", shapes, _CRS)
    return rows


def _write_scene(
    folder: Path,
    date: str,
    settled: np.ndarray,
    acquisition: int,
    place: Affine,
    rng: np.random.Generator,
) -> None:
    folder.mkdir(parents=True)
    speckle_of = {band: rng.gamma(_LOOKS, 1 / _LOOKS, SIZE) for band in BANDS}
    empty = _zone_of_zeros(acquisition)
    profile = {
        "driver": "GTiff",
        "dtype": "float32",
        "count": 1,
        "height": SIZE[0],
        "width": SIZE[1],
        "crs": _CRS,
        "transform": place,
        "compress": "deflate",
    }
    for band, speckle in speckle_of.items():
        power = np.where(settled, _POWER[band][1], _POWER[band][0]) * speckle
        with rasterio.open(folder / f"S1_{date}_{band}.tif", "w", **profile) as file:
            file.write(np.where(empty, 0, power).astype(np.float32), 1)


def _zone_of_zeros(acquisition: int) -> np.ndarray:
    """A slanted strip without data at one side, another one for each acquisition."""
    rows, cols = np.mgrid[: SIZE[0], : SIZE[1]]
    edge = 40 + 30 * acquisition + rows // 8
    return (cols if acquisition % 2 else SIZE[1] - 1 - cols) < edge
