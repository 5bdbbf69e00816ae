"""The folders that a command needs, refused in a sentence that says how to get them."""

from dataclasses import dataclass
from pathlib import Path

from devkit.competitions.own import OwnCompetition, all_names, competitions_folder
from devkit.make import make_command
from kernelkit.errors import CheckpointError, CompetitionError, KernelKitError

__all__ = ["competition_folder", "models_folder"]


@dataclass(frozen=True)
class _Wanted:
    """A kind of folder, in the words of its error."""

    name: str
    remedy: str
    get_it: str
    target: str
    error: type[KernelKitError]

    def found(self, folder: Path) -> Path:
        """The folder. If it is none, the error says which competition's it would be."""
        if folder.is_dir():
            return folder
        own = _owner(folder)
        found = "found a file, wanted the" if folder.exists() else "there is no such"
        names = all_names() if own is None else []
        other = f", give NAME={' or NAME='.join(names)}" if names else ""
        how = f"first (make help-{self.target} says how)"  # it needs more arguments
        if own is not None:
            how = f"with {make_command(self.target, NAME=own.name)}"
        raise self.error(
            f"{folder}: {found} {self.name}. {self.remedy}{other}, or {self.get_it} {how}"
        )


_COMPETITION = _Wanted(
    "folder", "Name the competition's folder", "fetch it", "download-data", CompetitionError
)
_MODELS = _Wanted("models folder", "Check the path", "make one", "train", CheckpointError)


def competition_folder(folder: Path) -> Path:
    """Return the folder of a competition.

    Raises
    ------
    CompetitionError
        There is no such folder.
    """
    return _COMPETITION.found(folder)


def models_folder(folder: Path) -> Path:
    """Return a folder of run folders.

    Raises
    ------
    CheckpointError
        There is no such folder.
    """
    return _MODELS.found(folder)


def _owner(folder: Path) -> OwnCompetition | None:
    """The competition of the user's own in which a folder lies, or would lie."""
    name = folder.absolute().parent.name
    own = OwnCompetition(competitions_folder() / name)
    is_its = folder.absolute() in (own.data_folder.absolute(), own.models_folder.absolute())
    return own if is_its and name in all_names() else None
