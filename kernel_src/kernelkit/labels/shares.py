"""Labels at another size: each new pixel has the share of its area that is labelled.

Both pictures lie on a grid that both sizes divide, so areas are whole numbers and the result is
exact. A library's resize takes neighbours in when it enlarges.
"""

import numpy as np
from numpy.typing import NDArray

from kernelkit.grid import Window
from kernelkit.jit import compiled

__all__ = ["Shares"]


class Shares:
    """A window of planes at another size, added up from bands of the planes.

    Parameters
    ----------
    shape
        Height and width of the planes.
    size
        Those of the new picture, which shows the same.
    classes
        How many planes there are.
    window
        What is wanted of the new picture. None is all of it.

    Examples
    --------
    >>> shares = Shares((1, 4), (1, 3), 1)
    >>> shares.add(np.array([[[255, 0, 0, 255]]], np.uint8), Window(0, 0, 1, 4))
    >>> shares.result()
    array([[[191,   0, 191]]], dtype=uint8)
    """

    def __init__(
        self,
        shape: tuple[int, int],
        size: tuple[int, int],
        classes: int,
        window: Window | None = None,
    ) -> None:
        self._shape, self._size = shape, size
        self._window = window or Window(0, 0, *size)
        self._total = np.zeros((classes, self._window.height, self._window.width), np.int64)

    @property
    def source(self) -> Window:
        """The pixels of the planes that the window touches."""
        top, bottom, left, right = (
            -(-edge * old // new) if is_end else edge * old // new
            for edge, old, new, is_end in (
                (self._window.row, self._shape[0], self._size[0], False),
                (self._window.bottom, self._shape[0], self._size[0], True),
                (self._window.col, self._shape[1], self._size[1], False),
                (self._window.right, self._shape[1], self._size[1], True),
            )
        )
        return Window(top, left, bottom - top, right - left)

    def add(self, planes: NDArray[np.uint8], window: Window) -> None:
        """Add pixels (K, h, w) of the planes. The window is theirs, and each pixel comes once."""
        corner = np.array([window.row, window.col, self._window.row, self._window.col])
        _add(planes, corner, np.array([self._shape, self._size]), self._total)

    def result(self) -> NDArray[np.uint8]:
        """The new picture, (K, height, width): the mean over each pixel's area."""
        return np.rint(self._total / (self._shape[0] * self._shape[1])).astype(np.uint8)


@compiled
def _add(planes, corner, sizes, total):  # type: ignore[no-untyped-def]
    """Add areas to `total`. A pixel of the planes has `new height` x `new width` squares."""
    (height, width), (new_height, new_width) = sizes
    line = np.empty(total.shape[2], np.int64)
    for k in range(planes.shape[0]):
        for r in range(planes.shape[1]):
            if not planes[k, r].any():
                continue
            top = (corner[0] + r) * new_height
            bottom = top + new_height
            for j in range(total.shape[2]):
                left = (corner[3] + j) * width
                right = left + width
                area = 0
                first = max(left // new_width, corner[1])
                last = min((right + new_width - 1) // new_width, corner[1] + planes.shape[2])
                for c in range(first, last):
                    common = min(right, (c + 1) * new_width) - max(left, c * new_width)
                    area += planes[k, r, c - corner[1]] * common
                line[j] = area
            first = max(top // height - corner[2], 0)
            last = min((bottom + height - 1) // height - corner[2], total.shape[1])
            for i in range(first, last):
                row = (corner[2] + i) * height
                common = min(bottom, row + height) - max(top, row)
                for j in range(total.shape[2]):
                    total[k, i, j] += line[j] * common
