"""One whole picture: it is looked up in the store, and put there."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kernelkit.mask import BitMask
from kernelkit.mask.resizing import resize
from kernelkit.predict.report import ImageReport
from kernelkit.predict.store.store import Layers, Stored
from kernelkit.predict.work.nodata import clear
from kernelkit.predict.work.tasks import Run, Task, asked_note, at_own_cost, draw_disagreement, kept
from kernelkit.reader import PictureInfo
from kernelkit.reader.missing import empty_pixels_note
from kernelkit.slide.content import FileState, content_of, refuse_changed, state_of

__all__ = ["Picture"]


class Picture:
    """A picture of a run, from its task to its entry in the store.

    Attributes
    ----------
    paths
        Its files.
    report
        What happened to it so far.
    disagreement
        Where the members disagree, float32 (classes, h, w). None if nobody asks for it.
    """

    def __init__(self, task: Task, run: Run) -> None:
        self.paths = task.paths
        self.report = ImageReport(task.image_id)
        self.disagreement: NDArray[np.float32] | None = None
        self._run = run
        self._content = ""
        self._state: FileState = ()
        self._is_open = True
        if task.left_out:
            self.report.fall_back(task.left_out)
        else:
            with at_own_cost(self.report):
                self._look_up(task.ensemble or run.recipe.ensembles[0].name)
        if self.report.status != "predicted":
            self.end()

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to do."""
        return not self._is_open

    def describe(self, ensemble: str, info: PictureInfo) -> None:
        """Let the report say what the file holds."""
        report = self.report
        report.ensemble, report.layout = ensemble, info.layout
        self._content = info.content  # of the bytes that were read
        report.height, report.width, report.tiles = info.height, info.width, 1
        report.notes += info.notes
        if self._run.recipe.nodata == "background":
            report.notes += empty_pixels_note(info.missing)

    def end(self) -> ImageReport:
        """Count the picture as finished, however it ended."""
        self._is_open = False
        self._run.pace.take(self.report.image)
        self._run.progress.begin(self.report.image)
        self._run.progress.end()
        return self.report

    def save_masks(self, masks: list[BitMask], info: PictureInfo, fingerprint: str) -> None:
        """Put masks into the store.

        Parameters
        ----------
        masks
            One per class.
        fingerprint
            Of the model, as it was asked.
        """
        missing = self._missing(info)
        if missing is not None:
            clear(masks, resize(missing, masks[0].shape))
        self._save(Stored(self.report, masks, missing=missing), fingerprint)

    def save_layers(
        self,
        names: Sequence[str],
        values: NDArray[np.uint8],
        gate: NDArray[np.float32] | None,
        info: PictureInfo,
        fingerprint: str,
        *,
        is_gated: bool,
    ) -> None:
        """Put probabilities into the store.

        Parameters
        ----------
        names
            Of the layers.
        values
            uint8 (L K, h, w).
        gate
            The probability that the picture is empty, or that each class of it is.
        fingerprint
            Of the model, as it was asked.
        is_gated
            Whether networks were not asked about what the gate found empty.
        """
        layers = Layers(
            tuple(names),
            values.reshape(len(names), -1, *values.shape[1:]),
            self._missing(info),
            None if gate is None else np.atleast_1d(gate),
            is_gated,
        )
        self._save(Stored(self.report, layers=layers), fingerprint)

    def _missing(self, info: PictureInfo) -> BitMask | None:
        return info.missing if self._run.recipe.nodata == "background" else None

    def _save(self, stored: Stored, fingerprint: str) -> None:
        report = self.report
        report.notes += asked_note(report)
        refuse_changed(self.paths, self._state)
        keys = self._run.keys
        entry = keys.entry(report.image, self._content, report.ensemble, fingerprint)
        report.stored = entry.name
        if self.disagreement is not None:
            report.notes += draw_disagreement(entry, self.disagreement)
        entry.save(stored)

    def _look_up(self, ensemble: str) -> None:
        """Note the state of the files, and take what the store has of them."""
        run = self._run
        self._state = state_of(self.paths)
        if run.store.has_any(self.report.image):
            fingerprint = run.keys.full[ensemble]
            self._content = content_of(self.paths)
            entry = run.keys.entry(self.report.image, self._content, ensemble, fingerprint)
            stored = entry.load()
            if stored is not None:
                self.report = kept(stored.report, ensemble)
