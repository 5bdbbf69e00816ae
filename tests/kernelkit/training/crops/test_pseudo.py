"""Pseudo-labels: what networks found in other images, as a source of crops like all others."""

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from kernelkit.grid import Window
from kernelkit.training.crops import CropData
from kernelkit.training.crops.sources import TrainingWindow
from kernelkit.training.train import train
from tests.made.crops import small_training
from tests.made.pseudo import (
    SIDE,
    crops_of,
    cut,
    probabilities,
    pseudo_run,
    pseudo_sources,
    write_competition,
    write_store,
)


@pytest.fixture(params=["store", "pictures"])
def found(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Where pseudo-labels of the test images lie."""
    write_competition(tmp_path)
    folder = tmp_path / "found"
    if request.param == "store":
        write_store(tmp_path, folder)
    else:
        folder.mkdir()
        for path in (tmp_path / "test").glob("*.png"):
            layers = [probabilities(path.stem, layer) for layer in (0, 2)]
            mean = np.rint(np.mean(layers, 0)).astype(np.uint8)
            cv2.imwrite(str(folder / path.name), mean)
    return folder


def windows_of(crops: CropData) -> list[TrainingWindow]:
    with crops.train_loader(0) as loader:
        return list(loader._windows)


def test_soft_labels_are_the_mean_of_the_stored_layers(found: Path, tmp_path: Path) -> None:
    """Each test image trains with its own pixels, what was found in it, and the source's weight."""
    run = pseudo_run(tmp_path, found, soft=True, loss_weight=0.5, weight=2)
    crops = crops_of(run, tmp_path)
    pseudo = [each for each in windows_of(crops) if each.labels is not None]
    assert {each.image.id for each in pseudo} == {"t4", "t5"}
    assert {each.weight for each in pseudo} == {0.5}
    whole = Window(0, 0, SIDE, SIDE)
    for each in pseudo:
        assert each.labels is not None
        layers = [probabilities(each.image.id, layer) for layer in (0, 2)]
        np.testing.assert_array_equal(
            each.labels.read_labels(whole)[0], np.rint(np.mean(layers, 0)).astype(np.uint8)
        )
        file = cv2.imread(str(tmp_path / f"test/{each.image.id}.png"))
        np.testing.assert_array_equal(
            each.image.read_pixels(whole), file[..., ::-1].transpose(2, 0, 1)
        )
    assert crops.steps_per_epoch == sum(
        each.labels is None for each in windows_of(crops)
    ) + 2 * len(pseudo)


def test_images_that_validate_give_no_pseudo_labels(tmp_path: Path) -> None:
    """Neither under their own ids nor as copies of other names, and a note says so."""
    write_competition(tmp_path)
    copies = tmp_path / "copies"
    copies.mkdir()
    for path in (tmp_path / "train").glob("*.png"):
        shutil.copy(path, copies / path.name)
        shutil.copy(path, copies / f"copy_of_{path.name}")
    for path in copies.glob("*.png"):
        (tmp_path / "found").mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / "found" / path.name), np.full((SIDE, SIDE), 200, np.uint8))
    run = pseudo_run(tmp_path, tmp_path / "found", files="copies/{image}.png")
    made, pseudo = cut(run, tmp_path)
    validating = set(made.folds.validation(0))
    crops = CropData(run, made, made.folds, 0, pseudo)
    trained = {each.image.id for each in windows_of(crops) if each.labels is not None}
    assert validating
    assert trained == {
        name for name in pseudo["found"].images if name.removeprefix("copy_of_") not in validating
    }
    assert any(
        f"{2 * len(validating)} image(s) of the source found validate" in note
        for note in crops.notes
    )


def test_hard_labels_are_decided_at_one_half(found: Path, tmp_path: Path) -> None:
    """Without `soft` a pixel is labelled or not."""
    _, pseudo = cut(pseudo_run(tmp_path, found), tmp_path)
    crops = crops_of(pseudo_run(tmp_path, found), tmp_path)
    for each in windows_of(crops):
        if each.labels is not None:
            soft = pseudo["found"].images[each.image.id].read_labels(each.window)
            np.testing.assert_array_equal(each.labels.read_labels(each.window), 255 * (soft > 127))


