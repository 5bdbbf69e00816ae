"""Each augmentation does what it says: nothing at no strength, and what others compute at some."""

import itertools
from typing import Any

import albumentations
import cv2
import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

from kernelkit.training.augment.clahe import equalised
from kernelkit.training.augment.colour import AUGMENTATIONS
from kernelkit.training.recipe.augment import AugmentStep

# How many random numbers each needs, of three bands.
WIDTHS = {
    "two_gamma": 2,
    "stain": 4,
    "hsv": 3,
    "clahe": 1,
    "brightness_contrast": 2,
    "channel_shuffle": 3,
    "recolour": 8,
    "cutout": 33,
    "blur": 1,
    "noise": 2,
}


def step(name: str, **values: Any) -> dict[str, Any]:
    """What the recipe says of a step."""
    return AugmentStep.model_validate({name: values}).step.model_dump()


def pictures(count: int = 3, bands: int = 3, side: int = 48, seed: int = 0) -> Tensor:
    """Smooth pictures of values from 0 to 1, all of them at both ends too."""
    rough = torch.rand(count, bands, 6, 6, generator=torch.Generator().manual_seed(seed))
    smooth = torch.nn.functional.interpolate(rough, (side, side), mode="bicubic").clamp(0, 1)
    smooth[:, :, 0, 0], smooth[:, :, 0, 1] = 0, 1
    return smooth


def numbers(count: int, width: int, value: float | None = None) -> Tensor:
    if value is not None:
        return torch.full((count, width), value)
    return torch.rand(count, width, generator=torch.Generator().manual_seed(9))


def changed(name: str, pixels: Tensor, draws: Tensor, **values: Any) -> Tensor:
    before = pixels.clone()
    result = AUGMENTATIONS[name](pixels, step(name, **values), draws)
    assert torch.equal(pixels, before), "what is given stays as it is"
    assert result.dtype == torch.float32
    assert result.shape == pixels.shape
    return result


@pytest.mark.parametrize(
    ("name", "width", "values"),
    [
        ("two_gamma", 2, {"gamma": (1, 1)}),
        ("stain", 4, {"gain": 0, "shift": 0}),
        ("hsv", 3, {"hue": 0, "saturation": 0, "value": 0}),
        ("brightness_contrast", 2, {"brightness": 0, "contrast": 0}),
        ("recolour", 8, {"gain": 0, "shift": 0, "band_gain": 0, "band_shift": 0}),
        ("blur", 1, {"kernel": (1, 1)}),
        ("noise", 2, {"std": 1e-12}),
    ],
)
def test_no_strength_changes_nothing(name: str, width: int, values: dict[str, Any]) -> None:
    """At strength 0 pixels stay what they were, black and white too."""
    pixels = pictures()
    found = changed(name, pixels, numbers(3, width), **values)
    torch.testing.assert_close(found, pixels, atol=2e-6, rtol=0)


@pytest.mark.parametrize("name", ["two_gamma", "stain", "hsv", "clahe", "brightness_contrast"])
def test_values_stay_between_0_and_1(name: str) -> None:
    """Whatever is drawn, no value leaves the range that integers have."""
    for value in (0.0, 0.3, 1 - 2**-24):
        found = changed(name, pictures(), numbers(3, WIDTHS[name], value))
        assert found.min() >= 0
        assert found.max() <= 1


@pytest.mark.parametrize(("name", "width"), WIDTHS.items())
def test_each_crop_has_a_strength_of_its_own(name: str, width: int) -> None:
    """A crop of a batch becomes what it becomes alone, and another draw makes it something else."""
    pixels, draws = pictures(side=128), numbers(3, width)
    together = changed(name, pixels, draws)
    for index in range(3):
        alone = changed(name, pixels[index : index + 1], draws[index : index + 1])
        torch.testing.assert_close(together[index], alone[0], atol=1e-6, rtol=1e-6)
    other = changed(name, pixels, (draws * 0.7 + 0.15).flip(1))
    assert not torch.equal(together, other)


@pytest.mark.parametrize("bands", [1, 2, 5])
@pytest.mark.parametrize("name", sorted(WIDTHS.keys() - {"stain", "hsv", "clahe"}))
def test_any_number_of_bands_will_do(name: str, bands: int) -> None:
    """What needs no RGB takes one band, two or five."""
    of_bands = {"recolour": 2 * (1 + bands), "channel_shuffle": bands}
    changed(name, pictures(bands=bands), numbers(3, of_bands.get(name, WIDTHS[name])))


