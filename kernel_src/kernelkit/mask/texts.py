"""The text of runs in each of the field's forms, and runs of such a text.

"text" is `start length start length`, "json" the same as a JSON list. "coco" is COCO's counts,
compressed by zlib and written in base64. Competitions on human cells and vessels want them so.
"""

import base64
import binascii
import json
import zlib

from kernelkit.errors import MaskError
from kernelkit.mask import coco, rle
from kernelkit.mask.bitmask import BitMask
from kernelkit.mask.runs import Runs
from kernelkit.vocabulary import Order, RLEForm

__all__ = ["LARGEST", "read_text", "text_of_mask", "text_of_runs"]

# In pixels: more than any image has. An int64 holds what is read up to there.
LARGEST = 10**18
# Bytes. Counts of more are no image's, and zlib may make gigabytes of a few kilobytes.
_MOST_COUNTS = 1 << 30
_TO_TEXT = str.maketrans("[],", "   ")


def text_of_mask(mask: BitMask, form: RLEForm, order: Order = "column", base: int = 1) -> str:
    """The text of all pixels of a mask. It is empty if the mask is.

    >>> text_of_mask(BitMask.from_rle("1 2 5 1", (2, 3)), "json")
    '[1, 2, 5, 1]'
    """
    if form == "coco":
        counts = mask.to_coco()["counts"]
        assert isinstance(counts, bytes)
        return _compressed(counts) if mask.area else ""
    return _in_form(mask.to_rle(order, base), form)


def text_of_runs(runs: Runs, size: int, form: RLEForm, base: int = 1) -> str:
    """The text of runs in a line of `size` pixels."""
    if form == "coco":
        return _compressed(coco.format_counts(runs, size))
    return _in_form(rle.format_piece(runs, False, base).text.rstrip(" "), form)


def read_text(text: str, size: int | None, form: RLEForm, base: int = 1) -> Runs:
    """The runs in a text that no empty mask has.

    Parameters
    ----------
    size
        The pixels of the image. If None, the runs may end anywhere.

    Raises
    ------
    MaskError
        The text is malformed, or does not fit the image.
    """
    if form == "coco":
        return coco.parse_counts(_decompressed(text), size)
    size = LARGEST if size is None else size
    return _read_json(text, size, base) if form == "json" else rle.parse_runs(text, size, base)


def _in_form(text: str, form: RLEForm) -> str:
    return f"[{text.replace(' ', ', ')}]" if form == "json" and text else text


def _compressed(counts: bytes) -> str:
    return base64.b64encode(zlib.compress(counts, zlib.Z_BEST_COMPRESSION)).decode("ascii")


def _decompressed(text: str) -> bytes:
    decoder = zlib.decompressobj()
    try:
        counts = decoder.decompress(
            base64.b64decode(text.encode("utf-8", "replace"), validate=True), _MOST_COUNTS
        )
    except binascii.Error as error:
        problem = f"it is not base64 ({error})"
    except zlib.error:
        problem = "its base64 holds nothing that zlib compressed"
    else:
        if decoder.eof and not decoder.unused_data:
            return counts
        problem = "its counts are longer than any image's" if decoder.unconsumed_tail else ""
        problem = problem or "what zlib compressed is cut off, or goes on after its end"
    raise MaskError(
        f"COCO encoding: {problem}. Compress pycocotools' counts by zlib, then encode them by"
        " base64"
    )


def _read_json(text: str, size: int, base: int) -> Runs:
    """Read a list as text. It is parsed as JSON only if it is not written as it is here."""
    try:
        runs = rle.parse_runs(text.translate(_TO_TEXT), size, base)
    except MaskError:
        _refuse_other_json(text)
        raise
    if text_of_runs(runs, size, "json", base) != text:
        _refuse_other_json(text)
    return runs


def _refuse_other_json(text: str) -> None:
    try:
        numbers = json.loads(text)
    except (ValueError, RecursionError):
        numbers = None
    if not isinstance(numbers, list) or {*map(type, numbers)} - {int}:
        raise MaskError(
            f"run-length encoding: found {text[:24]!r}, which is no JSON list of whole numbers. "
            "Write [start, length, start, length]"
        )
    if not numbers:
        raise MaskError(
            "run-length encoding: found a list without a run. Write what stands for an empty mask"
        )
