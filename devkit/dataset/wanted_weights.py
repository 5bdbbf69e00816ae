"""Which checkpoints a dataset of weights gets: those that a recipe takes."""

import glob
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Self

from devkit.kaggle.marks import WeightsSource
from devkit.kaggle.settings import load_settings
from devkit.kaggle.trained import note_weights, trained_runs
from kernelkit.errors import CheckpointError
from kernelkit.recipe import Recipe
from kernelkit.vocabulary import Prefer

if TYPE_CHECKING:
    from kernelkit.checkpoints import Member

__all__ = ["BEST", "Wanted"]

# Patterns of runs, and which checkpoints of their folds.
type _Group = tuple[tuple[str, ...], Prefer | tuple[Prefer, ...]]


@dataclass(frozen=True)
class Wanted:
    """Which runs are packed, and which checkpoints of each fold.

    Attributes
    ----------
    groups
        Patterns of runs, and the checkpoints of those that match.
    others
        The checkpoints of all other runs. None leaves these runs out.
    programs
        Whether the recipe has programs among its members.
    """

    groups: tuple[_Group, ...] = ()
    others: Prefer | tuple[Prefer, ...] | None = "best"
    programs: bool = False

    @classmethod
    def of(
        cls,
        recipe: str | None,
        checkpoints: Sequence[Prefer] | None,
        settings_file: Path | None = None,
    ) -> Self:
        """What a command line asks for: a recipe, or checkpoints of every run, or neither.

        With neither, every run is packed, and the recipe in kaggle.toml says which checkpoints.

        Parameters
        ----------
        settings_file
            The settings with that recipe. None means kaggle.toml in the repository.

        Raises
        ------
        RecipeError, SettingsError
            The recipe or kaggle.toml cannot be read.
        """
        if checkpoints:
            return cls(others=tuple(checkpoints))
        named = Recipe.load(recipe) if recipe else load_settings(settings_file).loaded_recipe
        groups: list[_Group] = []
        for ensemble in named.ensembles:
            groups.append((ensemble.runs, ensemble.checkpoints))
            if gate := ensemble.gate:
                groups.append((gate.runs, gate.checkpoints or ensemble.checkpoints))
        programs = any(ensemble.programs for ensemble in named.ensembles)
        if recipe:
            return cls(tuple(groups), None, programs)
        return cls(tuple(groups), "best", False)

    def words_of(self, run: str) -> tuple[Prefer, ...]:
        """Which checkpoints of a run are packed. Nothing if the run is left out."""
        found = [words for patterns, words in self.groups if _matches(run, patterns)]
        if not found and self.others is not None:
            found = [self.others]
        words = [(each,) if isinstance(each, str) else each for each in found]
        return tuple(dict.fromkeys(word for each in words for word in each))

    def note(self, models_folder: Path) -> WeightsSource | None:
        """Note the files that are packed, as they are now. None if they cannot be loaded either."""
        runs = [run.name for run in trained_runs(models_folder)]
        taken = {run: words for run in runs if (words := self.words_of(run))}
        with suppress(CheckpointError):
            return note_weights(models_folder, taken)
        return None

    def load(
        self, models_folder: Path, programs: bool, say: Callable[[str], None]
    ) -> "list[Member]":
        """Load the members that are packed, in the order of their runs.

        Parameters
        ----------
        say
            It gets a line about the runs that are left out.

        Raises
        ------
        CheckpointError
            As `load_groups`. If other runs are left out, also if a pattern matches no run.
        """
        # torch takes seconds to import
        from kernelkit.checkpoints import Runtime, load_groups
        from kernelkit.checkpoints.run_folders import matching_runs
        from kernelkit.ensemble.merged import load_merged

        runs = [run.name for run in matching_runs(models_folder, ("*",))]
        if self.others is None:
            matching_runs(
                models_folder, [pattern for patterns, _ in self.groups for pattern in patterns]
            )
        asked: list[_Group] = []
        left: list[str] = []
        for run in runs:
            own = [
                ((glob.escape(run),), checkpoints)
                for patterns, checkpoints in self.groups
                if _matches(run, patterns)
            ]
            if not own and self.others is not None:
                own = [((glob.escape(run),), self.others)]
            asked += own
            left += [] if own else [run]
        if left:
            say(f"left out, since the recipe does not name them: {', '.join(left)}")
        # an engine for another device is packed too, and its weights are loaded here
        runtime = Runtime(merged=load_merged)
        loaded = load_groups(models_folder, asked, programs=programs, runtime=runtime)
        unique = {member.name: member for group in loaded for member in group}
        return list(unique.values())


def _matches(run: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(run, pattern) for pattern in patterns)


# Every run, and the best checkpoint of each fold.
BEST = Wanted()
