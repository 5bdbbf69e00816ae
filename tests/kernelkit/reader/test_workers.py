"""Workers that die, are stuck or are left: one error, and nothing stays behind."""

import contextlib
import gc
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from kernelkit.errors import ReaderError, SlideError
from kernelkit.grid import TileGrid
from kernelkit.reader import ReaderPool, TileReader, shared
from kernelkit.reader.processes import ProcessExecutor
from kernelkit.reader.shared import SharedArena, _attach
from kernelkit.reader.workers import StartMethod
from kernelkit.slide import Slide
from tests.made.layouts import picture, write
from tests.made.readers import (
    KINDS,
    MARKS,
    SIZE,
    START_METHODS,
    assert_delivers,
    expected,
    grid_of,
    held,
    pool_of,
    run_python,
    worker_pids,
)

pytestmark = MARKS


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("start_method", START_METHODS)
def test_a_killed_worker_is_a_reader_error(image: Path, start_method: StartMethod) -> None:
    """The error names image and window. The pool reads the next image with new workers."""
    grid = grid_of(image, core=64, pad=16, scale=1)
    with ReaderPool(2, "process", start_method) as pool:
        assert_delivers(TileReader(image, grid, pool), expected(image, grid))
        workers = worker_pids()
        for pid in workers:  # so that they have work left when one is killed
            os.kill(pid, signal.SIGSTOP)
        killing = threading.Timer(0.5, os.kill, (workers[0], signal.SIGKILL))
        killing.start()
        with pytest.raises(ReaderError, match=r"kidney\.tif: a reader process died.* rows .*read"):
            list(TileReader(image, grid, pool))
        killing.join()
        assert_delivers(TileReader(image, grid, pool), expected(image, grid))


@pytest.mark.usefixtures("small_pieces")
def test_a_worker_killed_between_images_is_replaced(image: Path) -> None:
    """Nothing waited for it, so it is no error."""
    grid = grid_of(image)
    wanted = expected(image, grid)
    with ReaderPool(2, "process") as pool:
        assert_delivers(TileReader(image, grid, pool), wanted)
        for pid in worker_pids():
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.5)
        assert_delivers(TileReader(image, grid, pool), wanted)


@pytest.mark.usefixtures("small_pieces")
def test_a_stuck_worker_is_given_up(image: Path) -> None:
    """After the timeout the error says what did not arrive. The worker is killed."""
    with ReaderPool(1, "process") as pool:
        grid = grid_of(image, core=64, pad=16, scale=1)
        tiles = iter(TileReader(image, grid, pool, timeout=1))
        next(tiles)
        for pid in worker_pids():
            os.kill(pid, signal.SIGSTOP)
        with pytest.raises(ReaderError, match=r"kidney\.tif: rows .* did not arrive within 1 s"):
            list(tiles)


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_deleted_under_way(tmp_path: Path, kind: str) -> None:
    """A worker that opens it later says that it is gone, and where it was to be read."""
    path = write(tmp_path / "image.tif", picture(3, *SIZE), "tiled")
    grid = grid_of(path)
    with pool_of(kind) as pool:
        reader = TileReader(path, grid, pool)
        path.unlink()
        with pytest.raises(
            SlideError, match=r"image\.tif: .* no such file.* read at rows .*columns"
        ):
            list(reader)


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("kind", KINDS)
def test_the_caller_may_leave_at_any_time(image: Path, kind: str) -> None:
    """It leaves by break, by its own error or by Ctrl-C. Nothing stays behind."""
    grid = grid_of(image)
    for leave in (None, ValueError("mine"), KeyboardInterrupt()):
        left = pytest.raises(type(leave)) if leave else contextlib.nullcontext()
        with pool_of(kind) as pool, left:
            for tile, _ in TileReader(image, grid, pool):
                if tile.index == 3:
                    if leave:
                        raise leave
                    break


@pytest.mark.usefixtures("small_pieces")
def test_a_reader_owns_the_workers_it_was_asked_for(image: Path) -> None:
    """A number of workers means processes that end with the pass, even if it ends early."""
    grid = grid_of(image)
    for tile, _ in TileReader(image, grid, workers=2):
        if tile.index == 2:
            break
    assert not worker_pids()


NOTEBOOK = """
import sys, types
notebook = types.ModuleType("__main__")  # IPython's has no file and no spec
sys.modules["__main__"] = notebook
notebook.__dict__["__builtins__"] = __builtins__
exec('''
from kernelkit.grid import TileGrid
from kernelkit.reader import ReaderPool, TileReader
for method in ("forkserver", "spawn", "fork"):
    with ReaderPool(2, "process", method) as pool:
        reader = TileReader(PATH, TileGrid(1100, 1300, 192, 48, 3), pool)
        print(method, sum(int(pixels.sum()) for _, pixels in reader))
'''.replace("PATH", repr(sys.argv[1])), notebook.__dict__)
"""


