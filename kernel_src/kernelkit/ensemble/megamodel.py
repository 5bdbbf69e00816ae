"""`MegaModel`: every member of an ensemble in the device's memory, and one answer per tile.

>>> import segmentation_models_pytorch, tempfile
>>> models = tempfile.TemporaryDirectory()
>>> segmentation_models_pytorch.Unet("resnet18", encoder_weights=None).save_pretrained(models.name)
>>> model = MegaModel(models.name, threshold=0.3, device="cpu")
>>> model.preprocess_and_infer(np.zeros((2, 3, 64, 64), np.uint8)).shape
(2, 1, 64, 64)

Tiles come in the source's dtype and are normalised on the device. Before the first tile of a size,
a memory plan chooses the batch. If memory still runs out, the batch is halved, and the same tiles
are tried again. At a batch of one tile the largest members move to host memory.
"""

import hashlib
import inspect
import json
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from kernelkit.ensemble.answers import Answers, join
from kernelkit.ensemble.device import (
    choose_device,
    choose_precision,
    is_out_of_memory,
    not_finite_message,
    release_cached,
)
from kernelkit.ensemble.gates import TileGate
from kernelkit.ensemble.graphs import GraphRecorder
from kernelkit.ensemble.loading import changed, load_for
from kernelkit.ensemble.memory import MemoryPlan
from kernelkit.ensemble.normalise import normalise, refuse_decibels
from kernelkit.ensemble.notes import Notes
from kernelkit.ensemble.placement import Placement
from kernelkit.ensemble.training_input import check_scale, with_trained_input
from kernelkit.ensemble.transfer import Uploader
from kernelkit.ensemble.tree import MergeTree, Spread
from kernelkit.errors import CheckpointError, DeviceError, NetworkError, RecipeError
from kernelkit.recipe import EnsembleRecipe, Execution
from kernelkit.vocabulary import GiveUp, MergeMethod, Precision, choices

__all__ = ["MegaModel", "Pixels", "Preprocess"]

_log = logging.getLogger(__name__)

# Tiles (N, C, h, w) in the source's dtype, on the device -> the networks' float32 input.
Preprocess = Callable[[Tensor], Tensor]
# A batch (N, C, h, w) of tiles, or a list of N tiles (C, h, w), in the source's dtype.
Pixels = NDArray | Sequence[NDArray]


