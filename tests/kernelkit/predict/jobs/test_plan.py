"""The plan of jobs: whole pictures go out in the batches of a run in one process."""

from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from kernelkit.predict.jobs.plan import Parcel, _Batch, _together, plan_table
from kernelkit.predict.work.tasks import Task
from kernelkit.reader.pictures_groups import Grouping, PictureShape

SHAPES = [PictureShape(side, side, 3, np.dtype("u1")) for side in (8, 16, 24)]
# an input of such a size makes batches of four, whatever is asked for
LARGE = 64 << 20


def batches(shapes: list[int], size: int, batch: int) -> list[list[int]]:
    """What `PictureReader` makes of pictures of these shapes."""
    grouping = Grouping(batch)
    found = [
        numbers
        for number, shape in enumerate(shapes)
        for _, numbers in grouping.add(number, SHAPES[shape], size)
    ]
    return found + [numbers for _, numbers in grouping.rest()]


@given(
    shapes=st.lists(st.sampled_from([0, 0, 0, 1, 1, 2]), max_size=90),
    size=st.sampled_from([1, LARGE]),
    batch=st.integers(1, 4),
    most=st.integers(1, 30),
)
def test_processes_make_the_batches_of_one_process(
    shapes: list[int], size: int, batch: int, most: int
) -> None:
    """Each parcel is cut into batches anew, and together they are those of all pictures."""
    wanted = batches(shapes, size, batch)
    room = Grouping(batch).room(size)
    planned = iter(_Batch(SHAPES[shapes[n[0]]], n, len(n) == room) for n in wanted)
    found = []
    for numbers in _together(planned, [1] * len(shapes), most):
        parts = batches([shapes[number] for number in numbers], size, batch)
        found += [[numbers[place] for place in part] for part in parts]
    assert sorted(found) == sorted(wanted)


def test_the_table_shares_work_by_its_amount() -> None:
    """The largest image goes to one device, and the two others to the other."""
    parcels = [Parcel((Task(name, (Path(name),), amount),)) for name, amount in IMAGES.items()]
    table = plan_table(parcels, ["cuda:0", "cuda:1"], "tiles")
    assert [line.split() for line in table.splitlines()] == [
        ["device", "images", "tiles", "share"],
        ["cuda:0", "1", "60", "60%"],
        ["cuda:1", "2", "40", "40%"],
    ]


IMAGES = {"a": 60, "b": 30, "c": 10}
