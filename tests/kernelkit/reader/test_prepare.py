"""Pads are numpy's, and sizes are OpenCV's, byte for byte."""

from typing import Any, get_args

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernelkit.reader import Preparation, pictures_prepare
from kernelkit.reader.pictures_area import area_means
from kernelkit.reader.pictures_prepare import input_sizes, pad, prepare, resize
from kernelkit.vocabulary import Fill, Resample
from tests.made.layouts import picture

MODES: dict[str, Any] = {"zero": "constant", "reflect": "reflect", "edge": "edge"}
FLAGS = {
    "area": cv2.INTER_AREA,
    "bilinear": cv2.INTER_LINEAR,
    "bicubic": cv2.INTER_CUBIC,
    "nearest": cv2.INTER_NEAREST,
}


@st.composite
def pixels(draw: st.DrawFn, dtypes: str = "u1 u2 i2 f4 f8 i1 u4 i4", most: int = 80) -> np.ndarray:
    """Noise of any shape, dtype and number of bands, (H, W, C)."""
    shape = draw(st.tuples(st.integers(1, most), st.integers(1, most), st.integers(1, 6)))
    dtype = np.dtype(draw(st.sampled_from(dtypes.split())))
    random = np.random.default_rng(draw(st.integers(0, 99)))
    if dtype.kind == "f":
        return random.normal(0, 100, shape).astype(dtype)
    limits = np.iinfo(dtype)
    return random.integers(limits.min, limits.max, shape, dtype, endpoint=True)


@settings(max_examples=200)
@given(pixels(most=20), st.integers(0, 50), st.integers(0, 50), st.sampled_from(get_args(Fill)))
def test_pads_are_those_of_numpy(image: np.ndarray, before: int, after: int, fill: Fill) -> None:
    """Also where they are wider than the picture."""
    padded = pad(image, Preparation(pads=(before, after), fill=fill))
    sides = ((before, after), (before, after), (0, 0))
    assert np.array_equal(padded, np.pad(image, sides, MODES[fill]))


sides = st.tuples(st.integers(1, 100), st.integers(1, 100))


@settings(max_examples=200)
@given(pixels("u1 u2 i2 f4 f8"), sides, st.sampled_from(get_args(Resample)))
def test_sizes_are_those_of_opencv(
    image: np.ndarray, size: tuple[int, int], resample: Resample
) -> None:
    """Up to four bands are resized together, more one by one."""
    parts = [image]
    if image.shape[2] > 4:
        parts = [image[..., band] for band in range(image.shape[2])]
    wanted = [cv2.resize(part, size[::-1], interpolation=FLAGS[resample]) for part in parts]
    made = resize(image, size, resample)
    assert made.dtype == image.dtype
    assert np.array_equal(made, np.dstack(wanted))


@settings(max_examples=60)
@given(pixels("i1 u4 i4"), sides, st.sampled_from(get_args(Resample)))
def test_dtypes_that_opencv_does_not_resize(
    image: np.ndarray, size: tuple[int, int], resample: Resample
) -> None:
    """They are resized as doubles and rounded, within their limits."""
    made = resize(image, size, resample)
    wanted = resize(image.astype(np.float64), size, resample)
    limits = np.iinfo(image.dtype)
    assert made.dtype == image.dtype
    assert np.array_equal(made, np.rint(wanted).clip(limits.min, limits.max))


@settings(max_examples=200)
@given(st.data())
def test_means_of_many_rows_at_once(data: st.DataObject) -> None:
    """They equal OpenCV's in every byte, for several sizes of one picture.

    OpenCV has another way where both sides shrink by whole factors.
    """
    image = data.draw(pixels("u1", most=200))[..., :4]
    lengths = [st.integers(1, side) for side in image.shape[:2]]
    sizes = data.draw(st.lists(st.tuples(*lengths), min_size=1, max_size=3))
    for size, made in zip(sizes, area_means(image, sizes), strict=True):
        if image.shape[0] % size[0] or image.shape[1] % size[1]:
            wanted = cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA)
            assert np.array_equal(made, wanted.reshape(made.shape))


def test_a_large_picture_is_shrunk_as_a_small_one_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which way is taken shows only in the time. Threads of OpenCV are left as they were."""
    image = np.ascontiguousarray(picture(3, 700, 901).transpose(1, 2, 0))
    preparation = Preparation(sizes=((64, 96), (350, 450), (1000, 1000), 1, 0.5, (333, 901)))
    made = []
    cv2.setNumThreads(2)
    for least in (1, 1 << 30):
        monkeypatch.setattr(pictures_prepare, "_LARGE", least)
        outs = [np.zeros((3, *size), np.uint8) for size in input_sizes(700, 901, preparation)]
        prepare(image, None, preparation, outs)
        made.append(outs)
    assert cv2.getNumThreads() == 2
    for one, other in zip(*made, strict=True):
        wanted = cv2.resize(image, one.shape[:0:-1], interpolation=cv2.INTER_AREA)
        assert np.array_equal(one, wanted.transpose(2, 0, 1))
        assert np.array_equal(one, other)
