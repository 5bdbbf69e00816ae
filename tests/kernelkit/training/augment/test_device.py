"""`OnDevice`: the normalisation is that of inference, and only what is drawn is changed."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from kernelkit.ensemble.normalise import normalise
from kernelkit.training.augment import OnDevice, plan_of
from kernelkit.training.crops import CropBatch, CropData, contact_sheet
from kernelkit.training.recipe import RunRecipe, TrainingRecipe
from tests.made.crops import small_cuts, small_run

SOURCES = ["two_gamma", "stain", "hsv", "clahe", "brightness_contrast", "channel_shuffle"]
NORMALISED = ["recolour", "cutout", "blur", "noise"]


def batch_of(
    run: RunRecipe, pixels: Tensor, held: Tensor | None = None, seed: int = 0
) -> CropBatch:
    """A batch of these pixels, with numbers as the loader draws them."""
    count, bands, *size = pixels.shape
    draws = plan_of(run.augment, bands, len(run.input.bands)).draws
    random = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 256, (count, 1, *size), generator=random, dtype=torch.uint8)
    return CropBatch(
        pixels, labels, held, torch.ones(count), torch.rand(count, draws, generator=random)
    )


def noise(count: int = 8, bands: int = 3, side: int = 32) -> Tensor:
    random = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (count, bands, side, side), generator=random, dtype=torch.uint8)


def radar() -> Tensor:
    """Powers of two bands, with zones of zeros."""
    powers = torch.rand(4, 2, 32, 32, generator=torch.Generator().manual_seed(2)) * 0.3 + 1e-9
    powers[:, :, :8] = 0
    powers[:, 0, 9, 9] = 1e-10  # below the floor
    return powers


@pytest.mark.parametrize(
    ("name", "run", "pixels"),
    [
        ("unosat", "fpn_se_resnext50", radar()),
        ("salt", "seg-unet", noise(bands=1)),
        ("hubmap", "Unet_timm-regnety_016", noise()),
        ("clouds", "fpn_effb2_320x480", noise()),
    ],
)
def test_networks_train_on_what_they_are_asked_about(name: str, run: str, pixels: Tensor) -> None:
    """Without augmentation, the input has the bits of inference: decibels, bands, statistics."""
    wanted = TrainingRecipe.load(name, [f"runs.{run}.augment=[]"]).runs[run]
    found, targets, held = OnDevice(wanted)(batch_of(wanted, pixels))
    predicting = TrainingRecipe.load(name).recipe.ensembles[0].input
    assert torch.equal(found, normalise(pixels, predicting))
    assert found.shape[1] == len(predicting.bands)
    assert held is None
    assert targets.dtype == torch.float32


@pytest.mark.parametrize("name", [*SOURCES, *NORMALISED])
def test_crops_that_get_no_step_keep_their_bits(name: str, tmp_path: Path) -> None:
    """A step with p 0.5 changes some crops of a batch, and no bit of the others."""
    run = small_run(tmp_path, augment=[{name: {"p": 0.5}}])
    batch = batch_of(run, noise(16, side=64))
    found, _, _ = OnDevice(run)(batch)
    plain = normalise(batch.pixels, run.input)
    [leaf] = plan_of(run.augment, 3, 3).leaves
    chosen = torch.from_numpy(leaf.chosen(batch.draws.numpy()))
    assert 3 < chosen.sum() < 13
    is_same = torch.tensor([torch.equal(*pair) for pair in zip(found, plain, strict=True)])
    assert is_same[~chosen].all()
    by_chance = chosen.sum() // 2 if name == "channel_shuffle" else 0  # the old order is an order
    assert is_same[chosen].sum() <= by_chance


def test_integers_come_back_from_their_unit_range_exactly(tmp_path: Path) -> None:
    """A step of no strength keeps every value of 8 and of 16 bits, to the bit."""
    every = torch.arange(65536, dtype=torch.int32)
    still = [{"two_gamma": {"gamma": [1, 1]}}]
    for values, divide in ((every[:256].to(torch.uint8), 255), (every.to(torch.uint16), 65535)):
        names = {"bands": [1], "mean": [0.5], "std": [0.25], "divide": divide}
        run = small_run(tmp_path, {"ensembles": [{"name": "one", "input": names}]}, augment=still)
        batch = batch_of(run, values.reshape(1, 1, 256, -1))
        found, _, _ = OnDevice(run)(batch)
        torch.testing.assert_close(found, normalise(batch.pixels, run.input), atol=2e-6, rtol=0)


def test_targets_are_the_labelled_shares() -> None:
    """0 and 255 become exactly 0 and 1, whatever the device multiplies with."""
    run = TrainingRecipe.load("hubmap").runs["Unet_timm-regnety_016"]
    batch = batch_of(run, noise())
    batch.labels[:, :, 0] = 255
    batch.labels[:, :, 1] = 0
    _, targets, _ = OnDevice(run)(batch)
    assert (targets[:, :, 0] == 1).all()
    assert (targets[:, :, 1] == 0).all()
    np.testing.assert_allclose(targets, batch.labels.numpy() / 255, atol=1e-7)


def test_pixels_without_data_are_seen_as_in_inference(tmp_path: Path) -> None:
    """No step changes them, although their crops get every step."""
    run = small_run(tmp_path, augment=[*SOURCES, *NORMALISED])
    held = torch.ones(8, 64, 64, dtype=torch.bool)
    held[:, 20:40, :30] = False
    pixels = noise(side=64)
    pixels[(~held)[:, None].expand_as(pixels)] = 0
    found, _, kept = OnDevice(run)(batch_of(run, pixels, held))
    plain = normalise(pixels, run.input)
    away = (~held)[:, None].expand_as(found)
    assert torch.equal(found[away], plain[away])
    assert not torch.isclose(found[~away], plain[~away]).float().mean() > 0.1
    assert kept is held


def test_one_of_several_steps_is_drawn(tmp_path: Path) -> None:
    """Each crop gets at most one of them. With p 0.8 a fifth of the crops gets none."""
    names = ["hsv", "clahe", "brightness_contrast", "noise"]
    run = small_run(tmp_path, augment=[{"one_of": names, "p": 0.8}])
    leaves = plan_of(run.augment, 3, 3).leaves
    draws = np.random.default_rng(0).random((4000, plan_of(run.augment, 3, 3).draws), np.float32)
    chosen = np.stack([leaf.chosen(draws) for leaf in leaves])
    assert chosen.sum(0).max() == 1
    np.testing.assert_allclose(chosen.mean(1), 0.2, atol=0.02)


def test_steps_are_done_in_the_order_of_the_recipe(tmp_path: Path) -> None:
    """Among those that see the source's values, and among those that see normalised ones."""
    orders = (["stain", "two_gamma"], ["two_gamma", "stain"], ["two_gamma", "noise", "stain"])
    plans = [plan_of(small_run(tmp_path, augment=order).augment, 3, 3) for order in orders]
    assert [[leaf.name for leaf in plan.of("source")] for plan in plans] == [
        ["stain", "two_gamma"],
        ["two_gamma", "stain"],
        ["two_gamma", "stain"],
    ]
    assert [leaf.name for leaf in plans[2].of("normalised")] == ["noise"]


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_all_devices_give_the_same_crops(device: str, tmp_path: Path) -> None:
    """The strengths come from the batch. So devices differ by rounding alone, and calls not."""
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("there is no GPU")
    run = small_run(tmp_path, augment=["d4", *SOURCES, *NORMALISED])
    held = torch.ones(8, 64, 64, dtype=torch.bool)
    held[:, :9] = False
    batch = batch_of(run, noise(side=64), held)
    found, targets, _ = OnDevice(run)(batch.to(device))
    again, other, _ = OnDevice(run)(batch)
    torch.testing.assert_close(found.cpu(), again, atol=1e-3, rtol=1e-4)
    assert torch.equal(targets.cpu(), other)


