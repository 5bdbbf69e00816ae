"""`MegaModel`: every member of an ensemble in the device's memory, and one answer per tile.

>>> import segmentation_models_pytorch, tempfile
>>> models = tempfile.TemporaryDirectory()
>>> segmentation_models_pytorch.Unet("resnet18", encoder_weights=None).save_pretrained(models.name)
>>> model = MegaModel(models.name, threshold=0.3, device="cpu")
>>> model.preprocess_and_infer(np.zeros((2, 3, 64, 64), np.uint8)).shape
(2, 1, 64, 64)

Tiles, or whole pictures, come in the source's dtype and are normalised on the device. How they are
asked about batch by batch stands in `runner`.
"""

import functools
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kernelkit.checkpoints import Member, Runtime
from kernelkit.ensemble.answers import Answers
from kernelkit.ensemble.asked import AskedPictures, AskedTiles, Pixels, input_sizes
from kernelkit.ensemble.device import choose_device, choose_precision
from kernelkit.ensemble.fingerprints import fingerprint_of
from kernelkit.ensemble.loading import changed, load_for
from kernelkit.ensemble.memory import MemoryPlan
from kernelkit.ensemble.merged import load_merged
from kernelkit.ensemble.notes import Notes
from kernelkit.ensemble.own_function import identity_of
from kernelkit.ensemble.placement import Placement
from kernelkit.ensemble.preparation import Preparation, Preprocess
from kernelkit.ensemble.runner import BatchRunner, Request
from kernelkit.ensemble.training_input import check_scale
from kernelkit.ensemble.turns import together
from kernelkit.errors import RecipeError
from kernelkit.recipe import EnsembleRecipe, Execution
from kernelkit.vocabulary import GiveUp, Level, MergeMethod, Precision

__all__ = ["MegaModel", "Pixels", "Preprocess"]

