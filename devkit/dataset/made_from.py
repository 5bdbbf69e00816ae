"""What a kernel dataset is made from, as it is now. A push compares it with what is then."""

from pathlib import Path

from devkit.competitions import OwnCompetition
from devkit.kaggle.marks import Source
from devkit.kaggle.settings import load_settings
from devkit.wheels.downloads import LOCAL_WHEELS
from devkit.wheels.resolve import Resolver
from kernelkit.own import OwnCode

__all__ = ["sources_of"]


def sources_of(
    resolver: Resolver, source_folder: Path, own: OwnCode | None, settings_file: Path | None
) -> tuple[Source, ...]:
    """List what a dataset is made from, but for the profile and the lock.

    Parameters
    ----------
    resolver
        Of its wheels.
    source_folder
        The folder with the package.
    own
        Code of the user's own that goes there too, or None.
    settings_file
        The settings that it is for. None means kaggle.toml in the repository. The recipes of a
        competition of the user's own lie beside its settings.
    """
    found = [
        Source.at("kernelkit", source_folder),
        Source.at("requirements", resolver.requirements),
    ]
    # a folder that is not there yet may come to be
    folders = dict.fromkeys((LOCAL_WHEELS, *resolver.source.folders))
    found += [Source.at("own wheels", folder) for folder in folders]
    if own is not None:
        is_given = own.folder != _named_code(settings_file)
        found.append(Source.at("own code", own.folder, is_given=is_given))
    competition = OwnCompetition.of_settings(settings_file) if settings_file else None
    if competition is not None:
        found.append(Source.at("recipes", competition.folder))
    return tuple(found)


def _named_code(settings_file: Path | None) -> Path | None:
    """The folder of code of the user's own that the settings name, whatever is exported."""
    named = load_settings(settings_file, {}).own
    return Path(named).resolve() if named else None
