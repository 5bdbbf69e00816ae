"""Which members may predict which image: those whose fold held it out.

A member that was trained on an image knows it by heart. Its prediction of it is a leak, and no
score of it means anything.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from kernelkit.errors import EvaluationError

__all__ = ["HeldOut"]

# The fold of an image that trains in all folds, as folds.csv has it.
_ALWAYS = -1
_FOLD = re.compile(r"(?:fold_?)?(\d+)")


@dataclass(frozen=True)
class HeldOut:
    """The fold of each image, by run.

    Attributes
    ----------
    folds
        By the name of a run, and then by the image: the fold that held it out. -1 if it is in the
        training of all folds.

    >>> held = HeldOut({"unet": {"a": 0, "b": 1}})
    >>> held.folds_of("b", ["unet"])
    {'unet': 1}
    >>> held.refuse_leaks("b", ["unet/fold_1"])
    """

    folds: Mapping[str, Mapping[str, int]]

    def runs(self, patterns: Sequence[str]) -> list[str]:
        """The runs whose names match one of some patterns.

        Raises
        ------
        EvaluationError
            None does.
        """
        found = [run for run in self.folds if any(fnmatchcase(run, each) for each in patterns)]
        if not found:
            raise EvaluationError(
                f"found folds of the runs {', '.join(self.folds) or 'nobody'}, wanted some of "
                f"{', '.join(patterns)}. Train them, or correct the recipe's runs"
            )
        return found

    def folds_of(self, image: str, runs: Iterable[str]) -> dict[str, int]:
        """The fold of each run that held an image out. It is empty if no run did.

        Raises
        ------
        EvaluationError
            A run does not know the image, or some runs held it out and others did not.
        """
        folds = {}
        for run in runs:
            if image not in self.folds[run]:
                raise EvaluationError(
                    f"{image}: it is in no fold of the run {run}, so it is not known whether it "
                    "was trained on. Leave it out, or train the run with it"
                )
            folds[run] = self.folds[run][image]
        trained = [run for run, fold in folds.items() if fold == _ALWAYS]
        if trained and len(trained) < len(folds):
            other = next(run for run in folds if run not in trained)
            raise EvaluationError(
                f"{image}: all folds of {trained[0]} were trained on it, and a fold of {other} was "
                "not. Leave the image out, or one of the runs"
            )
        return {} if trained else folds

    def refuse_leaks(self, image: str, members: Iterable[str]) -> None:
        """Refuse members that were trained on an image.

        Parameters
        ----------
        members
            Their names: `run/fold_0`, or `run/fold_0/checkpoint`.

        Raises
        ------
        EvaluationError
            One was, or it is not known. The message names image and member.
        """
        for member in members:
            run, fold = _run_and_fold(member)
            if run not in self.folds or fold is None:
                raise EvaluationError(
                    f"{image}: it is not known what {member} was trained on. Give the folds.csv of "
                    f"the run {run}"
                )
            held = self.folds_of(image, [run]).get(run)
            if held != fold:
                right = f"fold {held} held it out" if held is not None else "no fold held it out"
                raise EvaluationError(
                    f"{image}: it leaks, since {member} was trained on it ({right}). Predict it by "
                    "members that were not"
                )


def _run_and_fold(member: str) -> tuple[str, int | None]:
    parts = member.split("/")
    number = _FOLD.fullmatch(parts[1]) if len(parts) > 1 else None
    return parts[0], int(number[1]) if number else None
