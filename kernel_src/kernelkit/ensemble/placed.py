"""`Seat`: one member in its place on the device, ready to be asked."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from kernelkit.checkpoints import Member
from kernelkit.ensemble.batchnorm import fold_norms
from kernelkit.ensemble.device import is_out_of_memory
from kernelkit.errors import CheckpointError
from kernelkit.recipe import Execution

__all__ = ["Seat"]

_log = logging.getLogger(__name__)
_HALVED = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)


class Seat:
    """A member prepared as `execution` says, with its weights on `device` or parked on the host.

    Preparing changes the member's module. Calling it takes normalised tiles (N, C, h, w), float32,
    on the device, sides divided by `stride`, and gives float32 logits (N, K, h, w).
    """

    def __init__(
        self, member: Member, device: torch.device, precision: torch.dtype, execution: Execution
    ) -> None:
        self.member = member
        self.parked = False
        self.fallbacks: list[str] = []
        """What was asked for and did not work, a sentence each."""
        self._device = device
        self._precision = precision
        self._module = member.module
        looked_into = member.kind != "program"
        if looked_into and execution.fuse_norms:
            self._fold_norms()
        if looked_into and execution.half_weights and precision != torch.float32:
            _halve_weights(self._module, precision)
        self._format = torch.contiguous_format
        if looked_into and execution.channels_last:
            self._format = torch.channels_last
            self._module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._compiled: Callable[[Tensor], Any] | None = None
        if looked_into and execution.compile:
            self._compiled = torch.compile(self._module)

    @property
    def stride(self) -> int:
        """What the sides of its tiles must be multiples of."""
        encoder = getattr(self._module, "encoder", None)
        return int(getattr(encoder, "output_stride", 32))

    @property
    def weight_bytes(self) -> int:
        """Memory that its weights take."""
        return sum(tensor.nbytes for tensor in self._tensors())

    def move_in(self) -> None:
        """Bring the weights onto the device, to stay."""
        self._module.to(self._device)
        self.parked = False

    def park(self) -> None:
        """Keep the weights in the host's memory, and bring them up for each call only."""
        pinned = self._device.type == "cuda"
        for tensor in self._tensors():
            host = tensor.data.cpu()
            tensor.data = host.pin_memory() if pinned else host
        self.parked = True

    @torch.no_grad()
    def __call__(self, tiles: Tensor) -> Tensor:
        """Logits; compiled where that was asked for and works."""
        with self._at_work():
            answer = self._ask(tiles.contiguous(memory_format=self._format))
        return self._checked(answer, tiles)

    @torch.no_grad()
    def plain(self, tiles: Tensor) -> Tensor:
        """Logits as of a call, never compiled."""
        with self._at_work():
            answer = self._module(tiles.contiguous(memory_format=self._format))
        return self._checked(answer, tiles)

    @torch.no_grad()
    def labels(self, tiles: Tensor) -> Tensor:
        """What a classifier, or a segmenter's classification head, says: float32 logits (N, J)."""
        tiles = tiles.contiguous(memory_format=self._format)
        with self._at_work():
            if self.member.kind == "classifier":
                return self._module(tiles).float()
            deepest = self._module.encoder(tiles)[-1]  # type: ignore[operator]
            return self._module.classification_head(deepest).float()  # type: ignore[operator]

    @property
    def has_labels(self) -> bool:
        """Whether `labels` can be asked for."""
        head = getattr(self._module, "classification_head", None)
        return self.member.kind == "classifier" or head is not None

    def _ask(self, tiles: Tensor) -> Any:
        if self._compiled is None or self.parked:
            return self._module(tiles)
        try:
            return self._compiled(tiles)
        except Exception as error:  # compilers fail in ways of their own; the network still works
            if is_out_of_memory(error):
                raise
            self._compiled = None
            self._fall_back("torch.compile", error)
            return self._module(tiles)

    def _checked(self, answer: Any, tiles: Tensor) -> Tensor:
        if isinstance(answer, tuple | list):  # masks, and what a classification head says
            answer = answer[0]
        wanted = (len(tiles), self.member.classes, *tiles.shape[-2:])
        if tuple(answer.shape) != wanted:
            raise CheckpointError(
                f"{self.member.path}: the network answers with an array {tuple(answer.shape)}, but "
                f"{wanted} was wanted (tiles, classes, height, width); say in cfg.yaml how many "
                "classes it has."
            )
        return answer.float()

    @contextmanager
    def _at_work(self) -> Iterator[None]:
        """With the weights on the device, and arithmetic in the chosen precision."""
        parked = [(tensor, tensor.data) for tensor in self._tensors()] if self.parked else []
        half = self._precision != torch.float32
        try:
            for tensor, host in parked:
                tensor.data = host.to(self._device, non_blocking=True)
            with torch.autocast(self._device.type, self._precision, enabled=half):
                yield
        finally:
            for tensor, host in parked:
                tensor.data = host

    def _tensors(self) -> list[Tensor]:
        return [*self._module.parameters(), *self._module.buffers()]

    def _fold_norms(self) -> None:
        side = 2 * self.stride
        source = torch.Generator().manual_seed(0)
        tiles = torch.randn(1, self.member.channels, side, side, generator=source)
        try:
            fold_norms(self._module, tiles)
        except Exception as error:  # a network may refuse so small a tile, for reasons of its own
            self._fall_back("folding norms", error)

    def _fall_back(self, what: str, error: Exception) -> None:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        self.fallbacks.append(f"{self.member.name}: without {what}, which failed ({reason})")
        _log.warning(self.fallbacks[-1])


def _halve_weights(network: nn.Module, precision: torch.dtype) -> None:
    """Keep weights as autocast would convert them at every call; norms stay in float32.

    Only the plain layers: those derived from them may compute on their weights in float32 first.
    """
    for layer in network.modules():
        if type(layer) in _HALVED and not nn.utils.parametrize.is_parametrized(layer):
            for parameter in layer.parameters(recurse=False):
                parameter.data = parameter.data.to(precision)
