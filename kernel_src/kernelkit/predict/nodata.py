"""Pixels that hold no data are background: they are never submitted."""

from collections.abc import Sequence

from kernelkit.errors import SlideError
from kernelkit.grid import Window
from kernelkit.mask import BitMask
from kernelkit.slide import Slide

__all__ = ["clear_missing", "clear_undecodable"]

# how many pixels are asked about at once
_BAND_PIXELS = 1 << 25


def clear_missing(masks: Sequence[BitMask], slide: Slide) -> list[str]:
    """Turn off, in the masks of an image, every pixel that holds no data.

    Returns
    -------
    One sentence that says how many pixels that were. None if the image is whole.
    """
    if not slide.may_lack_data:
        return []
    missing = 0
    rows = max(1, _BAND_PIXELS // slide.width)
    for top in range(0, slide.height, rows):
        window = Window(top, 0, min(rows, slide.height - top), slide.width)
        valid = BitMask.from_array(slide.read_valid(window))
        lacking = window.area - valid.area
        if lacking:
            missing += lacking
            for mask in masks:
                mask.paste(top, 0, mask.rows(top, window.bottom) & valid)
    if not missing:
        return []
    return [f"{missing} pixel(s) hold no data. They are background"]


def clear_undecodable(
    masks: Sequence[BitMask], slide: Slide, windows: Sequence[Window]
) -> list[str]:
    """Turn off, in the masks of an image, the windows whose blocks could not be decoded.

    Returns
    -------
    One sentence that says how many blocks and which share of the image that were, if any.

    Raises
    ------
    SlideError
        Nothing of the image could be decoded.
    """
    windows = [window for window in windows if window.area]
    if not windows:
        return []
    unread = BitMask.zeros(slide.height, slide.width)
    for window in windows:
        unread.paste(window.row, window.col, ~BitMask.zeros(window.height, window.width))
    share = unread.area / (slide.height * slide.width)
    if share == 1:
        raise SlideError(
            f"{slide.paths[0]}: not one block of it can be decoded. Copy the file again, or "
            "convert it"
        )
    for window in windows:
        for mask in masks:
            mask.paste(window.row, window.col, BitMask.zeros(window.height, window.width))
    note = (
        f"{len(windows)} block(s) cannot be decoded. They are {share:.1%} of the image, and count "
        "as background"
    )
    if slide.in_order:  # its decoder may notice damage only some rows later
        note += ". The file is one stream, so pixels just above them may be wrong too"
    return [note]
