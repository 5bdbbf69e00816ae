"""Verify a kernel dataset as a user will meet it: from its folder alone, then in the image's twin.

`check_dataset` reads every byte. `prove` mounts the folder as Kaggle does, without a network. There
it runs the notebook's first cell with the twin's Python. It imports every module of kernelkit and
of the user's own code, and loads the recipes of the user's own competition.
"""

import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

import mounted
from devkit.bars import waiting
from devkit.dataset.limits import check_upload
from devkit.dataset.listing import CLIENT_FILE, read_listing
from devkit.errors import DatasetError, TwinError
from devkit.image.profiles import Profile
from devkit.lint import KERNEL_SOURCE
from devkit.sandbox.run import Mount, Sandbox
from devkit.wheels.refusals import active_requirements
from devkit.wheels.twin import Twin
from devkit.wheels.wheelfile import Wheel, check_wheel, read_wheel
from kernelkit.files import file_sha256
from kernelkit.memory import killed_in_words
from kernelkit.own import OWN_DISTRIBUTION
from kernelkit.own_recipes import RECIPES_DISTRIBUTION

__all__ = ["FIRST_CELL", "LOAD_RECIPES", "Proof", "check_dataset", "prove"]

FIRST_CELL = KERNEL_SOURCE / "first_cell.py"

# -I and a name of its own: nothing that lies beside it is taken for the standard library
_PROOF = """\
import importlib, pkgutil, runpy
runpy.run_path({cell!r}, init_globals={{"inputs": {inputs!r}, "fingerprint": {fingerprint!r}}})
for package in {packages!r}:
    paths = getattr(importlib.import_module(package), "__path__", ())
    modules = [found.name for found in pkgutil.walk_packages(paths, package + ".")]
    for module in modules:
        importlib.import_module(module)
    print(f"  {{len(modules)}} modules of {{package}} import")
"""
# What loads both recipes of each competition of the user's own.
LOAD_RECIPES = """\
from kernelkit.own_recipes import PREDICTING, TRAINING, own_recipe_names
from kernelkit.recipe import Recipe
from kernelkit.training.recipe import TrainingRecipe
for load, file in ((Recipe.load, PREDICTING), (TrainingRecipe.load, TRAINING)):
    for name in own_recipe_names(file):
        load(name)
        print(f"  {file} of {name} loads")
"""


@dataclass(frozen=True, slots=True)
class Proof:
    """What was seen in the twin.

    Attributes
    ----------
    output
        What the first cell printed.
    seconds
        How long all of it took.
    is_isolated
        Whether the network was out of reach.
    """

    output: str
    seconds: float
    is_isolated: bool


def check_dataset(folder: Path, profile: Profile) -> dict[str, Any]:
    """Check a packed dataset against its manifest, the profile and Kaggle's limits.

    Parameters
    ----------
    folder
        The dataset.
    profile
        The image that it is for.

    Returns
    -------
    The manifest.

    Raises
    ------
    DatasetError
        A file is missing, changed or not in the manifest. Neither the image nor the dataset has
        what a wheel requires. Kaggle would refuse or mangle the upload.
    WheelError
        A wheel does not fit the profile.
    """
    path = folder / mounted.MANIFEST
    if not path.is_file():
        raise DatasetError(f"{folder} has no {mounted.MANIFEST}. Build the dataset first")
    try:
        manifest = mounted.read_manifest(path)
    except mounted.BootstrapError as error:
        raise DatasetError(str(error)) from None
    files: Sequence[Mapping[str, Any]] = manifest["files"]
    if manifest["target"]["profile"] != profile.name:
        raise DatasetError(
            f"{path} is made for {manifest['target']['profile']}, not for {profile.name}. "
            f"Build the dataset with PROFILE={profile.name}"
        )
    listed = {entry["safe_name"] for entry in files} | {mounted.MANIFEST, CLIENT_FILE}
    strangers = sorted(found.name for found in folder.iterdir() if found.name not in listed)
    if strangers:
        raise DatasetError(f"{folder}: {', '.join(strangers)} is not in the manifest. Remove it")
    wheels = []
    for entry in files:
        packed = folder / entry["safe_name"]
        if not packed.is_file() or file_sha256(packed) != entry["sha256"]:
            state = "was changed" if packed.is_file() else "is missing"
            raise DatasetError(f"{packed} {state} since it was packed. Build the dataset again")
        if entry["kind"] == "wheel":
            wheels.append(_read_under(packed, entry["name"]))
    for wheel in wheels:
        check_wheel(wheel, profile)
    _check_requirements(wheels, profile)
    check_upload(folder, read_listing(folder))
    return manifest


