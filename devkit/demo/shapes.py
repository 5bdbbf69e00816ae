"""Small competitions of other shapes than `nuclei`, from the same real H&E picture.

Each has the name of kernelkit's recipe that it is for.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from devkit.demo.clouds import write_clouds
from devkit.demo.cuts import parts_of_he
from devkit.demo.salt import write_salt
from devkit.demo.sources import read_he_kinds, read_pictures
from devkit.demo.unosat import write_unosat

__all__ = ["SHAPES", "write_shape"]

# What writes a competition's folder and its labels, of the public or of the hidden test.
SHAPES: Mapping[str, Callable[..., None]] = {
    "clouds": write_clouds,
    "salt": write_salt,
    "unosat": write_unosat,
}


def write_shape(
    name: str, downloads: Path, competition: Path, solution: Path, is_hidden: bool = False
) -> None:
    """Write a competition and the labels of its test images.

    Parameters
    ----------
    name
        One of `SHAPES`.
    downloads
        The folder of the wheels with the pictures.
    competition, solution
        The folder, and the CSV file of `id,encoding`.
    is_hidden
        Whether it is the test of the hidden rerun.
    """
    pixels = read_pictures(downloads)["he"].pixels
    training, test = parts_of_he(pixels, read_he_kinds(downloads))
    SHAPES[name](training, test, competition, solution, is_hidden)
