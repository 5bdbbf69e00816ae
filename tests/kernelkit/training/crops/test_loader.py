"""Batches: the same bytes whoever makes them, and in whatever order they are asked for."""

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kernelkit.errors import OutputError, ReaderDiedError
from kernelkit.training.crops import CropBatch, CropData
from kernelkit.training.cuts import Cuts
from tests.made.crops import small_cuts, small_run

STEPS = ["d4", {"affine": {"p": 0.5}}, {"cutout": {"p": 0.5}}, {"hsv": {"p": 0.5}}]


def bytes_of(batch: CropBatch) -> tuple[bytes, ...]:
    held = b"" if batch.held is None else batch.held.numpy().tobytes()
    arrays = (batch.pixels, batch.labels, batch.weights, batch.draws)
    return (held, *(each.numpy().tobytes() for each in arrays))


def data(folder: Path, **keys: Any) -> CropData:
    cuts = small_cuts(folder)
    return CropData(small_run(folder, augment=STEPS, **keys), cuts, cuts.folds, 0)


@pytest.fixture(scope="module")
def crops(tmp_path_factory: pytest.TempPathFactory) -> CropData:
    return data(tmp_path_factory.mktemp("crops"))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Cuts:
    return small_cuts(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="module")
def epochs(crops: CropData) -> list[list[tuple[bytes, ...]]]:
    """Two epochs, made in this process."""
    with crops.train_loader(seed=4) as loader:
        return [[bytes_of(batch) for batch in loader.batches(epoch)] for epoch in range(2)]


@pytest.mark.parametrize("workers", [1, 2])
def test_any_number_of_workers_makes_the_same_bytes(
    crops: CropData, epochs: list[list[tuple[bytes, ...]]], workers: int
) -> None:
    """Every array of two epochs is equal to what this process makes by itself."""
    with crops.train_loader(seed=4, workers=workers) as loader:
        for epoch, wanted in enumerate(epochs):
            assert [bytes_of(batch) for batch in loader.batches(epoch)] == wanted


@settings(max_examples=25)
@given(
    seed=st.integers(0, 2**31),
    epoch=st.integers(0, 1000),
    batches=st.tuples(st.integers(1, 7), st.integers(1, 7)),
)
def test_a_crop_depends_on_seed_epoch_and_number_alone(
    small: Cuts, seed: int, epoch: int, batches: tuple[int, int]
) -> None:
    """Whatever the batch is, the n-th crop of an epoch is the same."""
    folder = small.folder
    crops: list[dict[int, tuple[bytes, ...]]] = []
    for size in batches:
        run = small_run(folder, augment=STEPS, batch=size, steps=4, crop=24)
        found: dict[int, tuple[bytes, ...]] = {}
        with CropData(run, small, small.folds, 0).train_loader(seed) as loader:
            for step, batch in enumerate(loader.batches(epoch)):
                for index in range(size):
                    arrays = (batch.pixels, batch.labels, batch.draws)
                    parts = tuple(each[index].numpy().tobytes() for each in arrays)
                    found[step * size + index] = parts
        assert len(found) == 4 * size
        crops.append(found)
    for number in crops[0].keys() & crops[1].keys():
        assert crops[0][number] == crops[1][number]
    assert len({*crops[0].values()}) == len(crops[0]), "no crop comes twice"


def test_crops_differ_between_epochs_and_seeds(
    crops: CropData, epochs: list[list[tuple[bytes, ...]]]
) -> None:
    """No batch comes twice."""
    with crops.train_loader(seed=5) as loader:
        other = [bytes_of(batch) for batch in loader.batches(0)]
    batches = [*epochs[0], *epochs[1], *other]
    assert len(set(batches)) == len(batches)


def test_a_resumed_epoch_goes_on_with_the_same_crops(
    crops: CropData, epochs: list[list[tuple[bytes, ...]]]
) -> None:
    """An epoch depends on nothing before it."""
    with crops.train_loader(seed=4) as loader:
        assert [bytes_of(batch) for batch in loader.batches(1)] == epochs[1]