def test_two_gammas_meet_in_the_middle() -> None:
    """Below one half the first gamma bends, above it the second. Order is kept."""
    ramp = torch.linspace(0, 1, 257).reshape(1, 1, 1, 257)
    low = changed("two_gamma", ramp, torch.tensor([[1.0, 0.5]]), gamma=(0.5, 2))[0, 0, 0]
    high = changed("two_gamma", ramp, torch.tensor([[0.5, 1.0]]), gamma=(0.5, 2))[0, 0, 0]
    plain = ramp[0, 0, 0]
    torch.testing.assert_close(low[:128], 0.5 * (2 * plain[:128]) ** 2)
    torch.testing.assert_close(low[128:], plain[128:])
    torch.testing.assert_close(high[:129], plain[:129])
    torch.testing.assert_close(1 - high[129:], 0.5 * (2 - 2 * plain[129:]) ** 2)
    assert (low.diff() >= 0).all()
    assert (high.diff() >= 0).all()


def test_stains_are_changed_in_optical_density() -> None:
    """With a gain of the first stain alone, the densities of the two others stay."""
    pixels = pictures() * 0.6 + 0.3
    draws = torch.tensor([[1.0, 0.5, 0.5, 0.5]]).repeat(3, 1)
    found = changed("stain", pixels, draws, gain=0.2, shift=0.3)
    vectors = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)

    def densities(values: Tensor) -> np.ndarray:
        density = -np.log((255 * values.double().numpy() + 1) / 256)
        return np.moveaxis(density, 1, -1) @ np.linalg.inv(vectors)

    before, after = densities(pixels), densities(found)
    inside = ((found > 0) & (found < 1)).all(1).numpy()
    assert inside.mean() > 0.9
    np.testing.assert_allclose(after[inside][:, 0], 1.2 * before[inside][:, 0], atol=1e-4)
    np.testing.assert_allclose(after[inside][:, 1:], before[inside][:, 1:], atol=1e-4)


def test_hues_turn_as_opencv_turns_them() -> None:
    """A third of the circle makes red green, and any picture what OpenCV's HSV makes of it."""
    red = torch.zeros(1, 3, 4, 4)
    red[:, 0] = 1
    third = torch.tensor([[1.0, 0.5, 0.5]])
    green = changed("hsv", red, third, hue=1 / 3, saturation=0, value=0)
    torch.testing.assert_close(green[:, 1], torch.ones(1, 4, 4))
    assert green[:, [0, 2]].abs().max() < 1e-5
    pixels = pictures(1)
    found = changed("hsv", pixels, third, hue=0.1, saturation=0, value=0)[0].numpy()
    hsv = cv2.cvtColor(pixels[0].permute(1, 2, 0).numpy(), cv2.COLOR_RGB2HSV)
    hsv[..., 0] = (hsv[..., 0] + 36) % 360
    wanted = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB).transpose(2, 0, 1)
    np.testing.assert_allclose(found, wanted, atol=2e-4)


@pytest.mark.parametrize("size", [(64, 64), (61, 77), (64, 77), (24, 130)])
@pytest.mark.parametrize("limit", [1.0, 2.5, 4.0])
def test_clahe_equalises_as_opencv_does(size: tuple[int, int], limit: float) -> None:
    """The luma agrees with `createCLAHE` up to the rounding of the last bit."""
    random = np.random.default_rng(0)
    noise = random.normal(120, 60, size)
    plane = np.clip(ndimage.gaussian_filter(noise, 2) * 3 - 240, 0, 255).astype(np.uint8)
    wanted = cv2.createCLAHE(limit, (8, 8)).apply(plane)
    found = equalised(torch.from_numpy(plane).long()[None], torch.tensor([limit]), 8)[0]
    assert np.abs(found.round().numpy() - wanted).max() <= 1


def test_clahe_keeps_differences_of_colours() -> None:
    """All bands of a pixel move alike, unless one of them meets an end."""
    pixels = pictures() * 0.5 + 0.25
    found = changed("clahe", pixels, numbers(3, 1))
    moved = found - pixels
    inside = ((found > 0) & (found < 1)).all(1, keepdim=True).expand_as(moved)
    spread = (moved.amax(1, keepdim=True) - moved.amin(1, keepdim=True)).expand_as(moved)
    assert spread[inside].max() < 1e-6
    assert found.std() > pixels.std(), "contrast grows"


def test_contrast_keeps_the_mean_and_brightness_moves_it() -> None:
    """Contrast turns around the mean of the crop. Albumentations agrees about the shift."""
    pixels = pictures() * 0.4 + 0.3
    contrast = changed(
        "brightness_contrast", pixels, torch.tensor([[1.0, 0.5]] * 3), contrast=0.5, brightness=0.3
    )
    torch.testing.assert_close(contrast.mean((1, 2, 3)), pixels.mean((1, 2, 3)), atol=1e-3, rtol=0)
    assert (contrast.std((1, 2, 3)) > 1.3 * pixels.std((1, 2, 3))).all()
    shifted = changed(
        "brightness_contrast", pixels, torch.tensor([[0.5, 1.0]] * 3), contrast=0.5, brightness=0.2
    )
    other = albumentations.RandomBrightnessContrast((0.2, 0.2), (0, 0), p=1)
    wanted = other(image=pixels[0].permute(1, 2, 0).numpy())["image"].transpose(2, 0, 1)
    np.testing.assert_allclose(shifted[0].numpy(), wanted, atol=1e-5)


