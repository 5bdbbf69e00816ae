"""`MegaModel`: every member of an ensemble in the device's memory, one answer a tile.

>>> model = MegaModel("models", threshold=0.3)                      # doctest: +SKIP
>>> masks = model.preprocess_and_infer(tiles)                       # doctest: +SKIP

Tiles go up in the source's dtype and are normalised on the device. Before the first tile of a size
a memory plan chooses the batch. Where memory runs out all the same, the batch is halved and the
same tiles are tried again; at one tile the largest members move to the host's memory.
"""

import hashlib
import inspect
import json
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from kernelkit.ensemble.device import (
    choose_device,
    choose_precision,
    is_out_of_memory,
    release_cached,
)
from kernelkit.ensemble.disagreement import pooled
from kernelkit.ensemble.gates import TileGate
from kernelkit.ensemble.graphs import GraphRecorder
from kernelkit.ensemble.memory import MemoryPlan
from kernelkit.ensemble.normalise import normalise
from kernelkit.ensemble.packing import pack_cores
from kernelkit.ensemble.placement import Seating, load_for
from kernelkit.ensemble.transfer import Pending, Uploader
from kernelkit.ensemble.tree import MergeTree, Spread
from kernelkit.errors import DeviceError
from kernelkit.grid import Tile
from kernelkit.recipe import EnsembleRecipe, Execution, Merge, MergeStep

__all__ = ["MegaModel", "Preprocess", "Tiles"]

_log = logging.getLogger(__name__)

Preprocess = Callable[[Tensor], Tensor]
"""Tiles (N, C, h, w) in the source's dtype, on the device -> the networks' float32 input."""

Tiles = NDArray | Sequence[NDArray]
"""A batch (N, C, h, w) of tiles, or a list of N tiles (C, h, w), in the source's dtype."""


