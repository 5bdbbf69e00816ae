from pathlib import Path

import numpy as np
import pytest

from kernelkit.mask import BitMask
from kernelkit.predict.report import ImageReport
from kernelkit.predict.store import Store

MASK = BitMask.from_array(np.eye(70, dtype=bool))
REPORT = ImageReport("a", height=70, width=70, notes=["one tile was bad"])


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "masks")


def test_a_saved_mask_is_found_again_with_its_report(store: Store) -> None:
    """The same image and parts name the same entry, and what happened is told again."""
    entry = store.entry("a", "content", "recipe", "weights")
    assert entry.load() is None
    assert not store.has_any("a")
    entry.save([MASK], REPORT)
    found = Store(store.folder).entry("a", "content", "recipe", "weights").load()
    assert found is not None
    assert (found.masks, found.report) == ([MASK], REPORT)
    assert Store(store.folder).has_any("a")
    assert not Store(store.folder).has_any("a-b")
    assert store.entry_named(entry.mask_path.name) == entry


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


@pytest.mark.parametrize("suffix", [".mask", ".json"])
def test_a_damaged_entry_is_as_good_as_none(store: Store, suffix: str) -> None:
    """A file that is cut off means that the image is predicted again, not that the run fails."""
    entry = store.entry("a", "content")
    entry.save([MASK], REPORT)
    path = entry.mask_path.with_suffix(suffix)
    path.write_bytes(path.read_bytes()[:20])
    assert entry.load() is None


def test_a_mask_of_another_image_is_as_good_as_none(store: Store) -> None:
    """A whole mask that somebody copied over this one is not taken: its checksum differs."""
    entry, other = store.entry("a", "content"), store.entry("b", "content")
    entry.save([MASK], REPORT)
    other.save([BitMask.zeros(70, 70)], REPORT)
    other.mask_path.replace(entry.mask_path)
    assert entry.load() is None


@pytest.mark.parametrize("image_id", ["../../etc/passwd", "a/b", "\udcff", "x" * 300, "é", "a*"])
def test_an_id_never_leaves_the_folder(store: Store, image_id: str) -> None:
    """Whatever an id holds, its entry is a file in the store."""
    entry = store.entry(image_id, "content")
    assert entry.mask_path.parent == store.folder
    entry.save([MASK], REPORT)
    assert entry.load() is not None
    assert Store(store.folder).has_any(image_id)


def test_ids_that_differ_in_a_special_character_have_entries_of_their_own(store: Store) -> None:
    """Two ids that look alike as file names do not share a mask."""
    assert store.entry("a/b", "content") != store.entry("a_b", "content")
    assert store.entry("a/b", "content") != store.entry("a:b", "content")
