"""Who writes down a fold's numbers and pictures: tables for the report, and loggers."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from pytorch_lightning.loggers import Logger, TensorBoardLogger

from kernelkit.errors import OutputError
from kernelkit.training.fold_folder import FoldFolder
from kernelkit.training.loop.drawing import strip, thumbnail
from kernelkit.training.loop.validation import Look, Picture, Seen

__all__ = ["FoldScribe"]

# So many validation images are drawn.
_SHOWN = 4
# What TensorBoard and MLflow call the numbers of an epoch.
_CURVES = {
    "loss": "loss",
    "lr": "learning rate",
    "val": "score/raw",
    "ema": "score/ema",
    "crops_per_second": "crops per second",
    "validation_seconds": "seconds of validation",
}


class _TensorBoard(TensorBoardLogger):
    """Lightning's logger without its file of settings, which stand in cfg.yaml."""

    def save(self) -> None:
        """Write what is not written yet."""
        self.experiment.flush()


class FoldScribe:
    """Writes down the numbers and pictures of one fold.

    Parameters
    ----------
    folder
        The fold's folder.
    loggers
        Which of `tensorboard` and `mlflow` also get them.
    pictures, look
        The validation images, and how they are looked at.
    first_epoch
        The epoch that is trained first, from 1 on. Later ones of an earlier try are forgotten.
    """

    def __init__(
        self,
        folder: FoldFolder,
        loggers: Sequence[str],
        pictures: Mapping[str, Picture],
        look: Look,
        first_epoch: int,
    ) -> None:
        self._folder, self._pictures, self._look = folder, pictures, look
        self._shown = [] if look.present else list(pictures)[:_SHOWN]
        self._images: dict[str, NDArray[np.uint8]] = {}
        folder.make()
        self._loggers = [_MADE[name](folder, first_epoch) for name in loggers]

    def write(self, epoch: int, numbers: Mapping[str, float]) -> None:
        """Write down the numbers of an epoch, from 1 on."""
        self._folder.add_metrics(epoch, numbers)
        curves = {_CURVES.get(name, name): value for name, value in numbers.items()}
        with self._writing():
            for logger in self._loggers:
                logger.log_metrics(curves, epoch)
                logger.save()

    def show(self, epoch: int, name: str, seen: Seen) -> None:
        """Draw what was found in a validation image, if it is one of the first."""
        if name not in self._shown:
            return
        if name not in self._images:
            picture = self._pictures[name]
            self._images[name] = thumbnail(picture, self._look.counted(picture))
        for kind, found in seen.found.items():
            self._draw(f"{kind}/{name}", strip(self._images[name], found, seen.truth), epoch)

    def show_crops(self, sheet: NDArray[np.uint8]) -> None:
        """Show what the network learns from first."""
        self._draw("crops", sheet, 0)

    def close(self) -> None:
        """End the loggers."""
        with self._writing():
            for logger in self._loggers:
                logger.finalize("finished")

    def _draw(self, name: str, picture: NDArray[np.uint8], epoch: int) -> None:
        path = self._folder.pictures / f"{name.replace('/', '_')}.png"
        with self._writing():
            if not cv2.imwrite(str(path), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)):
                raise OSError(0, "no room, or no access", str(path))
            for logger in self._loggers:
                if isinstance(logger, TensorBoardLogger):
                    logger.experiment.add_image(name, picture, epoch, dataformats="HWC")

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OutputError(
                f"{self._folder.path}: logs and pictures cannot be written ({error.strerror}). "
                "Make room and start again. The training then goes on after its last whole epoch"
            ) from error


def _tensorboard(folder: FoldFolder, first_epoch: int) -> Logger:
    # Lightning imports it by itself. Only what is imported here is looked for in the image.
    import tensorboard  # noqa: F401

    return _TensorBoard(
        folder.path,
        name="",
        version=folder.logs.name,
        default_hp_metric=False,
        purge_step=first_epoch,
    )


def _mlflow(folder: FoldFolder, _first_epoch: int) -> Logger:
    from pytorch_lightning.loggers import MLFlowLogger

    database = Path(folder.run_folder.parent, "mlflow.db").absolute()
    return MLFlowLogger(
        experiment_name=folder.run_folder.name,
        run_name=folder.path.name,
        tracking_uri=os.environ.get("MLFLOW_TRACKING_URI", f"sqlite:///{database}"),
    )


_MADE = {"tensorboard": _tensorboard, "mlflow": _mlflow}
