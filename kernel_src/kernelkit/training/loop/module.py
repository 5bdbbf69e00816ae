"""`FoldModule`: one network on its way through the epochs of a fold, as Lightning trains it."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from pytorch_lightning import LightningModule
from timm.utils import ModelEmaV3
from torch import Tensor, nn
from torch.optim import Optimizer

from kernelkit.ensemble.device import is_out_of_memory
from kernelkit.errors import KernelKitError, TrainingError, as_sentence

__all__ = ["Batch", "FoldModule", "Loader", "Parts", "Schedule"]

# On a GPU, so many losses are looked at together. Each look makes the card wait.
_LOSSES_AT_ONCE = 16
# What torch says of a norm that is given one value per channel, as of a batch of one crop.
_ONE_VALUE = "more than 1 value per channel"
# How far the seeds of processes that share a fold lie apart.
_APART = 1_000_000_007


class Batch(Protocol):
    """A batch of crops."""

    def to(self, device: torch.device, /) -> "Batch":
        """The same on a device."""


class Loader(Protocol):
    """Where a fold's batches come from."""

    def __len__(self) -> int:
        """How many batches an epoch has."""

    def batches(self, epoch: int, /) -> Iterator[Any]:
        """Iterate over the batches of an epoch, which depend on its number alone."""

    def close(self) -> None:
        """End what makes batches."""


class Schedule(Protocol):
    """The learning rate over the updates, as timm's schedules have it."""

    def step_update(self, num_updates: int) -> None:
        """Set the learning rate after some updates."""


@dataclass(frozen=True)
class Parts:
    """What a fold is trained with.

    Attributes
    ----------
    network
        With the weights that it begins with.
    prepare
        Makes of a batch on the device what `lose` takes. The first is the network's input.
    lose
        The loss, given the network's answer and the rest of what `prepare` gives.
    optimiser
        Makes the optimiser of the network's parameters.
    schedule
        Makes the schedule of an optimiser, given the number of updates per epoch.
    freeze
        Is told each epoch, from 0 on, before it begins. It freezes parts of the network.
    """

    network: nn.Module
    prepare: Callable[[Any], tuple[Any, ...]]
    lose: Callable[..., Tensor]
    optimiser: Callable[[nn.Module], Optimizer]
    schedule: Callable[[Optimizer, int], Schedule]
    freeze: Callable[[nn.Module, int], None]


