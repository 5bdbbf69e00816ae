"""`Spread`: how far the members of an ensemble lie apart."""

from dataclasses import dataclass

from torch import Tensor

__all__ = ["Spread"]


@dataclass
class Spread:
    """Sums up the members' probabilities, for their standard deviation at each pixel.

    Attributes
    ----------
    count
        How many members have answered.
    total, squares
        The sums of their probabilities, and of the squares of these.
    """

    count: int = 0
    total: Tensor | None = None
    squares: Tensor | None = None

    def add(self, probabilities: Tensor) -> None:
        """Take one member's answer."""
        squares = probabilities.square()
        self.total = probabilities if self.total is None else self.total + probabilities
        self.squares = squares if self.squares is None else self.squares + squares
        self.count += 1

    def deviation(self) -> Tensor:
        """The members' standard deviation at each pixel, from 0 (they agree) to 0.5."""
        assert self.total is not None
        assert self.squares is not None
        mean = self.total / self.count
        return (self.squares / self.count - mean.square()).clamp_min(0).sqrt()