class MegaModel:
    """All members of an ensemble, and how they answer together.

    Parameters
    ----------
    folder
        The models folder: run folders in any form that `load_members` understands.
    threshold
        A pixel of `preprocess_and_infer` is on if its probability is above it. It replaces the
        recipe's thresholds.
    averaging_mode
        How the probabilities of folds, and then of models, are merged: mean, gmean, max or vote.
        It replaces the recipe's merging of folds and models.
    preprocess_fn
        Makes the networks' input from raw tiles. It replaces the recipe's input.
    recipe
        The ensemble. The default has all runs, the input of ImageNet, the mean of probabilities
        and a threshold of 0.3.
    precision
        `auto`, `fp32`, `bf16` or `fp16`.
    device
        `auto`, `cpu`, or a GPU such as `cuda:0`.
    batch
        The most tiles at once.
    execution
        Which of the faster ways to compute are tried.

    Attributes
    ----------
    recipe
        The ensemble as it was requested. `ask_less` leaves a part of it out.
    members
        The members that answer, without those of the gate.
    classes
        How many classes the answers have.
    device, precision
        Where the networks compute, and in which arithmetic.
    batch
        The most tiles at once. The memory plan lowers it, or memory that runs out.
    memory
        The memory plan in force, or None before the first tile. As text it is a table.
    warm_up_seconds
        The time for memory plans, compiling and recording, before the first real batch.

    Raises
    ------
    CheckpointError, DeviceError, RecipeError
        As `load_members`, `choose_device` and `choose_precision`, or if recipe and members do not
        agree with each other.
    """

    def __init__(
        self,
        folder: str | Path,
        threshold: float | None = None,
        averaging_mode: MergeMethod | None = None,
        preprocess_fn: Preprocess | None = None,
        *,
        recipe: EnsembleRecipe | None = None,
        precision: Precision = "auto",
        device: str = "auto",
        batch: int = 8,
        execution: Execution | None = None,
    ) -> None:
        recipe = recipe or EnsembleRecipe(name=Path(folder).name, thresholds=(0.3,))
        self.recipe = changed(recipe, threshold, averaging_mode)
        self.batch = batch
        self.device = choose_device(device)
        self.precision = choose_precision(precision, self.device)
        self.memory: MemoryPlan | None = None
        self.warm_up_seconds = 0.0
        self._preprocess_fn = preprocess_fn
        self._execution = execution or Execution()
        self._notes = Notes()
        if precision == "bf16" and self.precision != torch.bfloat16:
            self._notes.add("the precision is fp16, because this GPU only emulates bf16")
        self._upload = Uploader(self.device)
        self._ready: set[tuple[int, ...]] = set()
        self._takes: dict[tuple[int, ...], bool] = {}
        self._is_judging = True  # until a batch shows whether its values have logarithms

        self.members, gate_members = load_for(self.recipe, folder, preprocess_fn is not None)
        self.classes = self.members[0].classes
        loaded = [*self.members, *gate_members]
        for note in (note for member in loaded for note in member.notes):
            self._notes.add(note)
        if preprocess_fn is None:
            self.recipe = with_trained_input(self.recipe, loaded, self._notes)
        self._placement = Placement(
            loaded, self.device, self.precision, self._execution, self._notes
        )
        self._tree = MergeTree(self._placement.of(self.members), self.recipe)
        self._full_cost = self._tree.cost
        gate = self.recipe.gate
        self._gate: TileGate | None = None
        if gate:
            placed = self._placement.of(gate_members)
            self._gate = TileGate(placed, gate, not_finite_message(self.precision))
        self._recorder = self._make_recorder() if self._execution.cuda_graph else None

    def predict(
        self, pixels: Pixels, indices: Sequence[int] | None = None, *, with_spread: bool = False
    ) -> Answers:
        """Ask all members about a batch of tiles.

        Parameters
        ----------
        pixels
            One tile or more of one size, in the source's dtype.
        indices
            The tiles' indices in their grid, which `rotating` views go by. None means 0, 1, ...
        with_spread
            Also measure how far the members lie apart.

        Raises
        ------
        DeviceError
            The device has too little memory for one tile and one member.
        """
        return join(list(self._answers(pixels, indices, with_spread)))

    def preprocess_and_infer(self, pixels: Pixels) -> NDArray[np.bool_]:
        """Masks (N, K, h, w) of a batch of tiles: probabilities above the model's threshold.

        Raises
        ------
        DeviceError
            As `predict`, or the networks gave NaN or infinity.
        """
        return self.predict(pixels).masks(self.recipe.thresholds)

    def check_scale(self, scale: int) -> None:
        """Refuse tiles that are read at another scale than a member's run folder says.

        Parameters
        ----------
        scale
            The factor by which windows are averaged down, as of the recipe's tiles.

        Raises
        ------
        RecipeError
            A member was trained at another scale, and no zoom of the pyramid makes up for it.
        """
        check_scale(self.recipe, self.members, scale)

    def takes(self, shape: tuple[int, int, int], dtype: np.dtype) -> bool:
        """Whether all networks look at tiles (C, h, w) of this size. Some are made for one size."""
        if shape not in self._takes:
            try:
                self.predict(np.zeros((1, *shape), dtype))
                self._takes[shape] = True
            except (CheckpointError, NetworkError):
                self._takes[shape] = False
        return self._takes[shape]

    def plan(self, shape: tuple[int, int, int], dtype: np.dtype | str = "uint8") -> MemoryPlan:
        """Measure what tiles (C, h, w) of `dtype` need, and adopt the batch that fits.

        `predict` does it before the first tile of a size. The plan prints as a table.
        """
        tile = self._preprocess(self._upload(np.zeros((1, *shape), dtype)))
        plan = self._placement.plan(self._tree, tile, self.batch)
        if plan.batch < self.batch:
            self._notes.add(
                f"the batch is {plan.batch}, because {self.batch} tiles need too much memory"
            )
        self.batch, self.memory = plan.batch, plan
        return plan

    def ask_less(self, what: GiveUp) -> bool:
        """Ask half of the views, of each model's folds or of the scales from the next batch on.

        Halves are rounded up. The first views and folds stay, and the scales that weigh most. The
        members that are not asked any more keep their memory.

        Parameters
        ----------
        what
            `views`, `folds` or `scales`. Rotating views are one view.

        Returns
        -------
        False if there is only one left.

        Raises
        ------
        RecipeError
            `what` is none of these words.
        """
        if what not in get_args(GiveUp):
            raise RecipeError(f'there is no "{what}" to leave out. Choose {choices(GiveUp)}')
        asked = self._tree.ask_less(what)
        if asked is None:
            return False
        if self._recorder is not None:
            self._recorder.forget()
        self._notes.add(f"the time is short: only {asked} are asked from then on")
        return True

    def ask_all(self) -> None:
        """Ask all members in all views again: undo what `ask_less` did."""
        if self.cost < 1:
            self._tree = MergeTree(self._placement.of(self.members), self.recipe)
            if self._recorder is not None:
                self._recorder.forget()

    @property
    def cost(self) -> float:
        """How much a tile costs now, of what it costs if all members are asked in all views.

        The networks' passes are counted, each by the pixels that it looks at. The gate's are not.
        """
        return self._tree.cost / self._full_cost

    @property
    def notes(self) -> list[str]:
        """What did not go as requested, one sentence each, for the report."""
        return list(self._notes.sentences)

    @property
    def fingerprint(self) -> str:
        """A short hash of everything that the answers depend on: members and how they are asked.

        What happens to the answers afterwards (thresholds, postprocessing) is not in it.
        """
        not_asked = {"name", "when", "thresholds", "postprocess"}
        members = [placed.member for placed in self._placement.placed]
        content = {
            "members": [[member.name, member.weights_sha256] for member in members],
            "recipe": self.recipe.model_dump(mode="json", exclude=not_asked),
            "asked": self._tree.asked,
            "precision": str(self.precision),
            "execution": self._execution.model_dump(),
            "preprocess": self._preprocess_fn and inspect.getsource(self._preprocess_fn),
        }
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]

    def describe(self) -> list[dict[str, Any]]:
        """One row per member, for a table."""
        return self._placement.rows()

    @torch.no_grad()
    def _answers(
        self, pixels: Pixels, indices: Sequence[int] | None, with_spread: bool
    ) -> Iterator[Answers]:
        """Iterate over the answers, batch by batch, until all tiles are done."""
        indices = range(len(pixels)) if indices is None else indices
        done = 0
        while done < len(pixels):
            try:
                self.get_ready(pixels[0].shape, pixels[0].dtype)
                batch = slice(done, done + self.batch)
                answers = self._answer(pixels[batch], indices[batch], with_spread)
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
            else:
                yield answers
                done = batch.stop
                continue
            # not in the handler, because the error keeps all tensors of the failed batch alive
            self._make_room()

    def _answer(self, pixels: Pixels, indices: Sequence[int], with_spread: bool) -> Answers:
        spread = Spread() if with_spread else None
        tiles = self._preprocess(self._upload(pixels))
        if self._gate is None:
            probabilities = self._ask(tiles, indices, spread)
            deviation = None if spread is None else spread.deviation()
            return Answers(probabilities, deviation, self.precision)
        passing = self._gate(tiles).nonzero()[:, 0]
        probabilities = tiles.new_zeros(len(tiles), self.classes, *tiles.shape[-2:])
        deviation = None if spread is None else torch.zeros_like(probabilities)
        if len(passing):
            passing_indices = [indices[i] for i in passing.tolist()]
            probabilities[passing] = self._ask(tiles[passing], passing_indices, spread)
            if spread is not None and deviation is not None:
                deviation[passing] = spread.deviation()
        return Answers(probabilities, deviation, self.precision)

    def _ask(self, tiles: Tensor, indices: Sequence[int], spread: Spread | None) -> Tensor:
        missing = self.batch - len(tiles)
        if missing > 0 and spread is None and (self._execution.compile or self._recorder):
            # a program is made for one batch size: fill up the last batch, and make no more
            filled = F.pad(tiles, (0, 0) * 3 + (0, missing))
            return self._ask(filled, [*indices, *range(missing)], None)[: len(tiles)]
        if self._recorder is not None and spread is None and self._placement.all_on_device:
            return self._recorder(tiles)
        return self._tree(tiles, indices, spread)

    def _make_recorder(self) -> GraphRecorder | None:
        tree = self._tree
        if self.device.type != "cuda" or tree.views.rotating:
            self._notes.add("CUDA graphs are not used: they need a GPU, and no rotating views")
            return None
        return GraphRecorder(lambda tiles: tree(tiles, range(len(tiles))), self._notes)

    def _preprocess(self, tiles: Tensor) -> Tensor:
        if self._preprocess_fn is not None:
            return self._preprocess_fn(tiles)
        if self._is_judging and self.recipe.input.decibel:
            self._is_judging = not refuse_decibels(tiles, self.recipe.input)
        return normalise(tiles, self.recipe.input)

    def get_ready(self, shape: tuple[int, ...], dtype: np.dtype) -> None:
        """Plan the memory for tiles (C, h, w) of a size, and make programs for their batch.

        `predict` does it before the first tile of a size.

        Raises
        ------
        CheckpointError, RecipeError
            A member does not take such tiles.
        """
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
        """After memory ran out: halve the batch, or move the largest member to the host."""
        if self._recorder is not None:
            self._recorder.forget()
        release_cached(self.device)
        if self.batch > 1:
            self.batch //= 2
            self._notes.add(f"memory ran out, so the batch is {self.batch} from then on")
        elif not self._placement.keep_largest_on_host():
            raise DeviceError(
                f"{self.recipe.name}: {self.device} has too little memory for one tile and one "
                "member. Use smaller tiles, or a device with more memory"
            )
