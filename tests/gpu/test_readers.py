"""Reader processes beside a device that is already in use, however they are started."""

import contextlib
import os
import signal
import threading

import numpy as np
import pytest
import torch

from kernelkit.errors import ReaderError
from kernelkit.grid import TileGrid
from kernelkit.reader import ReaderPool, TileReader, pieces
from kernelkit.slide import Slide
from tests.made.on_device import DEVICE, PICTURE, THRESHOLD, model_of, settled
from tests.made.readers import START_METHODS, worker_pids

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.timeout(180),
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
]


def grid():
    with Slide(PICTURE) as slide:
        return TileGrid(slide.height, slide.width, core=192, pad=32, scale=1)


def predicted(model, reader):
    """The masks of all tiles of a reader, asked for in batches."""
    tiles = [pixels.copy() for _, pixels in reader]
    return model.predict(tiles).masks([THRESHOLD])


@pytest.mark.parametrize("start_method", START_METHODS)
def test_a_reader_that_is_killed_while_the_device_is_in_use(start_method, monkeypatch):
    """The error names the image, later reads are right, and the device answers as before."""
    monkeypatch.setattr(pieces, "_PIECE_AREA", 1 << 14)
    model = model_of()
    wanted = predicted(model, TileReader(PICTURE, grid(), ReaderPool(0)))
    # what a forked process inherits: tensors, pinned memory, events
    kept = [torch.ones(4, device=DEVICE), model.predict([np.zeros((3, 64, 64), np.uint8)]).bytes()]
    others = set(worker_pids())  # such as those of torch's compiler
    with ReaderPool(2, "process", start_method) as pool:
        assert np.array_equal(predicted(model, TileReader(PICTURE, grid(), pool)), wanted)
        workers = sorted(set(worker_pids()) - others)
        for pid in workers:  # so that they have work left when one is killed
            os.kill(pid, signal.SIGSTOP)
        killing = threading.Timer(0.5, os.kill, (workers[0], signal.SIGKILL))
        killing.start()
        with pytest.raises(ReaderError, match="a reader process died"):
            predicted(model, TileReader(PICTURE, grid(), pool))
        killing.join()
        for pid in workers[1:]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        assert np.array_equal(predicted(model, TileReader(PICTURE, grid(), pool)), wanted)
    settled()
    assert float(kept[0].sum()) == 4
    assert len(kept[1].result()) == 1
