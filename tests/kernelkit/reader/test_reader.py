"""The reader: the same bytes whatever the workers, each block decoded once, and a clean end."""

import contextlib
import gc
import itertools
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernelkit.errors import ReaderError, SlideError
from kernelkit.grid import TileGrid, Window
from kernelkit.reader import ReaderPool, TileReader, pieces, shared
from kernelkit.reader.pieces import cut_pieces
from kernelkit.reader.shared import SharedArena, _attach
from kernelkit.slide import Slide
from tests.made.layouts import picture, spoil_block, write

SIZE = (1100, 1300)
# what the standard library keeps for the next process: it ends with this one
HELPERS = ("forkserver", "resource_tracker")

pytestmark = [
    pytest.mark.timeout(90),
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One image, as three pages of tiles."""
    return write(tmp_path_factory.mktemp("reader") / "kidney.tif", picture(3, *SIZE), "subdatasets")


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut these small images into as many pieces as a large one would have."""
    monkeypatch.setattr(pieces, "_PIECE_AREA", 1 << 16)


@pytest.fixture(autouse=True)
def _nothing_stays_behind() -> Iterator[None]:
    """Whatever a test does, no process, thread, shared memory or file handle outlives it."""
    before = _held()
    yield
    deadline = time.monotonic() + 20
    while (left := _held() - before) and time.monotonic() < deadline:
        gc.collect()
        time.sleep(0.05)
    assert not left


def _held() -> set[str]:
    """What this process holds that could leak."""
    me = psutil.Process()
    held = {f"thread {thread.name}" for thread in threading.enumerate()}
    for child in me.children(recursive=True):
        with contextlib.suppress(psutil.Error):
            line = " ".join(child.cmdline())
            if not any(helper in line for helper in HELPERS):
                held.add(f"process {child.pid}")
            elif "forkserver" in line:
                held |= {f"process {pid.pid}" for pid in child.children(recursive=True)}
    for link in Path("/proc/self/fd").iterdir():
        target = os.path.realpath(link)
        if ".tif" in target or "kernelkit" in target:
            held.add(f"handle {link.name} of {target}")
    held |= {f"segment {path}" for path in Path("/dev/shm").iterdir() if "kernelkit" in path.name}
    return held


def run_python(*arguments: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run a script in a process of its own, which finds the package and warns of nothing."""
    return subprocess.run(
        [sys.executable, "-W", "ignore", *arguments],
        env=os.environ | {"PYTHONPATH": "kernel_src"},
        capture_output=True,
        text=True,
        timeout=60,
        check=check,
    )


def pool_of(kind: str) -> ReaderPool:
    """Return a pool that reads inline, or one of two workers."""
    return ReaderPool(0) if kind == "inline" else ReaderPool(2, kind)  # type: ignore[arg-type]


def grid_of(path: Path, **changes: int) -> TileGrid:
    """Return a grid of some dozens of tiles with wide pads over an image."""
    with Slide(path) as slide:
        settings = {"core": 192, "pad": 48, "scale": 3} | changes
        return TileGrid(slide.height, slide.width, **settings)  # type: ignore[arg-type]


def expected(path: Path, grid: TileGrid, fill: str = "zero") -> list[np.ndarray]:
    """Read the tiles the plain way, one window after the other."""
    with Slide(path) as slide:
        return [slide.read(tile.read, grid.scale, fill) for tile in grid]  # type: ignore[arg-type]


def assert_delivers(reader: TileReader, wanted: list[np.ndarray]) -> None:
    """The reader's tiles come in the grid's order with these bytes."""
    delivered = 0
    for (tile, pixels), index in zip(reader, reader.indices, strict=True):
        assert tile == reader.grid[index]
        assert pixels.dtype == wanted[index].dtype
        assert np.array_equal(pixels, wanted[index]), tile
        delivered += 1
    assert reader.stats.tiles == delivered == len(reader)


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("fill", ["zero", "reflect", "edge"])
@pytest.mark.parametrize("scale", [1, 3])
@pytest.mark.parametrize("layout", ["tiled", "jpeg", "none", "strips", "planar", "5d"])
def test_the_same_bytes_with_and_without_workers(
    tmp_path: Path, layout: str, scale: int, fill: str
) -> None:
    """Inline and with threads each tile equals a plain read of its window."""
    path = write(tmp_path / "image.tif", picture(3, 517, 703), layout)
    grid = grid_of(path, core=96, pad=24, scale=scale)
    wanted = expected(path, grid, fill)
    assert_delivers(TileReader(path, grid, 0, fill=fill), wanted)  # type: ignore[arg-type]
    with ReaderPool(3, "thread") as pool:
        assert_delivers(TileReader(path, grid, pool, fill=fill), wanted)  # type: ignore[arg-type]


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("start_method", ["fork", "spawn", "forkserver"])
def test_the_same_bytes_from_processes(image: Path, start_method: str) -> None:
    """However the processes are started, twice with the same ones, each tile is the same."""
    grid = grid_of(image)
    wanted = expected(image, grid)
    with ReaderPool(2, "process", start_method) as pool:  # type: ignore[arg-type]
        assert_delivers(TileReader(image, grid, pool), wanted)
        assert_delivers(TileReader(image, grid, pool, indices=range(5, 20, 3)), wanted)


@pytest.mark.parametrize("size", [(1, 1), (50, 40), (97, 300)])
@pytest.mark.parametrize("workers", [0, 2])
def test_images_smaller_than_a_tile(tmp_path: Path, size: tuple[int, int], workers: int) -> None:
    """They are read with their surroundings filled, like any other border."""
    path = write(tmp_path / "image.tif", picture(1, *size, "uint16"), "tiled")
    grid = grid_of(path, core=96, pad=24, scale=1)
    with ReaderPool(workers, "thread") as pool:
        assert_delivers(
            TileReader(path, grid, pool, fill="reflect"), expected(path, grid, "reflect")
        )


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_pieces_cover_each_window_once(data: st.DataObject) -> None:
    """Pieces are disjoint, cover every read window, and know exactly the tiles that need them."""
    scale = data.draw(st.integers(1, 3))
    height, width = data.draw(st.integers(1, 300)), data.draw(st.integers(1, 300))
    grid = TileGrid(
        height,
        width,
        core=data.draw(st.integers(4, 40)) * scale,
        pad=data.draw(st.integers(0, 20)) * scale,
        scale=scale,
        edges=data.draw(st.sampled_from(["pad", "shift"])),
    )
    block = data.draw(st.sampled_from([(16, 16), (1, width), (8, width), (32, 32), (7, 5)]))
    wanted = sorted(data.draw(st.sets(st.integers(0, len(grid) - 1), min_size=1)))
    tiles = [grid[index] for index in wanted]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pieces, "_PIECE_AREA", data.draw(st.sampled_from([100, 1000, 5000])))
        patch.setattr(pieces, "_PIECE_ROWS", data.draw(st.sampled_from([8, 32])))
        cut = cut_pieces(grid, block, tiles)
    bounds = grid.bounds
    times = np.zeros((bounds.height, bounds.width), int)
    for piece in cut:
        assert piece.window.row % scale == piece.window.col % scale == 0
        times[piece.window.relative_to(bounds).slices] += 1
        touching = [i for i, t in enumerate(tiles) if t.read.intersection(piece.window).area]
        assert list(piece.tiles) == touching
    assert times.max() == 1
    for tile in tiles:
        assert (times[tile.read.relative_to(bounds).slices] == 1).all()
    assert [piece.tiles[0] for piece in cut] == sorted(piece.tiles[0] for piece in cut)


@pytest.mark.parametrize("layout", ["tiled", "strips", "planar", "subdatasets-strips"])
def test_each_block_is_decoded_about_once(tmp_path: Path, layout: str) -> None:
    """With 25 % of pad on each side, at most 1.15 times the file's bytes are read from it."""
    path = write(tmp_path / "image.tif", picture(3, 2100, 2300), layout)
    script = (
        "import sys\n"
        "from kernelkit.reader import ReaderPool, TileReader\n"
        "from kernelkit.grid import TileGrid\n"
        "from kernelkit.slide import Slide\n"
        "def read():\n"
        "    with open('/proc/self/io') as file:\n"
        "        return int(file.readline().split()[1])\n"
        "grid = TileGrid(2100, 2300, core=384, pad=96)\n"
        "with ReaderPool(int(sys.argv[2]), 'thread') as pool:\n"
        "    Slide(sys.argv[1]).close()\n"
        "    before = read()\n"
        "    for _ in TileReader(sys.argv[1], grid, pool): pass\n"
        "    print(read() - before)\n"
    )
    for workers in ("0", "2"):
        done = run_python("-c", script, path, workers)
        assert 0.9 < int(done.stdout) / path.stat().st_size <= 1.15


def test_a_corrupt_block_costs_its_own_pixels(tmp_path: Path) -> None:
    """They are zeroed, the tiles that see them are listed, and the others are as they should be."""
    path = write(tmp_path / "image.tif", picture(3, *SIZE), "deflate")
    grid = grid_of(path, scale=1)
    wanted = expected(path, grid)
    spoil_block(path, 512, 768)
    broken = Window(512, 768, 256, 256)
    seen = [tile.index for tile in grid if tile.read.intersection(broken).area]
    for pool in (ReaderPool(0), ReaderPool(2, "thread"), ReaderPool(2, "process")):
        with pool:
            reader = TileReader(path, grid, pool)
            for tile, pixels in reader:
                part = broken.intersection(tile.read)
                if part.area:
                    rows, columns = part.relative_to(tile.read).slices
                    wanted[tile.index][:, rows, columns] = 0
                assert np.array_equal(pixels, wanted[tile.index])
            assert reader.bad_tiles == reader.stats.bad_tiles == seen
            assert reader.stats.bad_windows == [broken]


@pytest.mark.parametrize("kind", ["inline", "thread", "process"])
def test_a_corrupt_block_is_an_error_if_strict(tmp_path: Path, kind: str) -> None:
    """The error names the file and the window, and nothing goes on behind it."""
    path = write(tmp_path / "image.tif", picture(3, *SIZE), "deflate")
    spoil_block(path, 512, 768)
    with pool_of(kind) as pool:
        reader = TileReader(path, grid_of(path), pool, strict=True)
        with pytest.raises(SlideError, match=r"image\.tif: rows 0:768, columns 768:1300 could not"):
            list(reader)


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("start_method", ["fork", "spawn", "forkserver"])
def test_a_killed_worker_is_one_sentence(image: Path, start_method: str) -> None:
    """The error names image and window, and the pool reads the next image with new workers."""
    grid = grid_of(image, core=64, pad=16, scale=1)
    with ReaderPool(2, "process", start_method) as pool:  # type: ignore[arg-type]
        assert_delivers(TileReader(image, grid, pool), expected(image, grid))
        workers = [pid for pid in map(_pid_of, _held()) if pid]
        for pid in workers:  # so that they have something to do when one is killed
            os.kill(pid, signal.SIGSTOP)
        killing = threading.Timer(0.5, os.kill, (workers[0], signal.SIGKILL))
        killing.start()
        with pytest.raises(ReaderError, match=r"kidney\.tif: a reader process died.* rows .*read"):
            list(TileReader(image, grid, pool))
        killing.join()
        assert_delivers(TileReader(image, grid, pool), expected(image, grid))


def _pid_of(held: str) -> int | None:
    kind, _, name = held.partition(" ")
    return int(name) if kind == "process" else None


@pytest.mark.usefixtures("small_pieces")
def test_a_worker_killed_between_images_is_replaced(image: Path) -> None:
    """Nobody was waiting for it, so nobody needs to know."""
    grid = grid_of(image)
    wanted = expected(image, grid)
    with ReaderPool(2, "process") as pool:
        assert_delivers(TileReader(image, grid, pool), wanted)
        for pid in filter(None, map(_pid_of, _held())):
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.5)
        assert_delivers(TileReader(image, grid, pool), wanted)


@pytest.mark.usefixtures("small_pieces")
def test_a_stuck_worker_is_given_up(image: Path) -> None:
    """After the time-out the error says what did not arrive, and the worker is killed."""
    with ReaderPool(1, "process") as pool:
        grid = grid_of(image, core=64, pad=16, scale=1)
        tiles = iter(TileReader(image, grid, pool, timeout=1))
        next(tiles)
        for pid in filter(None, map(_pid_of, _held())):
            os.kill(pid, signal.SIGSTOP)
        with pytest.raises(ReaderError, match=r"kidney\.tif: rows .* did not arrive within 1 s"):
            list(tiles)


@pytest.mark.parametrize("kind", ["inline", "thread", "process"])
def test_a_file_deleted_under_way(tmp_path: Path, kind: str) -> None:
    """Who has it open reads on; who has not says that it is gone, and where it was to be read."""
    path = write(tmp_path / "image.tif", picture(3, *SIZE), "tiled")
    grid = grid_of(path)
    with pool_of(kind) as pool:
        reader = TileReader(path, grid, pool)
        path.unlink()
        with pytest.raises(SlideError, match=r"image\.tif: no such file.* read at rows .*columns"):
            list(reader)


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("kind", ["inline", "thread", "process"])
def test_the_consumer_may_leave_at_any_time(image: Path, kind: str) -> None:
    """By break, by an error of its own or by Ctrl-C; the fixture sees that nothing is left."""
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
    """A number of workers means processes that end with the pass, also when it ends early."""
    grid = grid_of(image)
    for tile, _ in TileReader(image, grid, workers=2):
        if tile.index == 2:
            break
    assert not [pid for pid in map(_pid_of, _held()) if pid]


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("kind", ["thread", "process"])
def test_a_slow_consumer_holds_the_readers_back(image: Path, kind: str) -> None:
    """No more tiles are in memory than may be read ahead, however long the consumer takes."""
    grid = grid_of(image, core=64, pad=16, scale=1)
    with ReaderPool(2, kind) as pool:  # type: ignore[arg-type]
        reader = TileReader(image, grid, pool)
        reader.start()
        time.sleep(1)
        run = reader._begun
        assert run is not None
        assert 0 < len(run._slots) < len(grid) / 2
        assert_delivers(reader, expected(image, grid))


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("kind", ["inline", "thread", "process"])
def test_tiles_are_the_consumers_own(image: Path, kind: str) -> None:
    """One who keeps them all, and writes into them, gets what a plain read gives all the same."""
    grid = grid_of(image)
    with pool_of(kind) as pool:
        kept = []
        for _, pixels in TileReader(image, grid, pool):
            kept.append((pixels, pixels.copy()))
            pixels += 1
    for (pixels, copy), wanted in zip(kept, expected(image, grid), strict=True):
        assert np.array_equal(copy, wanted)
        assert np.array_equal(pixels, wanted + np.uint8(1))


@pytest.mark.parametrize("kind", ["inline", "thread", "process"])
def test_batches(image: Path, kind: str) -> None:
    """Tiles come in arrays of the size that was asked for, the last one smaller."""
    grid = grid_of(image)
    wanted = expected(image, grid)
    with pool_of(kind) as pool:
        batches = list(TileReader(image, grid, pool, indices=range(3, 20)).batches(8))
    assert [len(batch.pixels) for batch in batches] == [8, 8, 1]
    pairs = itertools.chain.from_iterable(zip(b.tiles, b.pixels, strict=True) for b in batches)
    for (tile, pixels), index in zip(pairs, range(3, 20), strict=True):
        assert tile.index == index
        assert np.array_equal(pixels, wanted[index])


@pytest.mark.usefixtures("small_pieces")
def test_the_next_image_is_begun_before_this_one_ends(image: Path, tmp_path: Path) -> None:
    """Readers in a row share the workers, and the second has its first tiles when it is asked."""
    other = write(tmp_path / "other.tif", picture(3, 700, 800, seed=1), "strips")
    with ReaderPool(2, "process") as pool:
        first = TileReader(image, grid_of(image), pool)
        second = TileReader(other, grid_of(other), pool)
        first.then(second)
        assert_delivers(first, expected(image, first.grid))
        assert second._begun is not None
        assert_delivers(second, expected(other, second.grid))


def test_a_pass_that_was_begun_can_be_called_off(image: Path) -> None:
    """Closing the reader ends what reads ahead for it."""
    with ReaderPool(2, "process") as pool, TileReader(image, grid_of(image), pool) as reader:
        reader.start()


def test_what_the_numbers_say(image: Path) -> None:
    """Tiles, pixels and skipped tiles are counted, and a slow consumer shows as idle readers."""
    grid = grid_of(image)
    with ReaderPool(2, "thread") as pool:
        reader = TileReader(image, grid, pool, indices=range(10))
        for _ in reader:
            time.sleep(0.05)
    stats = reader.stats
    assert (stats.tiles, stats.skipped) == (10, len(grid) - 10)
    assert stats.source_pixels == 10 * grid.tile_size**2
    assert stats.seconds >= 0.5 > stats.waited
    assert stats.idle_share > 0.3
    assert "10 tiles at" in str(stats)


def test_gdals_cache_is_left_as_it_was(image: Path) -> None:
    """Passes at the same time limit it together, and the last one to end gives it back."""
    from rasterio.env import get_gdal_config

    before = get_gdal_config("GDAL_CACHEMAX")
    with ReaderPool(3, "thread") as pool:
        first = iter(TileReader(image, grid_of(image), pool))
        second = iter(TileReader(image, grid_of(image), pool))
        next(first)
        next(second)
        assert get_gdal_config("GDAL_CACHEMAX") < before
        first.close()  # type: ignore[attr-defined]
        assert get_gdal_config("GDAL_CACHEMAX") < before
        second.close()  # type: ignore[attr-defined]
    assert get_gdal_config("GDAL_CACHEMAX") == before


def test_shared_memory_is_in_no_folder() -> None:
    """So /dev/shm may be as small as it likes, and no crash leaves anything in it."""
    files = set(Path("/dev/shm").iterdir())
    arena = SharedArena((2, 1, 500, 500), np.dtype("u2"))
    assert set(Path("/dev/shm").iterdir()) == files
    assert "memfd:kernelkit-tiles" in " ".join(_held())
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
    """Of many that come back, most give their memory up, and can be written again all the same."""
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


@pytest.mark.parametrize("start_method", ["fork", "spawn", "forkserver"])
def test_workers_do_not_import_the_script(image: Path, tmp_path: Path, start_method: str) -> None:
    """What a script imports costs each worker nothing, and its main part needs no guard."""
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
print(*(child.pid for child in psutil.Process().children(recursive=True)), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("start_method", ["fork", "spawn", "forkserver"])
def test_workers_end_when_the_notebook_is_killed(
    image: Path, tmp_path: Path, start_method: str
) -> None:
    """SIGKILL leaves the main process no time to tell them, so they notice by themselves."""
    script = tmp_path / "main.py"
    script.write_text(ORPHANS)
    done = run_python(script, image, start_method, check=False)
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


def test_control_c_reaches_the_consumer_only(image: Path, tmp_path: Path) -> None:
    """The terminal sends it to all; the workers print nothing and the program ends in order."""
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