def test_every_order_of_the_bands_is_drawn() -> None:
    """Shuffled bands are the same bands, and each of the six orders is as frequent."""
    pixels = pictures(600, 3, 4)
    found = changed("channel_shuffle", pixels, numbers(600, 3))
    orders = dict.fromkeys(itertools.permutations(range(3)), 0)
    for before, after in zip(pixels, found, strict=True):
        [order] = [order for order in orders if torch.equal(before[list(order)], after)]
        orders[order] += 1
    assert min(orders.values()) > 60, "100 are expected"


def test_recolouring_is_normal_and_partly_alike() -> None:
    """Gain and shift have the deviations that the recipe says, alike and apart."""
    pixels = torch.zeros(4000, 2, 1, 2)
    pixels[..., 1] = 1
    found = changed(
        "recolour", pixels, numbers(4000, 6), gain=0.3, shift=0.2, band_gain=0.1, band_shift=0.05
    )
    shift = found[:, :, 0, 0]
    gain = (found[:, :, 0, 1] - shift).log()
    for values, alike, apart in ((shift, 0.2, 0.05), (gain, 0.3, 0.1)):
        assert values.mean().abs() < 0.02
        assert (values.std() - (alike**2 + apart**2) ** 0.5).abs() < 0.02
        assert ((values[:, 0] - values[:, 1]).std() - apart * 2**0.5).abs() < 0.01


def test_cutout_sets_rectangles_to_0() -> None:
    """Each is a rectangle of `size` at most, of all bands alike. All else stays."""
    found = changed("cutout", torch.ones(300, 2, 40, 60), numbers(300, 5), holes=1, size=0.25)
    assert set(found.unique().tolist()) == {0.0, 1.0}
    sides = []
    for crop in found:
        assert torch.equal(crop[0], crop[1])
        rows, columns = np.nonzero(crop[0].numpy() == 0)
        high, wide = np.ptp(rows) + 1, np.ptp(columns) + 1
        assert len(rows) == high * wide, "a full rectangle"
        sides.append((high, wide))
    assert np.max(sides, 0).tolist() == [10, 15]
    assert np.min(sides, 0).tolist() == [1, 1]


def test_cutout_draws_how_many_holes() -> None:
    """One to `holes` of them are as frequent, as far as they do not meet."""
    found = changed("cutout", torch.ones(600, 1, 90, 90), numbers(600, 13), holes=3, size=0.05)
    counts = [ndimage.label(crop[0].numpy() == 0)[1] for crop in found]
    assert set(counts) == {1, 2, 3}
    assert min(counts.count(number) for number in (1, 2, 3)) > 150, "200 are expected"


def test_a_blur_is_scipys_gaussian() -> None:
    """It has the kernel that was drawn, with OpenCV's deviation for its size, and mirrors ends."""
    pixels = pictures(1, 2, 40)
    for draw, size in ((0.0, 3), (0.3, 5), (0.6, 7), (0.9, 9)):
        found = changed("blur", pixels, torch.tensor([[draw]]), kernel=(3, 9))[0].numpy()
        deviation = 0.3 * ((size - 1) * 0.5 - 1) + 0.8
        for before, after in zip(pixels[0].numpy(), found, strict=True):
            wanted = ndimage.gaussian_filter(before, deviation, mode="mirror", radius=size // 2)
            np.testing.assert_allclose(after, wanted, atol=1e-5)


def test_noise_is_normal_and_its_own_in_each_pixel() -> None:
    """It has the deviation that was drawn, no mean, and nothing in common with its neighbours."""
    pixels = torch.zeros(4, 2, 128, 128)
    draws = torch.tensor([[1.0, 0.1], [0.5, 0.2], [1.0, 0.3], [1.0, 0.1 + 2**-24]])
    found = changed("noise", pixels, draws, std=0.2)
    for crop, wanted in zip(found, (0.2, 0.1, 0.2, 0.2), strict=True):
        assert abs(crop.std().item() - wanted) < 0.003
        assert abs(crop.mean().item()) < 0.005
        skewness, kurtosis = (((crop / wanted) ** power).mean().item() for power in (3, 4))
        assert abs(skewness) < 0.05
        assert abs(kurtosis - 3) < 0.15
        for other in (crop.roll(1, 2), crop.roll(1, 1), crop.flip(0)):
            assert np.corrcoef(crop.flatten(), other.flatten())[0, 1] < 0.02
    for first, second in itertools.combinations(found, 2):
        assert abs(np.corrcoef(first.flatten(), second.flatten())[0, 1]) < 0.02
