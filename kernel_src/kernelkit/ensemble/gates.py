"""Gates: networks that say of a tile that it is empty, before any decoder has looked at it."""

from collections.abc import Sequence

import torch
from torch import Tensor

from kernelkit.ensemble.placed import Seat
from kernelkit.errors import CheckpointError
from kernelkit.recipe import Gate

__all__ = ["TileGate"]


class TileGate:
    """The members of a gate; it lets the tiles pass that are not empty."""

    def __init__(self, seats: Sequence[Seat], gate: Gate) -> None:
        without = [seat.member.name for seat in seats if not seat.has_labels]
        if without:
            raise CheckpointError(
                f"{', '.join(without)}: a gate must be a classifier or have a classification head, "
                "but these have none; correct the gate's 'runs'."
            )
        self.seats = list(seats)
        self._gate = gate

    def __call__(self, tiles: Tensor) -> Tensor:
        """Which of the normalised tiles (N, C, h, w) may pass: bool (N,), on the device.

        The probabilities of emptiness are averaged, as probabilities, over the gate's members.
        """
        answers = [self._emptiness(seat.labels(tiles)) for seat in self.seats]
        return torch.stack(answers).mean(0) <= self._gate.above

    def _emptiness(self, logits: Tensor) -> Tensor:
        """The probability (N,) of the empty class, from logits (N, J)."""
        if logits.shape[1] == 1:
            other = logits[:, 0].sigmoid()
            return other if self._gate.empty_class == 1 else 1 - other
        return logits.softmax(1)[:, self._gate.empty_class]
