"""The drawings of a validation report, each as a PNG."""

import io
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from kernelkit.evaluation.analysis import Calibration
from kernelkit.evaluation.search.optimum import Optimum
from kernelkit.evaluation.search.space import Space
from kernelkit.mask import BitMask
from kernelkit.predict.hand_in.stored_image import StoredImage
from kernelkit.predict.hand_in.variants import Way
from kernelkit.predict.pictures import as_rgb, overlay
from kernelkit.slide import Slide

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["doubts_of", "draw_calibration", "draw_image", "draw_surface", "draw_threshold"]

_DPI = 100
# The longest side of each picture of an image.
_SIDE = 500
# What is found rightly, found wrongly and missed.
_RIGHT, _WRONG, _MISSED = (90, 200, 90), (235, 70, 60), (70, 120, 255)


def draw_threshold(surface: NDArray[np.float64], space: Space, optimum: Optimum) -> bytes:
    """The score against the threshold, at the chosen size and at none."""

    def draw(axis: "Axes") -> None:
        for size in dict.fromkeys((optimum.place[1], 0)):
            label = f"minimum size {space.sizes[size]}"
            axis.plot(space.thresholds, surface[:, size], label=label)
        axis.axvline(optimum.threshold, color="k", lw=1)
        axis.axvspan(*optimum.thresholds, color="k", alpha=0.1, label="as good")
        axis.set_xlabel("threshold")
        axis.set_ylabel("score")
        axis.legend(fontsize=8)
        axis.grid(alpha=0.3)

    return _drawn(draw, (6, 3.6))


def draw_surface(surface: NDArray[np.float64], space: Space, optimum: Optimum) -> bytes:
    """The score of each threshold and size, as a heat map."""

    def draw(axis: "Axes") -> None:
        low = max(float(surface.min()), optimum.score - 0.1)
        shown = axis.pcolormesh(surface.T, cmap="viridis", vmin=low, vmax=optimum.peak)
        axis.plot(optimum.place[0] + 0.5, optimum.place[1] + 0.5, "r+", ms=14)
        step = max(1, len(space.thresholds) // 8)
        places = np.arange(0, len(space.thresholds), step)
        axis.set_xticks(places + 0.5, [f"{space.thresholds[i]:g}" for i in places])
        axis.set_yticks(np.arange(len(space.sizes)) + 0.5, [str(size) for size in space.sizes])
        axis.set_xlabel("threshold")
        axis.set_ylabel("minimum size")
        axis.figure.colorbar(shown, ax=axis, label="score")

    return _drawn(draw, (6, 3.6))


def draw_calibration(calibration: Calibration) -> bytes:
    """The share of truth against the probability. A perfect network lies on the diagonal."""

    def draw(axis: "Axes") -> None:
        bins = calibration.bins
        axis.plot([0, 1], [0, 1], "k--", lw=1)
        axis.plot(bins["probability"], bins["true"], "o-")
        axis.set_xlabel("probability")
        axis.set_ylabel("share that is true")
        axis.grid(alpha=0.3)

    return _drawn(draw, (4.2, 3.6))


def draw_image(
    slide: Slide,
    found: Sequence[BitMask],
    truth: Sequence[BitMask],
    doubts: NDArray[np.float32] | None,
) -> bytes:
    """An image: predicted, true, what differs, and where members disagree.

    Parameters
    ----------
    doubts
        float32 (h, w), from 0 to 1. None leaves that picture out.
    """
    size = found[0].shape
    pictures = [
        overlay(slide, found, _SIDE, size),
        overlay(slide, truth, _SIDE, size),
        _difference(as_rgb(slide.thumbnail(_SIDE)), found, truth),
    ]
    height, width = pictures[0].shape[:2]
    if doubts is not None:
        pictures.append(_in_colours(doubts, (height, width)))
    gap = np.full((height, 6, 3), 255, np.uint8)
    row = np.hstack([part for picture in pictures for part in (picture, gap)][:-1])
    return cv2.imencode(".png", row[..., ::-1])[1].tobytes()


def doubts_of(stored: StoredImage, way: Way, runs: Sequence[str]) -> NDArray[np.float32] | None:
    """How far runs lie apart, float32 (h, w) from 0 to 1, of the class that differs most there.

    Some rows and columns of a large image are left out. None if there is one run.
    """
    if len(runs) < 2:
        return None
    every = []
    for run in runs:
        planes = stored.planes(Way(way.ensemble, (run,), way.thresholds, ()))
        step = max(1, max(planes.shape[1:]) // _SIDE)
        rows = range(0, planes.shape[1], step)
        values = np.stack([planes[:, row : row + 1][:, 0, ::step] for row in rows], axis=1)
        values = values / np.float32(255) if values.dtype == np.uint8 else values
        every.append(values)
    return np.asarray(np.ptp(every, axis=0).max(0))


def _difference(
    picture: NDArray[np.uint8], found: Sequence[BitMask], truth: Sequence[BitMask]
) -> NDArray[np.uint8]:
    """The picture in grey. Green is found rightly, red wrongly, and blue is missed."""
    height, width = picture.shape[:2]
    scale = max(1, found[0].height // height)
    grey = np.repeat(picture.mean(2, keepdims=True) * 0.5 + 90, 3, axis=2)
    for one, other in zip(found, truth, strict=True):
        parts = ((one & other, _RIGHT), (one & ~other, _WRONG), (other & ~one, _MISSED))
        for mask, colour in parts:
            share = cv2.resize(mask.thumbnail(scale), (width, height))[..., None]
            grey = grey * (1 - 0.8 * share) + np.array(colour, np.float32) * 0.8 * share
    return grey.clip(0, 255).astype(np.uint8)


def _in_colours(values: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.uint8]:
    shown = cv2.resize(values, size[::-1], interpolation=cv2.INTER_AREA)
    bytes_ = (shown.clip(0, 1) * 255).astype(np.uint8)
    return np.asarray(cv2.applyColorMap(bytes_, cv2.COLORMAP_INFERNO)[..., ::-1], np.uint8)


def _drawn(draw: "Callable[[Axes], None]", size: tuple[float, float]) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    draw(figure.subplots())
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=_DPI)
    return picture.getvalue()
