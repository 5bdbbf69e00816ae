"""A batch of whole pictures on its way through the model, and into the store."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from kernelkit.ensemble.transfer import Pending
from kernelkit.ensemble.turns import together
from kernelkit.errors import NotFiniteError, RecipeError, as_sentence
from kernelkit.mask import BitMask
from kernelkit.mask.bits import words_per_row
from kernelkit.predict.report import ImageReport
from kernelkit.predict.work.survey import checked_ensemble
from kernelkit.predict.work.tasks import Run, at_own_cost
from kernelkit.predict.work.whole_picture import Picture
from kernelkit.reader import PictureBatch, PictureInfo, Preparation

__all__ = ["AskedBatch", "BatchAsker", "each_alone"]

# of a picture of the disagreement, in pixels
_LONGEST_SIDE = 512


@dataclass(slots=True)
class AskedBatch:
    """Pictures that the model was asked about, and its answers, which may still be on their way.

    Attributes
    ----------
    pictures, batch
        The pictures, and what was read of them.
    answers
        Bits or bytes of each picture.
    gate
        The probability that each is empty. None if it is not kept.
    width
        Of the answers, in pixels.
    layers
        The names of the layers. None if masks come down.
    fingerprint, cost
        How the model was asked.
    spread
        Where the members disagree in each picture, float32 (N, classes, h, w). None if the recipe
        does not ask for it.
    is_gated
        Whether networks were not asked about what the gate found empty.
    waited, network
        Seconds that went into reading the batch, and into asking.
    """

    pictures: list[Picture]
    batch: PictureBatch
    answers: Pending
    gate: Pending | None
    width: int
    layers: tuple[str, ...] | None
    fingerprint: str
    cost: float
    spread: NDArray[np.float32] | None
    is_gated: bool
    waited: float = 0.0
    network: float = 0.0

    def finish(self) -> Iterator[ImageReport]:
        """Put the answers into the store. Iterate over what happened to the pictures."""
        start = time.perf_counter()
        try:
            answers = self.answers.each()
            gates = [None] * len(answers) if self.gate is None else self.gate.each()
        except Exception as error:  # of the device: nothing came down
            for picture in self.pictures:
                picture.report.fall_back(as_sentence(error))
                yield picture.end()
            return
        self.network += time.perf_counter() - start
        found = zip(self.pictures, self.batch.pictures, answers, gates, strict=True)
        for place, (picture, info, answer, gate) in enumerate(found):
            report = picture.report
            report.asked = self.cost
            self._share_time(report)
            with at_own_cost(report):
                if answer is None:
                    raise NotFiniteError(self.answers.not_finite)
                if self.spread is not None:
                    picture.disagreement = self.spread[place]
                if self.layers is None:
                    masks = unpacked(answer, self.width)
                    picture.save_masks(masks, info, self.fingerprint)
                else:
                    picture.save_layers(
                        self.layers,
                        answer,
                        gate,
                        info,
                        self.fingerprint,
                        is_gated=self.is_gated,
                    )
            yield picture.end()

    def _share_time(self, report: ImageReport) -> None:
        """Count a picture's share of the seconds that the batch took."""
        count = len(self.pictures)
        report.waited, report.network = self.waited / count, self.network / count
        report.seconds += report.waited + report.network


class BatchAsker:
    """Asks the model of one ensemble about batches, for what the recipe's store keeps.

    Parameters
    ----------
    ensemble
        The ensemble's name.
    run
        The run.

    Attributes
    ----------
    name, model
        Those of the ensemble.
    preparation
        What the model wants to be made of each picture.
    """

    def __init__(self, ensemble: str, run: Run) -> None:
        self.name, self._run = ensemble, run
        self.model = run.models[ensemble]
        self._recipe = next(each for each in run.recipe.ensembles if each.name == ensemble)
        self._plan = run.recipe.plan_for(self._recipe)
        # what a run folder says of its input is in the model's recipe alone
        seen = self.model.recipe
        sizes: list[tuple[int, int] | float] = [
            scale.zoom if scale.size is None else (scale.size[0], scale.size[1])
            for scale in seen.pyramid
        ]
        # a gate may have a size of its own, which comes last
        sizes += self.model.sizes(1, 1)[len(sizes) :]
        self.preparation = Preparation(
            pads=run.recipe.tiles.pads,
            fill=run.recipe.tiles.fill,
            sizes=tuple(sizes),
            resample=seen.input.resample,
            bands=seen.input.highest_band,
            nodata=run.recipe.competition.nodata,
        )

    def ask(self, pictures: list[Picture], batch: PictureBatch) -> AskedBatch:
        """Ask about a batch.

        Raises
        ------
        KernelKitError
            Another ensemble is for such pictures, or the model does not take them.
        """
        run, plan, model = self._run, self._plan, self.model
        info = batch.pictures[0]
        self._check(info)
        own = info.height, info.width
        start = time.perf_counter()
        answers = model.predict_pictures(
            batch.inputs,
            crop=run.recipe.tiles.pads,
            source=own,
            size=None if plan.at == "network" else plan.size or own,
            indices=[0] * len(pictures),  # a picture's answer depends on no other picture
            level=plan.level,
            ask_gated=plan.ask_gated,
            with_spread=run.recipe.disagreement,
        )
        keeps_layers = plan.what == "probabilities"
        pending = answers.bytes() if keeps_layers else answers.whole_bits(self._recipe.thresholds)
        return AskedBatch(
            pictures=pictures,
            batch=batch,
            answers=pending,
            gate=answers.gates() if keeps_layers else None,
            width=answers.probabilities.shape[-1],
            layers=model.layers(plan.level) if keeps_layers else None,
            fingerprint=run.keys.asked(self.name),
            cost=model.cost,
            spread=None if answers.spread is None else _thumbnails(answers.spread),
            is_gated=self._recipe.gate is not None and not plan.ask_gated,
            network=time.perf_counter() - start,
        )

    def _check(self, info: PictureInfo) -> None:
        found = checked_ensemble(self._run.recipe, info.bands, str(info.dtype)).name
        if found != self.name:
            raise RecipeError(
                f"it was opened as a picture for {self.name}, and is one for {found} now. Leave "
                "files alone while a run lasts"
            )


def _thumbnails(spread: Tensor) -> NDArray[np.float32]:
    """The spread (N, K, h, w), averaged over squares until a side is at most `_LONGEST_SIDE`."""
    block = -(-max(spread.shape[-2:]) // _LONGEST_SIDE)
    with together(spread.device):
        return F.avg_pool2d(spread, block, ceil_mode=True).cpu().numpy()


def unpacked(bits: NDArray[np.uint8], width: int) -> list[BitMask]:
    """The masks of a picture, from uint8 (K, h, ceil(width / 8)) as the device packs them."""
    words = np.zeros((*bits.shape[:2], words_per_row(width)), np.uint64)
    words.view(np.uint8)[..., : bits.shape[2]] = bits
    return [BitMask(plane, width) for plane in words]


def each_alone(batch: PictureBatch) -> Iterator[PictureBatch]:
    """The pictures of a batch, each in a batch of its own."""
    for place, number in enumerate(batch.numbers):
        inputs = [images[place : place + 1] for images in batch.inputs]
        yield PictureBatch([number], inputs, [batch.pictures[place]])
