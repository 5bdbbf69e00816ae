"""Who of an ensemble sits on the device, and who waits in the host's memory."""

import logging
from collections.abc import Sequence
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kernelkit.checkpoints import Member, load_members
from kernelkit.ensemble.device import device_name, free_bytes, is_out_of_memory, release_cached
from kernelkit.ensemble.memory import MemoryPlan, Need, choose, peak_bytes
from kernelkit.ensemble.placed import Seat
from kernelkit.ensemble.tree import MergeTree
from kernelkit.errors import CheckpointError, RecipeError
from kernelkit.recipe import EnsembleRecipe, Execution

__all__ = ["Seating", "load_for"]

_log = logging.getLogger(__name__)


class Seating:
    """The seats of all members, moved onto the device as far as its memory goes."""

    def __init__(
        self,
        members: Sequence[Member],
        device: torch.device,
        precision: torch.dtype,
        execution: Execution,
    ) -> None:
        self._device = device
        self._notes: list[str] = []
        unique = {member.name: member for member in members}
        self.seats = [Seat(member, device, precision, execution) for member in unique.values()]
        for seat in self.seats:
            try:
                seat.move_in()
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                self._park(seat)

    def of(self, members: Sequence[Member]) -> list[Seat]:
        """The seats of some of the members."""
        names = {member.name for member in members}
        return [seat for seat in self.seats if seat.member.name in names]

    def note(self, sentence: str) -> None:
        """Keep a sentence for the report, and log it."""
        self._notes.append(sentence)
        _log.warning(sentence)

    @property
    def notes(self) -> list[str]:
        """All sentences for the report: these, and what the seats fell back from."""
        return [*self._notes, *(note for seat in self.seats for note in seat.fallbacks)]

    @property
    def all_on_device(self) -> bool:
        """Whether no member waits on the host."""
        return not any(seat.parked for seat in self.seats)

    def park_largest(self) -> bool:
        """Move the largest member that is still on the device to the host; False if none is."""
        resident = [seat for seat in self.seats if not seat.parked]
        if resident:
            self._park(max(resident, key=lambda seat: seat.weight_bytes))
        return bool(resident)

    def plan(self, tree: MergeTree, tile: Tensor, wanted: int) -> MemoryPlan:
        """Measure each model with one normalised tile (1, C, h, w), and carry the plan out."""
        activations: dict[str, int] = {}
        classes = 1
        for folds, seen in tree.looks(tile):
            first = folds[0]
            classes = first.member.classes
            peak = peak_bytes(partial(first.plain, seen), self._device)
            for seat in folds:
                activations[seat.member.name] = max(peak, activations.get(seat.member.name, 0))
        release_cached(self._device)
        resident = sum(seat.weight_bytes for seat in self.seats if not seat.parked)
        channels, height, width = tile.shape[1:]
        plan = choose(
            device_name(self._device),
            [
                Need(
                    seat.member.name,
                    seat.member.architecture,
                    seat.weight_bytes,
                    activations.get(seat.member.name, 0),
                )
                for seat in self.seats
            ],
            # the tiles and one view of them, and the answers of four levels while they are merged
            answers=4 * height * width * (2 * channels + 6 * classes),
            available=free_bytes(self._device) + resident,
            wanted=wanted,
        )
        for index in plan.parked:
            if not self.seats[index].parked:
                self._park(self.seats[index])
        return plan

    def rows(self) -> list[dict[str, Any]]:
        """One row a member, for a table."""
        return [
            {
                "member": seat.member.name,
                "network": seat.member.architecture,
                "parameters": seat.member.parameters,
                "weights_mb": round(seat.weight_bytes / 2**20, 1),
                "place": "host" if seat.parked else str(self._device),
                "score": seat.member.score,
                "checkpoint": seat.member.path.name,
            }
            for seat in self.seats
        ]

    def _park(self, seat: Seat) -> None:
        seat.park()
        release_cached(self._device)
        self.note(f"{seat.member.name}: its weights stay in the host's memory, for want of room")


def load_for(
    recipe: EnsembleRecipe, folder: str | Path, own_input: bool
) -> tuple[list[Member], list[Member]]:
    """The members that a recipe names, and those of its gate; they may overlap.

    `own_input` says that the caller makes the networks' input, so that the recipe's bands do not
    count.

    Raises
    ------
    CheckpointError, RecipeError
        As `load_members`; or recipe and members do not agree with each other.
    """
    gate_runs = recipe.gate.runs if recipe.gate else ()
    loaded = load_members(
        folder, (*recipe.runs, *gate_runs), prefer=recipe.checkpoints, programs=recipe.programs
    )
    guards = [member for member in loaded if _matches(member, gate_runs)]
    members = [m for m in loaded if _matches(m, recipe.runs) and m.kind != "classifier"]
    strangers = [m for m in loaded if m.kind == "classifier" and m not in guards]
    if strangers:
        raise CheckpointError(
            f"{strangers[0].name}: this is a classifier, which answers with no mask; name it in "
            "the recipe's 'gate', or leave it out of 'runs'."
        )
    if not members:
        raise CheckpointError(
            f"{folder}: the runs {', '.join(recipe.runs)} hold classifiers only; name segmenters."
        )
    _agree(recipe, members, own_input)
    return members, guards


def _agree(recipe: EnsembleRecipe, members: Sequence[Member], own_input: bool) -> None:
    classes = {member.classes for member in members}
    if len(classes) > 1:
        counts = ", ".join(f"{member.name} {member.classes}" for member in members)
        raise CheckpointError(
            f"{recipe.name}: the members answer with different numbers of classes ({counts}); "
            "name runs that go together."
        )
    if len(recipe.thresholds) not in (1, *classes):
        raise RecipeError(
            f"{recipe.name}: there are {len(recipe.thresholds)} thresholds for {classes.pop()} "
            "class(es); give one for all, or one a class."
        )
    bands = len(recipe.input.bands)
    others = [m for m in members if m.channels != bands]
    if others and not own_input:
        raise RecipeError(
            f"{recipe.name}: {others[0].name} takes {others[0].channels} bands, but the recipe's "
            f"input gives {bands}; correct the input's 'bands'."
        )


def _matches(member: Member, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(member.run, pattern) for pattern in patterns)
