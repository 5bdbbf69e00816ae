"""Files of many arrays: whole or not there, small where there is nothing, never half read."""

import contextlib
import errno
import os
from pathlib import Path

import numpy as np
import pytest

from kernelkit.errors import OutputError
from kernelkit.grid import Window
from kernelkit.training.cuts.packs import (
    PackSeries,
    PackWriter,
    Record,
    read_packs,
    remove_unfinished,
)


def add(writer: PackWriter, key: str, values: np.ndarray) -> None:
    array = writer.begin(values.shape, values.dtype, values.shape[1:])
    writer.write(array, 0, values[np.newaxis])
    writer.add(Record(key, {"pixels": array}, {"notes": [key]}))


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    """Arrays of several dtypes share a file, and each has its facts."""
    arrays = {
        name: np.random.default_rng(0).integers(0, 99, (2, 7, 5)).astype(name)
        for name in ("uint8", "float32", "int16")
    }
    records: dict[str, Record] = {}
    with PackSeries(tmp_path, records) as packs:
        for name, values in arrays.items():
            with packs.adding() as writer:
                add(writer, name, values)
    found = {record.key: record for record in read_packs(tmp_path)}
    assert found == records
    assert len(list(tmp_path.iterdir())) == 1
    for name, values in arrays.items():
        assert np.array_equal(found[name].arrays["pixels"].read(Window(0, 0, 7, 5)), values)
        assert found[name].facts == {"notes": [name]}


def test_a_file_appears_once_it_is_whole(tmp_path: Path) -> None:
    """Before that nobody finds it. What an error leaves goes with it."""
    with contextlib.suppress(ZeroDivisionError), PackSeries(tmp_path, {}) as packs:
        with packs.adding() as writer:
            add(writer, "a", np.ones((1, 4, 4), np.uint8))
        assert list(read_packs(tmp_path)) == []
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    """Unfinished files alone go."""
    with PackSeries(tmp_path, {}) as packs, packs.adding() as writer:
        add(writer, "a", np.ones((1, 4, 4), np.uint8))
    killed = PackWriter(tmp_path)
    add(killed, "b", np.ones((1, 4, 4), np.uint8))
    os.close(killed._file)
    remove_unfinished(tmp_path)
    assert [record.key for record in read_packs(tmp_path)] == ["a"]
    assert len(list(tmp_path.iterdir())) == 1


def test_an_image_that_fails_takes_nothing_else_with_it(tmp_path: Path) -> None:
    """The file goes on as if it had not been begun, and zeros are zeros again."""
    records: dict[str, Record] = {}
    with PackSeries(tmp_path, records) as packs:
        with contextlib.suppress(ZeroDivisionError), packs.adding() as writer:
            array = writer.begin((1, 99, 99), np.dtype(np.uint8), (99, 99))
            writer.write(array, 0, np.full((1, 1, 99, 99), 7, np.uint8))
            raise ZeroDivisionError
        with packs.adding() as writer:
            array = writer.begin((1, 50, 50), np.dtype(np.uint8), (50, 50))
            writer.add(Record("b", {"pixels": array}))
    assert not records["b"].arrays["pixels"].read(Window(0, 0, 50, 50)).any()


def test_blocks_of_zeros_take_no_room(tmp_path: Path) -> None:
    """Most labels are 0, so a file of 16 MB of them is a hole."""
    with PackSeries(tmp_path, {}) as packs, packs.adding() as writer:
        array = writer.begin((1, 4096, 4096), np.dtype(np.uint8), (256, 256))
        for number in range(256):
            writer.write(array, number, np.zeros((1, 1, 256, 256), np.uint8))
        writer.add(Record("zeros", {"labels": array}))
    [path] = tmp_path.iterdir()
    assert path.stat().st_size > 4096**2
    assert path.stat().st_blocks * 512 < 100_000


@pytest.mark.parametrize("damage", [0, 5, 40, 200])
def test_a_damaged_file_is_passed_over(damage: int, tmp_path: Path) -> None:
    """It holds nothing, so its images are made anew."""
    with PackSeries(tmp_path, {}) as packs, packs.adding() as writer:
        add(writer, "a", np.ones((1, 4, 4), np.uint8))
    [path] = tmp_path.iterdir()
    content = path.read_bytes()
    path.write_bytes(content[: len(content) - damage] if damage else b"")
    assert list(read_packs(tmp_path)) == []


def test_a_full_disk_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It names the folder, says what to do, and leaves no part of a file."""

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with PackWriter(tmp_path) as writer:
        array = writer.begin((1, 4, 4), np.dtype(np.uint8), (4, 4))
        with pytest.raises(OutputError, match=r"written there \(No space left on device\). Make r"):
            writer.write(array, 0, np.ones((1, 1, 4, 4), np.uint8))
    assert list(tmp_path.iterdir()) == []
