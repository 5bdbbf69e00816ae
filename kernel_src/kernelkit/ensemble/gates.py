"""`TileGate`: networks that find empty tiles before any decoder looks at them."""

from collections.abc import Sequence

import torch
from torch import Tensor

from kernelkit.ensemble.placed import PlacedMember
from kernelkit.errors import CheckpointError
from kernelkit.recipe import Gate

__all__ = ["TileGate"]


class TileGate:
    """The members of a gate. It lets the tiles pass that are not empty.

    Raises
    ------
    CheckpointError
        A member gives no labels.
    """

    def __init__(self, placed: Sequence[PlacedMember], gate: Gate) -> None:
        without = [member.member.name for member in placed if not member.has_labels]
        if without:
            raise CheckpointError(
                f"{', '.join(without)}: a gate must be a classifier or have a classification head, "
                "but these have none. Correct the gate's 'runs'"
            )
        self._placed = list(placed)
        self._gate = gate

    def __call__(self, tiles: Tensor) -> Tensor:
        """Which of the normalised tiles (N, C, h, w) pass: bool (N,), on the device.

        The members' probabilities of emptiness are averaged.
        """
        answers = [self._emptiness(member.labels(tiles)) for member in self._placed]
        return torch.stack(answers).mean(0) <= self._gate.above

    def _emptiness(self, logits: Tensor) -> Tensor:
        """The probability (N,) of the empty class, from logits (N, J)."""
        if logits.shape[1] == 1:
            other = logits[:, 0].sigmoid()
            return other if self._gate.empty_class == 1 else 1 - other
        return logits.softmax(1)[:, self._gate.empty_class]
