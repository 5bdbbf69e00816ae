"""The canvas's inner loops: keep a tile's probabilities, add tiles up, enlarge, threshold.

Enlarging is bilinear, by a whole factor `scale`, with pixel centres aligned (`align_corners=False`
in torch). Input pixel j becomes `scale` output pixels, k = 0, 1, ... Each is a weighted mean of
pixel j and of one neighbour. That is j - 1 for k below the middle, and j + 1 for k above it. The
weights are 2 scale - |n| and |n|, over 2 scale, with n = 2 k + 1 - scale.

The loops leave the division out and multiply the threshold instead. If the input is whole numbers,
nothing is then rounded, so rounding decides no pixel.
"""

import numpy as np

from kernelkit.jit import compiled

__all__ = [
    "SLACK",
    "accumulate",
    "choose_enlarged",
    "enlarge",
    "quantise",
    "threshold_enlarged",
]

# How far a probability may lie outside of 0..1, as half precision's do, before it is an error.
SLACK = 1e-3


@compiled
def quantise(values, top, left, height, width, gain, out):  # type: ignore[no-untyped-def]
    """Write round(values * gain), clipped to 0..gain, to the upper left corner of `out`.

    Parameters
    ----------
    values
        float32 (rows, columns), contiguous.
    top, left, height, width
        The window of `values` that is taken.
    gain
        What stands for probability 1.
    out
        Unsigned integers (any, any), contiguous.

    Returns
    -------
    int
        How many values are no probabilities.
    """
    lowest, highest = np.float32(-SLACK), np.float32(1 + SLACK)
    half, zero, one = np.float32(0.5), np.float32(0), np.float32(1)
    wrong = 0
    for y in range(height):
        line = values[top + y, left : left + width]
        target = out[y]
        for x in range(width):
            value = line[x]
            wrong += not (lowest <= value <= highest)
            target[x] = np.int32(min(max(value, zero), one) * gain + half)
    return wrong


@compiled
def accumulate(  # type: ignore[no-untyped-def]
    held, label, present, row, row_weights, starts, stops, column_weights, out
):
    """Add the weighted rows of one row of tiles to `out`.

    Parameters
    ----------
    held
        Unsigned integers (tiles, classes, rows, columns).
    label
        The class that is taken.
    present
        bool (tiles,): whether a tile counts.
    row
        The first row of `held` that is taken.
    row_weights
        float32, one per row of `out`.
    starts, stops
        Tile j lies at columns [starts[j], stops[j]) of `out`.
    column_weights
        float32 (tiles, columns).
    out
        float32 (rows, the image's width).
    """
    for y in range(out.shape[0]):
        row_weight = row_weights[y]
        for j in range(held.shape[0]):
            if present[j]:
                line = out[y, starts[j] : stops[j]]
                tile = held[j, label, row + y]
                weights = column_weights[j]
                for x in range(line.size):
                    line[x] += row_weight * weights[x] * np.float32(tile[x])


