"""A small kernel dataset for the environment that runs the tests: packed by the real builder."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from devkit.dataset.listing import Listing
from devkit.dataset.pack import Packed, pack
from devkit.image.profiles import Profile
from devkit.lint import KERNEL_SOURCE
from devkit.wheels.wheelfile import read_wheel
from tests.made.wheels import make_wheel

LISTING = Listing("someone", "a-kernel", "A kernel", "Made of tiny wheels by the tests")
# what the made package says of itself: it requires nothing
PROJECT = """\
[project]
name = "kernelkit"
description = "A small package"
requires-python = ">=3.12"
license = "Apache-2.0"
"""
FIRST_CELL = (KERNEL_SOURCE / "first_cell.py").read_text()


def make_source(folder: Path) -> Path:
    """Make a folder like `kernel_src`: the real bootstrap, and a package with one recipe."""
    package = folder / "kernelkit"
    (package / "recipe").mkdir(parents=True)
    (package / "__init__.py").write_text('__version__ = "0.1.0"\n')
    (package / "grid.py").write_text("import shapes\n")
    (package / "recipe" / "demo.yaml").write_text("name: demo\n")
    (folder / "pyproject.toml").write_text(PROJECT)
    for name in ("bootstrap.py", "mounted.py"):
        shutil.copy(KERNEL_SOURCE / name, folder)
    return folder


def make_dataset(folder: Path, profile: Profile, *, version: str = "1.0") -> Packed:
    """Make a dataset with one vendored wheel, whose name the upload would change."""
    wheel = make_wheel(folder / "wheels", "shapes", f"{version}+team.1")
    source = make_source(folder / "source")
    return pack(
        profile, [read_wheel(wheel)], {"shapes": "asked for"}, LISTING, folder / "d", source
    )


def run_first_cell(
    inputs: Path,
    work: Path,
    fingerprint: str = "",
    then: str = "",
    before: str = "",
    python: str | Path = sys.executable,
) -> subprocess.CompletedProcess[str]:
    """Run the notebook's first cell between other code in a fresh and bare interpreter."""
    parameters = f"inputs = {str(inputs)!r}\nfingerprint = {fingerprint!r}\n"
    return subprocess.run(
        [python, "-I", "-c", f"{before}{parameters}{FIRST_CELL}\n{then}\n"],
        env={"PATH": os.environ["PATH"], "KERNELKIT_WORK": str(work)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
