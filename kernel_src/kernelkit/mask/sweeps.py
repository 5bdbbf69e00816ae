"""The loops of `kernelkit.mask.components`: rows of packed bits, read from top to bottom as runs.

A row's runs are int64 columns: start, stop, start, stop, ... `flip` is 0, or all ones to read the
background. `reach` is by how many columns a run may miss one above and still touch it: 0 or 1.
"""

import numpy as np

from kernelkit.jit import compiled, trailing_zeros

__all__ = [
    "label_band",
    "measure_band",
    "number_components",
    "runs_of_band",
    "toggle_band",
    "unite_bands",
]

_ONES = np.uint64(0xFFFF_FFFF_FFFF_FFFF)


@compiled
def label_band(rows, width, reach, flip):  # type: ignore[no-untyped-def]
    """Label the runs of a band of rows.

    Returns
    -------
    parents
        Each provisional label's parent: itself or a lower one.
    areas
        The pixels of its runs.
    at_side
        Whether its runs touch the left or right border.
    first_row
        How many labels the first row has.
    last_labels
        The last row's labels.
    """
    parents = np.empty(1024, np.int64)
    areas = np.empty(1024, np.int64)
    at_side = np.empty(1024, np.bool_)
    runs, runs_above = np.empty(width + 2, np.int64), np.empty(width + 2, np.int64)
    labels, labels_above = np.empty(width, np.int64), np.empty(width, np.int64)
    count = 0
    first_row = 0
    length_above = 0
    for r in range(rows.shape[0]):
        length = _row_runs(rows[r], width, flip, runs)
        if count + length // 2 > len(parents):
            room = 2 * (count + length // 2)
            parents, areas = _longer(parents, room), _longer(areas, room)
            at_side = _longer(at_side, room)
        first_above = 0
        for i in range(0, length, 2):
            start, stop = runs[i] - reach, runs[i + 1] + reach
            while first_above < length_above and runs_above[first_above + 1] <= start:
                first_above += 2
            label = -1
            above = first_above
            while above < length_above and runs_above[above] < stop:
                root = _root(parents, labels_above[above // 2])
                label = root if label < 0 else _unite(parents, label, root)
                above += 2
            if label < 0:
                label = count
                parents[label], areas[label], at_side[label] = label, 0, False
                count += 1
            labels[i // 2] = label
            areas[label] += runs[i + 1] - runs[i]
            at_side[label] |= runs[i] == 0 or runs[i + 1] == width
        runs, runs_above = runs_above, runs
        labels, labels_above = labels_above, labels
        length_above = length
        if r == 0:
            first_row = count
    return (
        parents[:count],
        areas[:count],
        at_side[:count],
        first_row,
        labels_above[: length_above // 2],
    )


@compiled
def unite_bands(last_row, labels, first_row, offset, width, reach, flip, parents):  # type: ignore[no-untyped-def]
    """Unite the labels of a band's last row with those below, `offset`, `offset` + 1, ..."""
    runs_above, runs = np.empty(width + 2, np.int64), np.empty(width + 2, np.int64)
    length_above = _row_runs(last_row, width, flip, runs_above)
    length = _row_runs(first_row, width, flip, runs)
    first_above = 0
    for i in range(0, length, 2):
        while first_above < length_above and runs_above[first_above + 1] <= runs[i] - reach:
            first_above += 2
        above = first_above
        while above < length_above and runs_above[above] < runs[i + 1] + reach:
            _unite(parents, _root(parents, labels[above // 2]), _root(parents, offset + i // 2))
            above += 2


@compiled
def number_components(parents, areas, at_border):  # type: ignore[no-untyped-def]
    """Turn labels into components in place. Return how many there are.

    `parents` becomes each label's component. `areas` and `at_border` begin with the components'.
    """
    count = 0
    for label in range(len(parents)):
        if parents[label] == label:
            parents[label], areas[count], at_border[count] = count, areas[label], at_border[label]
            count += 1
        else:
            component = parents[parents[label]]
            parents[label] = component
            areas[component] += areas[label]
            at_border[component] |= at_border[label]
    return count


@compiled
def measure_band(rows, width, reach, flip, top, component_of, boxes, sums):  # type: ignore[no-untyped-def]
    """Widen the components' boxes, and add to the sums of their pixels' rows and columns."""
    runs, runs_above = np.empty(width + 2, np.int64), np.empty(width + 2, np.int64)
    components, components_above = np.empty(width, np.int64), np.empty(width, np.int64)
    seen = 0
    length_above = 0
    for r in range(rows.shape[0]):
        row = top + r
        length = _row_runs(rows[r], width, flip, runs)
        seen = _find_again(
            runs[:length],
            runs_above[:length_above],
            reach,
            components_above,
            component_of,
            seen,
            components,
        )
        for i in range(0, length, 2):
            start, stop = runs[i], runs[i + 1]
            component = components[i // 2]
            box = boxes[component]
            box[0], box[1] = min(box[0], row), min(box[1], start)
            box[2], box[3] = max(box[2], row + 1), max(box[3], stop)
            sums[component, 0] += row * (stop - start)
            sums[component, 1] += (start + stop - 1) * (stop - start) // 2
        runs, runs_above = runs_above, runs
        components, components_above = components_above, components
        length_above = length


@compiled
def runs_of_band(rows, width, reach, top, component_of):  # type: ignore[no-untyped-def]
    """The starts and stops of all runs, row after row as one line, and the component of each."""
    runs, runs_above = np.empty(width + 2, np.int64), np.empty(width + 2, np.int64)
    components, components_above = np.empty(width, np.int64), np.empty(width, np.int64)
    room = 1024
    starts, stops = np.empty(room, np.int64), np.empty(room, np.int64)
    found = np.empty(room, np.int64)
    seen = 0
    length_above = 0
    count = 0
    for r in range(rows.shape[0]):
        length = _row_runs(rows[r], width, np.uint64(0), runs)
        if count + length // 2 > room:
            room = 2 * (count + length // 2)
            starts, stops = _longer(starts, room), _longer(stops, room)
            found = _longer(found, room)
        seen = _find_again(
            runs[:length],
            runs_above[:length_above],
            reach,
            components_above,
            component_of,
            seen,
            components,
        )
        for i in range(0, length, 2):
            starts[count] = (top + r) * width + runs[i]
            stops[count] = (top + r) * width + runs[i + 1]
            found[count] = components[i // 2]
            count += 1
        runs, runs_above = runs_above, runs
        components, components_above = components_above, components
        length_above = length
    return starts[:count], stops[:count], found[:count]


@compiled
def toggle_band(rows, width, reach, flip, component_of, chosen, out):  # type: ignore[no-untyped-def]
    """Toggle in `out` the pixels of the chosen components of `rows`."""
    runs, runs_above = np.empty(width + 2, np.int64), np.empty(width + 2, np.int64)
    components, components_above = np.empty(width, np.int64), np.empty(width, np.int64)
    seen = 0
    length_above = 0
    for r in range(rows.shape[0]):
        length = _row_runs(rows[r], width, flip, runs)
        seen = _find_again(
            runs[:length],
            runs_above[:length_above],
            reach,
            components_above,
            component_of,
            seen,
            components,
        )
        for i in range(0, length, 2):
            if chosen[components[i // 2]]:
                _toggle(out[r], runs[i], runs[i + 1])
        runs, runs_above = runs_above, runs
        components, components_above = components_above, components
        length_above = length


@compiled
def _row_runs(row, width, flip, runs):  # type: ignore[no-untyped-def]
    """Write where the runs of a row start and stop. Return how many numbers that makes."""
    n = 0
    last = len(row) - 1
    before = np.uint64(0)
    for k in range(last + 1):
        word = row[k] ^ flip
        if k == last:
            word &= _ONES >> np.uint64((64 - width % 64) % 64)
        changes = word ^ (word << np.uint64(1) | before)
        while changes:
            runs[n] = k * 64 + trailing_zeros(changes)
            changes &= changes - np.uint64(1)
            n += 1
        before = word >> np.uint64(63)
    if n % 2:  # the row fills its last word, and its last pixel is on
        runs[n] = width
        n += 1
    return n


@compiled
def _find_again(runs, runs_above, reach, components_above, component_of, seen, components):  # type: ignore[no-untyped-def]
    """Write the components of a row's runs, given those of the row above.

    `seen` is how many provisional labels the rows above have. Returns it with this row's.
    """
    first_above = 0
    for i in range(0, len(runs), 2):
        while first_above < len(runs_above) and runs_above[first_above + 1] <= runs[i] - reach:
            first_above += 2
        if first_above < len(runs_above) and runs_above[first_above] < runs[i + 1] + reach:
            components[i // 2] = components_above[first_above // 2]
        else:
            components[i // 2] = component_of[seen]
            seen += 1
    return seen


@compiled
def _longer(array, length):  # type: ignore[no-untyped-def]
    longer = np.empty(length, array.dtype)
    longer[: len(array)] = array
    return longer


@compiled
def _root(parents, label):  # type: ignore[no-untyped-def]
    while parents[label] != label:
        parents[label] = parents[parents[label]]
        label = parents[label]
    return label


@compiled
def _unite(parents, root, other):  # type: ignore[no-untyped-def]
    """Hang the higher of two roots under the lower, which is returned."""
    if root > other:
        root, other = other, root
    parents[other] = root
    return root


@compiled
def _toggle(row, start, stop):  # type: ignore[no-untyped-def]
    """Toggle the pixels [start, stop) of a row."""
    first, last = start >> 6, (stop - 1) >> 6
    head = _ONES << np.uint64(start & 63)
    foot = _ONES >> np.uint64(63 - (stop - 1) & 63)
    if first == last:
        row[first] ^= head & foot
        return
    row[first] ^= head
    for k in range(first + 1, last):
        row[k] ^= _ONES
    row[last] ^= foot
