"""Whole pictures: the same batches whoever reads them, in bounded memory, whatever fails."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from kernelkit.files import file_sha256
from kernelkit.reader import (
    PictureBatch,
    PictureInfo,
    PictureReader,
    Preparation,
    ReaderPool,
    pictures_groups,
    pictures_pass,
    pictures_work,
)
from kernelkit.reader import pictures as pictures_module
from kernelkit.reader.pictures_groups import Groups
from kernelkit.slide import Slide, header
from tests.made.layouts import picture, write
from tests.made.readers import KINDS, MARKS, START_METHODS, held, pool_of, worker_pids

pytestmark = MARKS

SALT = Preparation(pads=(14, 13), fill="reflect")
FOUR = Preparation(pads=(3, 1), fill="edge", sizes=((32, 48), 1, 0.5, (70, 20)))


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of all kinds and of several shapes, and files that are none."""
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(90):
        pixels = picture(3, 61 + number % 3 // 2 * 10, 50, seed=number).transpose(1, 2, 0)
        Image.fromarray(pixels).save(folder / f"{number:03}.png")
    Image.fromarray(picture(1, 61, 50)[0]).save(folder / "015.png")
    Image.fromarray(picture(1, 61, 50)[0]).convert("P").save(folder / "025.png")
    Image.fromarray(picture(1, 61, 50, "uint16")[0]).save(folder / "035.png")
    for number in (5, 55):
        path = folder / f"{number:03}.png"
        path.write_bytes(path.read_bytes()[:-30])
    (folder / "065.png").write_text("no picture")
    pixels = picture(3, 200, 300).transpose(1, 2, 0)
    Image.fromarray(pixels).save(folder / "photograph.jpg")
    write(folder / "planes.tif", picture(3, 61, 50), "subdatasets")
    clear = picture(4, 61, 50).transpose(1, 2, 0)
    clear[:30, :20, 3] = 0
    Image.fromarray(clear).save(folder / "with_alpha.png")
    return folder


def pictures_in(folder: Path) -> list[tuple[Path, ...]]:
    """Return the files, and one that is not there."""
    files = [(path,) for path in sorted(folder.iterdir())]
    return [*files[:40], (folder / "gone.png",), *files[40:]]


def plainly(paths: tuple[Path, ...], prepare: Preparation) -> list[np.ndarray]:
    """Make the inputs of a picture without missing data the usual way."""
    with Slide(paths) as slide:
        pixels = slide.read(slide.bounds).transpose(1, 2, 0)
    modes: dict[str, Any] = {"zero": "constant", "reflect": "reflect", "edge": "edge"}
    padded = np.pad(pixels, (prepare.pads, prepare.pads, (0, 0)), modes[prepare.fill])
    found = []
    for size in prepare.sizes or (1,):
        if not isinstance(size, tuple):
            size = tuple(round(side * size) for side in padded.shape[:2])
        resized = cv2.resize(padded, size[::-1], interpolation=cv2.INTER_AREA)
        found.append(resized.reshape(*size, -1).transpose(2, 0, 1))
    return found


def batches_of(
    pictures: list[tuple[Path, ...]], prepare: Preparation, pool: ReaderPool, batch: int = 16
) -> list[PictureBatch]:
    """Read all pictures."""
    with pool:
        return list(PictureReader(pictures, prepare, pool, batch))


def assert_same(one: list[PictureBatch], other: list[PictureBatch]) -> None:
    """The batches have the same pictures, bytes, notes and failures."""
    for first, second in zip(one, other, strict=True):
        assert first.numbers == second.numbers
        assert first.pictures == second.pictures
        assert first.failed == second.failed
        for mine, theirs in zip(first.inputs, second.inputs, strict=True):
            assert mine.dtype == theirs.dtype
            assert np.array_equal(mine, theirs)


@pytest.mark.parametrize("prepare", [SALT, FOUR, Preparation(bands=1)])
@pytest.mark.parametrize("kind", KINDS)
def test_each_input_is_what_numpy_and_opencv_make(
    folder: Path, kind: str, prepare: Preparation
) -> None:
    """Whoever reads: pads are numpy's, sizes OpenCV's, and each picture comes once."""
    pictures = pictures_in(folder)
    batches = batches_of(pictures, prepare, pool_of(kind))
    numbers = [number for batch in batches for number in batch.numbers]
    failed = [number for batch in batches for number, _ in batch.failed]
    assert sorted(numbers + failed) == list(range(len(pictures)))
    for batch in batches:
        for place, (number, info) in enumerate(zip(batch.numbers, batch.pictures, strict=True)):
            with Slide(pictures[number]) as slide:
                assert (info.height, info.width) == (slide.height, slide.width)
                assert (info.bands, info.dtype) == (slide.bands, slide.dtype)
                assert (info.layout, list(info.notes)) == (slide.layout, slide.notes)
            assert info.content == file_sha256(pictures[number][0])
            if info.missing is None:
                wanted = plainly(pictures[number], prepare)
                for made, want in zip(batch.inputs, wanted, strict=True):
                    assert np.array_equal(made[place], want[: prepare.bands])


@pytest.mark.parametrize("start_method", START_METHODS)
def test_the_same_batches_whoever_reads(folder: Path, start_method: Any) -> None:
    """Processes and threads give what this thread gives, batch by batch."""
    pictures = pictures_in(folder)
    alone = batches_of(pictures, SALT, ReaderPool(0))
    assert_same(alone, batches_of(pictures, SALT, ReaderPool(2, "process", start_method)))
    assert_same(alone, batches_of(pictures, SALT, ReaderPool(3, "thread")))


def test_pictures_of_one_shape_share_batches(folder: Path) -> None:
    """A batch has one shape, dtype and number of bands. All but the last are full."""
    lengths: dict[Any, list[int]] = {}
    for batch in batches_of(pictures_in(folder), SALT, ReaderPool(0)):
        [kind] = {(info.height, info.width, info.bands, info.dtype) for info in batch.pictures}
        assert batch.numbers == sorted(batch.numbers)
        lengths.setdefault(kind, []).append(len(batch.numbers))
    assert all(length == 16 for found in lengths.values() for length in found[:-1])
    assert len(lengths) == 6
    assert max(map(len, lengths.values())) == 4


def test_a_picture_that_cannot_be_read_costs_no_other(folder: Path) -> None:
    """It comes out as failed, with the sentence that a slide has for it."""
    pictures = pictures_in(folder)
    batches = batches_of(pictures, SALT, ReaderPool(0))
    failed = dict(pair for batch in batches for pair in batch.failed)
    names = {pictures[number][0].name: sentence for number, sentence in failed.items()}
    assert sorted(names) == ["005.png", "055.png", "065.png", "gone.png"]
    for number, sentence in failed.items():
        with pytest.raises(OSError, match=r".") as caught, Slide(pictures[number]) as slide:
            slide.read(slide.bounds)
        assert sentence == str(caught.value)


def test_only_pictures_that_fail(tmp_path: Path) -> None:
    """They come in a batch without pictures."""
    pictures = [(tmp_path / "one.png",), (tmp_path / "two.png",)]
    [batch] = batches_of(pictures, SALT, ReaderPool(0))
    assert (batch.numbers, batch.inputs, len(batch.failed)) == ([], [], 2)
    assert not batches_of([], SALT, ReaderPool(0))


def test_pixels_without_data(folder: Path) -> None:
    """They are named at the source's size, read as 0, and left out of means."""
    paths = (folder / "with_alpha.png",)
    [batch] = batches_of([paths], Preparation(sizes=(1, (20, 17))), ReaderPool(0))
    with Slide(paths) as slide:
        valid = slide.read_valid(slide.bounds)
        pixels = slide.read(slide.bounds).astype(np.float64)
    missing = batch.pictures[0].missing
    assert missing is not None
    assert np.array_equal(missing.to_array(), ~valid)
    assert np.array_equal(batch.inputs[0][0], pixels)
    size, area = (17, 20), cv2.INTER_AREA
    share = cv2.resize(valid.astype(np.float64), size, interpolation=area)
    for made, band in zip(batch.inputs[1][0], pixels, strict=True):
        total = cv2.resize(band, size, interpolation=area)
        mean = np.where(share > 0, total / np.maximum(share, 1e-9), 0)
        assert np.abs(made - mean).max() <= 0.51


def test_a_value_that_means_no_data(folder: Path) -> None:
    """What the recipe says of it counts for plain pictures too."""
    paths = (folder / "015.png",)
    with Slide(paths) as slide:
        pixels = slide.read(slide.bounds)
    value = int(pixels[0, 30, 30])
    [batch] = batches_of([paths], Preparation(nodata=value), ReaderPool(0))
    missing = batch.pictures[0].missing
    assert missing is not None
    assert np.array_equal(missing.to_array(), pixels[0] == value)
    assert np.array_equal(batch.inputs[0][0], np.where(pixels == value, 0, pixels))


@pytest.mark.parametrize("room", [4 << 10, 40 << 10])
def test_pictures_larger_than_a_slot(
    folder: Path, room: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They get memory of their own. What did not fit is read again."""
    pictures = pictures_in(folder)
    alone = batches_of(pictures, SALT, ReaderPool(0))
    monkeypatch.setattr(pictures_pass, "_SLOT_BYTES", room)
    assert_same(alone, batches_of(pictures, SALT, ReaderPool(2)))


@pytest.mark.parametrize("kind", ["inline", "thread"])
def test_small_files_of_large_pictures(
    folder: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task ends early once its inputs take much memory. The batches are the same."""
    pictures = pictures_in(folder)
    alone = batches_of(pictures, SALT, ReaderPool(0))
    monkeypatch.setattr(pictures_work, "_AT_ONCE", 40 << 10)
    ended = []
    run = pictures_work.PictureTask.run

    def counted(task: Any, slides: object) -> Any:
        result = run(task, slides)
        ended.append(len(result.found))
        return result

    monkeypatch.setattr(pictures_work.PictureTask, "run", counted)
    assert_same(alone, batches_of(pictures, SALT, pool_of(kind)))
    assert max(ended) <= 6


def test_a_picture_larger_than_the_memory(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused in one sentence, before it is decoded."""
    monkeypatch.setattr(pictures_work, "_SMALL", 0)
    monkeypatch.setattr(pictures_work, "available_memory", lambda: 100_000)
    [batch] = batches_of([(folder / "photograph.jpg",)], SALT, ReaderPool(0))
    [(number, sentence)] = batch.failed
    assert number == 0
    assert (
        "the whole picture of 200 x 300 pixels takes 1 MB, and 1 MB of memory is free" in sentence
    )
    assert sentence.endswith("Give the recipe's tiles a core")


def test_a_reader_can_be_read_again(folder: Path) -> None:
    """With the same workers, and after it was left early."""
    pictures = pictures_in(folder)
    with ReaderPool(2) as pool:
        reader = PictureReader(pictures, SALT, pool, 16)
        assert len(reader) == len(pictures)
        first = list(reader)
        for _ in reader:
            break
        assert_same(first, list(reader))


@pytest.mark.parametrize("kind", KINDS)
def test_the_caller_may_leave_at_any_time(folder: Path, kind: str) -> None:
    """It leaves by break, by its own error or by Ctrl-C. Nothing stays behind."""
    for leave in (None, ValueError("mine"), KeyboardInterrupt()):
        left = pytest.raises(type(leave)) if leave else contextlib.nullcontext()
        with pool_of(kind) as pool, left:
            for _ in PictureReader(pictures_in(folder), SALT, pool, 8):
                if leave:
                    raise leave
                break


def test_batches_are_the_callers_own(folder: Path) -> None:
    """If the caller keeps them all and writes into them, no other changes."""
    pictures = pictures_in(folder)
    wanted = batches_of(pictures, SALT, ReaderPool(0))
    with ReaderPool(2) as pool:
        kept = []
        for batch in PictureReader(pictures, SALT, pool, 16):
            copies = [pixels.copy() for pixels in batch.inputs]
            kept.append(PictureBatch(batch.numbers, copies, batch.pictures, batch.failed))
            for pixels in batch.inputs:
                pixels[:] = 0
    assert_same(wanted, kept)


@pytest.fixture
def deadly(monkeypatch: pytest.MonkeyPatch) -> None:
    """A forked worker that reads 020.png is killed by it. One that reads 080.png is stuck."""
    read = pictures_work._read

    def dying(paths: tuple[Path, ...], *rest: Any) -> Any:
        if paths[0].name == "020.png":
            os.kill(os.getpid(), signal.SIGKILL)
        if paths[0].name == "080.png":
            time.sleep(60)
        return read(paths, *rest)

    monkeypatch.setattr(pictures_work, "_read", dying)


@pytest.mark.usefixtures("deadly")
def test_a_picture_that_kills_or_stops_its_reader(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is tried once more, alone in a new process, and never here. All others come as ever."""
    pictures = pictures_in(folder)
    looked_at = []

    def look_at(paths: tuple[Path, ...]) -> Any:
        looked_at.append(paths[0].name)
        return header.look_at(paths)

    monkeypatch.setattr(pictures_module, "look_at", look_at)
    with ReaderPool(2, "process", "fork") as pool:
        reader = PictureReader(pictures, SALT, pool, 4, timeout=2)
        batches = list(reader)
    failed = dict(pair for batch in batches for pair in batch.failed)
    assert len(failed) == 4 + 2
    assert "a reader process was lost, and so was a new one. The file crashes" in failed[20]
    assert "a reader process was stuck for 2 s, and so was a new one" in failed[81]
    assert sorted(failed) == [5, 20, 40, 56, 66, 81]
    reasons = ["a reader process was lost", "a reader process was stuck for 2 s"]
    assert [note.partition(". What the readers had")[0] for note in reader.notes] == reasons
    numbers = [number for batch in batches for number in batch.numbers]
    assert sorted([*numbers, *failed]) == list(range(len(pictures)))
    assert len(looked_at) == 4
    assert not {"020.png", "080.png"} & set(looked_at)


def test_a_worker_that_is_killed_costs_no_picture(folder: Path) -> None:
    """What it had begun is read again, and the batches are the same."""
    pictures = pictures_in(folder) * 3
    alone = batches_of(pictures, SALT, ReaderPool(0))
    with ReaderPool(2) as pool:
        reader = PictureReader(pictures, SALT, pool, 16)
        found = []
        for batch in reader:
            if len(found) == 2:
                workers = worker_pids()
                for pid in workers:  # so that they have work left when one is killed
                    os.kill(pid, signal.SIGSTOP)
                killing = threading.Timer(0.3, os.kill, (workers[0], signal.SIGKILL))
                killing.start()
            found.append(batch)
        killing.join()
        assert_same(alone, found)
        [note] = reader.notes
        assert note.startswith("a reader process was lost. What the readers had begun was read")


def test_no_more_is_read_ahead_than_a_few_tasks(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow caller holds the readers back, however many pictures there are."""
    handed_over = []
    submit = ReaderPool.submit

    def counted(pool: ReaderPool, task: Any) -> Any:
        handed_over.append(len(task.pictures))
        return submit(pool, task)

    monkeypatch.setattr(ReaderPool, "submit", counted)
    with ReaderPool(2) as pool:
        reader = iter(PictureReader(pictures_in(folder) * 20, SALT, pool, 8))
        next(reader)
        assert sum(handed_over) <= 8 * 10
        reader.close()  # type: ignore[attr-defined]


shapes = st.lists(st.tuples(st.integers(1, 4), st.integers(1, 4)), max_size=80)


@settings(max_examples=200)
@given(shapes, st.integers(1, 7), st.integers(1, 40), st.integers(1, 4))
def test_groups_lose_no_picture(
    kinds: list[tuple[int, int]], batch: int, most_bytes: int, patience: int
) -> None:
    """Each picture is in one batch, with its own pixels. Little waits, and not for long."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pictures_groups, "_WAITING_BYTES", most_bytes)
        patch.setattr(pictures_groups, "_BATCH_BYTES", 32)
        patch.setattr(pictures_groups, "_PATIENCE", patience)
        found = list(_grouped(kinds, batch, most_bytes, patience))
    numbers = [number for each in found for number in each.numbers]
    assert sorted(numbers) == list(range(len(kinds)))
    for each in found:
        assert 1 <= len(each.numbers) <= batch
        [shape] = {kinds[number] for number in each.numbers}
        assert each.inputs[0].shape == (len(each.numbers), 1, *shape)
        assert each.inputs[0].nbytes <= 32
        assert [int(pixels[0, 0, 0]) for pixels in each.inputs[0]] == each.numbers


def _grouped(
    kinds: list[tuple[int, int]], batch: int, most_bytes: int, patience: int
) -> Iterator[PictureBatch]:
    groups = Groups(batch)
    waiting: set[int] = set()
    for number, (height, width) in enumerate(kinds):
        info = PictureInfo(height, width, 1, np.dtype("u1"), "made")
        waiting.add(number)
        for each in groups.add(number, info, [np.full((1, height, width), number, np.uint8)]):
            waiting -= set(each.numbers)
            yield each
        assert sum(kinds[each][0] * kinds[each][1] for each in waiting) <= most_bytes
        assert all(number - each <= patience * batch for each in waiting)
    yield from groups.rest()


def test_nothing_is_held_between_passes(folder: Path) -> None:
    """A pass that ends gives back its files and memory, but for what the pool keeps."""
    with ReaderPool(0) as pool:
        before = held()
        list(PictureReader(pictures_in(folder), SALT, pool, 16))
        assert held() <= before
