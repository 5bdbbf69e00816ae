import os
import pickle
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from kernelkit.errors import OutputError
from kernelkit.mask import BitMask
from kernelkit.predict.report import ImageReport
from kernelkit.predict.store import file, payload
from kernelkit.predict.store.store import Layers, Store, Stored
from tests.made.stored import Column, databases, names, overwrite

MASK = BitMask.from_array(np.eye(70, dtype=bool))
REPORT = ImageReport("a", height=70, width=70, notes=["one tile was bad"])
MASKS = Stored(REPORT, [MASK, ~MASK])
LAYERS = Stored(
    REPORT,
    layers=Layers(
        ("unet/fold_0", "unet/fold_1"),
        np.random.default_rng(0).integers(0, 256, (2, 3, 35, 35), dtype=np.uint8),
        missing=MASK,
        gate=np.array([0.1], np.float32),
    ),
)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "masks")


@pytest.fixture(params=["in the database", "in a file"])
def size(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Whether payloads are small, or so large that each is a file of its own."""
    if request.param == "in a file":
        monkeypatch.setattr(payload, "_MOST_BYTES_IN_DATABASE", 0)
    return str(request.param)


def assert_equal(found: Stored | None, wanted: Stored) -> None:
    assert found is not None
    assert (found.report, found.masks) == (wanted.report, wanted.masks)
    assert (found.layers is None) == (wanted.layers is None)
    if found.layers is not None and wanted.layers is not None:
        assert found.layers.names == wanted.layers.names
        assert np.array_equal(found.layers.values, wanted.layers.values)
        assert found.layers.missing == wanted.layers.missing
        assert np.array_equal(found.layers.gate, wanted.layers.gate)  # type: ignore[arg-type]


@pytest.mark.parametrize("stored", [MASKS, LAYERS], ids=["masks", "layers"])
@pytest.mark.usefixtures("size")
def test_what_was_saved_is_found_again_with_its_report(store: Store, stored: Stored) -> None:
    """The same image and parts name the same entry, in this process and in the next one."""
    entry = store.entry("a", "content", "recipe", "weights")
    assert entry.load() is None
    assert not store.has_any("a")
    entry.save(stored)
    assert_equal(entry.load(), stored)
    store.close()
    later = Store(store.folder)
    assert_equal(later.entry("a", "content", "recipe", "weights").load(), stored)
    assert later.has_any("a")
    assert not later.has_any("a-b")
    assert_equal(later.entry_named(entry.name).load(), stored)


@given(
    masks=st.tuples(st.integers(1, 3), st.integers(1, 70), st.integers(1, 140)).flatmap(
        lambda shape: arrays.arrays(np.bool_, shape)
    )
)
def test_masks_of_any_size_come_back(
    tmp_path_factory: pytest.TempPathFactory, masks: np.ndarray
) -> None:
    """Their pixels and their number are the same, whatever the width."""
    stored = Stored(REPORT, [BitMask.from_array(mask) for mask in masks])
    store = Store(tmp_path_factory.mktemp("store"))
    store.entry("a", "content").save(stored)
    store.close()
    assert_equal(store.entry("a", "content").load(), stored)


@given(
    values=st.tuples(*[st.integers(1, 4)] * 4).flatmap(
        lambda shape: arrays.arrays(np.uint8, shape)
    ),
    missing=st.none() | arrays.arrays(np.bool_, (7, 65)),
    gate=st.none() | arrays.arrays(np.float32, 3, elements=st.floats(0, 1, width=32)),
)
def test_layers_of_any_size_come_back(
    tmp_path_factory: pytest.TempPathFactory,
    values: np.ndarray,
    missing: np.ndarray | None,
    gate: np.ndarray | None,
) -> None:
    """Bytes, names, missing pixels and the gate's answer are the same, to the last bit."""
    hole = None if missing is None else BitMask.from_array(missing)
    layers = Layers(tuple(f"run/{n}" for n in range(len(values))), values, hole, gate)
    store = Store(tmp_path_factory.mktemp("store"))
    store.entry("a", "content").save(Stored(REPORT, layers=layers))
    store.close()
    assert_equal(store.entry("a", "content").load(), Stored(REPORT, layers=layers))


@pytest.mark.usefixtures("size")
def test_pixels_without_data_are_kept_beside_masks(store: Store) -> None:
    """They come back at their own size, from this process and from the next one."""
    missing = BitMask.from_array(np.eye(9, 65, dtype=bool))
    entry = store.entry("a", "content")
    entry.save(Stored(REPORT, [MASK], missing=missing))
    store.close()
    found = entry.recall(), entry.load()
    assert all(stored is not None and stored.missing == missing for stored in found)


@pytest.mark.usefixtures("size")
@pytest.mark.parametrize("stored", [MASKS, LAYERS], ids=["masks", "layers"])
def test_what_is_removed_leaves_no_file(store: Store, stored: Stored) -> None:
    """Neither its row, nor its large payload, nor its picture is left. Others stay."""
    entry, other = store.entry("a", "content"), store.entry("b", "content")
    entry.save(stored)
    other.save(stored)
    store.flush()
    entry.picture_path.touch()
    entry.remove()
    assert entry.load() is None
    assert not list(store.folder.glob("a-*"))
    assert_equal(other.load(), stored)


@pytest.mark.timeout(30)
def test_a_database_that_somebody_holds_costs_one_wait(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Entries go into another file from then on. Both files are read once they are free."""
    monkeypatch.setattr(file, "_SECONDS_TO_WAIT", 0.5)
    first, *others = (store.entry(name, "content") for name in "abcd")
    first.save(MASKS)
    store.flush()
    [held] = databases(store.folder)
    with closing(sqlite3.connect(held, isolation_level=None)) as tool:
        tool.execute("BEGIN EXCLUSIVE")
        start = time.monotonic()
        for entry in others:
            entry.save(MASKS)
            store.flush()
        assert time.monotonic() - start < 1
        assert len(databases(store.folder)) == 2
    later = Store(store.folder)
    for entry in (first, *others):
        assert_equal(later.entry_named(entry.name).load(), MASKS)


def test_another_image_content_recipe_or_weight_is_another_entry(store: Store) -> None:
    """A mask is never taken for one that something else made."""
    entries = {
        store.entry("a", "content", "recipe", "weights"),
        store.entry("b", "content", "recipe", "weights"),
        store.entry("a", "other", "recipe", "weights"),
        store.entry("a", "content", "other", "weights"),
        store.entry("a", "content", "recipe", "other"),
        store.entry("a", "content", "recipeweights", ""),
    }
    assert len(entries) == 6


@pytest.mark.parametrize("column", ["content", "sha256", "label", "payload", "missing"])
def test_a_damaged_row_is_as_good_as_none(store: Store, column: Column) -> None:
    """A bit that flipped means that the image is predicted again, and a note says so."""
    entry = store.entry("a", "content")
    entry.save(LAYERS)
    store.close()
    overwrite(store.folder, "a", column, b"x")
    assert entry.load() is None
    [note] = store.notes
    assert note.endswith("this stored entry is not used, because its checksum differs")
    entry.save(MASKS)
    store.close()
    assert_equal(Store(store.folder).entry("a", "content").load(), MASKS)


def test_a_damaged_row_hides_no_sound_one(tmp_path: Path) -> None:
    """If two processes stored an image and one row is damaged, the other one is taken."""
    for _ in range(2):
        with closing(Store(tmp_path)) as writer:
            writer.entry("a", "content").save(MASKS)
    newest = max(tmp_path.glob("*.sqlite"))
    with closing(sqlite3.connect(newest)) as connection, connection:
        connection.execute("UPDATE entries SET payload = 'x'")
    assert_equal(Store(tmp_path).entry("a", "content").load(), MASKS)


@pytest.mark.parametrize("stored", [MASKS, LAYERS], ids=["masks", "layers"])
@pytest.mark.parametrize("damage", ["cut", "of another", "deleted"])
def test_a_damaged_file_is_as_good_as_none(
    store: Store, stored: Stored, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large payload that is cut off, exchanged or gone is noticed by its checksum."""
    monkeypatch.setattr(payload, "_MOST_BYTES_IN_DATABASE", 0)
    entry, other = store.entry("a", "content"), store.entry("b", "content")
    entry.save(stored)
    other.save(Stored(REPORT, [BitMask.zeros(70, 70)]))
    [path] = store.folder.glob("a-*[mn][ap][sy]*")
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:200])
    elif damage == "of another":
        shutil.copy(other.path.with_name(f"{other.name}.mask"), path)
    else:
        path.unlink()
    assert entry.load() is None
    assert path.name in store.notes[0]


