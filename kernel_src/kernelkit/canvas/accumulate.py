"""The canvas's inner loops: keep a tile's probabilities, add tiles up, enlarge, threshold.

Enlarging is bilinear with pixel centres aligned (`align_corners=False` of torch), by a whole
factor `scale`. Output pixel k of the `scale` that lie in input pixel j is then a mean of j and of
one neighbour: the one before for k below the middle, the one after for k above it, with weights
`2 scale - |n|` and `|n|`, n = 2 k + 1 - scale, over `2 scale`. The loops leave that division out
and multiply the threshold instead, so that with whole numbers as input no rounding can decide.
"""

import numpy as np

from kernelkit.jit import compiled

__all__ = ["SLACK", "accumulate", "enlarge", "quantise", "threshold_enlarged"]

SLACK = 1e-3
"""How far a probability may stray from 0..1, as half precision does, before it is an error."""


@compiled
def quantise(values, top, left, height, width, gain, out):  # type: ignore[no-untyped-def]
    """Write round(values * gain), clipped to 0..gain, to the upper left corner of `out`.

    `values` float32 (rows, columns), contiguous, of which the window of height x width at
    (top, left) is taken; `out` unsigned integers, contiguous. Returns how many were no probability.
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

    `held` unsigned integers (tiles, classes, rows, columns), of which class `label` from `row` on
    is taken where a tile is `present`; `out` float32 (rows, the image's width). Tile j lies at
    columns [starts[j], stops[j]) of `out`.
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

    `blended` is scratch for the pixels of `values` that the line needs, one more on either side.
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
def enlarge(  # type: ignore[no-untyped-def]
    values, top, left, scale, gain, height, width, out
):
    """Write `gain` times the enlarged values, rounded, to the upper left corner of `out`.

    `values` float32 (rows, columns), contiguous; `out` unsigned integers, contiguous. The height x
    width that are written begin at pixel (top, left) of `values` and may end inside a pixel;
    beyond the border of `values` their last pixel counts on.
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
    """Pack enlarged > threshold into the words `out`: (rows, ceil(width / 64)).

    `values`, `top` and `left` are as in `enlarge`.
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
def _pack_above(line, limit, out):  # type: ignore[no-untyped-def]
    """Pack line > limit into words, 64 pixels each, the last one filled up with 0."""
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
