"""From the source's pixels to a network's input, beside numpy."""

import numpy as np
import pytest
import torch

from kernelkit.ensemble.normalise import normalise
from kernelkit.recipe import NetworkInput

MEAN = np.array([-17.399, -10.020, -12.108], np.float32)[:, None, None]
STD = np.array([6.290, 5.777, 5.795], np.float32)[:, None, None]
RADAR = {
    "bands": ["b1", "b2", "(b1 + b2) / 2"],
    "decibel": {"floor": 1.0e-8, "nodata": 0},
    "mean": MEAN.ravel().tolist(),
    "std": STD.ravel().tolist(),
}


def _radar() -> np.ndarray:
    """Speckle of two polarisations (1, 2, 40, 50), with a zone of zeros, as at a swath's border."""
    powers = np.random.default_rng(0).gamma(1.0, 0.02, (1, 2, 40, 50)).astype(np.float32)
    powers[..., :7] = 0
    return powers


def test_radar_is_prepared_as_the_unosat_solution_does() -> None:
    """The third band is averaged before the logarithm, and no data is 0 dB."""
    powers = _radar()
    bands = np.concatenate([powers, powers.mean(1, keepdims=True)], 1)
    decibels = 10 * np.log10(np.where(bands < 1e-8, 1, bands))
    found = normalise(torch.from_numpy(powers), NetworkInput.model_validate(RADAR))
    np.testing.assert_allclose(found, (decibels - MEAN) / STD, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found[0, :, 0, 0], [2.766, 1.734, 2.089], atol=1e-3)


def test_decibels_may_come_before_the_expressions() -> None:
    """With `of: image` the third band is the mean of two decibels."""
    powers = _radar()
    decibels = 10 * np.log10(np.where(powers < 1e-8, 1, powers))
    bands = np.concatenate([decibels, decibels.mean(1, keepdims=True)], 1)
    decibel = {"floor": 1.0e-8, "nodata": 0, "of": "image"}
    wanted = NetworkInput.model_validate(RADAR | {"decibel": decibel})
    found = normalise(torch.from_numpy(powers), wanted)
    np.testing.assert_allclose(found, (bands - MEAN) / STD, rtol=1e-5, atol=1e-5)


def test_without_a_value_no_data_is_the_mean() -> None:
    """A pixel without a logarithm becomes 0."""
    wanted = NetworkInput.model_validate(RADAR | {"decibel": True})
    found = normalise(torch.from_numpy(_radar()), wanted)
    assert (found[..., :7] == 0).all()


def test_grey_is_a_weighted_sum() -> None:
    """A network of one band sees a colour picture in grey."""
    pixels = np.random.default_rng(1).integers(0, 256, (2, 3, 5, 6), np.uint8)
    wanted = NetworkInput(bands=("0.299 * b1 + 0.587 * b2 + 0.114 * b3",), mean=(0.5,), std=(0.25,))
    grey = np.tensordot([0.299, 0.587, 0.114], pixels.astype(float), (0, 1))[:, None]
    found = normalise(torch.from_numpy(pixels), wanted)
    np.testing.assert_allclose(found, (grey / 255 - 0.5) / 0.25, rtol=1e-5, atol=1e-5)


def test_a_tile_is_stretched_by_its_own_values() -> None:
    """Least and greatest value are those of the pixels with data, per band and tile."""
    values = np.random.default_rng(2).normal(3, 9, (2, 2, 8, 8)).astype(np.float32)
    values[0, 0, 0] = np.nan
    wanted = NetworkInput.model_validate(
        {"bands": [1, 2], "minmax": {"power": 0.2}, "mean": [0.5, 0.5], "std": [1, 1]}
    )
    least = np.nanmin(values, (2, 3), keepdims=True)
    spread = np.nanmax(values, (2, 3), keepdims=True) - least
    expected = np.nan_to_num(((values - least) / spread) ** 0.2 - 0.5)
    found = normalise(torch.from_numpy(values), wanted)
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("expression", ["b1 / b2", "log(b1)", "sqrt(b1 - b2)"])
def test_what_is_no_number_becomes_the_mean(expression: str) -> None:
    """A division by 0 costs its pixel and nothing else, also in images of integers."""
    pixels = np.random.default_rng(3).integers(0, 3, (1, 2, 9, 9), np.uint8)
    wanted = NetworkInput(bands=(expression,), divide=1, mean=(0.0,), std=(1.0,))
    found = normalise(torch.from_numpy(pixels), wanted)[0, 0].numpy()
    b1, b2 = pixels[0].astype(np.float32)
    with np.errstate(all="ignore"):
        plain = {"b1 / b2": b1 / b2, "log(b1)": np.log(b1), "sqrt(b1 - b2)": np.sqrt(b1 - b2)}
    expected = np.nan_to_num(plain[expression], posinf=0, neginf=0)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