@pytest.mark.parametrize("content", [b"", b"x" * 5000, None], ids=["empty", "no database", "cut"])
def test_a_damaged_database_is_not_used(store: Store, content: bytes | None) -> None:
    """Its images are predicted again, others are not, and a note names the file."""
    store.entry("a", "content").save(MASKS)
    store.close()
    store.entry("b", "content").save(MASKS)
    store.close()
    first, _ = databases(store.folder)
    first.write_bytes(first.read_bytes()[:20000] if content is None else content)
    later = Store(store.folder)
    assert later.entry("a", "content").load() is None
    assert_equal(later.entry("b", "content").load(), MASKS)
    assert any(str(first) in note for note in later.notes)


def test_every_flipped_byte_is_noticed_or_harmless(store: Store) -> None:
    """Whatever byte of a database is damaged, an entry comes back as it was or not at all."""
    store.entry("a", "content").save(LAYERS)
    store.close()
    [path] = databases(store.folder)
    whole = path.read_bytes()
    for place in np.random.default_rng(0).integers(0, len(whole), 200):
        damaged = bytearray(whole)
        damaged[place] ^= 0xFF
        path.write_bytes(damaged)
        found = Store(store.folder).entry("a", "content").load()
        if found is not None:
            assert_equal(found, LAYERS)


