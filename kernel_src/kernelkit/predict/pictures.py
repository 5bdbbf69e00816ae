"""Pictures for people, at the scale of a thumbnail: predictions over their images, doubts.

A picture that cannot be drawn says why in its place. It never fails a notebook that has its
submission already. matplotlib is imported when a picture is drawn. It needs a folder that can be
written to, and a run does not.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import cycle
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING

import cv2
import numpy as np

from kernelkit.console import printable
from kernelkit.errors import SlideError, as_sentence
from kernelkit.mask import BitMask
from kernelkit.slide import Slide

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "as_rgb",
    "drawn_over",
    "overlay",
    "save_disagreement",
    "show_disagreement",
    "show_overlays",
]

# of each class in turn
_COLOURS = ((120, 255, 90), (255, 180, 40), (80, 200, 255), (255, 90, 200), (250, 250, 80))
# of probabilities, whose standard deviation is one half at most
_WIDEST_DEVIATION = 0.5
# characters of an id in a panel's title
_LONGEST_NAME = 60


def overlay(
    slide: Slide,
    masks: Sequence[BitMask],
    max_side: int = 700,
    size: tuple[int, int] | None = None,
) -> np.ndarray:
    """The slide's thumbnail, with the mask of each class tinted and outlined in its colour.

    Parameters
    ----------
    max_side
        The longest side of the picture.
    size
        (height, width) of the masks, if they are submitted at another size than the slide's.

    Returns
    -------
    uint8 (h, w, 3) RGB, neither side longer than `max_side`.

    Raises
    ------
    SlideError
        A mask has another size than is wanted, or a block of the slide cannot be decoded.
    """
    wanted = size or (slide.height, slide.width)
    for mask in masks:
        if mask.shape != wanted:
            raise SlideError(
                f"{slide.name}: found {wanted[0]} x {wanted[1]} pixels, but its mask has "
                f"{mask.height} x {mask.width}. The file was changed after it was predicted"
            )
    picture = as_rgb(slide.thumbnail(max_side))
    height, width = picture.shape[:2]
    scale = max(1, min(wanted[0] // height, wanted[1] // width))
    coverages = [
        cv2.resize(
            mask.thumbnail(scale).astype(np.float32), (width, height), interpolation=cv2.INTER_AREA
        )
        for mask in masks
    ]
    return drawn_over(picture, coverages)


def drawn_over(picture: np.ndarray, coverages: Iterable[np.ndarray]) -> np.ndarray:
    """A picture, with the mask of each class tinted and outlined in its colour.

    Parameters
    ----------
    picture
        uint8 (h, w, 3) RGB.
    coverages
        float32 (h, w) per class, the share of each pixel that is of it.
    """
    for coverage, colour in zip(coverages, cycle(_COLOURS), strict=False):
        strength = 0.25 * coverage[..., None]
        tint = np.array(colour, np.float32)
        picture = (picture * (1 - strength) + tint * strength).astype(np.uint8)
        contours, _ = cv2.findContours(
            (coverage >= 0.5).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
        )
        picture = np.asarray(cv2.drawContours(picture, contours, -1, colour, 1))
    return picture


def show_overlays(
    images: Mapping[str, Sequence[Path]],
    masks: Mapping[str, Sequence[BitMask]],
    count: int = 6,
    max_side: int = 700,
    size: tuple[int, int] | None = None,
    classes: Sequence[str] = (),
) -> "Figure":
    """A figure of the first `count` images that have masks, with the masks drawn over each.

    Parameters
    ----------
    images, masks
        The files and the masks of each image id, as a `Prediction` has them.
    max_side, size
        As for `overlay`.
    classes
        The names of the masks. Each stands below the pictures, in its colour.
    """

    def draw(axis: "Axes", image_id: str) -> None:
        with Slide(images[image_id]) as slide:
            axis.imshow(overlay(slide, masks[image_id], max_side, size))
            shape = f"{slide.height} x {slide.width}, {slide.layout}"
            _set_title(axis, f"{_name(image_id)}\n{shape}")

    figure = _drawn(list(masks)[:count], draw)
    _name_colours(figure, classes)
    return figure


def save_disagreement(path: Path, disagreement: np.ndarray) -> None:
    """Write a standard deviation of probabilities (classes, h, w) as a PNG, black to yellow.

    Black is 0. The brightest yellow is .5: half of the members are sure of what the other half
    denies. Of several classes, the one with the widest disagreement counts.
    """
    from matplotlib.image import imsave

    path.parent.mkdir(parents=True, exist_ok=True)
    highest = disagreement.max(axis=0)
    imsave(path, highest, cmap="inferno", vmin=0, vmax=_WIDEST_DEVIATION, format="png")


def show_disagreement(pictures: Mapping[str, Path], count: int = 6) -> "Figure":
    """A figure of the first `count` pictures that `save_disagreement` wrote, with a scale."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.image import imread

    def draw(axis: "Axes", image_id: str) -> None:
        axis.imshow(imread(pictures[image_id]))
        _set_title(axis, _name(image_id))

    figure = _drawn(list(pictures)[:count], draw)
    scale = ScalarMappable(Normalize(0, _WIDEST_DEVIATION), cmap="inferno")
    label = "standard deviation of the members"
    figure.colorbar(scale, ax=figure.axes, label=label, shrink=0.8)
    return figure