def test_devices_share_the_crops_of_a_step(tmp_path: Path) -> None:
    """Two devices with batches of 2 get what one device has in batches of 4."""
    cuts = small_cuts(tmp_path)
    whole = CropData(small_run(tmp_path, augment=STEPS, batch=4), cuts, cuts.folds, 0)
    halves = CropData(small_run(tmp_path, augment=STEPS, batch=2), cuts, cuts.folds, 0)
    with (
        whole.train_loader(1) as one,
        halves.train_loader(1, rank=0, ranks=2) as first,
        halves.train_loader(1, rank=1, ranks=2) as second,
    ):
        assert len(one) == len(first) == len(second) == 3
        for wanted, *parts in zip(
            *(loader.batches(0) for loader in (one, first, second)), strict=True
        ):
            assert torch.equal(wanted.pixels, torch.cat([part.pixels for part in parts]))
            assert torch.equal(wanted.draws, torch.cat([part.draws for part in parts]))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_batch_that_is_kept_stays_as_it_was(crops: CropData, workers: int) -> None:
    """Its memory is used again only once nobody holds it."""
    with crops.train_loader(seed=4, workers=workers) as loader:
        kept: list[CropBatch] = []
        before: list[tuple[bytes, ...]] = []
        for epoch in range(3):
            for batch in loader.batches(epoch):
                kept.append(batch)
                before.append(bytes_of(batch))
        assert [bytes_of(batch) for batch in kept] == before


def test_an_epoch_that_is_left_early_costs_nothing_later(
    crops: CropData, epochs: list[list[tuple[bytes, ...]]]
) -> None:
    """The workers finish what they began, and the next epoch is complete."""
    with crops.train_loader(seed=4, workers=2) as loader:
        batches: Iterator[CropBatch] = loader.batches(0)
        next(batches)
        batches.close()  # type: ignore[attr-defined]
        assert [bytes_of(batch) for batch in loader.batches(1)] == epochs[1]


def test_a_worker_that_dies_is_an_error(crops: CropData) -> None:
    """It is named in a sentence, and training does not wait for ever."""
    with crops.train_loader(seed=4, workers=1) as loader:
        list(loader.batches(0))
        [worker] = loader._pool._executor._workers  # type: ignore[union-attr]
        os.kill(worker.process.pid, signal.SIGSTOP)  # so that it cannot finish before it dies
        killer = threading.Timer(0.3, os.kill, (worker.process.pid, signal.SIGKILL))
        killer.start()
        with pytest.raises(ReaderDiedError, match="a process that cuts crops died"):
            next(loader.batches(1))
        killer.join()


def test_a_file_of_cuts_that_is_gone_is_named(tmp_path: Path) -> None:
    """The error of a worker reaches the loop, with the file's name."""
    crops = data(tmp_path)
    for path in tmp_path.glob("image*.raw"):
        path.unlink()
    with (
        crops.train_loader(seed=4, workers=1) as loader,
        pytest.raises(OutputError, match=r"image\d-\d-\d+\.raw"),
    ):
        list(loader.batches(0))


def test_workers_import_no_torch(crops: CropData) -> None:
    """A process costs its crops alone, not 400 MB and some seconds."""
    with crops.train_loader(seed=4, workers=1) as loader:
        list(loader.batches(0))
        [worker] = loader._pool._executor._workers  # type: ignore[union-attr]
        mapped = Path(f"/proc/{worker.process.pid}/maps").read_text()
    assert "libtorch" not in mapped
    assert "cv2" in mapped, "else this test could not fail"


def test_a_moved_batch_keeps_its_numbers_at_home(crops: CropData) -> None:
    """`to` moves all that the device needs. Random numbers stay where strengths are worked out."""
    with crops.train_loader(seed=4) as loader:
        batch = next(loader.batches(0))
    moved = batch.to("meta")
    assert {moved.pixels.device.type, moved.labels.device.type, moved.weights.device.type} == {
        "meta"
    }
    assert moved.draws.device.type == "cpu"
    assert len(moved) == len(batch) == 4
    assert np.isclose(batch.draws.numpy().mean(), 0.5, atol=0.1)
