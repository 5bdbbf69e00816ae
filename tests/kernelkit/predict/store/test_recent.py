from pathlib import Path

import numpy as np
import pytest

from kernelkit.mask import BitMask
from kernelkit.predict.report import ImageReport
from kernelkit.predict.store import recent
from kernelkit.predict.store.store import Entry, Layers, Store, Stored
from tests.made.stored import databases

MASK = BitMask.from_array(np.eye(70, dtype=bool))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "masks")


def saved(store: Store, image: str, *masks: BitMask) -> Entry:
    entry = store.entry(image, f"content of {image}")
    entry.save(Stored(ImageReport(image), list(masks)))
    return entry


def test_what_is_recalled_is_what_is_loaded(store: Store) -> None:
    """Masks, report and content are those that the database gives."""
    entry = saved(store, "a", MASK, ~MASK)
    store.close()
    recalled, loaded = entry.recall(), entry.load()
    assert recalled is not None
    assert loaded is not None
    assert (recalled.masks, recalled.report, recalled.content) == (
        loaded.masks,
        loaded.report,
        loaded.content,
    )


def test_small_masks_need_no_database(store: Store) -> None:
    """They are recalled even if the file was damaged meanwhile, which `load` notices."""
    entry = saved(store, "a", MASK)
    store.close()
    for path in databases(store.folder):
        path.write_bytes(b"")
    assert entry.load() is None
    recalled = entry.recall()
    assert recalled is not None
    assert recalled.masks == [MASK]


def test_a_mask_that_its_owner_changes_is_recalled_as_it_was(store: Store) -> None:
    """Both who saved it and who recalled it may write to theirs."""
    own = MASK.copy()
    entry = saved(store, "a", own)
    own.words[:] = 0
    first = entry.recall()
    assert first is not None
    assert first.masks == [MASK]
    first.masks[0].words[:] = 0
    second = entry.recall()
    assert second is not None
    assert second.masks == [MASK]


def test_an_entry_that_is_saved_again_or_removed_is_recalled_so(store: Store) -> None:
    """The last masks count, and none are left after a removal."""
    entry = saved(store, "a", MASK)
    saved(store, "a", ~MASK)
    recalled = entry.recall()
    assert recalled is not None
    assert recalled.masks == [~MASK]
    entry.remove()
    assert entry.recall() is None


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes once the bound is reached is not kept, and what was forgotten makes room."""
    monkeypatch.setattr(recent, "_MOST_BYTES", 3 * MASK.words.nbytes)
    kept = recent.RecentMasks()
    for name in "abcd":
        kept.put(name, Stored(ImageReport(name), [MASK]), "content")
    assert [kept.get(name) is not None for name in "abcd"] == [True, True, True, False]
    kept.forget("a")
    kept.put("d", Stored(ImageReport("d"), [MASK]), "content")
    assert [kept.get(name) is not None for name in "abcd"] == [False, True, True, True]


def test_large_masks_and_layers_are_read_from_the_store(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are not kept, and `recall` gives what `load` gives."""
    monkeypatch.setattr(recent, "_LARGEST", MASK.words.nbytes)
    large = saved(store, "large", MASK, MASK)
    layered = store.entry("layered", "content")
    values = np.zeros((1, 1, 3, 3), np.uint8)
    layered.save(Stored(ImageReport("layered"), layers=Layers(("",), values)))
    found = large.recall(), layered.recall()
    assert all(found)
    store.close()
    for path in databases(store.folder):
        path.unlink()
    assert large.recall() is None
    assert layered.recall() is None