class MegaModel:
    """All members of an ensemble, and how they answer together.

    Parameters
    ----------
    folder
        The models folder: run folders in any form that `load_members` understands.
    threshold
        A pixel is on where its probability is above it.
    averaging_mode
        How folds, and then models, are merged: mean, gmean, max or vote, of probabilities.
    preprocess_fn
        What to do with tiles in place of dividing by 255 and normalising as for ImageNet.
    precision, device, batch
        `auto`, `fp32`, `bf16` or `fp16`; `auto`, `cpu` or `cuda:0`; the most tiles at once.
    """

    def __init__(
        self,
        folder: str | Path,
        threshold: float = 0.3,
        averaging_mode: str = "mean",
        preprocess_fn: Preprocess | None = None,
        *,
        precision: str = "auto",
        device: str = "auto",
        batch: int = 8,
    ) -> None:
        step = MergeStep.model_validate({"how": averaging_mode, "of": "probabilities"})
        recipe = EnsembleRecipe(
            name=Path(folder).name,
            thresholds=(threshold,),
            merge=Merge(folds=step, models=step),
        )
        self._preprocess_fn = preprocess_fn
        self._set_up(folder, recipe, precision, device, batch, Execution())

    @classmethod
    def from_recipe(
        cls,
        folder: str | Path,
        ensemble: EnsembleRecipe,
        *,
        precision: str = "auto",
        device: str = "auto",
        batch: int = 8,
        execution: Execution | None = None,
    ) -> Self:
        """The ensemble that a recipe describes, its runs taken from `folder`.

        Raises
        ------
        CheckpointError, DeviceError, RecipeError
            As `load_members` and `choose_device`, and where recipe and members do not agree.
        """
        model = cls.__new__(cls)
        model._preprocess_fn = None
        model._set_up(folder, ensemble, precision, device, batch, execution or Execution())
        return model

    def _set_up(
        self,
        folder: str | Path,
        recipe: EnsembleRecipe,
        precision: str,
        device: str,
        batch: int,
        execution: Execution,
    ) -> None:
        self.recipe = recipe
        self.batch = batch
        """The most tiles at once; the memory plan, or memory running out, may lower it."""
        self.device = choose_device(device)
        self.precision = choose_precision(precision, self.device)
        self.warm_up_seconds = 0.0
        """Spent on memory plans, compiling and recording, before the first real batch."""
        self.memory: MemoryPlan | None = None
        """The plan in force, once there is one; as text it is a table."""
        self._execution = execution
        self._upload = Uploader(self.device)
        self._ready: set[tuple[int, ...]] = set()
        self._thresholds = torch.tensor(recipe.thresholds, device=self.device)

        self.members, guards = load_for(recipe, folder, own_input=self._preprocess_fn is not None)
        self.classes = self.members[0].classes
        """How many classes the answers have: K."""
        self._seating = Seating([*self.members, *guards], self.device, self.precision, execution)
        self._tree = MergeTree(self._seating.of(self.members), recipe)
        guarding = self._seating.of(guards)
        self._gate = TileGate(guarding, recipe.gate) if recipe.gate else None
        self._recorder: GraphRecorder | None = None
        if execution.cuda_graph and self.device.type == "cuda" and not self._tree.views.rotating:
            self._recorder = GraphRecorder(lambda tiles: self._tree(tiles, range(len(tiles))))
        elif execution.cuda_graph:
            self._seating.note("without CUDA graphs: they need a GPU, and views that stay the same")

    def predict(self, pixels: Tiles, indices: Sequence[int] | None = None) -> Tensor:
        """Probabilities of a batch of tiles.

        Parameters
        ----------
        pixels
            One tile or more of any one size, in the source's dtype.
        indices
            The tiles' indices in their grid, which `rotating` views go by; 0, 1, ... if None.

        Returns
        -------
        float32 (N, K, h, w) on the model's device.

        Raises
        ------
        DeviceError
            The device has too little memory for one tile and one member.
        """
        return torch.cat([answer for answer, _ in self._answers(pixels, indices)])

    def preprocess_and_infer(self, pixels: Tiles) -> NDArray[np.bool_]:
        """Masks (N, K, h, w) of a batch of tiles: probabilities above the thresholds."""
        masks = self.predict(pixels) > self._thresholds[:, None, None]
        return masks.cpu().numpy()

    def predict_bytes(self, pixels: Tiles, indices: Sequence[int] | None = None) -> Pending:
        """As `predict`, coming down as uint8 (K, h, w) a tile: 255 p, rounded."""
        return self.as_bytes(self.predict(pixels, indices))

    def predict_bits(self, pixels: Tiles, tiles: Sequence[Tile], scale: int) -> Pending:
        """As `predict` for the read windows of `tiles`, coming down as `as_bits` says."""
        return self.as_bits(self.predict(pixels, [tile.index for tile in tiles]), tiles, scale)

    def as_bytes(self, probabilities: Tensor) -> Pending:
        """Send probabilities (N, K, h, w) down as uint8 (K, h, w) a tile: 255 p, rounded."""
        valid = probabilities.isfinite().all()
        return Pending([(255 * probabilities).round().to(torch.uint8)], valid)

    def as_bits(self, probabilities: Tensor, tiles: Sequence[Tile], scale: int) -> Pending:
        """Send down the tiles' cores at the source's resolution, thresholded and packed.

        `probabilities` (N, K, h, w) are those of the read windows of `tiles`, `scale` times smaller
        than in the source. What comes down is what `Canvas.add_bits` takes: uint8
        (K, core.height, ceil(core.width / 8)) a tile, as of `np.packbits(..., bitorder="little")`.
        """
        packed = pack_cores(probabilities, tiles, scale, self._thresholds)
        return Pending(packed, probabilities.isfinite().all())

    def predict_with_disagreement(
        self, pixels: Tiles, indices: Sequence[int] | None = None, block: int = 16
    ) -> tuple[Tensor, Tensor]:
        """As `predict`, and how far the members lie apart in each block of the tiles.

        The second is float32 (N, K, ceil(h / block), ceil(w / block)): the standard deviation of
        the members' probabilities, averaged over the block.
        """
        pairs = list(self._answers(pixels, indices, with_spread=True))
        spreads = [pooled(spread, block) for _, spread in pairs if spread is not None]
        return torch.cat([answer for answer, _ in pairs]), torch.cat(spreads)

    def plan(self, shape: tuple[int, int, int], dtype: np.dtype | str = "uint8") -> MemoryPlan:
        """Measure what tiles (C, h, w) of `dtype` need, and adopt the batch that fits.

        It is done by itself before the first tile of a size; print the answer to see the table.
        """
        tile = self._preprocess(self._upload(np.zeros((1, *shape), dtype)))
        plan = self._seating.plan(self._tree, tile, self.batch)
        if plan.batch < self.batch:
            self._seating.note(f"batches of {plan.batch}, since {self.batch} tiles would not fit")
        self.batch, self.memory = plan.batch, plan
        return plan

    @property
    def notes(self) -> list[str]:
        """What did not go as asked for, a sentence each, for the report."""
        failure = self._recorder and self._recorder.failure
        return [
            *self._seating.notes,
            *([f"without CUDA graphs, which failed ({failure})"] if failure else []),
        ]

    @property
    def fingerprint(self) -> str:
        """A short hash of all weights and of every setting that the answer depends on."""
        settings = {
            "weights": [seat.member.weights_sha256 for seat in self._seating.seats],
            "recipe": self.recipe.model_dump(mode="json"),
            "precision": str(self.precision),
            "execution": self._execution.model_dump(),
            "preprocess": self._preprocess_fn and inspect.getsource(self._preprocess_fn),
        }
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]

    def describe(self) -> list[dict[str, Any]]:
        """One row a member, for a table."""
        return self._seating.rows()

    @torch.no_grad()
    def _answers(
        self, pixels: Tiles, indices: Sequence[int] | None, with_spread: bool = False
    ) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Probabilities, and deviations if asked for, batch by batch until all tiles are done."""
        indices = range(len(pixels)) if indices is None else indices
        done = 0
        while done < len(pixels):
            try:
                self._get_ready(pixels[0].shape, pixels[0].dtype)
                batch = slice(done, done + self.batch)
                answer = self._answer(pixels[batch], indices[batch], with_spread)
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
            else:
                yield answer
                done = batch.stop
                continue
            # outside the handler, since the error keeps all tensors of the failed batch alive
            self._make_room()

    def _answer(
        self, pixels: Tiles, indices: Sequence[int], with_spread: bool
    ) -> tuple[Tensor, Tensor | None]:
        spread = Spread() if with_spread else None
        tiles = self._preprocess(self._upload(pixels))
        if self._gate is None:
            answer = self._ask(tiles, indices, spread)
            return answer, spread.deviation() if spread else None
        passing = self._gate(tiles).nonzero()[:, 0]
        answer = tiles.new_zeros(len(tiles), self.classes, *tiles.shape[-2:])
        deviation = torch.zeros_like(answer)
        if len(passing):
            passing_indices = [indices[i] for i in passing.tolist()]
            answer[passing] = self._ask(tiles[passing], passing_indices, spread)
            if spread is not None:
                deviation[passing] = spread.deviation()
        return answer, deviation if with_spread else None

    def _ask(self, tiles: Tensor, indices: Sequence[int], spread: Spread | None) -> Tensor:
        missing = self.batch - len(tiles)
        if missing > 0 and spread is None and (self._execution.compile or self._recorder):
            # programs are made for one batch size: fill the last batch up rather than make more
            filled = F.pad(tiles, (0, 0) * 3 + (0, missing))
            return self._ask(filled, [*indices, *range(missing)], None)[: len(tiles)]
        if self._recorder is not None and spread is None and self._seating.all_on_device:
            return self._recorder(tiles)
        return self._tree(tiles, indices, spread)

    def _preprocess(self, tiles: Tensor) -> Tensor:
        if self._preprocess_fn is not None:
            return self._preprocess_fn(tiles)
        return normalise(tiles, self.recipe.input)

    def _get_ready(self, shape: tuple[int, ...], dtype: np.dtype) -> None:
        """Before the first tile of a size: the memory plan, and programs for its batch."""
        if shape in self._ready:
            return
        start = time.perf_counter()
        channels, height, width = shape
        _log.info("memory plan:\n%s", self.plan((channels, height, width), dtype))
        self._ready.add(shape)
        if self._execution.compile or self._recorder:
            self.predict(np.zeros((self.batch, *shape), dtype))
        self.warm_up_seconds += time.perf_counter() - start

    def _make_room(self) -> None:
        """After memory ran out: half the batch, or the largest member moves to the host."""
        if self._recorder is not None:
            self._recorder.forget()
        release_cached(self.device)
        if self.batch > 1:
            self.batch //= 2
            self._seating.note(f"memory ran out; going on with batches of {self.batch}")
        elif not self._seating.park_largest():
            raise DeviceError(
                f"{self.recipe.name}: {self.device} has too little memory for one tile and one "
                "member; use smaller tiles, or a device with more."
            )
