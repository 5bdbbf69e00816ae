"""Fields: what stands in the RLE column, written from masks and read back.

A field has one part per mask or per component. "coco" says class and confidence of each part.

>>> masks = [BitMask.from_rle("1 1 4 1", (2, 2)), BitMask.zeros(2, 2)]
>>> write_parts(masks[0], RLEConvention(form="json", instances="field"))
['[1, 1, 4, 1]']
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kernelkit.errors import MaskError
from kernelkit.mask import BitMask
from kernelkit.mask.instances import (
    mask_of_parts,
    mean_of_runs,
    refuse_overlaps,
    runs_of_components,
)
from kernelkit.mask.runs import Runs, runs_of
from kernelkit.mask.texts import read_text, text_of_mask, text_of_runs
from kernelkit.recipe import RLEConvention
from kernelkit.vocabulary import Order

__all__ = ["Part", "fields_of", "masks_of", "read_fields", "write_parts"]

_CLASS = re.compile(r"\d{1,9}", re.ASCII)
# Digits of a confidence.
_DIGITS = 4


class Part(NamedTuple):
    """One mask of a field: the number of its class, and its runs."""

    number: int
    runs: Runs


def write_parts(
    mask: BitMask,
    rle: RLEConvention,
    number: int = 0,
    probabilities: NDArray[np.uint8 | np.float32] | None = None,
) -> list[str]:
    """The texts of a mask's components, or of all its pixels. None if it has no pixel.

    Parameters
    ----------
    number
        The class, counted from 0. Only "coco" says it.
    probabilities
        uint8 or float32 of the mask's size. The confidence of a part is the mean over its pixels.
        Without them, it is the recipe's.
    """
    order = _order(rle)
    if rle.instances is None and (rle.form != "coco" or probabilities is None):
        text = text_of_mask(mask, rle.form, order, rle.base)
        return [_with_class(text, rle, number, rle.confidence)] if text else []
    if rle.instances is None:
        parts = [runs_of(mask.words, mask.width, order)] if mask.area else []
    else:
        parts = runs_of_components(mask, order)
    texts = []
    for runs in parts:
        text = text_of_runs(runs, mask.height * mask.width, rle.form, rle.base)
        confidence = rle.confidence
        if rle.form == "coco" and probabilities is not None:
            confidence = mean_of_runs(runs, probabilities, order)
        texts.append(_with_class(text, rle, number, confidence))
    return texts


def fields_of(parts: Sequence[str], rle: RLEConvention) -> list[str]:
    """The fields of an id's rows, from the texts of all its parts. There is one at least."""
    if not parts:
        return [rle.empty]
    return list(parts) if rle.instances == "rows" else [rle.separator.join(parts)]


def read_fields(
    fields: Sequence[str], rle: RLEConvention, classes: int, size: int | None
) -> list[Part]:
    """The parts in the fields of an id's rows.

    Parameters
    ----------
    classes
        How many there are.
    size
        The pixels of the image. If None, runs may end anywhere.

    Raises
    ------
    MaskError
        A field is malformed, leaves the image, or gives a pixel to two parts. In "coco" the parts
        may overlap, since each has a confidence.
    """
    texts = [text for field in fields for text in _texts(field, rle, len(fields))]
    parts = [
        Part(number, read_text(text, size, rle.form, rle.base))
        for number, text in _classes_and_texts(texts, rle, classes)
    ]
    if len(parts) > 1 and rle.form != "coco":
        refuse_overlaps([part.runs for part in parts])
    return parts


def masks_of(
    parts: Iterable[Part], rle: RLEConvention, classes: int, shape: tuple[int, int]
) -> list[BitMask]:
    """One mask per class, of all pixels of its parts. With one class, all parts are of it."""
    runs: list[list[Runs]] = [[] for _ in range(classes)]
    for part in parts:
        runs[part.number if classes > 1 else 0].append(part.runs)
    return [mask_of_parts(some, shape, _order(rle)) for some in runs]


def _order(rle: RLEConvention) -> Order:
    return "column" if rle.form == "coco" else rle.order


def _with_class(text: str, rle: RLEConvention, number: int, confidence: float) -> str:
    return f"{number} {round(confidence, _DIGITS)} {text}" if rle.form == "coco" else text


def _texts(field: str, rle: RLEConvention, rows: int) -> list[str]:
    """The texts of a field's parts, of which "coco" has three each."""
    text = field.strip()
    # what stands for an empty mask stands alone
    if rows == 1 and (text == rle.empty or (not text and rle.form == "text")):
        return []
    if not text:
        raise MaskError(
            f"found nothing in it, wanted a mask, or {rle.empty!r} alone if there is none"
        )
    if rows > 1 and text == rle.empty:
        raise MaskError(
            f"found {text!r}, which stands for no mask, in one of {rows} rows. Leave that row out"
        )
    if rle.form == "coco":
        return text.split()
    texts = text.split(rle.separator) if rle.instances == "field" else [text]
    if not all(each.strip() for each in texts):
        raise MaskError(
            f"found a part of nothing in it, wanted a mask before and after each {rle.separator!r}"
        )
    return texts


def _classes_and_texts(
    texts: Sequence[str], rle: RLEConvention, classes: int
) -> Iterator[tuple[int, str]]:
    if rle.form != "coco":
        yield from ((0, text) for text in texts)
        return
    if len(texts) % 3:
        raise MaskError(
            f"found {len(texts)} words, wanted class, confidence and counts of each part, so three"
            " times as many words as parts"
        )
    for number, confidence, text in zip(*[iter(texts)] * 3, strict=True):
        if not _CLASS.fullmatch(number) or int(number) >= classes:
            raise MaskError(
                f"found the class {number[:24]!r}, wanted a whole number from 0 to {classes - 1}"
            )
        if not _is_confidence(confidence):
            raise MaskError(
                f"found the confidence {confidence[:24]!r}, wanted a number from 0 to 1"
            )
        yield int(number), text


def _is_confidence(text: str) -> bool:
    try:
        return 0 <= float(text) <= 1
    except ValueError:
        return False