def prove(folder: Path, fingerprint: str, twin: Twin) -> Proof:
    """Install and import the dataset in the twin, mounted read-only where Kaggle mounts it.

    Parameters
    ----------
    folder
        The dataset.
    fingerprint
        Of the dataset that is expected there.
    twin
        The environment like the image.

    Raises
    ------
    TwinError
        It does not end well. The error has the last line that was printed.
    """
    listing = read_listing(folder)
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="kernelkit-proof-") as name:
        proof_folder = Path(name)
        (proof_folder / "tmp").mkdir()
        mounts = [
            Mount(folder, f"/kaggle/input/datasets/{listing.owner}/{listing.slug}"),
            Mount(proof_folder / "tmp", "/kaggle/tmp", writable=True),
        ]
        sandbox = Sandbox(proof_folder / "sandbox", mounts)
        inputs = sandbox.path("/kaggle/input")
        code = _PROOF.format(
            cell=str(FIRST_CELL),
            inputs=inputs,
            fingerprint=fingerprint,
            packages=["kernelkit", *_modules_of(folder, OWN_DISTRIBUTION)],
        )
        if _modules_of(folder, RECIPES_DISTRIBUTION):
            code += LOAD_RECIPES
        log = proof_folder / "log.txt"
        log.touch()  # the sandbox itself may fail before the shell opens it
        shell = ["sh", "-c", f'exec "$@" > {log} 2>&1', "sh", str(twin.python), "-Iu", "-c", code]
        environment = {"PATH": "/usr/bin:/bin", "KERNELKIT_WORK": sandbox.path("/kaggle/tmp")}
        with waiting("the dataset is installed and imported in the twin"):
            result = sandbox.run(shell, environment)
        output = log.read_text(encoding="utf-8", errors="replace").rstrip()
    if result.exit_code:
        last = output.splitlines()[-1] if output else f"exit code {result.exit_code}"
        if result.was_killed:
            last = f"{killed_in_words('it')}. Close other programs"
        raise TwinError(f"{folder}: the dataset does not start in the {twin.describe()}\n{last}")
    return Proof(output, time.monotonic() - start, sandbox.is_isolated)


def _modules_of(folder: Path, distribution: str) -> list[str]:
    """The packages and modules of a wheel in a dataset. None if it has no such wheel."""
    files = mounted.read_manifest(folder / mounted.MANIFEST)["files"]
    names = [canonicalize_name(entry["name"].split("-")[0]) for entry in files]
    meant = [e for e, name in zip(files, names, strict=True) if name == distribution]
    return [module for entry in meant for module in entry["modules"]]


def _read_under(packed: Path, name: str) -> Wheel:
    """Read a wheel whose name in the dataset is not its own."""
    if packed.name == name:
        return read_wheel(packed)
    with tempfile.TemporaryDirectory() as folder:
        link = Path(folder) / name
        link.symlink_to(packed.resolve())
        return read_wheel(link)


def _check_requirements(wheels: Sequence[Wheel], profile: Profile) -> None:
    """Refuse requirements that neither the image nor the wheels meet, at a version that fits."""
    vendored = {wheel.name: wheel.version for wheel in wheels}
    for wheel in wheels:
        for requirement in active_requirements(wheel, profile):
            name = canonicalize_name(requirement.name)
            entry = profile.packages.get(name)
            version = vendored.get(name) or (entry.version if entry else None)
            if name in vendored or entry is not None:
                if version is None or requirement.specifier.contains(version, prereleases=True):
                    continue
                found = f"{version} is there. Ask for a version of {wheel.name} that takes it"
            else:
                found = "neither the image nor the dataset has it. Add it to wheels/requirements.in"
            raise DatasetError(f"{wheel.name} {wheel.version} requires {requirement}, but {found}")
