"""The text of runs in each of the field's forms."""

import base64
import json
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco_api

from kernelkit.errors import MaskError
from kernelkit.mask import BitMask
from kernelkit.mask.instances import mask_of_parts
from kernelkit.mask.runs import runs_of
from kernelkit.mask.texts import read_text, text_of_mask, text_of_runs
from kernelkit.vocabulary import Order, RLEForm
from tests.made.masks import binary_images

forms = st.sampled_from(["text", "json", "coco"])
orders = st.sampled_from(["column", "row"])
bases = st.sampled_from([0, 1])


def hpas_encoding(image: np.ndarray) -> str:
    """The function that HPA and HuBMAP vasculature hand out, apart from its checks."""
    pixels = np.asfortranarray(image.reshape(*image.shape, 1).astype(np.uint8))
    counts = coco_api.encode(pixels)[0]["counts"]
    return base64.b64encode(zlib.compress(counts, zlib.Z_BEST_COMPRESSION)).decode()


@given(binary_images())
def test_coco_in_base64_is_the_competitions(image: np.ndarray) -> None:
    """The text is that of the competition's own function, and pycocotools reads it back."""
    text = text_of_mask(BitMask.from_array(image), "coco")
    if not image.any():
        assert text == ""
        return
    assert text == hpas_encoding(image)
    counts = zlib.decompress(base64.b64decode(text))
    decoded = coco_api.decode({"size": list(image.shape), "counts": counts})
    assert np.array_equal(decoded, image)


@given(binary_images(), orders, bases)
def test_json_is_a_list_of_the_same_numbers(image: np.ndarray, order: Order, base: int) -> None:
    """json writes the list as Recod.ai's metric does."""
    mask = BitMask.from_array(image)
    numbers = [int(word) for word in mask.to_rle(order, base).split()]
    assert text_of_mask(mask, "json", order, base) == (json.dumps(numbers) if numbers else "")


@given(binary_images(), forms, orders, bases)
def test_reading_undoes_writing(image: np.ndarray, form: RLEForm, order: Order, base: int) -> None:
    """Whole masks and runs have the same text, and it is read with and without a size."""
    order = "column" if form == "coco" else order
    mask = BitMask.from_array(image)
    text = text_of_mask(mask, form, order, base)
    if not text:
        return
    assert text == text_of_runs(runs_of(mask.words, mask.width, order), image.size, form, base)
    for size in (image.size, None):
        runs = read_text(text, size, form, base)
        assert mask_of_parts([runs], mask.shape, order) == mask


@given(forms, st.one_of(st.text(), st.binary().map(lambda data: base64.b64encode(data).decode())))
def test_no_text_ends_in_an_error_of_python(form: RLEForm, text: str) -> None:
    """Whatever stands there is runs, or one sentence."""
    try:
        runs = read_text(text, 100, form)
    except MaskError:
        return
    assert (np.diff(runs) >= 0).all()
    assert len(runs) == 0 or 0 <= runs[0] <= runs[-1] <= 100


@pytest.mark.parametrize("size", [99, 101])
def test_counts_of_another_size_are_refused(size: int) -> None:
    """COCO's counts say how many pixels the image has."""
    text = text_of_mask(BitMask.from_array(np.eye(10)), "coco")
    with pytest.raises(MaskError, match="Check the image's size"):
        read_text(text, size, "coco")
