"""What processes had stored before they were lost, found by the keys that they told."""

from collections import defaultdict
from collections.abc import Iterator, Mapping

from kernelkit.predict.report import ImageReport
from kernelkit.predict.store.store import Entry
from kernelkit.predict.work.keys import entry_of
from kernelkit.predict.work.tasks import Run, Task, kept
from kernelkit.slide.content import content_of

__all__ = ["LostResults", "parts_of"]


def parts_of(run: Run) -> dict[str, tuple[str, ...]]:
    """The parts of the keys that a process stores by now, by the ensemble's name."""
    return {name: run.keys.parts(name, run.keys.asked(name)) for name in run.models}


class LostResults:
    """Looks into the store for images whose report never came.

    A process with another kind of device has other keys, and so has one that asks less. So each
    process tells its own.

    Parameters
    ----------
    run
        That of this process.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        # a set that keeps the order
        self._parts: defaultdict[str, dict[tuple[str, ...], None]] = defaultdict(dict)
        self.hear(parts_of(run))

    def hear(self, parts: Mapping[str, tuple[str, ...]]) -> None:
        """Take in the keys of a process, as `parts_of` gives them."""
        for ensemble, told in parts.items():
            self._parts[ensemble][told] = None

    def find(self, task: Task, why: str, *, unfinished: bool) -> ImageReport | None:
        """The report of an image that is stored. None if it is not.

        Parameters
        ----------
        why
            Why its report never came, in a sentence.
        unfinished
            Whether a part of the image is better than none.
        """
        if task.left_out or not self._run.store.has_by_now(task.image_id):
            return None
        ensemble = task.ensemble or self._run.recipe.ensembles[0].name
        try:
            entries = list(self._entries(task, ensemble, unfinished))
        except OSError:  # a file is gone, which is said of it elsewhere
            return None
        stored = next(filter(None, (entry.load() for entry in entries)), None)
        if stored is None:
            return None
        report = kept(stored.report, ensemble)
        report.notes.append(f"it was taken from the store, because: {why}")
        return report

    def _entries(self, task: Task, ensemble: str, unfinished: bool) -> Iterator[Entry]:
        """Iterate over where an image may be stored, the best first."""
        content = content_of(task.paths)
        regions = content_of([task.drawn]) if task.drawn else ""
        for is_part in (False, True) if unfinished else (False,):
            for parts in self._parts[ensemble]:
                yield entry_of(self._run.store, task.image_id, content, parts, is_part, regions)
