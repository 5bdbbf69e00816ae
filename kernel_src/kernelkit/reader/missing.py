"""The pixels of an image that hold no data, or cannot be decoded."""

from collections.abc import Sequence

from kernelkit.errors import SlideError
from kernelkit.grid import Window
from kernelkit.mask import BitMask
from kernelkit.slide import Slide

__all__ = ["empty_pixels", "empty_pixels_note", "undecodable_pixels"]

# how many pixels are asked about at once
_BAND_PIXELS = 1 << 25


def empty_pixels(slide: Slide) -> BitMask | None:
    """The pixels of an image that hold no data, or None if it is whole."""
    if not slide.may_lack_data:
        return None
    empty = BitMask.zeros(slide.height, slide.width)
    rows = max(1, _BAND_PIXELS // slide.width)
    for top in range(0, slide.height, rows):
        window = Window(top, 0, min(rows, slide.height - top), slide.width)
        lacking = ~slide.read_valid(window)
        if lacking.any():
            empty.paste(top, 0, lacking)
    return empty if empty.area else None


def empty_pixels_note(empty: BitMask | None) -> list[str]:
    """One sentence that says how many pixels hold no data, if there are any."""
    return [] if empty is None else [f"{empty.area} pixel(s) hold no data. They are background"]


def undecodable_pixels(slide: Slide, windows: Sequence[Window]) -> tuple[BitMask | None, list[str]]:
    """The pixels of the windows whose blocks could not be decoded, or None if there are none.

    Returns
    -------
    The pixels, and one sentence that says how many blocks and which share of the image that are.

    Raises
    ------
    SlideError
        Nothing of the image could be decoded.
    """
    windows = [window for window in windows if window.area]
    if not windows:
        return None, []
    unread = BitMask.zeros(slide.height, slide.width)
    for window in windows:
        unread.paste(window.row, window.col, ~BitMask.zeros(window.height, window.width))
    share = unread.area / (slide.height * slide.width)
    if share == 1:
        raise SlideError(
            f"{slide.paths[0]}: not one block of it can be decoded. Copy the file again, or "
            "convert it"
        )
    note = (
        f"{len(windows)} block(s) cannot be decoded. They are {share:.1%} of the image, and count "
        "as background"
    )
    if slide.in_order:  # its decoder may notice damage only some rows later
        note += ". The file is one stream, so pixels just above them may be wrong too"
    return unread, [note]
