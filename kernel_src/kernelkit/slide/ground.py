"""Whether images show the same pixels of the same ground."""

from affine import Affine

__all__ = ["is_same_place"]

# Images of one ground may differ by so many pixels at most. Doubles that were written as text and
# read again differ in their last bits.
_SAME_GROUND = 1e-6


def is_same_place(
    one: Affine, other: Affine, height: int, width: int, within: float = _SAME_GROUND
) -> bool:
    """Return whether the corners of two images of one size lie within some pixels of each other.

    By default it is a millionth of a pixel.
    """
    if one == other:
        return True
    if one.is_degenerate:
        return False
    back = ~one
    return all(
        abs(moved - stood) <= within
        for corner in ((0, 0), (width, 0), (0, height), (width, height))
        for moved, stood in zip(_at(back, *_at(other, *corner)), corner, strict=True)
    )


def _at(transform: Affine, column: float, row: float) -> tuple[float, float]:
    """Return where a transform takes a point. Old versions of Affine have `*`, new ones `@`."""
    a, b, c, d, e, f = transform[:6]
    return a * column + b * row + c, d * column + e * row + f
