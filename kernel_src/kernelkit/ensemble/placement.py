"""`Placement`: which members are on the device, and which stay in host memory."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch

from kernelkit.checkpoints import Member
from kernelkit.ensemble.device import device_name, free_bytes, is_out_of_memory, release_cached
from kernelkit.ensemble.memory import MemoryPlan, Need, choose, peak_bytes
from kernelkit.ensemble.notes import Notes
from kernelkit.ensemble.placed import PlacedMember
from kernelkit.ensemble.questions import Question
from kernelkit.ensemble.tree import MergeTree
from kernelkit.recipe import Execution

__all__ = ["Placement"]


class Placement:
    """All members of an ensemble, on the device as far as its memory goes.

    Parameters
    ----------
    members
        A member that is named twice is placed once.
    device, precision, execution, notes
        As for each `PlacedMember`.

    Attributes
    ----------
    placed
        The members in the order in which they came.
    device, precision, execution, notes
        As they were given.
    """

    def __init__(
        self,
        members: Sequence[Member],
        device: torch.device,
        precision: torch.dtype,
        execution: Execution,
        notes: Notes,
    ) -> None:
        self.device = device
        self.precision = precision
        self.execution = execution
        self.notes = notes
        self._is_warm = False
        if device.type == "cuda":  # transposed convolutions may else add up in another order
            torch.backends.cudnn.deterministic = True
        unique = {member.name: member for member in members}
        self.placed = [
            PlacedMember(member, device, precision, execution, notes) for member in unique.values()
        ]
        for placed in self.placed:
            if not _fits(placed):
                self._keep_on_host(placed)

    def of(self, members: Sequence[Member]) -> list[PlacedMember]:
        """Some of the members as they are placed."""
        names = {member.name for member in members}
        return [placed for placed in self.placed if placed.member.name in names]

    @property
    def all_on_device(self) -> bool:
        """Whether no member stays on the host."""
        return not any(placed.on_host for placed in self.placed)

    def keep_largest_on_host(self) -> bool:
        """Move the largest member on the device to the host, or return False if there is none."""
        resident = [placed for placed in self.placed if not placed.on_host]
        if resident:
            self._keep_on_host(max(resident, key=lambda placed: placed.weight_bytes))
        return bool(resident)

    def leave_device(self) -> None:
        """Move all members to the host, and give back what torch holds of the device."""
        for placed in self.placed:
            if not placed.on_host:
                placed.keep_on_host()
        release_cached(self.device)

    def plan(self, tree: MergeTree, question: Question, wanted: int, layers: int = 1) -> MemoryPlan:
        """Measure each model with a question about one image, and carry out the plan.

        Parameters
        ----------
        tree
            Says at which sizes each model sees the image.
        wanted
            The largest batch to plan for.
        layers
            How many answers are kept apart.
        """
        activations: dict[str, int] = {}
        classes = 1
        for folds, seen in tree.inputs(question):
            first, *_ = self.of([folds[0].member])
            classes = first.member.classes
            if not self._is_warm and self.device.type == "cuda":
                first.eager(seen)  # the first call allocates what stays, such as cuBLAS's workspace
            peak = peak_bytes(partial(first.eager, seen), self.device)
            for placed in folds:
                activations[placed.member.name] = max(peak, activations.get(placed.member.name, 0))
        self._is_warm = True
        resident = sum(placed.weight_bytes for placed in self.placed if not placed.on_host)
        plan = choose(
            device_name(self.device),
            [
                Need(
                    placed.member.name,
                    placed.member.architecture,
                    placed.weight_bytes,
                    activations.get(placed.member.name, 0),
                )
                for placed in self.placed
            ],
            answers=question.answer_bytes(classes, layers),
            available=free_bytes(self.device) + resident,
            wanted=wanted,
        )
        for index in plan.on_host:
            if not self.placed[index].on_host:
                self._keep_on_host(self.placed[index])
        return plan

    def rows(self) -> list[dict[str, Any]]:
        """One row per member, for a table."""
        return [
            {
                "member": placed.member.name,
                "network": placed.member.architecture,
                "parameters": placed.member.parameters,
                "weights_mb": round(placed.weight_bytes / 2**20, 1),
                "place": "host" if placed.on_host else str(self.device),
                "runs_by": placed.member.runs_by,
                "score": placed.member.score,
                "checkpoint": placed.member.path.name,
            }
            for placed in self.placed
        ]

    def _keep_on_host(self, placed: PlacedMember) -> None:
        placed.keep_on_host()
        release_cached(self.device)
        self.notes.add(
            f"{placed.member.name}: not enough device memory, so its weights stay in host memory"
        )


def _fits(placed: PlacedMember) -> bool:
    """Move a member onto the device, or return False if there is too little memory."""
    try:
        placed.move_to_device()
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        return False
    return True
