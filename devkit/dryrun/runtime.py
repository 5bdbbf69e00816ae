"""What the notebook runs in: a twin of the image, and the dataset that brings kernelkit into it."""

from dataclasses import dataclass
from pathlib import Path

from devkit.competitions import OwnCompetition
from devkit.dataset.builder import Builder
from devkit.dataset.listing import default_listing
from devkit.dataset.own import find_own
from devkit.dataset.pack import Packed
from devkit.image.profiles import load_profile
from devkit.kaggle.settings import load_settings
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


def make_runtime(
    profile_name: str, folder: Path, competition: OwnCompetition | None = None
) -> Runtime:
    """Build the dataset for an image into `folder`, and make the image's twin if it is not there.

    The dataset has the code of the user's own, if `KERNELKIT_OWN` or the settings name a folder.

    Parameters
    ----------
    profile_name
        Name of the image's profile.
    folder
        Where the dataset is built.
    competition
        A competition of the user's own, whose recipes and settings count.
    """
    profile = load_profile(profile_name)
    settings_file = competition.settings_file if competition else None
    slug = load_settings(settings_file).dataset if competition else ""
    builder = Builder(
        Resolver(profile),
        default_listing(profile, slug),
        own=find_own(settings_file=settings_file),
        settings_file=settings_file,
    )
    packed = builder.build_proved(folder)
    return Runtime(packed, builder.twin())
