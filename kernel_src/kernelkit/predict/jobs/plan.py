"""The plan: which images make one job, and in which order jobs go out."""

from collections.abc import Sequence
from dataclasses import dataclass

from kernelkit.predict.work.tasks import Run, Task

__all__ = ["Parcel", "parcels_of"]


@dataclass(frozen=True)
class Parcel:
    """Images that go out together.

    Attributes
    ----------
    tasks
        The images.
    """

    tasks: tuple[Task, ...]

    @property
    def amount(self) -> int:
        """How much work it is."""
        return sum(task.amount for task in self.tasks)


def parcels_of(tasks: Sequence[Task], run: Run) -> list[Parcel]:
    """One parcel per image, the largest first. Whole pictures go out in whole batches."""
    if not run.recipe.tiles.whole:
        return sorted((Parcel((task,)) for task in tasks), key=lambda p: -p.amount)
    size = run.recipe.batch
    return [Parcel(tuple(tasks[at : at + size])) for at in range(0, len(tasks), size)]
