"""The plan: which images go out together, in which order, and how much each process may get."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from math import ceil

import numpy as np

from kernelkit.predict.work.tasks import Run, Task
from kernelkit.predict.work.whole_batch import BatchAsker
from kernelkit.reader.pictures_groups import Grouping, PictureShape, input_bytes
from kernelkit.reader.pictures_prepare import Preparation
from kernelkit.slide.header import look_at

__all__ = ["Parcel", "ends_sooner_together", "parcels_of", "plan_table"]

# Whole pictures make so many parcels per process, so that all processes end at about one time.
_PARCELS_EACH = 8
# so much longer than together may the busiest process work, since it shares no thread of Python
_WORTH_IT = 1.1


@dataclass(frozen=True)
class Parcel:
    """Images that go out together.

    Attributes
    ----------
    tasks
        The images, in the order of the run.
    """

    tasks: tuple[Task, ...]

    @property
    def amount(self) -> int:
        """How much work it is."""
        return sum(task.amount for task in self.tasks)


def parcels_of(tasks: Sequence[Task], run: Run, lanes: int) -> list[Parcel]:
    """The parcels, the largest first.

    An image in tiles is one. Whole pictures go out in the batches that one process makes of them.
    So networks see the same batches, and answer with the same bytes.

    Parameters
    ----------
    tasks
        Images that are left to do.
    lanes
        How many processes there are.
    """
    if run.recipe.tiles.whole:
        parcels = _whole_parcels(tasks, run, lanes)
    else:
        parcels = [Parcel((task,)) for task in tasks]
    return sorted(parcels, key=lambda parcel: -parcel.amount)


@dataclass(frozen=True)
class _Batch:
    """Pictures that share a batch. Shape is None if they cannot be opened."""

    shape: PictureShape | None
    numbers: list[int]
    is_full: bool


def _whole_parcels(tasks: Sequence[Task], run: Run, lanes: int) -> list[Parcel]:
    by_ensemble: dict[str, list[Task]] = defaultdict(list)
    for task in tasks:
        by_ensemble[task.ensemble or run.recipe.ensembles[0].name].append(task)
    most = sum(task.amount for task in tasks) // (lanes * _PARCELS_EACH)
    parcels = []
    for name, members in by_ensemble.items():
        batches = _batches(members, BatchAsker(name, run).preparation, run.recipe.batch)
        amounts = [task.amount for task in members]
        for numbers in _together(batches, amounts, most):
            parcels.append(Parcel(tuple(members[number] for number in numbers)))
    return parcels


def _batches(tasks: Sequence[Task], preparation: Preparation, batch: int) -> Iterator[_Batch]:
    """Iterate over the batches that `PictureReader` makes of pictures."""
    grouping = Grouping(batch)
    sizes: dict[PictureShape, int] = {}
    unread = []

    def ready() -> Iterator[tuple[PictureShape, list[int]]]:
        for number, task in enumerate(tasks):
            try:
                height, width, bands, dtype = look_at(task.paths)
            except Exception:  # its process says why, when its turn comes
                unread.append(number)
                continue
            shape = PictureShape(height, width, bands, np.dtype(dtype))
            if shape not in sizes:
                sizes[shape] = input_bytes(shape, preparation)
            yield from grouping.add(number, shape, sizes[shape])

    for shape, numbers in chain(ready(), grouping.rest()):
        yield _Batch(shape, numbers, len(numbers) == grouping.room(sizes[shape]))
    if unread:
        yield _Batch(None, unread, False)


def _together(batches: Iterator[_Batch], amounts: Sequence[int], most: int) -> Iterator[list[int]]:
    """Iterate over the pictures of batches that go out together, in their order.

    A process that gets them makes the same batches of them. So behind a batch that is not full
    there is no other of its shape.
    """
    numbers: list[int] = []
    ended: set[PictureShape | None] = set()
    for batch in batches:
        if numbers and (batch.shape in ended or sum(amounts[n] for n in numbers) >= most):
            yield sorted(numbers)
            numbers, ended = [], set()
        numbers += batch.numbers
        if not batch.is_full:
            ended.add(batch.shape)
    if numbers:
        yield sorted(numbers)


def ends_sooner_together(amounts: Sequence[int], lanes: int, batch: int) -> bool:
    """Whether devices end sooner if they share the tiles of each image, one image after the other.

    Otherwise each device has images of its own.

    >>> ends_sooner_together([40, 30, 30, 20], lanes=2, batch=8)
    False
    >>> ends_sooner_together([100, 5], lanes=2, batch=8)
    True

    Parameters
    ----------
    amounts
        How many tiles each image has.
    lanes
        How many devices there are.
    batch
        Tiles per batch, which goes to one device.
    """
    apart = [0] * lanes
    largest_first = sorted(amounts, reverse=True)
    for amount, place in zip(largest_first, _places(largest_first, lanes), strict=True):
        apart[place] += amount
    together = sum(batch * ceil(amount / (batch * lanes)) for amount in amounts)
    return max(apart) > _WORTH_IT * together


def _places(amounts: Sequence[int], lanes: int) -> Iterator[int]:
    """Iterate over who gets each amount, if it is who is free first."""
    each = [0] * lanes
    for amount in amounts:
        place = each.index(min(each))
        each[place] += amount
        yield place


def plan_table(parcels: Sequence[Parcel], names: Sequence[str], unit: str) -> str:
    """Which process gets how much, if work takes as long as it seems to. As text it is a table.

    Each parcel goes to the process that is free first.

    Parameters
    ----------
    names
        Of the processes.
    unit
        What amounts are counted in.
    """
    amounts, images = [0] * len(names), [0] * len(names)
    places = _places([parcel.amount for parcel in parcels], len(names))
    for parcel, place in zip(parcels, places, strict=True):
        amounts[place] += parcel.amount
        images[place] += len(parcel.tasks)
    total = max(1, sum(amounts))
    width = max(len("device"), *map(len, names))
    rows = [f"{'device':{width}} {'images':>8} {unit:>12} {'share':>6}"]
    for name, count, amount in zip(names, images, amounts, strict=True):
        rows.append(f"{name:{width}} {count:8} {amount:12} {amount / total:6.0%}")
    return "\n".join(rows)