@pytest.mark.parametrize("image_id", ["../../etc/passwd", "a/b", "\udcff", "x" * 300, "é", "a*"])
@pytest.mark.usefixtures("size")
def test_an_id_never_leaves_the_folder(store: Store, image_id: str) -> None:
    """Whatever an id holds, its entry is in the store."""
    entry = store.entry(image_id, "content")
    assert entry.path.parent == entry.picture_path.parent == store.folder
    entry.save(MASKS)
    store.close()
    assert_equal(entry.load(), MASKS)
    assert Store(store.folder).has_any(image_id)


def test_ids_that_differ_in_a_special_character_have_entries_of_their_own(store: Store) -> None:
    """Two ids that look alike as file names do not share a mask."""
    assert store.entry("a/b", "content") != store.entry("a_b", "content")
    assert store.entry("a/b", "content") != store.entry("a:b", "content")


def test_layers_in_a_file_are_mapped_and_moved_not_copied(store: Store) -> None:
    """The canvas writes a large file in the store's folder, and the entry takes it as it is."""
    path = store.new_file()
    np.save(path, np.concatenate([*LAYERS.layers.values]))  # type: ignore[union-attr]
    place = path.stat().st_ino
    entry = store.entry("a", "content")
    entry.save(LAYERS, path)
    assert not path.exists()
    assert entry.path.with_name(f"{entry.name}.npy").stat().st_ino == place
    found = entry.load()
    assert_equal(found, LAYERS)
    assert found is not None
    assert found.layers is not None
    base = found.layers.values
    while not isinstance(base, np.memmap):
        base = base.base  # type: ignore[assignment]


def test_a_read_only_folder_is_read(store: Store) -> None:
    """The output of another notebook is opened without a byte written beside it."""
    store.entry("a", "content").save(LAYERS)
    store.close()
    before = sorted(store.folder.iterdir())
    other = Store(store.folder, read_only=True)
    assert_equal(other.find("a", "content"), LAYERS)
    assert other.find("a", "other content") is None
    assert sorted(store.folder.iterdir()) == before


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    """The error names the store's file and what to do."""
    (tmp_path / "file").touch()
    store = Store(tmp_path / "file/masks")
    store.entry("a", "content").save(MASKS)
    with pytest.raises(OutputError, match="Choose an output folder"):
        store.flush()