@compiled
def _enlarged_line(values, top, left, scale, y, blended, line):  # type: ignore[no-untyped-def]
    """Write row `y` of the enlarged values, times 4 scale^2, to `line`.

    `blended` is scratch, for the pixels of `values` below the line and one more on either side.
    """
    rows, columns = values.shape
    j, n = top + y // scale, 2 * (y % scale) + 1 - scale
    beside = min(max(j + (1 if n > 0 else -1), 0), rows - 1)
    first, stop = max(left - 1, 0), min(left - 1 + blended.size, columns)
    own, other = values[j, first:stop], values[beside, first:stop]
    near, far = np.float32(2 * scale - abs(n)), np.float32(abs(n))
    skipped = first - (left - 1)
    inside = blended[skipped : skipped + stop - first]
    for c in range(inside.size):
        inside[c] = near * own[c] + far * other[c]
    blended[:skipped] = inside[0]
    blended[skipped + inside.size :] = inside[-1]
    for k in range(min(scale, line.size)):
        n = 2 * k + 1 - scale
        near, far = np.float32(2 * scale - abs(n)), np.float32(abs(n))
        centre, side = blended[1:], blended[2 if n > 0 else 0 :]
        target = line[k:]
        for i in range((target.size + scale - 1) // scale):
            target[i * scale] = near * centre[i] + far * side[i]


@compiled
def enlarge(values, top, left, scale, gain, height, width, out):  # type: ignore[no-untyped-def]
    """Write `gain` times the enlarged values, rounded, to the upper left corner of `out`.

    Parameters
    ----------
    values
        float32 (rows, columns), contiguous. Beyond their border, the last pixel counts on.
    top, left
        The pixel of `values` at which to begin.
    scale
        The factor by which they are enlarged.
    gain
        What the value 1 becomes.
    height, width
        How much is written. That may end inside a pixel of `values`.
    out
        Unsigned integers (any, any), contiguous.
    """
    unit, half = np.float32(gain) / np.float32(4 * scale * scale), np.float32(0.5)
    blended = np.empty((width + scale - 1) // scale + 2, np.float32)
    line = np.empty(width, np.float32)
    for y in range(height):
        _enlarged_line(values, top, left, scale, y, blended, line)
        target = out[y]
        for x in range(width):
            target[x] = np.int32(line[x] * unit + half)


@compiled
def threshold_enlarged(values, top, left, scale, threshold, width, out):  # type: ignore[no-untyped-def]
    """Pack enlarged > threshold.

    Parameters
    ----------
    values, top, left, scale
        As for `enlarge`.
    threshold
        float32, on the scale of `values`.
    width
        Pixels per row.
    out
        The words to write to, uint64 (rows, ceil(width / 64)).
    """
    blended = np.empty((width + scale - 1) // scale + 2, np.float32)
    line = np.empty(width, np.float32)
    limit = threshold * np.float32(4 * scale * scale)
    for y in range(out.shape[0]):
        if scale == 1:
            _pack_above(values[top + y, left : left + width], threshold, out[y])
        else:
            _enlarged_line(values, top, left, scale, y, blended, line)
            _pack_above(line, limit, out[y])


@compiled
def choose_enlarged(values, top, left, scale, width, out):  # type: ignore[no-untyped-def]
    """Pack, per class, where its enlarged values are the highest of all classes.

    Ties go to the first class. A pixel at which no class is above 0 goes to none.

    Parameters
    ----------
    values
        float32 (classes, rows, columns), contiguous.
    top, left, scale, width
        As for `threshold_enlarged`.
    out
        The words to write to, uint64 (classes, rows, ceil(width / 64)).
    """
    blended = np.empty((width + scale - 1) // scale + 2, np.float32)
    line = np.empty(width, np.float32)
    highest = np.empty(width, np.float32)
    chosen = np.empty(width, np.float32)
    for y in range(out.shape[1]):
        highest[:] = 0
        chosen[:] = -1
        for k in range(out.shape[0]):
            _enlarged_line(values[k], top, left, scale, y, blended, line)
            for x in range(width):
                if line[x] > highest[x]:
                    highest[x] = line[x]
                    chosen[x] = k
        for k in range(out.shape[0]):
            for x in range(width):
                line[x] = np.float32(chosen[x] == k)
            _pack_above(line, np.float32(0), out[k, y])


@compiled
def _pack_above(line, limit, out):  # type: ignore[no-untyped-def]
    """Pack line > limit into words of 64 pixels. The last one is filled up with 0."""
    for w in range(out.size):
        pixels = line[64 * w : 64 * w + 64]
        word = np.uint64(0)
        if pixels.size == 64:
            for b in range(64):
                word |= np.uint64(pixels[b] > limit) << np.uint64(b)
        else:
            for b in range(pixels.size):
                word |= np.uint64(pixels[b] > limit) << np.uint64(b)
        out[w] = word
