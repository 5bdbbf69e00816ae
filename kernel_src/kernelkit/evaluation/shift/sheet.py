"""The most test-like training images above typical test images, as one picture."""

import io
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kernelkit.competition import Scene
from kernelkit.console import printable
from kernelkit.evaluation.shift.measure import Shift
from kernelkit.evaluation.shift.thumbnails import thumbnail
from kernelkit.predict.pictures import as_rgb

__all__ = ["draw_sheet"]

_DPI = 100
_LONGEST_NAME = 24
# Values that are no bytes are stretched between these percentiles of all pictures together.
_STRETCH = 0.5, 99.5


def draw_sheet(
    shift: Shift,
    training: Mapping[str, Scene],
    test: Mapping[str, Scene],
    *,
    count: int = 8,
    nodata: float | None = None,
) -> bytes:
    """Draw some images of both sets.

    Parameters
    ----------
    shift
        What was measured.
    training, test
        The images by their ids.
    count
        How many of each are drawn at most.

    Returns
    -------
    A PNG. Above are the training images that are most test-like, then others that are least so.
    Below are the test images whose likeness lies closest to the median of all test images.
    """
    own = shift.of_part("training")
    last = own.iloc[count:].tail(count).iloc[::-1]
    rows = [
        ("most test-like training images", own.head(count), training),
        *([("least test-like training images", last, training)] if len(last) else []),
        ("typical test images", _typical(shift.of_part("test"), count), test),
    ]
    pictures = [
        [thumbnail(scenes[image], nodata) for image in chosen["image"]]
        for _, chosen, scenes in rows
    ]
    drawn = _as_bytes(pictures)
    return _drawn([(title, chosen) for title, chosen, _ in rows], drawn)


def _typical(rows: pd.DataFrame, count: int) -> pd.DataFrame:
    far = (rows["likeness"] - rows["likeness"].median()).abs()
    return rows.loc[far.sort_values(kind="stable").index[:count]]


def _as_bytes(pictures: Sequence[Sequence[NDArray[np.float32]]]) -> list[list[NDArray[np.uint8]]]:
    """All pictures as uint8 (h, w, 3), by one rule, so that their brightness can be compared."""
    pixels = np.concatenate([picture.ravel() for row in pictures for picture in row])
    low, high = float(pixels.min()), float(pixels.max())
    if low < 0 or not 1 < high <= 255:
        low, high = np.percentile(pixels, _STRETCH)
    else:
        low, high = 0.0, 255.0

    def as_bytes(picture: NDArray[np.float32]) -> NDArray[np.uint8]:
        stretched = (picture - low) / max(high - low, 1e-9)
        return as_rgb((stretched.clip(0, 1) * 255).astype(np.uint8))

    return [[as_bytes(picture) for picture in row] for row in pictures]


def _drawn(
    rows: Sequence[tuple[str, pd.DataFrame]], pictures: Sequence[Sequence[NDArray[np.uint8]]]
) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = max(len(row) for row in pictures)
    figure = Figure(figsize=(2 * columns + 0.5, 2.6 * len(rows)), layout="constrained")
    FigureCanvasAgg(figure)
    parts = figure.subfigures(len(rows), 1, squeeze=False)[:, 0]
    for part, (title, chosen), shown in zip(parts, rows, pictures, strict=True):
        part.suptitle(title, fontsize=11)
        axes = part.subplots(1, columns, squeeze=False)[0]
        for axis in axes:
            axis.axis("off")
        named = zip(axes, chosen["image"], chosen["likeness"], shown, strict=False)
        for axis, image, likeness, picture in named:
            axis.imshow(picture)
            name = printable(" ".join(str(image).split()))
            name = name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 3]}..."
            axis.set_title(f"{name}\n{likeness:.2f}", fontsize=8, parse_math=False)
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=_DPI)
    return content.getvalue()
