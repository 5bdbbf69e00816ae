"""The table of windows: where each lies, what it holds, and whether it is kept."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pandas as pd

from kernelkit.grid import Window
from kernelkit.training.cuts.blank import why_skipped
from kernelkit.training.cuts.image import CutImage
from kernelkit.training.cuts.numbers import count
from kernelkit.training.cuts.sources import Polygons
from kernelkit.training.cuts.windows import windows_of
from kernelkit.training.folds import Folds

if TYPE_CHECKING:
    from kernelkit.training.recipe import RunRecipe

__all__ = ["share_columns", "table_of"]

_COLUMNS = ("image", "row", "col", "height", "width", "fold", "source", "target_share")
_NUMBERS = ("held_share", "mean", "std", "skip")


def share_columns(classes: Sequence[str]) -> list[str]:
    """The columns with the share of each class, if there are several."""
    return [f"share_{name}" for name in classes] if len(classes) > 1 else []


def table_of(
    run: "RunRecipe",
    images: Mapping[str, CutImage],
    classes: Sequence[str],
    polygons: Polygons,
    folds: Folds,
    workers: int,
    advance: Callable[[], object],
) -> pd.DataFrame:
    """Lay the windows of a run over its images, and count what they hold.

    Parameters
    ----------
    polygons
        The polygons that windows lie around.
    folds
        Which images validate in which fold.
    workers
        How many threads count.
    advance
        Called after each image.
    """
    rows: list[dict[str, Any]] = []
    with ThreadPoolExecutor(max(1, workers)) as threads:
        for image in images.values():
            windows = list(_windows(run, image, polygons))
            rows += threads.map(
                lambda found, image=image: _row(run, image, classes, *found), windows
            )
            advance()
    columns = [*_COLUMNS, *share_columns(classes), *_NUMBERS]
    table = pd.DataFrame(rows, columns=columns)
    table["fold"] = table["image"].map(folds.fold_of).astype("int64")
    return table


def _windows(run: "RunRecipe", image: CutImage, polygons: Polygons) -> Iterator[tuple[str, Window]]:
    for name, source in run.windows.items():
        found = polygons.of(name, image) if source.polygons is not None else None
        for window in windows_of(name, source, image, found, run.seed):
            yield name, window


def _row(
    run: "RunRecipe", image: CutImage, classes: Sequence[str], name: str, window: Window
) -> dict[str, Any]:
    limits = [rule.dark for rule in run.blank if rule.dark is not None]
    numbers = count(image, window, limits)
    skip = why_skipped(numbers, run.blank, run.seed, name, image.id, *window)
    shares = dict(zip(share_columns(classes), numbers.class_shares, strict=False))
    return {
        "image": image.id,
        **window._asdict(),
        "source": name,
        "target_share": numbers.target_share,
        **shares,
        "held_share": numbers.held_share,
        "mean": numbers.mean,
        "std": numbers.std,
        "skip": skip,
    }
