"""`TileGate`: networks that find empty tiles before any decoder looks at them."""

from collections.abc import Sequence

import torch
from torch import Tensor

from kernelkit.ensemble.placed import PlacedMember
from kernelkit.errors import CheckpointError, DeviceError, RecipeError
from kernelkit.recipe import Gate

__all__ = ["TileGate"]


class TileGate:
    """The members of a gate. It lets the tiles pass that are not empty.

    Parameters
    ----------
    placed, gate
        The members, and what the recipe says of them.
    not_finite
        The error if they answer NaN.

    Raises
    ------
    CheckpointError
        A member gives no labels.
    RecipeError
        A member has no such class as the gate's empty one.
    """

    def __init__(self, placed: Sequence[PlacedMember], gate: Gate, not_finite: str) -> None:
        without = [member.member.name for member in placed if not member.has_labels]
        if without:
            raise CheckpointError(
                f"{', '.join(without)}: a gate must be a classifier or have a classification head, "
                "but these have none. Correct the gate's 'runs'"
            )
        self._placed = list(placed)
        self._gate = gate
        self._not_finite = not_finite
        for member in placed:
            labels = max(2, member.label_count)  # one output is the probability of class 1
            if gate.empty_class >= labels:
                raise RecipeError(
                    f"{member.member.name}: the gate's empty_class is {gate.empty_class}, but its "
                    f"classes are 0 to {labels - 1}. Correct 'empty_class'"
                )

    def __call__(self, tiles: Tensor) -> Tensor:
        """Which of the normalised tiles (N, C, h, w) pass: bool (N,), on the device.

        The members' probabilities of emptiness are averaged.

        Raises
        ------
        DeviceError
            A member answers NaN.
        """
        answers = [self._emptiness(member.labels(tiles)) for member in self._placed]
        emptiness = torch.stack(answers).mean(0)
        if emptiness.isnan().any():  # what is compared with NaN would count as empty
            raise DeviceError(self._not_finite)
        return emptiness <= self._gate.above

    def _emptiness(self, logits: Tensor) -> Tensor:
        """The probability (N,) of the empty class, from logits (N, J)."""
        if logits.shape[1] == 1:
            other = logits[:, 0].sigmoid()
            return other if self._gate.empty_class == 1 else 1 - other
        return logits.softmax(1)[:, self._gate.empty_class]
