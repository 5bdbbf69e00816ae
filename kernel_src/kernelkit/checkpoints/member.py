"""`Member`: one network of an ensemble, with its weights, and what is known of it."""

from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

from kernelkit.checkpoints.checkpoint_files import checkpoint_stem
from kernelkit.checkpoints.program import Program
from kernelkit.checkpoints.snapshots import Snapshot
from kernelkit.checkpoints.trained_with import TrainedWith
from kernelkit.vocabulary import MemberKind

__all__ = ["Member"]


@dataclass(frozen=True)
class Member:
    """One network of an ensemble.

    Attributes
    ----------
    module
        In eval mode, in float32, on the CPU, without gradients. No other member shares it. It
        takes (N, channels, h, w) and answers in logits.
    kind
        A `segmenter`, a `classifier`, or a `program`. A program is a segmenter whose layers cannot
        be seen. A program that answers with labels is a classifier.
    run, fold
        The names of its folders. A run without folds has the fold "0".
    path
        The checkpoint.
    weights_sha256
        A hash of the weights themselves, which does not depend on the file's format. For a
        program it is a hash of the file. For code of the user's own, it is also of its package.
    architecture
        In words, such as `Unet, resnet18, scse`.
    parameters
        How many parameters the network has.
    score
        The score in the checkpoint's name, or None.
    channels, classes
        The channels of input and output, as the network's description says. Programs and code of
        the user's own are asked.
    size
        Height and width of the only tiles that it takes, or None if it takes others too.
    origin_sha256
        The hash of the weights that an engine was made of. Of any other member it is that of the
        weights. It is the same on machines where the engine loads, and where its weights answer.
    checkpoint
        The checkpoint's name without its suffix. It is empty if it stands for its fold alone.
    is_averaged
        Whether the weights are averaged over training steps, such as by EMA.
    trained_with
        What the run folder says of the input that it was trained with.
    runs_by
        What runs it, in words, such as `onnxruntime 1.31.1, CUDAExecutionProvider`.
    notes
        What was chosen or left out on the way, one sentence each.
    """

    module: nn.Module
    kind: MemberKind
    run: str
    fold: str
    path: Path
    weights_sha256: str
    architecture: str
    parameters: int
    score: float | None
    channels: int
    classes: int
    size: tuple[int, int] | None = None
    origin_sha256: str = ""
    checkpoint: str = ""
    is_averaged: bool = False
    trained_with: TrainedWith = field(default_factory=TrainedWith)
    runs_by: str = f"torch {torch.__version__}"
    notes: tuple[str, ...] = ()

    @property
    def is_program(self) -> bool:
        """Whether the layers of the module cannot be seen."""
        return isinstance(self.module, Program)

    @property
    def name(self) -> str:
        """`run/fold`, or `run/fold/checkpoint` if there are several of its fold."""
        return "/".join(filter(None, (self.run, self.fold, self.checkpoint)))

    @property
    def stem(self) -> str:
        """The checkpoint's name without its suffix. It says so if the weights are averaged."""
        stem = checkpoint_stem(self.path)
        is_said = Snapshot.read(self.path, stem).kind != "raw"
        return f"{stem}_ema" if self.is_averaged and not is_said else stem
