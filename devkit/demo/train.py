"""Really train the demo's networks, into the folders that a training code leaves behind.

It is the training of HuBMAP's second place in small:

- The loss is binary cross-entropy plus Dice.
- AdamW has no decay on biases and norms.
- The learning rate goes up a cosine over the first fifth of the steps, and down over the rest.
- The whole state has an exponential moving average (EMA).

Every other epoch the raw and the averaged weights are validated. They are saved if they beat the
fold's best Dice so far. So a folder may hold several checkpoints. The one with the best Dice in its
name counts. A run may keep its last weights too:

    <run>/cfg.yaml
    <run>/fold_<i>/models/e<epoch>_t<epochs>_cmax_<val|ema>_<dice>.pth
    <run>/fold_<i>/models/e<epochs>_t<epochs>_last.pth

A run with snapshots is that of TGS salt in small. The learning rate goes down a cosine and starts
again, some times. Before each restart the weights are saved:

    <run>/fold_<i>/models/e<epoch>_t<epochs>_snapshot_<dice>.pth
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from timm.optim import param_groups_weight_decay
from timm.utils import ModelEmaV3
from torch import Tensor, nn

from devkit.demo import tasks
from devkit.demo.crops import Crops, LabelledImage, Tensors, band_statistics
from devkit.demo.labels import read_training
from devkit.demo.processes import in_processes
from devkit.demo.runs import Run
from kernelkit.checkpoints import load_members
from kernelkit.checkpoints.networks import build
from kernelkit.errors import CheckpointError

__all__ = ["export_pretrained", "train", "train_fold", "write_config"]


def train(runs: Sequence[Run], competition: Path, models: Path) -> None:
    """Train every fold of every run on the competition's training images.

    Each fold has a process and a core of its own. Two threads that share the work of one small
    network would wait for each other at every layer. On a busy machine they would wait much longer
    than they work. One thread also makes the weights independent of the number of cores.

    Parameters
    ----------
    runs
        What is trained.
    competition
        The competition's folder.
    models
        The folder of the run folders.

    Raises
    ------
    CheckpointError
        If a fold never became better than its run's `worth_saving`.
    """
    for run in runs:
        write_config(run, competition, models)
    folds = [(run, index) for run in runs for index in range(len(run.validation))]
    in_processes(
        train_fold,
        [(run, index, competition, models) for run, index in folds],
        steps=sum(run.total_steps for run in runs),
    )


def write_config(run: Run, competition: Path, models: Path) -> None:
    """Begin a run's folder with its cfg.yaml, statistics of its training images included."""
    mean, std = _statistics(run, read_training(run, competition))
    config = {"COMPETITION": run.data, **run.config(mean, std)}
    run_folder = models / run.name
    run_folder.mkdir(parents=True)
    (run_folder / "cfg.yaml").write_text(
        yaml.safe_dump(config, sort_keys=False, default_flow_style=None)
    )


def train_fold(
    run: Run, index: int, competition: Path, models: Path, advance: Callable[[], None]
) -> str:
    """Train one fold into `models/<run>/fold_<index>/models/`, and return a line about it.

    Parameters
    ----------
    run, index
        The run, and which of its folds.
    competition, models
        As for `train`.
    advance
        Called after every step.
    """
    torch.set_num_threads(1)
    images = read_training(run, competition)
    mean, std = _statistics(run, images)
    tensors = {image.id: image.tensors(run.divide, mean, std) for image in images}
    validation = [tensors.pop(name) for name in run.validation[index] if name in tensors]
    folder = models / run.name / f"fold_{index}" / "models"
    fold = _Fold(run, folder, seed=100 * run.seed + index)
    best = fold.train(list(tensors.values()), validation, advance)
    return f"{run.name} fold_{index}: best score on its validation images {best:.3f}"


def export_pretrained(models: Path, pretrained: Path) -> None:
    """Save each fold's best network in the library's own form: config.json, model.safetensors."""
    for member in load_members(models):
        save: Any = member.module.save_pretrained  # torch's type of a module does not know it
        save(pretrained / f"{member.run}_{member.fold}")


