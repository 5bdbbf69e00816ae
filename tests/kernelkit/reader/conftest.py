"""An image to read, and a check that nothing outlives a test."""

import gc
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kernelkit.reader import pieces
from tests.made.layouts import picture, write
from tests.made.readers import SIZE, held


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One image, as three pages of tiles."""
    return write(tmp_path_factory.mktemp("reader") / "kidney.tif", picture(3, *SIZE), "subdatasets")


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut these small images into as many pieces as a large one would have."""
    monkeypatch.setattr(pieces, "_PIECE_AREA", 1 << 16)


@pytest.fixture(autouse=True)
def _nothing_stays_behind() -> Iterator[None]:
    """No process, thread, shared memory or file handle outlives a test, whatever it does."""
    before = held()
    yield
    deadline = time.monotonic() + 20
    while (left := held() - before) and time.monotonic() < deadline:
        gc.collect()
        time.sleep(0.05)
    assert not left