def test_pixels_that_are_not_sure_are_not_held(found: Path, tmp_path: Path) -> None:
    """With `least: 0.9` only what is above .9 or below .1 counts, in batches too."""
    crops = crops_of(pseudo_run(tmp_path, found, soft=True, least=0.9), tmp_path)
    with crops.train_loader(0) as loader:
        batches = list(loader.batches(0))
    unsure = [batch for batch in batches if batch.labels.unique().numel() > 2]
    assert unsure
    for batch in unsure:
        assert batch.held is not None
        shares = batch.labels[0, 0].numpy() / 255
        inside = batch.pixels[0].numpy().any(0)  # no test image has a black pixel
        sure = np.maximum(shares, 1 - shares) >= 0.9
        np.testing.assert_array_equal(batch.held[0].numpy(), sure & inside)


def test_windows_without_a_sure_pixel_are_left_out(tmp_path: Path) -> None:
    """Nothing could be learnt there."""
    write_competition(tmp_path)
    (tmp_path / "found").mkdir()
    for path in (tmp_path / "test").glob("*.png"):
        doubt = np.full((SIDE, SIDE), 128, np.uint8)
        doubt[:10, :10] = 255
        cv2.imwrite(str(tmp_path / "found" / path.name), doubt)
    crops = crops_of(pseudo_run(tmp_path, tmp_path / "found", least=0.9), tmp_path)
    pseudo = [each.window for each in windows_of(crops) if each.labels is not None]
    assert [window[:2] for window in pseudo] == [(0, 0), (0, 0)]


def test_stored_images_of_other_content_are_left_out(tmp_path: Path) -> None:
    """A test image that changed since it was predicted has no pseudo-labels."""
    write_competition(tmp_path)
    write_store(tmp_path, tmp_path / "found")
    path = tmp_path / "test" / "t4.png"
    cv2.imwrite(str(path), 255 - cv2.imread(str(path)))
    run = pseudo_run(tmp_path, tmp_path / "found")
    _, pseudo = cut(run, tmp_path)
    assert set(pseudo["found"].images) == {"t5"}
    assert any("1 image (t4) without probabilities" in note for note in pseudo["found"].notes)


def test_cuts_of_pseudo_labels_lie_beside_those_of_the_run(found: Path, tmp_path: Path) -> None:
    """A second call makes nothing anew, and the cuts of the run stay as they are."""
    run = pseudo_run(tmp_path, found)
    made, pseudo = cut(run, tmp_path)
    again, pseudo_again = cut(run, tmp_path)
    assert made.folder == again.folder != pseudo["found"].folder == pseudo_again["found"].folder
    assert set(made.images) == {"a0", "a1", "a2", "a3"}
    assert again.windows.equals(made.windows)
    assert set(pseudo["found"].windows["fold"]) == {-1}


def test_pseudo_labels_of_an_image_that_validates_are_not_learnt(tmp_path: Path) -> None:
    """Else the score would be of labels that the network has seen."""
    write_competition(tmp_path)
    (tmp_path / "found").mkdir()
    for path in (tmp_path / "masks").glob("*.png"):
        (tmp_path / "found" / path.name).write_bytes(path.read_bytes())
    run = pseudo_run(tmp_path, tmp_path / "found", files="train/{image}.png")
    made, pseudo = cut(run, tmp_path)
    assert set(pseudo["found"].images) == set(made.images)
    for fold in (0, 1):
        windows = windows_of(CropData(run, made, made.folds, fold, pseudo))
        trained = {each.image.id for each in windows if each.labels is not None}
        assert trained == set(made.folds.training(fold))


def test_a_fold_trains_on_pseudo_labels(tmp_path: Path) -> None:
    """The whole way: cuts of both kinds, a process of its own, more steps than without them."""
    write_competition(tmp_path)
    write_store(tmp_path, tmp_path / "found")
    sources = pseudo_sources(tmp_path / "found", soft=True, least=0.6, loss_weight=0.5)
    model = {"arch": "Unet", "encoder_name": "tu-test_resnet", "encoder_weights": None}
    model |= {"encoder_depth": 3, "decoder_channels": [16, 8, 8]}
    training = small_training(tmp_path, sources=sources, model=model, epochs=1, validate={})
    places = {"cuts": tmp_path / "cuts", "folds": [0], "devices": "cpu", "progress": False}
    said: list[str] = []
    [result] = train(training, tmp_path, tmp_path / "models", say=said.append, **places)
    assert result.checkpoint
    assert result.score is not None
    steps = [
        CropData(run, made, made.folds, 0, pseudo).steps_per_epoch
        for run in (training.runs["small"],)
        for made, pseudo in [cut(run, tmp_path)]
    ]
    assert steps == [4], "eight windows of training images and eight of test images, by four"