def test_a_full_disk_costs_what_it_has_no_room_for(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each such save is an error, and what comes once there is room is written."""
    monkeypatch.setattr("kernelkit.predict.store.store._SECONDS", -1)
    store.entry("a", "content").save(MASKS)

    def refuse(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as full:
        full.setattr("kernelkit.predict.store.file.Database.insert", refuse)
        with pytest.raises(OutputError, match=r"disk is full\). Make room"):
            store.entry("b", "content").save(MASKS)
        assert store.entry("b", "content").load() is None
    store.entry("c", "content").save(MASKS)
    assert [name[0] for name in names(store.folder)] == ["a", "c"]


WRITER = """
import sys
from kernelkit.predict.report import ImageReport
from kernelkit.predict.store import store as module
from kernelkit.mask import BitMask
module._SECONDS = float(sys.argv[3])
store = module.Store(sys.argv[1])
for number in range(int(sys.argv[4])):
    entry = store.entry(f"{sys.argv[2]}{number}", "content")
    entry.save(module.Stored(ImageReport(str(number), height=9, width=9), [BitMask.zeros(9, 9)]))
    print(number, flush=True)
store.close()
"""


def writer(folder: Path, name: str, seconds: float, count: int) -> "subprocess.Popen[str]":
    """A process of its own that saves `count` entries."""
    arguments = [str(folder), name, str(seconds), str(count)]
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, *arguments], stdout=subprocess.PIPE, text=True
    )


@pytest.mark.timeout(120)
@pytest.mark.parametrize("saved", [1, 40, 150])
def test_a_killed_process_leaves_whole_entries(store: Store, saved: int) -> None:
    """After kill -9 all entries are there but for those of the last transaction."""
    process = writer(store.folder, "a", 0.0, 100_000)
    assert process.stdout is not None
    for _ in range(saved):
        process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.wait(60)
    said = saved + len(process.stdout.read().splitlines())
    found = names(store.folder)
    assert said - 1 <= len(found) <= said + 1
    later = Store(store.folder)
    assert all(later.entry(f"a{number}", "content").load() for number in range(said - 1))
    assert later.notes == []


@pytest.mark.timeout(120)
def test_a_transaction_that_was_interrupted_is_rolled_back(store: Store, tmp_path: Path) -> None:
    """What a dead process half wrote is undone, also where nothing can be written."""
    store.entry("a", "content").save(MASKS)
    store.close()
    [path] = databases(store.folder)
    dying = """
import os, signal, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA cache_size = 1")
connection.execute("PRAGMA cache_spill = 1")
connection.execute("BEGIN IMMEDIATE")
connection.execute("UPDATE entries SET label = zeroblob(length(label))")
for n in range(200):
    connection.execute(
        "INSERT INTO entries VALUES (?, 'b', '', x'', x'', zeroblob(50000), NULL)", (str(n),)
    )
os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", dying, str(path)], timeout=60, check=False)
    assert path.with_name(f"{path.name}-journal").stat().st_size > 0
    shutil.copytree(store.folder, tmp_path / "other")
    before = {p.name: p.read_bytes() for p in (tmp_path / "other").iterdir()}
    other = Store(tmp_path / "other", read_only=True)
    assert_equal(other.entry("a", "content").load(), MASKS)
    assert {p.name: p.read_bytes() for p in (tmp_path / "other").iterdir()} == before
    assert_equal(Store(store.folder).entry("a", "content").load(), MASKS)
    assert names(store.folder) == [store.entry("a", "content").name]


@pytest.mark.timeout(120)
def test_several_processes_write_side_by_side(store: Store) -> None:
    """Each has a database of its own, and one that was open before finds the entries of all."""
    assert store.entry("x0", "content").load() is None
    processes = [writer(store.folder, name, 0.01, 100) for name in "xyz"]
    for process in processes:
        process.communicate(timeout=100)
        assert process.returncode == 0
    assert len(databases(store.folder)) == 3
    for number in range(100):
        assert all(store.entry(f"{name}{number}", "content").load() for name in "xyz")


@pytest.mark.timeout(60)
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_process_opens_files_of_its_own(store: Store) -> None:
    """It neither writes what the parent has not written, nor to the parent's file."""
    store.entry("a", "content").save(MASKS)
    child = os.fork()
    if child == 0:
        store.entry("b", "content").save(MASKS)
        store.close()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    store.close()
    assert len(databases(store.folder)) == 2
    assert len(names(store.folder)) == 2


def test_a_store_travels_to_another_process_by_its_folder(store: Store) -> None:
    """What is pickled is the folder, and no open file."""
    store.entry("a", "content").save(MASKS)
    store.flush()
    assert_equal(pickle.loads(pickle.dumps(store)).entry("a", "content").load(), MASKS)


def test_what_a_dead_process_was_making_is_cleared_away(store: Store) -> None:
    """A large file that it never finished takes no room for ever. What others make stays."""
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait(30)
    alive = store.new_file()
    left = alive.with_name(alive.name.replace(str(os.getpid()), str(dead.pid)))
    elsewhere = store.folder / f".unfinished-{dead.pid}-another-host-x.npy"
    left.touch()
    elsewhere.touch()
    store.entry("a", "content").save(MASKS)
    store.flush()
    assert alive.exists()
    assert not left.exists()
    assert elsewhere.exists()


def test_an_old_layout_of_the_table_is_not_read(store: Store) -> None:
    """The note says which version was found."""
    store.entry("a", "content").save(MASKS)
    store.close()
    [path] = databases(store.folder)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 7")
    assert store.entry("a", "content").load() is None
    assert "it has version 7, wanted 1" in store.notes[0]


@pytest.mark.timeout(120)
def test_eighteen_thousand_small_entries_take_seconds(store: Store) -> None:
    """Saving, finding and loading are not slower with each entry that there is."""
    stored = Stored(ImageReport("a", height=101, width=101), [BitMask.zeros(101, 101)])
    start = time.perf_counter()
    for number in range(18_000):
        store.entry(str(number), "content").save(stored)
    store.close()
    later = Store(store.folder)
    assert all(later.has_any(str(number)) for number in range(18_000))
    assert all(later.entry(str(number), "content").load() for number in range(18_000))
    assert time.perf_counter() - start < 60
