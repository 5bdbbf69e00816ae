"""`CropData`: what a fold trains on, from the table of its windows to the loader of its batches."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from kernelkit.errors import TrainingError
from kernelkit.training.augment.plan import plan_of
from kernelkit.training.crops.batch import Layout
from kernelkit.training.crops.loader import CropLoader
from kernelkit.training.crops.sampler import Sampler
from kernelkit.training.crops.sources import TrainingWindows

if TYPE_CHECKING:
    from kernelkit.training.cuts import Cuts
    from kernelkit.training.folds import Folds
    from kernelkit.training.recipe import RunRecipe

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
    pseudo
        The cuts of pseudo-labels, as `make_pseudo_cuts` gives them. They are needed if the run has
        such sources.

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

    def __init__(
        self,
        run: "RunRecipe",
        cuts: "Cuts",
        folds: "Folds",
        fold: int,
        pseudo: "Mapping[str, Cuts] | None" = None,
    ) -> None:
        found = TrainingWindows(run.sources, cuts, pseudo or {}, folds.training(fold))
        self.notes = found.notes
        self._run, self._windows, self._pools = run, found.windows, found.pools
        if not found.windows:
            raise TrainingError(
                f"fold {fold} has no windows to train on. Add sources, or let fewer images validate"
            )
        image = found.windows[0].image
        self._refuse_mixed()
        self.plan = plan_of(run.augment, image.bands, len(run.input.bands))
        self.plan.check(image.bands, image.dtype, run.input)
        height, width = self._size()
        if problem := run.problem_of(height, width):
            raise TrainingError(f"{run.name}: {problem}")
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
            Which of so many devices it is for. Their batches together are one step.
        """
        random = self._run.crop.random if self._run.crop else 0.0
        return CropLoader(
            self._sampler(ranks),
            self._windows,
            self._layout,
            self.plan,
            random=random,
            seed=seed,
            workers=workers,
            rank=rank,
            ranks=ranks,
        )

    def _sampler(self, ranks: int) -> Sampler:
        return Sampler(self._pools, self._run.batch * ranks, self._run.steps)

    def _size(self) -> tuple[int, int]:
        """Height and width of a crop. Without `crop`, all windows are of one size."""
        if self._run.crop is not None:
            return self._run.crop.size, self._run.crop.size
        sizes = sorted({(each.window.height, each.window.width) for each in self._windows})
        if len(sizes) > 1:
            first, second, *_ = (f"{height} x {width}" for height, width in sizes)
            raise TrainingError(
                f"found windows of {first} and of {second} pixels, wanted one size in a batch. "
                "Write crop: {size: 512}, or a size for all pictures"
            )
        return sizes[0]

    def _refuse_mixed(self) -> None:
        """Refuse images that do not fit into one batch, or that the ensemble is not for."""
        wanted, when = self._windows[0].image, self._run.when
        for image in {window.image.id: window.image for window in self._windows}.values():
            if not when.fits(image.bands, str(image.dtype)):
                raise TrainingError(
                    f"{image.id}: found {image.bands} bands of {image.dtype}, but the ensemble "
                    f"{self._run.ensemble} is for {when}. Leave it out with 'only'"
                )
            if (image.bands, image.dtype) != (wanted.bands, wanted.dtype):
                raise TrainingError(
                    f"{image.id}: found {image.bands} bands of {image.dtype}, wanted "
                    f"{wanted.bands} of {wanted.dtype} as in {wanted.id}. Leave it out with 'only'"
                )
