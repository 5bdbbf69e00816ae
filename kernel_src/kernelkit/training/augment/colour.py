"""Augmentations of colour and detail, of many crops at once, each with its own strength.

Each function takes pixels (n, C, H, W) float32 on any device, and what the recipe says of the step.
Uniform random numbers (n, d) lie in host memory, and strengths are worked out there. So no device
waits, and all devices get the same. Those of the first half want values from 0 to 1, and give such.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from kernelkit.training.augment.clahe import equalised

__all__ = ["AUGMENTATIONS"]

type Values = Mapping[str, Any]

# Optical density of haematoxylin, eosin and the residue, in red, green and blue. They are those of
# Ruifrok and Johnston (2001), as scikit-image has them.
_STAINS = ((0.65, 0.70, 0.29), (0.07, 0.99, 0.11), (0.27, 0.57, 0.78))


def two_gamma(pixels: Tensor, values: Values, numbers: Tensor) -> Tensor:
    """Bend values below the middle by one gamma, and those above by another."""
    least, greatest = values["gamma"]
    gammas = _beside(least * (greatest / least) ** numbers, pixels)
    low = (2 * pixels).clamp_(0, 1).pow_(gammas[:, :1])
    high = (2 - 2 * pixels).clamp_(0, 1).pow_(gammas[:, 1:])
    return low.sub_(high).add_(1).mul_(0.5)  # the other one is 1


def stain(pixels: Tensor, values: Values, numbers: Tensor) -> Tensor:
    """Change how much haematoxylin and eosin there is, in optical density.

    A density is `-log((255 x + 1) / 256)`, so that black has one. It is parted into three stains.
    The first two get a factor and a shift each, as Tellez et al. (2018) do it.
    """
    stains = torch.tensor(_STAINS, dtype=torch.float64)
    stains /= stains.norm(dim=1, keepdim=True)
    around = (2 * numbers - 1).double()
    gains = torch.ones(len(numbers), 3, dtype=torch.float64)
    gains[:, :2] += values["gain"] * around[:, :2]
    shifts = torch.zeros(len(numbers), 3, dtype=torch.float64)
    shifts[:, :2] = values["shift"] * around[:, 2:]
    mixed = torch.linalg.inv(stains) @ (gains[:, :, None] * stains)
    mixed = mixed.mT.float().to(pixels.device)
    added = _beside((shifts @ stains).float(), pixels)
    density = -((255 * pixels + 1) / 256).log()
    density = torch.einsum("nij,njhw->nihw", mixed, density) + added
    return ((256 * (-density).exp() - 1) / 255).clamp_(0, 1)


def hsv(pixels: Tensor, values: Values, numbers: Tensor) -> Tensor:
    """Turn the hue, and scale saturation and value."""
    from torchvision.transforms.v2 import functional as v2

    around = (2 * numbers - 1).tolist()
    changed = [
        v2.adjust_brightness(
            v2.adjust_saturation(
                v2.adjust_hue(crop, values["hue"] * hue), 1 + values["saturation"] * saturation
            ),
            1 + values["value"] * value,
        )
        for crop, (hue, saturation, value) in zip(pixels, around, strict=True)
    ]
    return torch.stack(changed)


def clahe(pixels: Tensor, values: Values, numbers: Tensor) -> Tensor:
    """Equalise the histogram of the luma in parts of the picture. Differences of colours stay."""
    weights = pixels.new_tensor([0.299, 0.587, 0.114])[:, None, None]
    luma = (pixels * weights).sum(1)
    limits = 1 + (values["clip"] - 1) * numbers[:, 0]
    wanted = equalised((255 * luma).round().clamp(0, 255).long(), limits, values["grid"])
    return (pixels + (wanted / 255 - luma)[:, None]).clamp_(0, 1)


def brightness_contrast(pixels: Tensor, values: Values, numbers: Tensor) -> Tensor:
    """Scale values around the mean of their crop, and shift them."""
    around = 2 * numbers - 1
    gain = _beside(1 + values["contrast"] * around[:, :1], pixels)
    shift = _beside(values["brightness"] * around[:, 1:], pixels)
    mean = pixels.mean((1, 2, 3), keepdim=True)
    return ((pixels - mean) * gain + mean + shift).clamp_(0, 1)


def channel_shuffle(pixels: Tensor, _values: Values, numbers: Tensor) -> Tensor:
    """Put the bands into another order."""
    order = numbers[:, : pixels.shape[1]].argsort(dim=1).to(pixels.device)
    return pixels[torch.arange(len(pixels), device=pixels.device)[:, None], order]


def recolour(pixels: Tensor, values: Values, numbers: Tensor) -> Tensor:
    """Scale and shift bands, partly alike and partly not."""
    bands = pixels.shape[1]
    # in the middle of its interval, since 0 would be infinitely far from the mean
    normal = torch.special.ndtri(numbers.double() + 2.0**-25).float()
    alike, apart = normal[:, :2], normal[:, 2 : 2 + 2 * bands]
    gain = values["gain"] * alike[:, :1] + values["band_gain"] * apart[:, :bands]
    shift = values["shift"] * alike[:, 1:] + values["band_shift"] * apart[:, bands:]
    return pixels * _beside(gain.exp(), pixels) + _beside(shift, pixels)


def cutout(pixels: Tensor, values: Values, numbers: Tensor) -> Tensor:
    """Set rectangles to 0, the mean."""
    count, (height, width) = len(pixels), pixels.shape[-2:]
    holes = 1 + (numbers[:, 0] * values["holes"]).floor()
    places = numbers[:, 1:].reshape(count, -1, 4)
    used = torch.arange(places.shape[1])[None] < holes[:, None]
    rows = _inside(places[..., 0], places[..., 1], values["size"], height) & used[..., None]
    columns = _inside(places[..., 2], places[..., 3], values["size"], width)
    is_cut = rows.float().to(pixels.device).mT @ columns.float().to(pixels.device) > 0
    return pixels.masked_fill(is_cut[:, None], 0.0)


def _inside(middle: Tensor, share: Tensor, most: float, length: int) -> Tensor:
    """Which of `length` pixels lie in a hole, bool (n, holes, length). It is at least one wide."""
    sides = (share * most * length).ceil().clamp_min(1)
    starts = (middle * length - sides / 2).round()
    at = torch.arange(length)
    return (at >= starts[..., None]) & (at < (starts + sides)[..., None])


def blur(pixels: Tensor, values: Values, numbers: Tensor) -> Tensor:
    """Blur by a Gaussian of an odd kernel. Its deviation is the one that OpenCV gives to its size.

    Shifted pictures are added up, row by row and then column by column. On a processor that takes a
    third of the time of torchvision's convolution.
    """
    least, greatest = values["kernel"]
    halves = least // 2 + (numbers[:, 0] * ((greatest - least) // 2 + 1)).long()
    blurred = pixels.clone()
    for half in halves.unique().tolist():
        chosen = (halves == half).nonzero()[:, 0].to(pixels.device)
        deviation = 0.3 * (half - 1) + 0.8
        weights = torch.exp(torch.arange(-half, half + 1) ** 2 / (-2 * deviation**2))
        kernel = (weights / weights.sum()).tolist()
        padded = F.pad(pixels[chosen], [half] * 4, mode="reflect")
        blurred[chosen] = _summed(_summed(padded, kernel, 2), kernel, 3)
    return blurred


def _summed(pixels: Tensor, kernel: Sequence[float], axis: int) -> Tensor:
    """The sum of pixels times a kernel along an axis, which loses what the kernel hangs over."""
    length = pixels.shape[axis] - len(kernel) + 1
    total = pixels.narrow(axis, 0, length) * kernel[0]
    for shift, weight in enumerate(kernel[1:], 1):
        total.add_(pixels.narrow(axis, shift, length), alpha=weight)
    return total


def noise(pixels: Tensor, values: Values, numbers: Tensor) -> Tensor:
    """Add Gaussian noise.

    It is made of the number of each value by a hash, because generators of two devices differ.
    """
    count = pixels[0].numel()
    seeds = (numbers[:, 1:] * 2**24).long().to(pixels.device)
    hashed = _hashed(torch.arange(count, device=pixels.device) + (seeds << 32 >> 8))
    radius = (-2 * (((hashed >> 16) + 0.5) / 65536).log()).sqrt()
    normal = radius * (math.tau / 65536 * (hashed & 65535)).cos()
    std = _beside(values["std"] * numbers[:, :1], pixels)
    return pixels + std * normal.reshape(pixels.shape)


def _hashed(numbers: Tensor) -> Tensor:
    """Numbers of 32 bits that look random, by the finaliser of MurmurHash3."""
    mask = 0xFFFFFFFF
    numbers = numbers & mask
    numbers = ((numbers ^ (numbers >> 16)) * 0x85EBCA6B) & mask
    numbers = ((numbers ^ (numbers >> 13)) * 0xC2B2AE35) & mask
    return numbers ^ (numbers >> 16)


def _beside(numbers: Tensor, pixels: Tensor) -> Tensor:
    """Numbers (n, k) as (n, k, 1, 1) on the device of the pixels."""
    return numbers.float().to(pixels.device)[:, :, None, None]


AUGMENTATIONS: dict[str, Callable[[Tensor, Values, Tensor], Tensor]] = {
    each.__name__: each
    for each in (
        two_gamma,
        stain,
        hsv,
        clahe,
        brightness_contrast,
        channel_shuffle,
        recolour,
        cutout,
        blur,
        noise,
    )
}
