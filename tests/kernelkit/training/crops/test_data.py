"""Sources: which windows a fold is trained on, how often, and with which weight."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kernelkit.errors import TrainingError
from kernelkit.training.crops import CropData
from kernelkit.training.crops.sources import TrainingWindow
from tests.made.crops import cut_image, cuts_of, small_cuts, small_run


def drawn(folder: Path, **keys: Any) -> list[TrainingWindow]:
    """The windows of an epoch of fold 0."""
    cuts = small_cuts(folder)
    with CropData(small_run(folder, **keys), cuts, cuts.folds, 0).train_loader(1) as loader:
        order = loader._sampler.order(1, 0)
        return [loader._windows[number] for number in order]


def test_images_that_validate_give_no_crop(tmp_path: Path) -> None:
    """Each window of the other images comes once."""
    found = Counter((each.image.id, each.window) for each in drawn(tmp_path))
    assert {image for image, _ in found} == {"image0", "image1", "image2"}
    assert len(found) == 12
    assert set(found.values()) == {1}


def test_a_weight_multiplies_the_windows_of_its_source(tmp_path: Path) -> None:
    """Hard images come as often as both of their sources say together."""
    sources = {
        "grid": 1,
        "hard": {"windows": "grid", "weight": 3, "images": ["image1"], "loss_weight": 0.5},
    }
    found = Counter(
        (each.image.id, each.weight) for each in drawn(tmp_path, sources=sources, batch=1)
    )
    assert found == {
        ("image0", 1.0): 4,
        ("image1", 1.0): 4,
        ("image2", 1.0): 4,
        ("image1", 0.5): 12,
    }


def test_a_share_of_targets_is_kept_exactly(tmp_path: Path) -> None:
    """With `target: 0.75` three quarters of the crops are of windows with a labelled pixel."""
    found = drawn(tmp_path, sources={"grid": {"target": 0.75, "weight": 2}}, batch=1)
    labelled = [each.window.row == 0 for each in found]
    assert (len(found), sum(labelled)) == (24, 18)


@pytest.mark.parametrize(("target", "row"), [(True, 0), (False, 64)])
def test_windows_are_chosen_by_their_target(target: bool, row: int, tmp_path: Path) -> None:
    """True takes those with a labelled pixel alone, and false the others."""
    found = drawn(tmp_path, sources={"grid": {"target": target}}, batch=1)
    assert {each.window.row for each in found} == {row}
    assert len(found) == 6


def test_steps_make_an_epoch_of_that_length(tmp_path: Path) -> None:
    """`steps` is the number of batches, whatever the sources hold."""
    cuts = small_cuts(tmp_path)
    crops = CropData(small_run(tmp_path, steps=11, batch=2), cuts, cuts.folds, 0)
    assert crops.steps_per_epoch == 11
    with crops.train_loader(0) as loader:
        assert len(list(loader.batches(0))) == len(loader) == 11


def test_a_source_whose_images_validate_is_said_and_left_out(tmp_path: Path) -> None:
    """Hard images may lie in any fold."""
    cuts = small_cuts(tmp_path)
    sources = {"grid": 1, "hard": {"windows": "grid", "images": ["image3"]}}
    crops = CropData(small_run(tmp_path, sources=sources), cuts, cuts.folds, 0)
    assert crops.notes == ["all windows of the source hard lie in images that validate"]
    assert crops.steps_per_epoch == 3


def test_skipped_windows_give_no_crop(tmp_path: Path) -> None:
    """What is blank stays out."""
    cuts = small_cuts(tmp_path)
    cuts.windows.loc[cuts.windows["col"] == 0, "skip"] = "mean below 10"
    crops = CropData(small_run(tmp_path), cuts, cuts.folds, 0)
    with crops.train_loader(0) as loader:
        assert {each.window.col for each in loader._windows} == {64}


def test_without_crop_whole_windows_are_taken(tmp_path: Path) -> None:
    """Pictures of one size are crops as they are."""
    random = np.random.default_rng(0)
    images = [
        cut_image(
            tmp_path,
            name,
            random.integers(0, 255, (3, 32, 48), np.uint8),
            np.zeros((1, 32, 48), np.uint8),
        )
        for name in ("a", "b")
    ]
    windows = [
        {"image": image.id, "row": 0, "col": 0, "height": 32, "width": 48, "source": "whole"}
        for image in images
    ]
    cuts = cuts_of(tmp_path, images, windows, {"a": 0, "b": -1})
    recipe = {"tiles": "whole"}
    run = small_run(tmp_path, recipe, windows=None, crop=None, batch=1)
    with CropData(run, cuts, cuts.folds, 0).train_loader(0) as loader:
        [batch] = loader.batches(0)
    np.testing.assert_array_equal(batch.pixels[0].numpy(), images[1].read_pixels(images[1].bounds))


def test_images_of_another_kind_than_the_ensembles_are_refused(tmp_path: Path) -> None:
    """Inference would never ask these networks about them."""
    cuts = small_cuts(tmp_path)
    ensembles = [{"name": "grey", "when": {"bands": 3, "dtype": "uint16"}}]
    run = small_run(tmp_path, {"ensembles": ensembles})
    with pytest.raises(TrainingError, match="image0: found 3 bands of uint8, but the ens"):
        CropData(run, cuts, cuts.folds, 0)
