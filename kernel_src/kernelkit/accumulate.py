"""The canvas's inner loops: keep a tile's probabilities, add tiles up, enlarge, threshold.

Enlarging is bilinear with pixel centres aligned (`align_corners=False` of torch), by a whole
factor `scale`. Output pixel k of the `scale` that lie in input pixel j is then a mean of j and of
one neighbour: the one before for k below the middle, the one after for k above it, with weights
`2 scale - |n|` and `|n|`, n = 2 k + 1 - scale, over `2 scale`. The loops leave that division out
and multiply the threshold instead, so that with whole numbers as input no rounding can decide.
"""

import numpy as np

from kernelkit.jit import compiled

__all__ = ["accumulate", "enlarge", "quantise", "threshold_enlarged"]

_SLACK = 1e-3
"""How far a probability may stray from 0..1, as half precision does, before it is an error."""

# eight bytes of 0 or 1, times this, have their eight bits side by side in the uppermost byte
_GATHER_BITS = np.uint64(0x0102_0408_1020_4080)


@compiled
def quantise(values, top, left, height, width, gain, out):  # type: ignore[no-untyped-def]
    """Write round(values * gain), clipped to 0..gain, to the upper left corner of `out`.

    `values` float32 (rows, columns), contiguous, of which the window of height x width at
    (top, left) is taken; `out` unsigned integers, contiguous. Returns how many were no probability.
    """
    lowest, highest = np.float32(-_SLACK), np.float32(1 + _SLACK)
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
def enlarge(  # type: ignore[no-untyped-def]
    values, top, left, scale, gain, height, width, out
):
    """Write `gain` times the enlarged values, rounded, to the upper left corner of `out`.

    `values` float32 (rows, columns), contiguous; `out` unsigned integers, contiguous. The height x
    width that are written begin at pixel (top, left) of `values` and may end inside a pixel;
    beyond the border of `values` their last pixel counts on.
    """
    rows, columns = values.shape
    unit = np.float32(gain) / np.float32(4 * scale * scale)
    half = np.float32(0.5)
    line = np.empty(columns, np.float32)
    for y in range(height):
        j, k = divmod(y, scale)
        j += top
        n = 2 * k + 1 - scale
        beside = min(max(j + (1 if n > 0 else -1), 0), rows - 1)
        near, far = np.float32((2 * scale - abs(n)) * unit), np.float32(abs(n) * unit)
        centre, other = values[j], values[beside]
        for c in range(columns):
            line[c] = near * centre[c] + far * other[c]
        target = out[y]
        for k in range(scale):
            n = 2 * k + 1 - scale
            step = 1 if n > 0 else -1
            near, far = np.float32(2 * scale - abs(n)), np.float32(abs(n))
            for i in range((width - k + scale - 1) // scale):
                c = left + i
                beside = min(max(c + step, 0), columns - 1)
                target[i * scale + k] = np.int32(near * line[c] + far * line[beside] + half)


@compiled
def _pack_line(line, out):  # type: ignore[no-untyped-def]
    """Pack bytes of 0 or 1, 64 for each word of `out`."""
    eights = line.view(np.uint64)
    for w in range(out.size):
        word = np.uint64(0)
        for b in range(8):
            byte = (eights[8 * w + b] * _GATHER_BITS) >> np.uint64(56)
            word |= byte << np.uint64(8 * b)
        out[w] = word


@compiled
def _fix_pixel(values, j, c, scale, threshold, lines, at):  # type: ignore[no-untyped-def]
    """Write enlarged > threshold for the scale x scale block of pixel (j, c) to `lines`."""
    rows, columns = values.shape
    limit = threshold * np.float32(4 * scale * scale)
    for k in range(scale):
        n = 2 * k + 1 - scale
        beside = min(max(j + (1 if n > 0 else -1), 0), rows - 1)
        near, far = np.float32(2 * scale - abs(n)), np.float32(abs(n))
        before, after = max(c - 1, 0), min(c + 1, columns - 1)
        left = near * values[j, before] + far * values[beside, before]
        middle = near * values[j, c] + far * values[beside, c]
        right = near * values[j, after] + far * values[beside, after]
        for i in range(scale):
            n = 2 * i + 1 - scale
            side = right if n > 0 else left
            value = np.float32(2 * scale - abs(n)) * middle + np.float32(abs(n)) * side
            lines[k, at + i] = value > limit


@compiled
def threshold_enlarged(values, top, left, scale, threshold, width, out):  # type: ignore[no-untyped-def]
    """Pack enlarged > threshold into the words `out`: (rows, ceil(width / 64)).

    `values`, `top` and `left` are as in `enlarge`. Only pixels whose eight neighbours do not all
    lie on their side of the threshold are enlarged at all: a mean of values above is above.
    """
    rows, columns = values.shape
    height = out.shape[0]
    across = (width + scale - 1) // scale
    lines = np.zeros((scale, max(out.shape[1] * 64, across * scale + 64) // 64 * 64), np.uint8)
    above = np.empty(across + 2, np.uint8)
    votes = np.empty(across + 2, np.uint8)
    mixed = np.empty(across, np.int64)
    for block in range((height + scale - 1) // scale):
        j = top + block
        before, centre, after = values[max(j - 1, 0)], values[j], values[min(j + 1, rows - 1)]
        for i in range(across + 2):
            c = min(max(left + i - 1, 0), columns - 1)
            above[i] = centre[c] > threshold
            votes[i] = above[i] + (before[c] > threshold) + (after[c] > threshold)
        count = 0
        for i in range(across):
            around = votes[i] + votes[i + 1] + votes[i + 2]
            if around != 0 and around != 9:
                mixed[count] = i
                count += 1
        first = block * scale
        for k in range(scale if count and scale > 1 else 1):
            for i in range(across):
                for b in range(scale):
                    lines[k, i * scale + b] = above[i + 1]
        if scale > 1:
            for m in range(count):
                i = mixed[m]
                _fix_pixel(values, j, left + i, scale, threshold, lines, i * scale)
        for k in range(min(scale, height - first)):
            line = lines[k if count else 0]
            if k == 0 or count:
                line[width:] = 0
                _pack_line(line, out[first + k])
            else:
                out[first + k] = out[first]
