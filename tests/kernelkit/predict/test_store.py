from pathlib import Path

import numpy as np
import pytest

from kernelkit.mask import BitMask
from kernelkit.predict.store import MaskStore


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "image.tiff"
    path.write_bytes(b"pixels" * 1000)
    return path


def test_a_saved_mask_is_found_again(tmp_path: Path, image: Path) -> None:
    """The same image, recipe and weights name the same file."""
    mask = BitMask.from_array(np.eye(70, dtype=bool))
    store = MaskStore(tmp_path / "masks")
    path = store.path("a", image, "recipe", "weights")
    assert store.load(path) is None
    store.save(path, mask)
    assert MaskStore(tmp_path / "masks").load(path) == mask
    assert [file.name for file in (tmp_path / "masks").iterdir()] == [path.name]


def test_another_image_recipe_or_weight_is_another_file(tmp_path: Path, image: Path) -> None:
    """A mask is never taken for one that something else made."""
    store = MaskStore(tmp_path)
    paths = {
        store.path("a", image, "recipe", "weights"),
        store.path("a", image, "other", "weights"),
        store.path("a", image, "recipe", "other"),
    }
    image.write_bytes(b"pixelz" * 1000)
    paths.add(store.path("a", image, "recipe", "weights"))
    assert len(paths) == 4


def test_a_damaged_mask_is_as_good_as_none(tmp_path: Path, image: Path) -> None:
    """A file cut off in the middle means predicting anew, not failing."""
    store = MaskStore(tmp_path / "masks")
    path = store.path("a", image, "recipe", "weights")
    store.save(path, BitMask.from_array(np.eye(70, dtype=bool)))
    path.write_bytes(path.read_bytes()[:20])
    assert store.load(path) is None


def test_an_id_never_leaves_the_folder(tmp_path: Path, image: Path) -> None:
    """An id with slashes and dots is a file name in the store, not a path out of it."""
    store = MaskStore(tmp_path / "masks")
    path = store.path("../../etc/passwd", image)
    assert path.parent == tmp_path / "masks"