def test_decibels_can_be_recoloured_blurred_and_cut(tmp_path: Path) -> None:
    """What works on normalised values works on floats, and keeps zones without data."""
    names: dict[str, Any] = {
        "bands": [1, 2, "(b1 + b2) / 2"],
        "decibel": {"floor": 1e-8, "nodata": 0},
    }
    names |= {"mean": [-17.4, -10.0, -12.1], "std": [6.3, 5.8, 5.8]}
    run = small_run(
        tmp_path,
        {"ensembles": [{"name": "one", "input": names}]},
        augment=["channel_shuffle", *NORMALISED],
    )
    pixels = radar()
    held = (pixels > 0).all(1)
    found, _, _ = OnDevice(run)(batch_of(run, pixels, held))
    plain = normalise(pixels, run.input)
    assert found.isfinite().all()
    away = (~held)[:, None].expand_as(found)
    assert torch.equal(found[away], plain[away])
    assert (found[~away] != plain[~away]).float().mean() > 0.9


def test_a_sheet_shows_crops_with_their_labels(tmp_path: Path) -> None:
    """It has a cell per crop, outlines where labels are, and grey where there is no data."""
    cuts = small_cuts(tmp_path)
    run = small_run(tmp_path, augment=["d4"])
    with CropData(run, cuts, cuts.folds, 0).train_loader(0) as loader:
        batch = next(loader.batches(0))
    held = torch.ones(4, 64, 64, dtype=torch.bool)
    held[3] = False
    pixels, targets, _ = OnDevice(run)(batch)
    plain = contact_sheet(pixels, torch.zeros_like(targets), None, run.input)
    drawn = contact_sheet(pixels, targets, held, run.input)
    assert plain.shape == drawn.shape == (132, 132, 3)
    assert plain.dtype == np.uint8
    assert (drawn[68:, 68:] == 96).all(), "the fourth crop holds no data"
    assert (plain[:64, :64] != drawn[:64, :64]).any()
    stretched = batch.pixels[0].float()
    seen = torch.from_numpy(plain[:64, :64].copy()).permute(2, 0, 1).float()
    assert np.corrcoef(seen.flatten(), stretched.flatten())[0, 1] > 0.99
