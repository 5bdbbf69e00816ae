"""Small competitions of other shapes than `nuclei`, from the same real H&E picture.

Each has the name of kernelkit's recipe that it is for.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from devkit.demo.clouds import write_clouds
from devkit.demo.cuts import parts_of_he
from devkit.demo.runs import CLOUDS_RUNS, SALT_RUNS, UNOSAT_RUNS, Run
from devkit.demo.salt import write_salt
from devkit.demo.sources import read_he_kinds, read_pictures
from devkit.demo.unosat import write_unosat

__all__ = ["SHAPES", "Shape", "write_shape"]


@dataclass(frozen=True)
class Shape:
    """What a small competition is made of.

    Attributes
    ----------
    write
        Writes the competition's folder and its labels, of the public or of the hidden test.
    runs
        What is trained for it.
    """

    write: Callable[..., None]
    runs: tuple[Run, ...]


SHAPES: Mapping[str, Shape] = {
    "clouds": Shape(write_clouds, CLOUDS_RUNS),
    "salt": Shape(write_salt, SALT_RUNS),
    "unosat": Shape(write_unosat, UNOSAT_RUNS),
}


def write_shape(
    shape: Shape, downloads: Path, competition: Path, solution: Path, is_hidden: bool = False
) -> None:
    """Write a competition and the labels of its test images.

    Parameters
    ----------
    downloads
        The folder of the wheels with the pictures.
    competition, solution
        The folder, and the CSV file of `id,encoding`.
    is_hidden
        Whether it is the test of the hidden rerun.
    """
    pixels = read_pictures(downloads)["he"].pixels
    training, test = parts_of_he(pixels, read_he_kinds(downloads))
    shape.write(training, test, competition, solution, is_hidden)
