"""`CropData`: what a fold trains on, from the table of its windows to the loader of its batches."""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from kernelkit.errors import TrainingError
from kernelkit.grid import Window
from kernelkit.training.augment.plan import plan_of
from kernelkit.training.crops.batch import Layout
from kernelkit.training.crops.loader import CropLoader
from kernelkit.training.crops.sampler import Pool, Sampler
from kernelkit.training.crops.task import CropSource, LabelSource

if TYPE_CHECKING:
    from kernelkit.training.cuts import Cuts
    from kernelkit.training.folds import Folds
    from kernelkit.training.recipe import RunRecipe, Source

__all__ = ["CropData"]


class CropData:
    """The crops of one fold of a run.

    Parameters
    ----------
    run
        The run.
    cuts
        The images at the training scale, and the table of windows.
    folds
        Says which images train.
    fold
        Which fold it is.

    Attributes
    ----------
    plan
        The augmentations.
    notes
        What went otherwise, a sentence each.

    Raises
    ------
    TrainingError
        A source has no windows, a name matches no image, or images cannot be augmented so.
    """

    def __init__(self, run: "RunRecipe", cuts: "Cuts", folds: "Folds", fold: int) -> None:
        self.notes: list[str] = []
        self._run, self._cuts = run, cuts
        self._training = frozenset(folds.training(fold))
        self._table = _kept(cuts.windows)
        self._sources: list[tuple[str, LabelSource | None, Window, float]] = []
        self._pools: list[Pool] = []
        for name, source in run.sources.items():
            self._add(name, source)
        if not self._pools:
            raise TrainingError(
                f"fold {fold} has no windows to train on. Add sources, or let fewer images validate"
            )
        image = cuts.images[self._sources[0][0]]
        self._refuse_mixed(image.bands, image.dtype)
        self.plan = plan_of(run.augment, image.bands, len(run.input.bands))
        self.plan.check(image.bands, image.dtype, run.input)
        height, width = self._size()
        self._layout = Layout(run.batch, image.bands, image.classes, height, width, image.dtype)

    @property
    def steps_per_epoch(self) -> int:
        """How many batches an epoch has on one device."""
        return self._sampler(1).steps_per_epoch

    def train_loader(
        self, seed: int, workers: int = 0, rank: int = 0, ranks: int = 1
    ) -> CropLoader:
        """A loader of the fold's batches.

        Parameters
        ----------
        seed
            With the epoch's and the crop's number, the source of all randomness.
        workers
            Processes that make batches. 0 makes them in this one.
        rank, ranks
            Which of so many devices it is for.
        """
        return CropLoader(
            self._sampler(ranks),
            self._source,
            self._layout,
            self.plan,
            self._run.crop.random if self._run.crop else 0.0,
            seed,
            workers,
            rank,
            ranks,
        )

    def _sampler(self, ranks: int) -> Sampler:
        return Sampler(self._pools, self._run.batch * ranks, self._run.steps)

    def _source(self, window: int, number: int) -> tuple[CropSource, float]:
        image, labels, place, weight = self._sources[window]
        return CropSource(self._cuts.images[image], labels, place, number), weight

    def _add(self, name: str, source: "Source") -> None:
        """Add the windows of a source."""
        rows = self._table[self._table["source"] == (source.windows or name)]
        if source.images is not None:
            rows = rows[rows["image"].isin(_matching(name, source.images, self._cuts))]
        share = _target_share(rows)
        if isinstance(source.target, bool):
            chosen = (share > 0) == source.target
            rows, share = rows[chosen], share[chosen]
        if rows.empty:
            raise TrainingError(
                f"sources.{name}: found no such windows in the cuts. All were blank, or there are "
                "none of this kind. Leave the source out"
            )
        trains = rows["image"].isin(self._training).to_numpy()
        if not trains.any():
            self.notes.append(f"all windows of the source {name} lie in images that validate")
            return
        first = len(self._sources)
        for row in rows[trains][["image", "row", "col", "height", "width"]].itertuples(index=False):
            window = Window(*(int(number) for number in row[1:]))
            self._sources.append((str(row[0]), None, window, source.loss_weight))
        self._pool(name, source, first, share[trains])

    def _pool(self, name: str, source: "Source", first: int, target: np.ndarray) -> None:
        """Make the pools of a source, given the share of labelled pixels of each window."""
        numbers = np.arange(first, first + len(target))
        count = max(1, round(len(target) * source.weight))
        if source.target is None or isinstance(source.target, bool):
            self._pools.append(Pool(numbers, count))
            return
        for chosen, wanted in ((target > 0, source.target), (target == 0, 1 - source.target)):
            if wanted and not chosen.any():
                raise TrainingError(
                    f"sources.{name}: found {(target > 0).sum()} of {len(target)} windows with a "
                    f"labelled pixel, wanted {source.target:.0%} of the crops to have one. Leave "
                    "out target"
                )
            if wanted:
                self._pools.append(Pool(numbers[chosen], max(1, round(count * wanted))))

    def _size(self) -> tuple[int, int]:
        """Height and width of a crop. Without `crop`, all windows are of one size."""
        if self._run.crop is not None:
            return self._run.crop.size, self._run.crop.size
        sizes = {(window.height, window.width) for _, _, window, _ in self._sources}
        if len(sizes) > 1:
            first, second, *_ = sorted(sizes)
            raise TrainingError(
                f"found windows of {first[0]} x {first[1]} and of {second[0]} x {second[1]} pixels,"
                " wanted one size in a batch. Write crop: {size: ...}"
            )
        return sizes.pop()

    def _refuse_mixed(self, bands: int, dtype: np.dtype) -> None:
        """Refuse images that do not fit into one batch."""
        for name in dict.fromkeys(name for name, *_ in self._sources):
            image = self._cuts.images[name]
            if (image.bands, image.dtype) != (bands, dtype):
                raise TrainingError(
                    f"{name}: found {image.bands} bands of {image.dtype}, wanted {bands} of "
                    f"{dtype} as in the other images. Leave it out with 'only'"
                )


def _kept(windows: pd.DataFrame) -> pd.DataFrame:
    """The windows that are not skipped."""
    skip = windows["skip"]
    return windows[skip.isna() | (skip == "")]


def _target_share(rows: pd.DataFrame) -> np.ndarray:
    """The share of labelled pixels of each window, of all classes together."""
    columns = [name for name in rows.columns if name.startswith("target_share")]
    return rows[columns].to_numpy(float).sum(axis=1)


def _matching(name: str, patterns: Sequence[str], cuts: "Cuts") -> set[str]:
    """The images that match a pattern. Each pattern must match one image at least."""
    found: set[str] = set()
    for pattern in patterns:
        images = {image for image in cuts.images if fnmatchcase(image, pattern)}
        if not images:
            raise TrainingError(
                f"sources.{name}.images: found {pattern!r:.60}, which is no image of the cuts. "
                f"They begin with {', '.join(list(cuts.images)[:3])}"
            )
        found |= images
    return found