class _Fold:
    """One network on its way through the epochs of one fold."""

    def __init__(self, run: Run, folder: Path, seed: int) -> None:
        torch.manual_seed(seed)
        self._run = run
        self._folder = folder
        self._crops_from = torch.Generator().manual_seed(seed)
        self._network = _channels_last(build(run.model, run.name))
        self._average = ModelEmaV3(self._network, decay=run.ema_decay, use_warmup=True)
        groups = param_groups_weight_decay(self._network, run.weight_decay)
        self._optimiser = torch.optim.AdamW(groups, lr=run.learning_rate)
        self._schedule = _schedule(self._optimiser, run)
        self._best = run.worth_saving
        folder.mkdir(parents=True)

    def train(
        self,
        training: Sequence[Tensors],
        validation: Sequence[Tensors],
        advance: Callable[[], None],
    ) -> float:
        """Train all epochs, save the checkpoints worth it, and return the best Dice."""
        crops = Crops(training, self._run.tile, self._crops_from)
        for epoch in range(1, self._run.epochs + 1):
            self._network.train()
            losses = []
            for _ in range(self._run.steps):
                losses.append(self._step(*crops.batch(self._run.batch)))
                advance()
            loss = sum(losses) / len(losses)
            if self._run.snapshots:
                if epoch % (self._run.epochs // self._run.snapshots) == 0:
                    self._take_snapshot(epoch, loss, validation)
            elif epoch % 2 == 0 or epoch == self._run.epochs:
                self._validate(epoch, loss, validation)
        if self._run.keeps_last:
            self._save(self._network, f"e{epoch}_t{epoch}_last", epoch, loss)
        if self._best == self._run.worth_saving:
            raise CheckpointError(
                f"{self._folder}: no epoch's Dice was above {self._run.worth_saving}. "
                "Train longer, or lower the run's worth_saving"
            )
        return self._best

    def _step(self, pixels: Tensor, masks: Tensor) -> float:
        with torch.autocast("cpu", torch.bfloat16, enabled=_bfloat16_pays()):
            logits = self._network(pixels.contiguous(memory_format=torch.channels_last)).float()
        loss = tasks.loss(self._run.task, logits, masks)
        self._optimiser.zero_grad()
        loss.backward()
        self._optimiser.step()
        self._schedule.step()
        self._average.update(self._network)
        return loss.item()

    def _validate(self, epoch: int, loss: float, validation: Sequence[Tensors]) -> None:
        """Let the raw and the averaged weights compete for one running maximum."""
        competitors: dict[str, nn.Module] = {"val": self._network, "ema": self._average.module}
        for kind, network in competitors.items():
            score = tasks.score(self._run.task, network, validation)
            if score > self._best:
                self._best = score
                name = f"e{epoch}_t{self._run.epochs}_cmax_{kind}_{score:.4f}"
                self._save(network, name, epoch, loss)

    def _take_snapshot(self, epoch: int, loss: float, validation: Sequence[Tensors]) -> None:
        score = tasks.score(self._run.task, self._network, validation)
        self._best = max(self._best, score)
        name = f"e{epoch}_t{self._run.epochs}_snapshot_{score:.4f}"
        self._save(self._network, name, epoch, loss)

    def _save(self, network: nn.Module, name: str, epoch: int, loss: float) -> None:
        state = {
            "epoch": epoch,
            "loss": loss,
            "model_state": network.state_dict(),
            "opt_state": self._optimiser.state_dict(),
            "model_name": self._run.name,
        }
        torch.save(state, self._folder / f"{name}.pth")


def _statistics(run: Run, images: Sequence[LabelledImage]) -> tuple[list[float], list[float]]:
    """The mean and the standard deviation of each band that a run says, or that its images have."""
    if run.mean is not None and run.std is not None:
        return list(run.mean), list(run.std)
    return band_statistics(images, run.divide)


def _schedule(optimiser: torch.optim.Optimizer, run: Run) -> torch.optim.lr_scheduler.LRScheduler:
    """Once up a cosine and down, or down a cosine and up again at each restart."""
    steps = run.epochs * run.steps
    if run.snapshots:
        period = steps // run.snapshots
        return torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimiser, period)
    return torch.optim.lr_scheduler.OneCycleLR(optimiser, run.learning_rate, steps, pct_start=0.2)


def _channels_last(network: nn.Module) -> nn.Module:
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def _bfloat16_pays() -> bool:
    """Whether this processor multiplies in bfloat16 no slower than in float32."""
    return torch.backends.cpu.get_cpu_capability() == "AVX512"
