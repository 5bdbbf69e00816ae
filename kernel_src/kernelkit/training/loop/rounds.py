"""`Rounds`: what happens after each epoch. Weights compete, and the best ones are written down."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
import torch.distributed
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import nn

from kernelkit.training.loop.files import FoldFiles
from kernelkit.training.loop.module import FoldModule
from kernelkit.training.loop.validation import Judgement, Seen

__all__ = ["Plan", "Progress", "Rounds", "Scribe"]


@dataclass(frozen=True)
class Plan:
    """When weights are judged and kept.

    Attributes
    ----------
    epochs
        How many epochs there are.
    every
        Each so many epochs the weights are judged, and after the last. None never does.
    metric
        The score that they compete with.
    floor
        Only a higher score is worth a checkpoint.
    keep
        Which checkpoints are written: "best", "last" or both.
    snapshots
        The epochs after which a snapshot is taken, from 1 on.
    patience
        It stops after so many judgements without a better score. None never does.
    """

    epochs: int
    every: int | None = 1
    metric: str = "dice"
    floor: float = 0.0
    keep: tuple[str, ...] = ("best", "last")
    snapshots: frozenset[int] = frozenset()
    patience: int | None = None

    def judges(self, epoch: int) -> bool:
        """Whether weights are judged after an epoch, counted from 1."""
        if self.every is None:
            return False
        return epoch % self.every == 0 or epoch == self.epochs or epoch in self.snapshots


@dataclass
class Progress:
    """How far a fold came.

    Attributes
    ----------
    epoch
        The last whole epoch, from 1 on.
    best
        The highest score so far, or None if none was above the floor.
    best_epoch, kind
        When it was reached, and by which weights: `val` or `ema`.
    highest
        The highest score so far, worth a checkpoint or not.
    last
        The score of the raw weights when they were judged last.
    waited
        How many judgements there were since the best.
    stopped
        Whether it stopped early.
    files
        The names of the checkpoints.
    """

    epoch: int = 0
    best: float | None = None
    best_epoch: int = 0
    kind: str = ""
    highest: float = 0.0
    last: float = 0.0
    waited: int = 0
    stopped: bool = False
    files: list[str] = field(default_factory=list)

    @property
    def checkpoint(self) -> str:
        """The name of the best checkpoint, or of the last. It is empty if there is none."""
        best = [name for name in self.files if "_cmax_" in name]
        return (best or self.files or [""])[-1]


class Scribe(Protocol):
    """Who writes down numbers and pictures of the training."""

    def show(self, epoch: int, name: str, seen: Seen, /) -> None:
        """Draw what was found in a validation image."""

    def write(self, epoch: int, numbers: Mapping[str, float], /) -> None:
        """Write down the numbers of an epoch, from 1 on."""

    def close(self) -> None:
        """End it."""


class Rounds(Callback):
    """What happens after each epoch.

    Parameters
    ----------
    plan
        When weights are judged and kept.
    files
        Where they are kept.
    judge
        Judges networks by the validation images, in the precision of a context. It is given the
        epoch too.
    scribe
        Writes numbers down. None in all processes but the first.
    run
        The name of the run.
    progress
        How far it came already.
    """

    def __init__(
        self,
        plan: Plan,
        files: FoldFiles,
        judge: Callable[
            [Mapping[str, nn.Module], int, Callable[[], AbstractContextManager[Any]]],
            dict[str, Judgement],
        ],
        scribe: Scribe | None,
        run: str,
        progress: Progress,
    ) -> None:
        self.progress = progress
        self._plan, self._files, self._judge = plan, files, judge
        self._scribe, self._run = scribe, run
        self._began = 0.0

    def on_train_epoch_start(self, *_: Any) -> None:
        """Look at the clock."""
        self._began = time.monotonic()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Judge the weights, keep them, write numbers down, and make it possible to resume."""
        module, plan = pl_module, self._plan
        assert isinstance(module, FoldModule)
        epoch = self.progress.epoch = module.epoch + 1
        seconds = time.monotonic() - self._began
        numbers = {
            "loss": sum(module.losses) / len(module.losses),
            "lr": module.learning_rate,
            "crops_per_second": module.crops_seen / max(seconds, 1e-9),
        }
        if plan.judges(epoch):
            began = time.monotonic()
            scores = self._scores(trainer, module, epoch)
            numbers |= scores
            numbers["validation_seconds"] = time.monotonic() - began
            self._compete(module, scores, epoch, numbers["loss"])
        if epoch in plan.snapshots:
            score = f"_{numbers['val']:.4f}" if "val" in numbers else ""
            name = f"e{epoch}_t{plan.epochs}_snapshot{score}"
            self._write(module, "val", name, numbers["loss"])
        self.progress.stopped = (
            plan.patience is not None and self.progress.waited >= plan.patience
        ) and epoch < plan.epochs
        is_over = self.progress.stopped or epoch == plan.epochs
        if is_over and "last" in plan.keep:
            self._write(module, "network", f"e{epoch}_t{plan.epochs}_last", numbers["loss"])
        if self._scribe:
            self._scribe.write(epoch, numbers)
            self._files.save(
                self._files.resume, {"training": module.state(), "progress": vars(self.progress)}
            )
            self._files.keep_only(self.progress.files)
        trainer.should_stop = self.progress.stopped

    def _scores(self, trainer: Trainer, module: FoldModule, epoch: int) -> dict[str, float]:
        """The score of the raw and of the averaged weights."""
        if trainer.world_size > 1:
            for buffer in module.buffers():  # each process has norms of its own batches
                torch.distributed.broadcast(buffer, 0)
        judged = self._judge(module.competitors(), epoch, trainer.precision_plugin.forward_context)
        if trainer.world_size > 1:
            everyone: list[Any] = [None] * trainer.world_size
            torch.distributed.all_gather_object(everyone, judged)
            judged = {kind: _sum([one[kind] for one in everyone]) for kind in judged}
        return {kind: each.score(self._plan.metric) for kind, each in judged.items()}

    def _compete(
        self, module: FoldModule, scores: Mapping[str, float], epoch: int, loss: float
    ) -> None:
        """Let the raw and the averaged weights compete for one running maximum."""
        progress, plan = self.progress, self._plan
        kind, score = max(scores.items(), key=lambda item: item[1])  # of equals the raw one
        progress.last = scores["val"]
        progress.highest = max(progress.highest, score)
        progress.waited += 1
        if score > (plan.floor if progress.best is None else progress.best):
            progress.best, progress.best_epoch, progress.kind = score, epoch, kind
            progress.waited = 0
            if "best" in plan.keep:
                # those before vanish once the file to resume from does not name them any more
                progress.files = [each for each in progress.files if "_cmax_" not in each]
                name = f"e{epoch}_t{plan.epochs}_cmax_{kind}_{score:.4f}"
                self._write(module, kind, name, loss)

    def _write(self, module: FoldModule, kind: str, name: str, loss: float) -> None:
        """Write a checkpoint. Only the first of several processes does."""
        network = module.competitors().get(kind, module.network)
        path = self._files.models / f"{name}.pth"
        if self._scribe:
            self._files.save(
                path,
                {
                    "epoch": self.progress.epoch,
                    "loss": loss,
                    "model_state": {k: v.contiguous() for k, v in network.state_dict().items()},
                    "opt_state": module.optimiser_state(),
                    "model_name": self._run,
                },
            )
        self.progress.files.append(path.name)


def _sum(judged: Sequence[Judgement]) -> Judgement:
    total = Judgement()
    for one in judged:
        total = total + one
    return total
