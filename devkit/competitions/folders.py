"""The folders that a command needs, refused in a sentence that says how to get them."""

from pathlib import Path

from devkit.competitions.own import OwnCompetition, all_names, competitions_folder
from devkit.make import make_command
from kernelkit.errors import CheckpointError, CompetitionError

__all__ = ["competition_folder", "models_folder"]


def competition_folder(folder: Path) -> Path:
    """Return the folder of a competition.

    Raises
    ------
    CompetitionError
        There is no such folder.
    """
    if folder.is_dir():
        return folder
    own = _owner(folder)
    fetch = _by("download-data", own)
    raise CompetitionError(
        f"{folder}: {_is_not(folder)}. Name the competition's folder{_or_name(own)}, or fetch it "
        f"{fetch}"
    )


def models_folder(folder: Path) -> Path:
    """Return a folder of run folders.

    Raises
    ------
    CheckpointError
        There is no such folder.
    """
    if folder.is_dir():
        return folder
    own = _owner(folder)
    raise CheckpointError(
        f"{folder}: {_is_not(folder, 'models folder')}. Check the path{_or_name(own)}, or make one "
        f"{_by('train', own)}"
    )


def _by(target: str, own: OwnCompetition | None) -> str:
    """By which command of make. Without a competition of one's own, it needs more arguments."""
    if own is not None:
        return f"with {make_command(target, NAME=own.name)}"
    return f"first (make help-{target} says how)"


def _or_name(own: OwnCompetition | None) -> str:
    """Which competitions of the user's own could be named instead."""
    names = all_names() if own is None else []
    return f", give NAME={' or NAME='.join(names)}" if names else ""


def _owner(folder: Path) -> OwnCompetition | None:
    """The competition of the user's own in which a folder lies, or would lie."""
    name = folder.absolute().parent.name
    own = OwnCompetition(competitions_folder() / name)
    is_its = folder.absolute() in (own.data_folder.absolute(), own.models_folder.absolute())
    return own if is_its and name in all_names() else None


def _is_not(folder: Path, wanted: str = "folder") -> str:
    """What stands in place of a folder."""
    return f"found a file, wanted the {wanted}" if folder.exists() else f"there is no such {wanted}"
