"""Code of the user's own for the dataset: which folder, whether it may go there, and its wheel.

The folder is named by `--own`, by `KERNELKIT_OWN`, or by `own` in kaggle.toml, in this order. What
lies in it becomes the wheel `kernelkit-own`. From there on it is a wheel like all others. The
manifest lists it, and every byte is checked before it is installed.
"""

import os
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from build_backend import write_members
from devkit.arguments import Arguments
from devkit.errors import DatasetError
from devkit.image.profiles import Profile
from devkit.image.standard_library import standard_library
from devkit.kaggle.settings import load_settings
from devkit.lint.imports import AT_HOME
from devkit.wheels.wheelfile import Wheel, read_wheel
from kernelkit.files import expanded
from kernelkit.own import OWN_DISTRIBUTION, OWN_FOLDER, OwnCode

__all__ = ["add_own_option", "check_own", "find_own", "own_wheel"]

# The modules of the dataset itself.
_TAKEN = frozenset(("bootstrap", "kernelkit", "mounted"))
# Bytes. Code is smaller, and weights have a dataset of their own.
_MOST_BYTES = 50 << 20


def add_own_option(parser: Arguments) -> None:
    """Let a command line name the folder."""
    parser.add_folder(
        "--own",
        variable="OWN",
        help="a folder with packages of your own, which a cfg.yaml or the recipe names "
        f"(default: ${OWN_FOLDER}, or own in kaggle.toml)",
    )


def find_own(option: Path | None = None, settings_file: Path | None = None) -> OwnCode | None:
    """Return the code of the user's own that goes to Kaggle, or None if there is none.

    Networks that are loaded in this process find it, too.

    Parameters
    ----------
    option
        The folder, as a command line names it.
    settings_file
        The settings that may name it. None means kaggle.toml in the repository.

    Raises
    ------
    OwnCodeError
        There is no such folder, or no module in it.
    SettingsError
        kaggle.toml cannot be read.
    """
    named = option or os.environ.get(OWN_FOLDER) or load_settings(settings_file).own
    if not named:
        return None
    code = OwnCode.below(expanded(named))
    os.environ[OWN_FOLDER] = str(code.folder)
    return code


def check_own(code: OwnCode, profile: Profile, vendored: Collection[str]) -> None:
    """Refuse code that would hide something else on the image, or that is no plain code.

    Parameters
    ----------
    code
        What is to be packed.
    profile
        The image.
    vendored
        The top-level modules of the wheels in the dataset.

    Raises
    ------
    DatasetError
        It names each module or file that cannot go.
    """
    problems = []
    for module in code.modules:
        owner = _owner(module, profile, vendored)
        if owner:
            problems.append(f"{module} would hide the module of that name {owner}. Rename yours")
    files = [file for module in code.modules for file in code.files(module)]
    compiled = [file for file in files if file.suffix in (".so", ".pyd")]
    if compiled:
        problems.append(f"{compiled[0]} is compiled. Build a wheel of it, and vendor that")
    outside = [file for file in files if not file.resolve().is_relative_to(code.folder)]
    if outside:
        problems.append(f"{outside[0]} is a link that leads outside. Copy the file")
    total = sum(file.stat().st_size for file in files)
    if total > _MOST_BYTES:
        largest = max(files, key=lambda file: file.stat().st_size)
        problems.append(
            f"it holds {total / 1e6:.0f} MB, such as {largest}. Wanted is code of at most "
            f"{_MOST_BYTES / 1e6:.0f} MB. Put weights into the models folder"
        )
    if problems:
        raise DatasetError(
            f"{code.folder} cannot be packed as your own code. {'. '.join(problems)}"
        )


def _owner(module: str, profile: Profile, vendored: Collection[str]) -> str:
    """Whose a module of this name is on the image, or nothing if it is nobody's."""
    if module in _TAKEN:
        return "in kernelkit's dataset"
    if module in AT_HOME:
        return "in kernelkit's repository"
    if module in standard_library(profile.python_minor):
        return "in the standard library"
    if profile.provides(module):
        return f"in the image {profile.name}"
    return "in a vendored wheel" if module in vendored else ""


def own_wheel(code: OwnCode, folder: Path) -> Wheel:
    """Write the wheel of the user's own code into `folder`. The same files give the same bytes."""
    name = OWN_DISTRIBUTION.replace("-", "_")
    project = {
        "name": name,
        "version": "0",
        "description": "Code of the user's own, named by a recipe or a run folder",
        "requires-python": ">=3.12",
    }
    members = {
        file.relative_to(code.folder).as_posix(): file.read_bytes()
        for module in code.modules
        for file in code.files(module)
    }
    # every module is meant, also those that other projects pack by mistake, such as tools
    return replace(read_wheel(write_members(folder, project, members)), modules=code.modules)