def _drawn(chosen: Sequence[str], draw: Callable[["Axes", str], None]) -> "Figure":
    """A figure with one panel per image id, filled by `draw`, or by the reason why it cannot."""
    figure, axes = _panels(len(chosen))
    for axis, image_id in zip(axes, chosen, strict=False):
        try:
            draw(axis, image_id)
        except Exception as error:  # whatever it is, the submission is written already
            axis.clear()
            axis.axis("off")
            text = fill(printable(f"{_name(image_id)}: no picture ({as_sentence(error)})"), 40)
            axis.text(0.5, 0.5, text, ha="center", va="center", fontsize=8, parse_math=False)
    return figure


def _name_colours(figure: "Figure", classes: Sequence[str]) -> None:
    """Say below the pictures which class has which colour."""
    from matplotlib.patches import Patch

    handles = [
        Patch(color=f"#{bytes(colour).hex()}", label=printable(_name(name)))
        for name, colour in zip(classes, cycle(_COLOURS), strict=False)
    ]
    if not handles:
        return
    legend = figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 6))
    for text in legend.get_texts():
        text.set_parse_math(False)


def _set_title(axis: "Axes", text: str) -> None:
    axis.set_title(printable(text), fontsize=9, parse_math=False)


def _name(image_id: str) -> str:
    """An id as one line of a panel's width: an id may hold anything."""
    name = " ".join(image_id.split())
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 3]}..."


def _panels(count: int) -> "tuple[Figure, list[Axes]]":
    """A figure of at least `count` empty panels, three in a row."""
    from matplotlib.figure import Figure

    columns = min(3, max(1, count))
    rows = max(1, -(-count // columns))
    figure = Figure(figsize=(4.4 * columns, 4.2 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    return figure, list(axes.flat)


def as_rgb(pixels: np.ndarray) -> np.ndarray:
    """(C, h, w) of any dtype as uint8 (h, w, 3). Other dtypes are stretched between percentiles."""
    bands = pixels if len(pixels) >= 3 else pixels[:1].repeat(3, axis=0)
    picture = np.ascontiguousarray(bands[:3].transpose(1, 2, 0))
    if picture.dtype == np.uint8:
        return picture
    low, high = np.nanpercentile(picture, [0.5, 99.5])
    stretched = np.clip((picture - low) / max(high - low, 1e-9), 0, 1)
    return np.nan_to_num(stretched * 255).astype(np.uint8)
