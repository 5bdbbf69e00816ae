"""`Answers`: what an ensemble says about a batch of tiles, in the forms that leave the device.

>>> answers = Answers(torch.tensor([[[[0.2, 0.8]]]]))
>>> answers.bytes().result()
[array([[[ 51, 204]]], dtype=uint8)]
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kernelkit.ensemble.device import (
    is_out_of_memory,
    not_finite_message,
    on_device,
    release_cached,
)
from kernelkit.ensemble.packing import are_on, as_bytes, pack_bits, pack_cores
from kernelkit.ensemble.transfer import Pending
from kernelkit.errors import RecipeError
from kernelkit.grid import Tile

__all__ = ["Answers", "join"]


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """The answers for a batch of N tiles or pictures, on the device until a method sends them down.

    Attributes
    ----------
    probabilities
        float32 (N, K, h, w) on the model's device, for K classes. If the layers of a level were
        requested, it is (N, L K, h, w), layer after layer.
    spread
        The standard deviation of the members' probabilities at each pixel, of the same shape.
        It is 0 if all agree, and 0.5 at most. None unless it was requested.
    precision
        The networks' arithmetic, for the error if they gave no numbers.
    gate
        The probability that a tile is empty, float32 (N,), or that a class of it is, (N, K). None
        without a gate.
    """

    probabilities: Tensor
    spread: Tensor | None = None
    precision: torch.dtype = torch.float32
    gate: Tensor | None = None

    def bytes(self) -> Pending:
        """Send down `255 p`, rounded: one uint8 array (K, h, w) per tile."""
        return self._pending(self._made(lambda some: [as_bytes(self.probabilities[some])]))

    def bits(
        self, tiles: Sequence[Tile], scale: int, thresholds: Sequence[float] | None
    ) -> Pending:
        """Send down the tiles' cores at the source's resolution, decided and packed.

        One array per tile comes down, as `Canvas.add_bits` takes it. It is uint8
        (K, core.height, ceil(core.width / 8)), packed as by `np.packbits(..., bitorder="little")`.

        Parameters
        ----------
        tiles
            The N tiles whose read windows were asked about.
        scale
            How many source pixels one pixel of the answers covers, along each axis.
        thresholds
            One for all classes, or one per class. A pixel is on if its probability is above. With
            None, it is on for the class of its highest probability alone.

        Raises
        ------
        RecipeError
            The number of thresholds is neither 1 nor K.
        """
        limits = self._limits(thresholds)
        return self._pending(
            self._made(
                lambda some: pack_cores(self.probabilities[some], tiles[some], scale, limits)
            )
        )

    def whole_bits(self, thresholds: Sequence[float] | None) -> Pending:
        """Send down the masks of whole pictures, decided and packed.

        One array per picture comes down: uint8 (K, h, ceil(w / 8)), packed as by
        `np.packbits(..., bitorder="little")`. Thresholds and errors are those of `bits`.
        """
        limits = self._limits(thresholds)
        return self._pending(
            self._made(lambda some: [pack_bits(are_on(self.probabilities[some], limits))])
        )

    def masks(self, thresholds: Sequence[float] | None) -> NDArray[np.bool_]:
        """Masks (N, K, h, w) on the host. Thresholds and errors are those of `bits`.

        Raises
        ------
        DeviceError
            The networks gave NaN or infinity.
        """
        limits = self._limits(thresholds)
        on = self._made(lambda some: [are_on(self.probabilities[some], limits)])
        return np.stack(self._pending(on).result())

    def _limits(self, thresholds: Sequence[float] | None) -> Tensor | None:
        """The thresholds on the device, if their number is right."""
        if thresholds is None:
            return None
        classes = self.probabilities.shape[1]
        if len(thresholds) not in (1, classes):
            raise RecipeError(
                f"there are {len(thresholds)} thresholds for {classes} class(es). "
                "Give one for all classes, or one per class"
            )
        return on_device(tuple(thresholds), self.probabilities.device)

    def gates(self) -> Pending | None:
        """Send down the gate's probabilities: one float32 array per picture, () or (K,).

        It is None without a gate.
        """
        return None if self.gate is None else self._pending([self.gate])

    def _made(self, make: Callable[[slice], list[Tensor]]) -> list[Tensor]:
        """What is made of all tiles at once, or of one after the other if memory runs out."""
        try:
            return make(slice(None))
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
        # not in the handler, because the error keeps what was made until then
        release_cached(self.probabilities.device)
        return [part for i in range(len(self.probabilities)) for part in make(slice(i, i + 1))]

    def _pending(self, parts: Sequence[Tensor]) -> Pending:
        """Send `parts` down, if the probabilities are numbers."""
        # a sum is a number only if all that is in it are, and takes a fifth of the time
        valid = self.probabilities.flatten(1).sum(1).isfinite()
        return Pending(parts, valid, not_finite_message(self.precision))


def join(parts: Sequence[Answers]) -> Answers:
    """The answers for several batches as those for one."""
    if len(parts) == 1:
        return parts[0]
    spreads = [part.spread for part in parts if part.spread is not None]
    gates = [part.gate for part in parts if part.gate is not None]
    return Answers(
        torch.cat([part.probabilities for part in parts]),
        torch.cat(spreads) if spreads else None,
        parts[0].precision,
        torch.cat(gates) if gates else None,
    )
