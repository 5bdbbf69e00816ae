"""Pixels that hold no data, or cannot be decoded, are background: they are never submitted."""

from collections.abc import Sequence

from kernelkit.mask import BitMask

__all__ = ["clear"]

# how many pixels are cleared at once
_BAND_PIXELS = 1 << 25


def clear(masks: Sequence[BitMask], missing: BitMask | None) -> None:
    """Turn off the `missing` pixels in masks of their size."""
    if missing is None:
        return
    rows = max(1, _BAND_PIXELS // missing.width)
    for mask in masks:
        for top in range(0, mask.height, rows):
            part = slice(top, top + rows)
            mask.words[part] &= ~missing.words[part]
