"""Train one fold, from its first epoch or from the one at which it was killed."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import cv2
import torch
from pytorch_lightning import Trainer
from torch import nn

from kernelkit.ensemble.device import is_out_of_memory
from kernelkit.errors import TrainingError
from kernelkit.training.loop.files import FoldFiles
from kernelkit.training.loop.machine import Share, arithmetic, trainer_options
from kernelkit.training.loop.module import FoldModule, Loader, Parts
from kernelkit.training.loop.quiet import quiet
from kernelkit.training.loop.rounds import Plan, Progress, Rounds, Scribe
from kernelkit.training.loop.validation import Judgement, Look, Picture, judge
from kernelkit.vocabulary import Precision

__all__ = ["Fold", "fit"]


@dataclass(frozen=True)
class Fold:
    """What is trained.

    Attributes
    ----------
    run
        The name of the run.
    parts
        The network, and what it is trained with.
    loader
        What it learns from.
    pictures
        What it is judged by.
    look
        How it looks at them.
    plan
        When weights are judged and kept.
    files
        Where they are kept.
    seed, ema, accumulate, precision
        As of a `FoldModule`, and the arithmetic.
    clip
        The largest norm of all gradients together. None clips none.
    is_frozen
        Whether parts of the network learn nothing at times.
    """

    run: str
    parts: Parts
    loader: Loader
    pictures: Mapping[str, Picture]
    look: Look
    plan: Plan
    files: FoldFiles
    seed: int = 0
    ema: float | None = None
    accumulate: int = 1
    precision: Precision = "auto"
    clip: float | None = None
    is_frozen: bool = False


def fit(
    fold: Fold,
    devices: Sequence[torch.device],
    advance: Callable[[int], None],
    scribe: Callable[[Progress], Scribe],
    *,
    share: Share | None = None,
) -> Progress:
    """Train a fold to its end, and return how far it came.

    On a processor it has one thread. Two threads that share the work of one small network would
    wait for each other at every layer. One thread also makes the weights independent of the number
    of cores.

    Parameters
    ----------
    fold
        What is trained.
    devices
        The device, or those of all processes that share the fold.
    advance
        Called after each batch, and once with the batches that are not needed.
    scribe
        Makes who writes numbers down, given how far it came already.
    share
        Which of several processes this is.

    Raises
    ------
    OutputError
        A checkpoint cannot be written.
    TrainingError
        The loss is no number. The fold has nothing to learn from, or nothing to be judged by. The
        network cannot answer, or memory is out. The file to resume from cannot be read.
    """
    share = share or Share()
    device = devices[share.rank] if share.world > 1 else devices[0]
    _refuse_empty(fold)
    share.announce()
    module = FoldModule(
        fold.parts,
        fold.loader,
        seed=fold.seed,
        ema=fold.ema,
        accumulate=fold.accumulate,
        advance=lambda: advance(1) if share.rank == 0 else None,
    )
    stored = _stored(fold.files, device)
    progress = Progress(**stored["progress"]) if stored else Progress()
    if stored:
        module.restore(stored["training"])
    steps = len(fold.loader)
    if share.rank == 0:
        fold.files.keep_only(progress.files)
        advance(progress.epoch * steps)
    if progress.epoch == fold.plan.epochs or progress.stopped:
        return progress
    writing = scribe(progress) if share.rank == 0 else None

    def judged(
        networks: Mapping[str, nn.Module],
        epoch: int,
        computing: Callable[[], AbstractContextManager[Any]],
    ) -> dict[str, Judgement]:
        names = list(fold.pictures)[share.rank :: share.world]
        return judge(
            networks,
            {name: fold.pictures[name] for name in names},
            fold.look,
            device=device,
            computing=computing,
            show=(lambda name, seen: writing.show(epoch, name, seen)) if writing else None,
        )

    rounds = Rounds(fold.plan, fold.files, judged, writing, fold.run, progress)
    word, _ = arithmetic(fold.precision, device)
    with quiet(), _settled(device):
        trainer = Trainer(
            **trainer_options(devices if share.world > 1 else [device], share, fold.is_frozen),
            precision=word,  # type: ignore[arg-type]
            max_epochs=fold.plan.epochs - progress.epoch,
            accumulate_grad_batches=fold.accumulate,
            gradient_clip_val=fold.clip,
            callbacks=[rounds],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
            deterministic="warn",
            default_root_dir=fold.files.folder,
        )
        if stored:
            trainer.precision_plugin.load_state_dict(stored["training"]["precision"])
        try:
            trainer.fit(module)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            raise TrainingError(
                f"{fold.run}/{fold.files.folder.name}: {device} has too little memory for this "
                "training. Make 'batch' smaller and 'accumulate' larger by the same factor, or "
                "make crops smaller"
            ) from error
        finally:
            fold.loader.close()
            if writing:
                writing.close()
    if share.rank == 0:
        advance((fold.plan.epochs - rounds.progress.epoch) * steps)
    return rounds.progress


def _refuse_empty(fold: Fold) -> None:
    name = f"{fold.run}/{fold.files.folder.name}"
    if len(fold.loader) < 1:
        raise TrainingError(
            f"{name}: there is no window to train on. Look for rules of 'blank' that drop all, or "
            "give 'sources' that have windows"
        )
    if not fold.pictures:
        raise TrainingError(
            f"{name}: no image validates it. Give each fold at least one image in 'folds'"
        )


@contextmanager
def _settled(device: torch.device) -> Iterator[None]:
    """Let torch give the same for the same, and use no more than its own core."""
    if device.type == "cpu":
        torch.set_num_threads(1)
        cv2.setNumThreads(0)
    else:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    # it would fill all new memory, for programs that read what they never wrote
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        torch.utils.deterministic.fill_uninitialized_memory = True  # type: ignore[attr-defined]


def _stored(files: FoldFiles, device: torch.device) -> dict[str, Any] | None:
    """What the file to resume from holds, or None if there is none."""
    if not files.resume.exists():
        return None
    try:
        stored: dict[str, Any] = torch.load(files.resume, map_location=device, weights_only=True)
        stored["training"], stored["progress"]
    except Exception as error:  # torch raises many kinds for a damaged file
        raise TrainingError(
            f"{files.resume}: the training cannot go on from it, because it is damaged. Remove the "
            f"fold's folder {files.folder}, and it begins anew"
        ) from error
    return stored