class FoldModule(LightningModule):
    """The training of one fold.

    Parameters
    ----------
    parts
        What it is trained with.
    loader
        Where its batches come from.
    seed
        All randomness in the network comes from it and the epoch.
    ema
        The decay of the averaged weights per update, or None.
    accumulate
        How many batches make an update.
    advance
        Called after each batch.

    Attributes
    ----------
    network
        The network.
    average
        The moving average of the network's whole state, or None.
    first_epoch
        The epoch that it begins with, above 0 if it was resumed.
    updates
        How many updates there were.
    losses
        The losses of the epoch so far, as far as they were looked at.
    crops_seen
        How many crops the epoch had so far.
    """

    def __init__(
        self,
        parts: Parts,
        loader: Loader,
        *,
        seed: int,
        ema: float | None,
        accumulate: int,
        advance: Callable[[], None],
    ) -> None:
        super().__init__()
        self.network = parts.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = None if ema is None else ModelEmaV3(self.network, decay=ema)
        self.first_epoch = self.updates = self.crops_seen = 0
        self.losses: list[float] = []
        self._parts, self._loader = parts, loader
        self._seed, self._accumulate, self._advance = seed, accumulate, advance
        self._unseen: list[Tensor] = []
        self._stored_optimiser: Any = None

    @property
    def epoch(self) -> int:
        """The number of the epoch, from 0 on."""
        return self.first_epoch + self.trainer.current_epoch

    @property
    def updates_per_epoch(self) -> int:
        """How often the weights change per epoch."""
        return math.ceil(len(self._loader) / self._accumulate)

    @property
    def learning_rate(self) -> float:
        """That of the last update."""
        return float(self._optimiser.param_groups[0]["lr"])

    def competitors(self) -> dict[str, nn.Module]:
        """The networks that compete for the best score: the raw one (`val`) and the average."""
        raw: dict[str, nn.Module] = {"val": self.network}
        return raw if self.average is None else raw | {"ema": self.average.module}

    def train_dataloader(self) -> "_Epochs":
        """The batches of one epoch after the other."""
        return _Epochs(self._loader, lambda: self.epoch)

    def configure_optimizers(self) -> Optimizer:
        """Make the optimiser and its schedule."""
        self._optimiser = self._parts.optimiser(self.network)
        self._schedule = self._parts.schedule(self._optimiser, self.updates_per_epoch)
        if self._stored_optimiser is not None:
            self._optimiser.load_state_dict(self._stored_optimiser)
        self._schedule.step_update(self.updates)
        return self._optimiser

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, _index: int) -> Batch:
        """Bring a batch onto the device."""
        return batch.to(device)

    def on_train_epoch_start(self) -> None:
        """Begin an epoch with the randomness that is its own."""
        torch.manual_seed(self._seed * 100_003 + self.epoch + _APART * self.global_rank)
        self.network.train()
        self.losses, self.crops_seen = [], 0
        self._parts.freeze(self.network, self.epoch)

    def training_step(self, batch: Batch, index: int) -> Tensor:
        """The loss of a batch."""
        pixels, *rest = self._parts.prepare(batch)
        loss = self._parts.lose(self._answer(pixels), *rest)
        self.crops_seen += len(pixels)
        self._unseen.append(loss.detach())
        if self.device.type == "cpu" or len(self._unseen) == _LOSSES_AT_ONCE:
            self._look_at_losses(index)
        return loss

    def _answer(self, pixels: Tensor) -> Any:
        """What the network answers with.

        Raises
        ------
        TrainingError
            It raises an error, other than that memory is out.
        """
        try:
            return self.network(pixels.contiguous(memory_format=torch.channels_last))
        except Exception as error:  # a network may raise anything
            if isinstance(error, KernelKitError) or is_out_of_memory(error):
                raise
            remedy = "Correct 'crop', 'model', or the network's code"
            if _ONE_VALUE in str(error):
                remedy = "A norm learns nothing from one value. Train with 'batch' of 2 or more"
            raise TrainingError(
                f"the network cannot answer to a batch of shape {tuple(pixels.shape)} "
                f"({as_sentence(error)}). {remedy}"
            ) from error

    def optimizer_step(self, *arguments: Any, **options: Any) -> None:
        """Change the weights, then their average and the learning rate."""
        super().optimizer_step(*arguments, **options)
        self.updates += 1
        self._schedule.step_update(self.updates)
        if self.average is not None:
            self.average.update(self.network)

    def on_train_batch_end(self, _outputs: Any, _batch: Any, index: int) -> None:
        """Count the batch."""
        self._advance()
        if index + 1 == len(self._loader) and self._unseen:
            self._look_at_losses(index)

    def _look_at_losses(self, index: int) -> None:
        """Stop at the first loss that is no number.

        Raises
        ------
        TrainingError
            There is one.
        """
        losses = torch.stack(self._unseen).tolist()
        first = index + 1 - len(losses)
        self._unseen = []
        for step, loss in enumerate(losses, first):
            if not math.isfinite(loss):
                raise TrainingError(
                    f"the loss became {loss} in epoch {self.epoch + 1}, step {step + 1}, at a "
                    f"learning rate of {self.learning_rate:.3g}. Lower optimiser.lr, train with "
                    "precision: fp32, or look for pixels that are no numbers. The best checkpoint "
                    "before it stays"
                )
        self.losses += losses

    def state(self) -> dict[str, Any]:
        """All that the training goes on from, beside its batches."""
        return {
            "epoch": self.epoch + 1,
            "updates": self.updates,
            "network": self.network.state_dict(),
            "average": None if self.average is None else self.average.module.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "precision": self.trainer.precision_plugin.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what `state` gave, before Lightning begins."""
        self.first_epoch, self.updates = state["epoch"], state["updates"]
        self.network.load_state_dict(state["network"])
        if self.average is not None:
            self.average.module.load_state_dict(state["average"])
        self._stored_optimiser = state["optimiser"]

    def optimiser_state(self) -> dict[str, Any]:
        """The optimiser's state, as checkpoints keep it."""
        return self._optimiser.state_dict()


class _Epochs:
    """The batches of the epoch that is trained. Lightning iterates over it once per epoch."""

    def __init__(self, loader: Loader, epoch: Callable[[], int]) -> None:
        self._loader, self._epoch = loader, epoch

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[Batch]:
        yield from self._loader.batches(self._epoch())