_log = logging.getLogger(__name__)


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
        Makes the networks' input, float32 (N, C, h, w), from raw tiles on the device. It replaces
        the recipe's input. It may be any function or network whose values can be told apart from
        others, since the store must not mix them up.
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
    whole
        Whether it is asked about whole pictures, so that the sizes in run folders count.

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
    arguments
        What it was made with, but for the device. `MegaModel(**arguments)` loads it once more, in
        another process or on another machine.
    load_seconds
        The time until all members were loaded, prepared and on the device.

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
        whole: bool = False,
    ) -> None:
        started = time.perf_counter()
        recipe = recipe or EnsembleRecipe(name=Path(folder).name, thresholds=(0.3,))
        if batch < 1:
            raise RecipeError(f"{recipe.name}: found a batch of {batch}, wanted 1 or more")
        self.arguments: dict[str, Any] = {
            "folder": Path(folder).absolute(),
            "threshold": threshold,
            "averaging_mode": averaging_mode,
            "preprocess_fn": preprocess_fn,
            "recipe": recipe,
            "precision": precision,
            "batch": batch,
            "execution": execution,
            "whole": whole,
        }
        self.recipe = changed(recipe, threshold, averaging_mode)
        self.device = choose_device(device)
        self.precision = choose_precision(precision, self.device)
        self._preprocess_fn = preprocess_fn
        self._execution = execution or Execution()
        self._notes = Notes()
        if precision == "bf16" and self.precision != torch.bfloat16:
            self._notes.add("the precision is fp16, because this GPU only emulates bf16")

        with together(self.device):
            loaded = load_for(
                self.recipe,
                folder,
                self._notes,
                runtime=self._runtime,
                own_input=preprocess_fn is not None,
                whole=whole,
            )
            self._placement = Placement(
                [*loaded.members, *loaded.gate_members],
                self.device,
                self.precision,
                self._execution,
                self._notes,
            )
        self.recipe, self.members = loaded.recipe, loaded.members
        self.classes = self.members[0].classes
        self._prepare = Preparation(self.device, self.recipe.input, preprocess_fn)
        self._runner = BatchRunner(
            self.recipe,
            self.members,
            loaded.gate_members,
            self._placement,
            batch,
        )
        self._full_cost = self._runner.tree.cost
        self.load_seconds = time.perf_counter() - started
        _log.info("%s", self._loaded_in_words())

    def predict(
        self,
        pixels: Pixels,
        indices: Sequence[int] | None = None,
        *,
        with_spread: bool = False,
        level: Level = "ensemble",
        ask_gated: bool = False,
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
        level
            Whose answers are kept apart (see `layers`).
        ask_gated
            Also ask the members about tiles that the gate finds empty. No probability is set to 0
            then, and `Answers.gate` says which are empty.

        Raises
        ------
        DeviceError
            The device has too little memory for one tile and one member.
        RecipeError
            The recipe's merging has no such level.
        """
        indices = range(len(pixels)) if indices is None else indices
        asked = AskedTiles(pixels, indices, self._prepare)
        return self._runner.run(asked, Request(with_spread, level, ask_gated))

    def predict_pictures(
        self,
        inputs: Sequence[NDArray],
        *,
        crop: tuple[int, int] = (0, 0),
        source: tuple[int, int] | None = None,
        size: tuple[int, int] | None = None,
        indices: Sequence[int] | None = None,
        with_spread: bool = False,
        level: Level = "ensemble",
        ask_gated: bool = False,
    ) -> Answers:
        """Ask all members about whole pictures of one size.

        Each member's answer loses its pads and is resized bilinearly, and only then merged.

        Parameters
        ----------
        inputs
            One array (N, C, h, w) in the source's dtype per size that `sizes` gives.
        crop
            The pads before and after the pictures, on both axes, in source pixels.
        source
            Height and width of the source without pads. None means that the first input has the
            source's size and its pads.
        size
            Height and width of the answers. None is that of the first input without its pads.
        indices, with_spread, level, ask_gated
            As of `predict`.

        Raises
        ------
        DeviceError
            The device has too little memory for one picture and one member.
        RecipeError
            The inputs are not what `sizes` asks for, or there is no such level.
        """
        asked = self._pictures(inputs, indices, crop, source, size)
        return self._runner.run(asked, Request(with_spread, level, ask_gated))

    def sizes(self, height: int, width: int) -> list[tuple[int, int]]:
        """Return the sizes at which pictures of `height` x `width`, with their pads, are looked at.

        There is one per scale of the pyramid. A gate's own size comes last, if no scale has it.
        """
        return input_sizes(self.recipe, height, width)

    def layers(self, level: Level) -> tuple[str, ...]:
        """Return the names of the layers of an answer, in their order.

        They are names of members (`run/fold`), of runs, or one empty name. A run that looks at
        several scales has `@` and the scale behind it, such as `unet@320x480`.

        Raises
        ------
        RecipeError
            The recipe's merging has no such level.
        """
        return self._runner.tree.layers(level)

    @property
    def all_members(self) -> list[Member]:
        """The members that answer and those of the gate, each once."""
        return [placed.member for placed in self._placement.placed]

    @property
    def weights(self) -> dict[str, str]:
        """The hash of each member's weights, by its name. Members of the gate are among them."""
        return {member.name: member.weights_sha256 for member in self.all_members}

    @property
    def origins(self) -> dict[str, str]:
        """The same, but of an engine the hash of the weights that it was made of."""
        return {member.name: member.origin_sha256 for member in self.all_members}

    @property
    def batch(self) -> int:
        """The most images at once. The memory plan lowers it, or memory that runs out."""
        return self._runner.batch

    @property
    def memory(self) -> MemoryPlan | None:
        """The memory plan in force, or None before the first batch. As text it is a table."""
        return self._runner.memory

    @property
    def warm_up_seconds(self) -> float:
        """The time for memory plans, compiling and recording, before the first real batch."""
        return self._runner.warm_up_seconds

    def preprocess_and_infer(self, pixels: Pixels) -> NDArray[np.bool_]:
        """Masks (N, K, h, w) of a batch of tiles: probabilities above the model's threshold.

        Raises
        ------
        DeviceError
            As `predict`, or the networks gave NaN or infinity.
        """
        return self.predict(pixels).masks(self.recipe.thresholds)

    def leave_device(self) -> None:
        """Give the device's memory to other processes.

        Weights stay in host memory from then on, and are brought up for each call.
        """
        with together(self.device):
            self._runner.forget_graphs()
            self._placement.leave_device()

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
        return self._runner.takes(self._tiles(shape, dtype))

    def plan(self, shape: tuple[int, int, int], dtype: np.dtype | str = "uint8") -> MemoryPlan:
        """Measure what tiles (C, h, w) of `dtype` need, and adopt the batch that fits.

        `predict` does it before the first tile of a size. The plan prints as a table.
        """
        with torch.no_grad():
            return self._runner.plan(self._tiles(shape, dtype))

    def get_ready(
        self,
        shape: tuple[int, ...],
        dtype: np.dtype,
        *,
        with_spread: bool = False,
        level: Level = "ensemble",
    ) -> None:
        """Plan the memory for tiles (C, h, w) of a size, and make programs for their batch.

        Parameters are those of `predict`, which does it before the first tile of a size.

        Raises
        ------
        CheckpointError, RecipeError
            A member does not take such tiles.
        """
        with torch.no_grad():
            self._runner.get_ready(self._tiles(shape, dtype), level, with_spread=with_spread)

    def get_ready_for_pictures(
        self,
        shapes: Sequence[tuple[int, ...]],
        dtype: np.dtype,
        *,
        crop: tuple[int, int] = (0, 0),
        source: tuple[int, int] | None = None,
        size: tuple[int, int] | None = None,
        with_spread: bool = False,
        level: Level = "ensemble",
    ) -> None:
        """Plan the memory for pictures (C, h, w), one shape per size, and make their programs.

        Parameters and errors are those of `predict_pictures`, which does it before the first
        picture of a size. A member that does not take such pictures is an error, too.
        """
        inputs = [np.zeros((1, *shape), dtype) for shape in shapes]
        with torch.no_grad():
            asked = self._pictures(inputs, None, crop, source, size)
            self._runner.get_ready(asked, level, with_spread=with_spread)

    def seen_tiles(self, pixels: Pixels) -> dict[str, list[Tensor]]:
        """What each member sees of a batch of tiles: float32 (N, C, h, w) on the device.

        A member that looks at several scales sees several. Members of the gate are among them.
        """
        return self._runner.seen(AskedTiles(pixels, range(len(pixels)), self._prepare))

    def seen_pictures(
        self, inputs: Sequence[NDArray], crop: tuple[int, int], source: tuple[int, int]
    ) -> dict[str, list[Tensor]]:
        """What each member sees of whole pictures. Parameters are those of `predict_pictures`."""
        return self._runner.seen(self._pictures(inputs, None, crop, source, None))

    def ask_less(self, what: GiveUp) -> bool:
        """Ask half of the views, of each model's folds or of the scales from the next batch on.

        Halves are rounded up. The first folds stay, and the views and scales that weigh most. Of
        equal weights the first ones stay. Members that are not asked any more keep their memory.

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
        asked = self._runner.tree.ask_less(what)
        if asked is None:
            return False
        self._runner.forget_graphs()
        self._notes.add(f"the time is short: only {asked} are asked from then on")
        return True

    def ask_all(self) -> None:
        """Ask all members in all views again: undo what `ask_less` did."""
        if self.cost < 1:
            self._runner.ask_all()

    @property
    def cost(self) -> float:
        """How much a tile costs now, of what it costs if all members are asked in all views.

        The networks' passes are counted, each by the pixels that it looks at. The gate's are not.
        """
        return self._runner.tree.cost / self._full_cost

    @property
    def notes(self) -> list[str]:
        """What did not go as requested, one sentence each, for the report."""
        return list(self._notes.sentences)

    @property
    def fingerprint(self) -> str:
        """A short hash of everything that the answers depend on: members and how they are asked.

        What happens to the answers afterwards (thresholds, postprocessing) is not in it.
        """
        return self.fingerprint_at("ensemble")

    def fingerprint_at(self, level: Level, *, ask_gated: bool = False) -> str:
        """Return a short hash of everything that the layers of a level depend on.

        How layers are merged above their level is not in it. Level and `ask_gated` are not either.
        """
        return fingerprint_of(
            self.recipe,
            [placed.member for placed in self._placement.placed],
            (level, ask_gated),
            asked=self._runner.tree.asked,
            precision=str(self.precision),
            execution=self._execution.model_dump(),
            preprocess=self._preprocess_identity,
        )

    def describe(self) -> list[dict[str, Any]]:
        """One row per member, for a table."""
        return self._placement.rows()

    @functools.cached_property
    def _preprocess_identity(self) -> Any:
        return None if self._preprocess_fn is None else identity_of(self._preprocess_fn)

    @property
    def _runtime(self) -> Runtime:
        """Where members run that are programs."""
        providers = self._execution.providers
        return Runtime(
            self.device,
            is_half=self.precision == torch.float16,
            providers=None if providers is None else tuple(providers.items()),
            merged=load_merged,
        )

    def _loaded_in_words(self) -> str:
        placed = self._placement.placed
        size = sum(member.weight_bytes for member in placed)
        return (
            f"{self.recipe.name}: {len(placed)} member(s) with {size / 1e6:.0f} MB of weights are "
            f"on {self.device} after {self.load_seconds:.1f} s"
        )

    def _tiles(self, shape: tuple[int, ...], dtype: np.dtype | str) -> AskedTiles:
        """A tile of zeros."""
        return AskedTiles(np.zeros((1, *shape), dtype), range(1), self._prepare)

    def _pictures(
        self,
        inputs: Sequence[NDArray],
        indices: Sequence[int] | None,
        crop: tuple[int, int],
        source: tuple[int, int] | None,
        size: tuple[int, int] | None,
    ) -> AskedPictures:
        return AskedPictures.of(
            self.recipe, inputs, indices, self._prepare, crop=crop, source=source, size=size
        )
