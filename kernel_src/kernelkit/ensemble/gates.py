"""`TileGate`: networks that find empty tiles, or classes, before any decoder looks at them."""

from collections.abc import Sequence

from torch import Tensor

from kernelkit.ensemble.merge import combine
from kernelkit.ensemble.placed import PlacedMember
from kernelkit.errors import CheckpointError, NotFiniteError, RecipeError
from kernelkit.recipe import Gate

__all__ = ["TileGate", "emptiness_of"]


class TileGate:
    """The members of a gate. A call gives the probability that a tile is empty.

    Parameters
    ----------
    placed, gate
        The members, and what the recipe says of them.
    classes
        How many classes the ensemble has.
    not_finite
        The error if they answer NaN.

    Raises
    ------
    CheckpointError
        A member gives no labels.
    RecipeError
        A member's labels are not those that the gate speaks of.
    """

    def __init__(
        self, placed: Sequence[PlacedMember], gate: Gate, classes: int, not_finite: str
    ) -> None:
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
            _check_labels(member, gate, classes)
        labels = {member.member.name: member.label_count for member in placed}
        if gate.merge.of == "logits" and len(set(labels.values())) > 1:
            counts = ", ".join(f"{name} {count}" for name, count in labels.items())
            raise RecipeError(
                f"{gate.merge} cannot merge a gate's members of different numbers of labels "
                f"({counts}). Merge probabilities, or name other 'runs'"
            )

    def __call__(self, tiles: Tensor) -> Tensor:
        """The probability of emptiness of normalised tiles (N, C, h, w), on the device.

        It is float32 (N,), or (N, K) if the gate speaks per class.

        Raises
        ------
        NotFiniteError
            A member answers NaN.
        """
        merge = self._gate.merge
        labels = (member.labels(tiles) for member in self._placed)
        if merge.of == "logits":
            emptiness = emptiness_of(combine(labels, merge.how), self._gate)
        else:
            answers = (emptiness_of(logits, self._gate) for logits in labels)
            emptiness = combine(answers, merge.how, temperature=merge.temperature)
        if emptiness.isnan().any():  # what is compared with NaN would count as empty
            raise NotFiniteError(self._not_finite)
        return emptiness

    @property
    def names(self) -> list[str]:
        """The names of the members."""
        return [placed.member.name for placed in self._placed]

    def lets_pass(self, emptiness: Tensor) -> Tensor:
        """Which tiles, or classes of them, are not empty: bool, of the same shape."""
        return emptiness <= self._gate.above


def emptiness_of(logits: Tensor, gate: Gate) -> Tensor:
    """The probability (N,) that a tile is empty, or (N, K) of each class, from logits (N, J)."""
    if gate.per_class:
        return 1 - logits.sigmoid()
    if logits.shape[1] == 1:
        other = logits[:, 0].sigmoid()
        return other if gate.empty_class == 1 else 1 - other
    return logits.softmax(1)[:, gate.empty_class]


def _check_labels(placed: PlacedMember, gate: Gate, classes: int) -> None:
    count, name = placed.label_count, placed.member.name
    if gate.per_class:
        if count != classes:
            raise RecipeError(
                f"{name}: found {count} labels of a gate that speaks per class, wanted {classes}, "
                "one per class of the ensemble. Set 'per_class' to false, or correct its 'runs'"
            )
    elif gate.empty_class >= max(2, count):  # one output is the probability of class 1
        raise RecipeError(
            f"{name}: the gate's empty_class is {gate.empty_class}, but its "
            f"classes are 0 to {max(2, count) - 1}. Correct 'empty_class'"
        )