def test_inside_a_notebook(image: Path) -> None:
    """With a main module that has no file, every way to start processes works unguarded."""
    done = run_python("-c", NOTEBOOK, image)
    total = sum(int(tile.sum()) for tile in expected(image, grid_of(image)))
    assert done.stdout.split() == [
        "forkserver",
        f"{total}",
        "spawn",
        f"{total}",
        "fork",
        f"{total}",
    ]


UNGUARDED = """
print("imported", __file__)
import sys
from kernelkit.grid import TileGrid
from kernelkit.reader import ReaderPool, TileReader
with ReaderPool(2, "process", sys.argv[2]) as pool:
    reader = TileReader(sys.argv[1], TileGrid(1100, 1300, 192, 48, 3), pool)
    print(sum(int(pixels.sum()) for _, pixels in reader), __file__, __spec__)
"""


@pytest.mark.parametrize("start_method", START_METHODS)
def test_workers_do_not_import_the_script(
    image: Path, tmp_path: Path, start_method: StartMethod
) -> None:
    """What a script imports costs its workers nothing. Its main part needs no guard."""
    script = tmp_path / "main.py"
    script.write_text(UNGUARDED)
    done = run_python(script, image, start_method)
    total = sum(int(tile.sum()) for tile in expected(image, grid_of(image)))
    assert done.stdout.splitlines() == [f"imported {script}", f"{total} {script} None"]


ORPHANS = """
import os, signal, sys
from kernelkit.grid import TileGrid
from kernelkit.reader import ReaderPool, TileReader
import psutil
pool = ReaderPool(2, "process", sys.argv[2])
tiles = iter(TileReader(sys.argv[1], TileGrid(1100, 1300, 192, 48, 3), pool))
next(tiles)
children = psutil.Process().children(recursive=True)
print(*(child.pid for child in children), flush=True)
if len(sys.argv) > 3:
    for worker in pool._executor._workers:
        os.kill(worker.process.pid, signal.SIGSTOP)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("stopped", [(), ("stopped",)], ids=["running", "stopped"])
@pytest.mark.parametrize("start_method", START_METHODS)
def test_workers_end_when_the_notebook_is_killed(
    image: Path, tmp_path: Path, start_method: StartMethod, stopped: tuple[str, ...]
) -> None:
    """SIGKILL gives the main process no time to tell them. Even stopped ones end."""
    script = tmp_path / "main.py"
    script.write_text(ORPHANS)
    done = run_python(script, image, start_method, *stopped, check=False)
    assert done.returncode == -signal.SIGKILL
    pids = [int(pid) for pid in done.stdout.split()]
    assert len(pids) >= 2
    deadline = time.monotonic() + 20
    while any(map(_is_alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(_is_alive, pids))


def _is_alive(pid: int) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


INTERRUPTED = """
import sys, time
from kernelkit.grid import TileGrid
from kernelkit.reader import TileReader
try:
    for tile, _ in TileReader(sys.argv[1], TileGrid(1100, 1300, 96, 24, 3), workers=2):
        print(tile.index, flush=True)
        time.sleep(0.05)
except KeyboardInterrupt:
    print("interrupted")
"""


def test_control_c_reaches_the_caller_only(image: Path, tmp_path: Path) -> None:
    """The terminal sends it to all. Workers print nothing, and the program ends in order."""
    script = tmp_path / "main.py"
    script.write_text(INTERRUPTED)
    process = subprocess.Popen(
        [sys.executable, script, image],
        env=os.environ | {"PYTHONPATH": "kernel_src"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    process.stdout.readline()
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert out.endswith("interrupted\n")


def refuse(*_: object, **__: object) -> None:
    """Stand for a system call that this machine forbids."""
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("start_method", START_METHODS)
def test_processes_need_no_semaphore(
    image: Path, start_method: StartMethod, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So they start without /dev/shm, and a killed run leaves nothing in it."""
    monkeypatch.setattr("multiprocessing.synchronize.SemLock.__init__", refuse)
    grid = grid_of(image)
    with ReaderPool(2, "process", start_method) as pool:
        assert_delivers(TileReader(image, grid, pool), expected(image, grid))
        assert (pool.kind, pool.notes) == ("process", [])


