"""What came of the training of a fold, as messages, tables and its record have it."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

__all__ = ["FoldResult"]


@dataclass(frozen=True)
class FoldResult:
    """What came of a fold.

    Attributes
    ----------
    run, fold
        Which.
    metric, score
        What the weights were judged by, and the best score. It is None if none was above the floor.
    weights, epoch
        Which weights reached it, `val` or `ema`, and after which epoch.
    last
        The score of the raw weights when they were judged last.
    highest
        The highest score, above the floor or not.
    epochs, total
        How many epochs were trained, of how many.
    checkpoint
        The name of the best checkpoint, or of the last. Empty if there is none.
    seconds
        How long it took. Of a training that was killed, the last part.
    is_old
        Whether it was finished before.
    notes
        What went otherwise, a sentence each.
    """

    run: str
    fold: int
    metric: str = ""
    score: float | None = None
    weights: str = ""
    epoch: int = 0
    last: float = 0.0
    highest: float = 0.0
    epochs: int = 0
    total: int = 0
    checkpoint: str = ""
    seconds: float = 0.0
    is_old: bool = False
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The fold in messages, such as `unet/fold_0`."""
        return f"{self.run}/fold_{self.fold}"

    @property
    def kind(self) -> str:
        """Which weights have the best score, in words. Empty if none have one."""
        return {"ema": "averaged", "val": "raw"}.get(self.weights, self.weights)

    def __str__(self) -> str:
        if self.score is None:
            epochs = f"{self.epochs} epoch{'s' * (self.epochs != 1)}"
            said = f"{epochs}, {self.checkpoint or 'no checkpoint'}"
        else:
            best = f"best {self.metric} {self.score:.4f}"
            said = f"{best}, {self.kind} weights after epoch {self.epoch}"
        early = f", stopped after {self.epochs} of {self.total}" * (self.epochs < self.total)
        return f"{self.name}: {said}{early}{', finished before' * self.is_old}"

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> Self:
        """The result that an earlier training wrote down.

        Keys that only another version knows are left out.
        """
        known = {field.name for field in fields(cls)}
        kept = {name: value for name, value in record.items() if name in known}
        return cls(**kept | {"is_old": True, "notes": tuple(record["notes"])})
