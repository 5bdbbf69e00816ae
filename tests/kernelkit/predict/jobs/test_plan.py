"""The plan of jobs: whole pictures go out in the batches of a run in one process."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from kernelkit.predict.jobs.plan import Parcel, _Batch, _batches, _together, plan_table
from kernelkit.predict.work.tasks import Task
from kernelkit.reader import PictureReader, Preparation, ReaderPool
from kernelkit.reader.pictures_groups import Grouping, PictureShape
from kernelkit.slide.header import look_at
from tests.made.layouts import picture

SHAPES = [PictureShape(side, side, 3, np.dtype("u1")) for side in (8, 16, 24)]
# an input of such a size makes batches of four, whatever is asked for
LARGE = 64 << 20
# the numbers of pictures whose pixels cannot be decoded, and of one whose header cannot be read
UNDECODABLE, UNREADABLE = (3, 11, 12, 13), 7


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


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Pictures of two shapes. The pixels of some are damaged, and one is no picture at all."""
    folder = tmp_path_factory.mktemp("pictures")
    paths = [folder / f"{number:02}.tif" for number in range(30)]
    for number, path in enumerate(paths):
        pixels = picture(1, 20 + number % 3 // 2, 30, seed=number)[0]
        Image.fromarray(pixels).save(path, compression="tiff_lzw")
    for path in (paths[number] for number in UNDECODABLE):
        content = path.read_bytes()
        path.write_bytes(content[:8] + b"\xff" * 32 + content[40:])
        assert look_at((path,))[1] == 30
    paths[UNREADABLE].write_text("no picture")
    return paths


@pytest.mark.parametrize("batch", [1, 2, 4])
def test_a_picture_that_cannot_be_decoded_moves_no_other(pictures: list[Path], batch: int) -> None:
    """Whole or in parcels, each batch has the same pictures, and lacks those that are damaged."""
    tasks = [Task(path.stem, (path,), 1) for path in pictures]
    planned = list(_batches(tasks, Preparation(), batch))
    damaged = {*UNDECODABLE, UNREADABLE}
    wanted = [[n for n in each.numbers if n not in damaged] for each in planned]
    wanted = sorted(filter(None, wanted))
    assert sorted(_read(pictures, list(range(len(pictures))), batch)) == wanted
    parcels = _together(iter(planned), [1] * len(tasks), 5)
    found = [each for numbers in parcels for each in _read(pictures, numbers, batch)]
    assert sorted(found) == wanted


def _read(pictures: list[Path], numbers: list[int], batch: int) -> list[list[int]]:
    """The batches that a process makes of some pictures."""
    with ReaderPool(0) as pool:
        paths = [(pictures[number],) for number in numbers]
        batches = list(PictureReader(paths, Preparation(), pool, batch))
    return [[numbers[place] for place in each.numbers] for each in batches if each.numbers]


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