def test_a_temporary_folder_whose_path_is_too_long(
    image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fork server's socket does not fit into it. Workers are spawned instead."""
    folder = tmp_path / ("x" * 200)
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    script = tmp_path / "main.py"
    script.write_text(UNGUARDED)
    done = run_python(script, image, "forkserver")
    total = sum(int(tile.sum()) for tile in expected(image, grid_of(image)))
    assert done.stdout.splitlines() == [f"imported {script}", f"{total} {script} None"]


@pytest.mark.parametrize("forbidden", ["processes", "memory"])
def test_threads_read_where_processes_cannot(
    image: Path, forbidden: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tiles are the same, and a note says why."""
    if forbidden == "processes":
        monkeypatch.setattr("multiprocessing.process.BaseProcess.start", refuse)
    else:
        monkeypatch.setattr("os.memfd_create", refuse)
    grid = grid_of(image)
    with ReaderPool(2, "process") as pool:
        for _ in range(2):
            assert_delivers(TileReader(image, grid, pool), expected(image, grid))
        [note] = pool.notes
        assert "read by threads" in note
        assert "No space left on device" in note


@pytest.mark.parametrize("workers", [-1, 1.5, "2", None])
def test_a_number_of_workers_that_is_none(image: Path, workers: object) -> None:
    """It is refused in one sentence, before any image is read."""
    with pytest.raises(ReaderError, match=r"found .* reader workers, wanted 0 or more\. 0 reads"):
        ReaderPool(workers)  # type: ignore[arg-type]
    with pytest.raises(ReaderError, match="reader workers, wanted 0 or more"):
        TileReader(image, grid_of(image), workers)  # type: ignore[arg-type]


def pid_of(_: object) -> int:
    """Return in which process a task ran."""
    time.sleep(0.02)
    return os.getpid()


def test_tasks_that_belong_together_run_in_one_process() -> None:
    """So a PNG is decoded once from its top. Two images are still read by two processes."""
    context = multiprocessing.get_context("fork")
    pool = ProcessExecutor(2, context, pid_of, contextlib.nullcontext)
    keys = [b"one"] * 8 + [b"two"] * 8 + [None] * 8
    futures = [pool.submit(pid_of, 0, together=key) for key in keys]
    pids = [future.result(timeout=60) for future in futures]
    pool.shutdown()
    assert len(set(pids[:8])) == len(set(pids[8:16])) == 1
    assert len(set(pids[:16])) == 2


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp"])
def test_formats_that_are_decoded_from_their_top(tmp_path: Path, name: str) -> None:
    """Their pieces belong together, and the tiles are those of a plain reader."""
    pixels = picture(3, *SIZE).transpose(1, 2, 0)
    Image.fromarray(pixels).save(tmp_path / name)
    grid = grid_of(tmp_path / name)
    assert Slide(tmp_path / name).in_order
    with ReaderPool(2) as pool:
        reader = TileReader(tmp_path / name, grid, pool)
        assert_delivers(reader, expected(tmp_path / name, grid))


def test_tiles_larger_than_the_memory_are_refused(
    image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sentence says how large a core may be, before anything is read."""
    monkeypatch.setattr("kernelkit.reader.tile_memory.available_memory", lambda: 2 << 30)
    grid = TileGrid(*SIZE, core=20000, pad=200)
    with pytest.raises(ReaderError, match=r"take 2\.5 GB, and 2\.1 GB .* core of at most 18496"):
        next(iter(TileReader(image, grid)))
    with pytest.raises(ReaderError, match=r"8 tiles .* core of at most 6272"):
        next(TileReader(image, grid, 2).batches(8))


def test_shared_memory_is_in_no_folder() -> None:
    """So /dev/shm may be small, and no crash leaves anything in it."""
    files = set(Path("/dev/shm").iterdir())
    arena = SharedArena((2, 1, 500, 500), np.dtype("u2"))
    assert set(Path("/dev/shm").iterdir()) == files
    assert "memfd:kernelkit-tiles" in " ".join(held())
    arena.use()
    slots = [arena.take(), arena.take()]
    lent = arena.lend(slots[1])
    lent[:] = 5
    view = lent[1].reshape(250_000)[10:20]
    del lent
    assert pickle.loads(pickle.dumps(arena)).array[3, 0, 0, 0] == 5
    arena.give_back(slots[0])
    assert (arena.take(), arena.take()) == (0, 2)  # slot 1 is still seen through the view
    del view
    gc.collect()
    assert arena.take() == 1
    for slot in range(3):
        arena.give_back(slot)
    arena.leave()
    _attach.cache_clear()


def test_slots_that_nobody_holds_keep_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """If many come back, most lose their memory. They can all be written again."""
    monkeypatch.setattr(shared, "_KEPT_BYTES", 2 << 20)
    arena = SharedArena((1, 1, 1024, 1024), np.dtype("u1"))
    arena.use()
    slots = [arena.take() for _ in range(8)]
    arena.array[slots] = 1
    assert memory_of(arena) == 8 << 20
    for slot in slots:
        arena.give_back(slot)
    assert memory_of(arena) == 2 << 20
    again = [arena.take() for _ in range(8)]
    assert sorted(again) == slots
    assert arena.array[again[:2]].all()  # those with memory come first
    arena.array[again] = 2
    assert (arena.array[slots] == 2).all()
    for slot in slots:
        arena.give_back(slot)
    arena.leave()


def memory_of(arena: SharedArena) -> int:
    """Return how many bytes an arena holds."""
    return Path(arena._address[0]).stat().st_blocks * 512


def test_workers_can_be_killed_while_they_end() -> None:
    """The thread that notices a death closes the workers. To kill them meanwhile is no error."""
    for _ in range(10):
        executor = ProcessExecutor(
            3, multiprocessing.get_context("fork"), _never, contextlib.nullcontext
        )
        os.kill(executor._workers[0].process.pid, signal.SIGKILL)
        while executor._thread.is_alive():
            executor.kill()
        with pytest.raises(BrokenProcessPool):
            executor.submit(_never, None)


def _never(_task: None) -> None:
    """A task that is never run."""
