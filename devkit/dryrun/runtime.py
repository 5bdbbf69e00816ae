"""What the notebook runs in: a twin of the image, and the dataset that brings kernelkit into it."""

from dataclasses import dataclass
from pathlib import Path

from devkit.dataset.builder import Builder, default_listing
from devkit.dataset.own import find_own
from devkit.dataset.pack import Packed
from devkit.image.profiles import load_profile
from devkit.wheels.resolve import Resolver
from devkit.wheels.twin import Twin

__all__ = ["Runtime", "make_runtime"]


@dataclass(frozen=True, slots=True)
class Runtime:
    """What a session on Kaggle would offer the notebook.

    Attributes
    ----------
    dataset
        The packed dataset with kernelkit and the wheels that the image lacks.
    twin
        The twin of the image that the dataset was packed for.
    """

    dataset: Packed
    twin: Twin


def make_runtime(profile_name: str, folder: Path) -> Runtime:
    """Build the dataset for an image into `folder`, and make the image's twin if it is not there.

    The dataset has the code of the user's own, if `KERNELKIT_OWN` or kaggle.toml names a folder.

    Parameters
    ----------
    profile_name
        Name of the image's profile.
    folder
        Where the dataset is built.
    """
    profile = load_profile(profile_name)
    builder = Builder(Resolver(profile), default_listing(profile), own=find_own())
    packed = builder.build_proved(folder, trusts_proof=True)
    return Runtime(packed, builder.twin())
