"""What processes had stored before they were lost, found by the keys that they told.

A process tells its keys in a file beside what it stores, since it may be lost before it answers.
"""

import json
import uuid
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from kernelkit.files import open_atomically
from kernelkit.predict.report import ImageReport
from kernelkit.predict.store.store import Entry
from kernelkit.predict.work.keys import entry_of
from kernelkit.predict.work.tasks import Run, Task, kept
from kernelkit.slide.content import content_of

__all__ = ["LostResults", "Telling", "told_files"]


def _parts_of(run: Run) -> dict[str, tuple[str, ...]]:
    """The parts of the keys under which a process stores now, by the ensemble's name."""
    return {name: run.keys.parts(name, run.keys.asked(name)) for name in run.models}


class Telling:
    """Tells the keys of a process to the one that it works for.

    Parameters
    ----------
    run
        That of this process.
    token
        The file by which both know that they share the store.
    """

    def __init__(self, run: Run, token: Path) -> None:
        self._run, self._token = run, token
        self._told: list[dict[str, tuple[str, ...]]] = []

    def tell(self) -> None:
        """Write the keys as they are now, if they were not told yet."""
        parts = _parts_of(self._run)
        if parts not in self._told:
            self._told.append(parts)
            path = self._token.with_name(f"{self._token.name}-{uuid.uuid4().hex}")
            # on a full disk nothing is stored either
            with suppress(OSError), open_atomically(path) as file:
                json.dump(parts, file)


def told_files(token: Path) -> list[Path]:
    """The files that processes wrote beside a token."""
    return list(token.parent.glob(f"{token.name}-*"))


class LostResults:
    """Looks into the store for images whose report never came.

    A process with another kind of device has other keys, and so has one that asks less. So each
    process tells its own.

    Parameters
    ----------
    run
        That of this process.
    token
        The file by which processes know that they share the store.
    """

    def __init__(self, run: Run, token: Path) -> None:
        self._run, self._token = run, token
        self._heard: set[Path] = set()
        # a set that keeps the order
        self._parts: defaultdict[str, dict[tuple[str, ...], None]] = defaultdict(dict)
        self._take(_parts_of(run))

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
        self._hear()
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

    def _hear(self) -> None:
        """Take in the keys that processes have told since the last time."""
        for path in told_files(self._token):
            if path not in self._heard:
                self._heard.add(path)
                self._take(
                    {name: tuple(told) for name, told in json.loads(path.read_text()).items()}
                )

    def _take(self, parts: Mapping[str, tuple[str, ...]]) -> None:
        for ensemble, told in parts.items():
            self._parts[ensemble][told] = None

    def _entries(self, task: Task, ensemble: str, unfinished: bool) -> Iterator[Entry]:
        """Iterate over where an image may be stored, the best first."""
        content = content_of(task.paths)
        regions = content_of([task.drawn]) if task.drawn else ""
        for is_part in (False, True) if unfinished else (False,):
            for parts in self._parts[ensemble]:
                yield entry_of(self._run.store, task.image_id, content, parts, is_part, regions)
