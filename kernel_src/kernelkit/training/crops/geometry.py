"""Where a crop's pixels come from, and how they get there: orientations, shifts, scales, turns.

Only the pixels that a crop needs are read. A turned crop of a slide shows what lies beside it
there, and no mirror image of itself. Orientations move pixels and change none. All else is one
bilinear resampling, of labels too.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from kernelkit.grid import Window
from kernelkit.training.augment.plan import Leaf

__all__ = ["Placement", "crop_window", "oriented", "place", "warped"]

# What OpenCV resamples. Other dtypes become float64 meanwhile.
_RESAMPLED = {np.dtype(name) for name in ("uint8", "uint16", "int16", "float32", "float64")}


class Placement(NamedTuple):
    """How a crop is made.

    Attributes
    ----------
    window
        What is read of the image.
    orientation
        A number from 0 to 7: quarter turns, and 4 more for a mirror image after them. It is done if
        there is no `matrix`.
    matrix
        (2, 3) from the crop's columns and rows to those of the window, or None.
    """

    window: Window
    orientation: int = 0
    matrix: NDArray[np.float64] | None = None


def crop_window(
    window: Window, size: tuple[int, int], draws: Sequence[float], random: float
) -> Window:
    """Cut a window of `size` from another: anywhere in it with probability `random`, or its middle.

    Parameters
    ----------
    draws
        Three numbers from 0 to 1: which of both, the row and the column.
    """
    spare = window.height - size[0], window.width - size[1]
    offsets = [
        int(draw * (room + 1)) if draws[0] < random and room > 0 else room // 2
        for draw, room in zip(draws[1:3], spare, strict=True)
    ]
    return Window(window.row + offsets[0], window.col + offsets[1], *size)


def place(crop: Window, moves: Sequence[Leaf], draws: NDArray[np.float32]) -> Placement:
    """Decide what is read for a crop, and how it gets into the crop's place.

    Parameters
    ----------
    crop
        The crop, if nothing moved it.
    moves
        The steps that move pixels.
    draws
        The random numbers of the crop.
    """
    orientation = 0
    linear, offset = np.eye(2), np.zeros(2)
    is_resampled = False
    sides = np.array([crop.width, crop.height], float)
    for leaf in moves:
        if not leaf.chosen(draws):
            continue
        numbers = [float(number) for number in leaf.numbers(draws)]
        if leaf.name in ("affine", "crop_resize"):
            is_resampled = True
            step, shift = _resampling(leaf, numbers)
            offset = offset + linear @ (shift * sides)
            linear = linear @ step
        else:
            turned = _orientation(leaf, numbers, crop.height == crop.width)
            orientation = _combined(orientation, turned)
            linear = linear @ _matrix_of(turned)
    if not is_resampled:
        return Placement(crop, orientation)
    middle = (sides - 1) / 2
    start = np.array([crop.col, crop.row]) + middle + offset - linear @ middle
    matrix = np.column_stack([linear, start])
    window = _needed(matrix, crop)
    matrix[:, 2] -= window.col, window.row
    return Placement(window, 0, matrix)


def _resampling(leaf: Leaf, numbers: Sequence[float]) -> tuple[NDArray, NDArray]:
    """The linear part of a step, and its shift as shares of the crop's sides."""
    if leaf.name == "crop_resize":
        side = leaf.values["least"] + (1 - leaf.values["least"]) * numbers[0]
        return np.eye(2) * side, (1 - side) * (np.array(numbers[1:]) - 0.5)
    right, down, scale, turn = (2 * number - 1 for number in numbers)
    angle, zoom = math.radians(leaf.values["rotate"] * turn), 1 + leaf.values["scale"] * scale
    cos, sin = math.cos(angle) / zoom, math.sin(angle) / zoom
    return np.array([[cos, -sin], [sin, cos]]), leaf.values["shift"] * np.array([right, down])


def _orientation(leaf: Leaf, numbers: Sequence[float], is_square: bool) -> int:
    """The orientation that a step draws. A crop that is no square keeps its sides."""
    if leaf.name == "d4":
        return int(numbers[0] * 8) if is_square else 2 * int(numbers[0] * 4)
    if leaf.name == "rotate90":
        return int(numbers[0] * 4) if is_square else 2 * int(numbers[0] * 2)
    is_mirrored = leaf.values["horizontal"] and numbers[0] < 0.5
    is_upside_down = leaf.values["vertical"] and numbers[1] < 0.5
    return _combined(4 if is_mirrored else 0, 6 if is_upside_down else 0)


def _combined(first: int, second: int) -> int:
    """The orientation that one after the other comes to."""
    if first < 4:
        return (first + second) % 4 + second // 4 * 4
    return (first - second) % 4 + (4 if second < 4 else 0)


def _matrix_of(orientation: int) -> NDArray[np.float64]:
    """From columns and rows of the result to those of the source, both counted from the middle."""
    quarter = np.array([[0.0, -1.0], [1.0, 0.0]])
    flip = np.diag([-1.0, 1.0]) if orientation >= 4 else np.eye(2)
    return np.linalg.matrix_power(quarter, orientation % 4) @ flip


def _needed(matrix: NDArray[np.float64], crop: Window) -> Window:
    """The window that holds every pixel that a resampling to a crop takes part of."""
    right, bottom = crop.width - 1.0, crop.height - 1.0
    corners = np.array([[0, right, 0, right], [0, 0, bottom, bottom], [1, 1, 1, 1]])
    columns, rows = matrix @ corners
    col, row = math.floor(columns.min()) - 1, math.floor(rows.min()) - 1
    return Window(row, col, math.ceil(rows.max()) + 2 - row, math.ceil(columns.max()) + 2 - col)


def oriented(pixels: NDArray, orientation: int) -> NDArray:
    """A view of (..., h, w) in one of the eight orientations."""
    turned = np.rot90(pixels, orientation % 4, (-2, -1))
    return turned[..., ::-1] if orientation >= 4 else turned


def warped(
    pixels: NDArray, matrix: NDArray[np.float64], out: NDArray, nearest: bool = False
) -> None:
    """Resample each plane of (C, h, w) into `out`, (C, height, width) of the same dtype.

    Parameters
    ----------
    nearest
        Take the nearest pixel instead of the mean of four.
    """
    flags = (cv2.INTER_NEAREST if nearest else cv2.INTER_LINEAR) | cv2.WARP_INVERSE_MAP
    size = out.shape[-1], out.shape[-2]
    is_direct = pixels.dtype in _RESAMPLED
    for source, target in zip(pixels, out, strict=True):
        plane = source if is_direct else source.astype(np.float64)
        found = cv2.warpAffine(plane, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
        target[...] = found if is_direct or out.dtype.kind == "f" else np.rint(found)
