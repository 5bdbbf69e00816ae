"""`PlacedMember`: one member with its weights on the device or on the host, ready to be asked."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from kernelkit.checkpoints import Member
from kernelkit.checkpoints.answers import masks_of
from kernelkit.ensemble.batchnorm import fuse_norms
from kernelkit.ensemble.compiling import MOST_SHAPES, CompiledNetwork
from kernelkit.ensemble.device import is_out_of_memory
from kernelkit.ensemble.notes import Notes
from kernelkit.errors import CheckpointError, KernelKitError, NetworkError
from kernelkit.recipe import Execution

__all__ = ["PlacedMember"]

# Sides of tiles that networks of one size are made for.
_SIDES = (224, 256, 384, 448, 512)
_HALVED = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)


class PlacedMember:
    """A member prepared as `execution` says. Preparing changes the member's module.

    A call takes normalised tiles, float32 (N, C, h, w) on the device, sides divided by `stride`.
    It gives float32 logits (N, K, h, w).

    Parameters
    ----------
    member
        The network. Its weights are on the host until `move_to_device`.
    device, precision
        Where it computes, and in which arithmetic.
    execution
        Which of the faster ways to try.
    notes
        Takes a sentence about each way that did not work.

    Attributes
    ----------
    on_host
        Whether the weights stay in host memory and come up for each call only.
    """

    def __init__(
        self,
        member: Member,
        device: torch.device,
        precision: torch.dtype,
        execution: Execution,
        notes: Notes,
    ) -> None:
        self.member = member
        self.on_host = False
        self._device = device
        self._precision = precision
        self._notes = notes
        self._module = member.module
        is_program = member.is_program
        if execution.fuse_norms and not is_program:
            self._fuse_norms()
        if execution.half_weights and not is_program and precision != torch.float32:
            _halve_weights(self._module, precision)
        self._format = torch.contiguous_format
        if execution.channels_last and not is_program:
            self._format = torch.channels_last
            self._module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._compiled: CompiledNetwork | None = None
        if execution.compile and not is_program:
            self._compiled = CompiledNetwork(self._module)

    @property
    def stride(self) -> int:
        """What the sides of its tiles must be multiples of."""
        if self.member.size is not None:  # it takes no padding
            return 1
        encoder = getattr(self._module, "encoder", None)
        return int(getattr(encoder, "output_stride", 32))

    @property
    def weight_bytes(self) -> int:
        """How much memory its weights take."""
        return sum(tensor.nbytes for tensor in self._tensors())

    def move_to_device(self) -> None:
        """Bring the weights onto the device, to stay."""
        self._module.to(self._device)
        self.on_host = False

    def keep_on_host(self) -> None:
        """Keep the weights in host memory, and bring them up for each call only."""
        pinned = self._device.type == "cuda"
        for tensor in self._tensors():
            host = tensor.data.cpu()
            tensor.data = host.pin_memory() if pinned else host
        self.on_host = True

    @torch.no_grad()
    def __call__(self, tiles: Tensor) -> Tensor:
        """Logits, from the compiled network if there is one."""
        with self._computing(), self._blaming(tiles):
            answer = self._ask(tiles.contiguous(memory_format=self._format))
        return self._checked(answer, tiles)

    @torch.no_grad()
    def eager(self, tiles: Tensor) -> Tensor:
        """Logits as of a call, but never compiled."""
        with self._computing(), self._blaming(tiles):
            answer = self._module(tiles.contiguous(memory_format=self._format))
        return self._checked(answer, tiles)

    @torch.no_grad()
    def labels(self, tiles: Tensor) -> Tensor:
        """Logits of whole tiles, float32 (N, J): a classifier's, or a classification head's."""
        tiles = tiles.contiguous(memory_format=self._format)
        with self._computing(), self._blaming(tiles):
            if self.member.kind == "classifier":
                return self._module(tiles).float()
            deepest = self._module.encoder(tiles)[-1]  # type: ignore[operator]
            return self._module.classification_head(deepest).float()  # type: ignore[operator]

    @property
    def has_labels(self) -> bool:
        """Whether `labels` can be called."""
        head = getattr(self._module, "classification_head", None)
        return self.member.kind == "classifier" or head is not None

    @property
    def label_count(self) -> int:
        """How many labels `labels` gives per tile."""
        if self.member.kind == "classifier":
            return int(getattr(self._module, "num_classes", self.member.classes))
        head = getattr(self._module, "classification_head", None)
        layers = [m for m in head.modules() if isinstance(m, nn.Linear)] if head else []
        return layers[-1].out_features if layers else 0

    def _ask(self, tiles: Tensor) -> Any:
        if self._compiled is None or self.on_host:
            return self._module(tiles)
        if not self._compiled.takes(tiles):
            self._notes.add(
                f"{self.member.name}: torch.compile is used for the first {MOST_SHAPES} shapes of "
                "its tiles alone. Give tiles or pictures fewer sizes, or leave out 'compile'"
            )
            return self._module(tiles)
        try:
            return self._compiled(tiles)
        except (
            Exception
        ) as error:  # compilers fail in many ways, and the network itself still works
            if is_out_of_memory(error):
                raise
            self._compiled = None
            self._note_failure("torch.compile is", error)
            return self._module(tiles)

    def _checked(self, answer: Any, tiles: Tensor) -> Tensor:
        masks = masks_of(answer, self.member.path)
        wanted = (len(tiles), self.member.classes, *tiles.shape[-2:])
        if tuple(masks.shape) != wanted:
            is_as_large = masks.shape[-2:] == tiles.shape[-2:]
            remedy = (
                "Correct the number of classes in its cfg.yaml"
                if is_as_large
                else "Use a network that answers with one value per pixel"
            )
            raise CheckpointError(
                f"{self.member.path}: the network answers with an array {tuple(masks.shape)}, but "
                f"{wanted} was wanted (tiles, classes, height, width). {remedy}"
            )
        return masks.float()

    @contextmanager
    def _blaming(self, tiles: Tensor) -> Iterator[None]:
        """Say which network failed on which tiles, unless memory ran out."""
        try:
            yield
        except KernelKitError:
            raise
        except Exception as error:  # a network may refuse a tile with any kind of error
            if is_out_of_memory(error) or "CUDA error" in str(error):  # the device's fault
                raise
            raise NetworkError(f"{self.member.path}: {self._refusal(tiles, error)}") from error

    def _refusal(self, tiles: Tensor, error: Exception) -> str:
        """What the network cannot look at, and what to do."""
        channels, height, width = tiles.shape[-3:]
        if channels != self.member.channels:
            return (
                f"the network looks at {self.member.channels} channel(s), but it was given "
                f"{channels}. Correct what makes its input"
            )
        taken = self._taken_instead(height, width)
        remedy = (
            f"It takes tiles of {taken} x {taken}. Set the recipe's tiles to that"
            if taken
            else "Try tiles of another size"
        )
        return (
            f"the network cannot look at tiles of {height} x {width} ({_reason(error)}). {remedy}"
        )

    @torch.no_grad()
    def _taken_instead(self, height: int, width: int) -> int | None:
        """The side of square tiles that the network takes, or None if no likely one is."""
        for side in _SIDES:
            if (side, side) == (height, width):
                continue
            noise = torch.zeros(1, self.member.channels, side, side, device=self._device)
            try:
                self._module(noise)
            except Exception:  # as above
                continue
            return side
        return None

    @contextmanager
    def _computing(self) -> Iterator[None]:
        """With the weights on the device, and arithmetic in the chosen precision."""
        visiting = [(tensor, tensor.data) for tensor in self._tensors()] if self.on_host else []
        half = self._precision != torch.float32
        try:
            for tensor, host in visiting:
                tensor.data = host.to(self._device, non_blocking=True)
            with torch.autocast(self._device.type, self._precision, enabled=half):
                yield
        finally:
            for tensor, host in visiting:
                tensor.data = host

    def _tensors(self) -> list[Tensor]:
        return [*self._module.parameters(), *self._module.buffers()]

    def _fuse_norms(self) -> None:
        side = 2 * self.stride
        source = torch.Generator().manual_seed(0)
        tiles = torch.randn(1, self.member.channels, side, side, generator=source)
        try:
            fuse_norms(self._module, tiles)
        except Exception as error:  # a network may refuse a small tile with any kind of error
            self._note_failure("fused norms are", error)

    def _note_failure(self, what: str, error: Exception) -> None:
        self._notes.add(
            f"{self.member.name}: {what} not used, because of an error ({_reason(error)})"
        )


def _reason(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200].rstrip(".")


def _halve_weights(network: nn.Module, precision: torch.dtype) -> None:
    """Keep weights as autocast would convert them at every call. Norms stay in float32.

    Only the plain layers are converted. A layer derived from them may need float32 weights.
    """
    for layer in network.modules():
        if type(layer) in _HALVED and not nn.utils.parametrize.is_parametrized(layer):
            for parameter in layer.parameters(recurse=False):
                parameter.data = parameter.data.to(precision)
