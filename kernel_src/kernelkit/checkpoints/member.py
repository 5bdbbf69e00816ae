"""One checkpoint becomes a member: its network, built as its folder says, with its weights."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from kernelkit.checkpoints.descriptions import (
    DESCRIPTIONS,
    TrainedWith,
    read_description,
    read_trained_with,
)
from kernelkit.checkpoints.networks import build, describe, from_folder_name
from kernelkit.checkpoints.program import Program
from kernelkit.checkpoints.programs import is_program, load_program
from kernelkit.checkpoints.snapshots import Choice, Snapshot
from kernelkit.checkpoints.states import choose_state, load_state, weights_sha256
from kernelkit.checkpoints.weights import checkpoint_stem, read_weights, refuse_odd_tensors
from kernelkit.errors import CheckpointError
from kernelkit.files import file_sha256
from kernelkit.vocabulary import MemberKind

__all__ = ["Member", "load_member"]


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
        program it is a hash of the file.
    architecture
        In words, such as `Unet, resnet18, scse`.
    parameters
        How many parameters the network has.
    score
        The score in the checkpoint's name, or None.
    channels, classes
        The channels of input and output, as the network's description says, or as a program
        answers.
    checkpoint
        The checkpoint's name without its suffix. It is empty if it stands for its fold alone.
    is_averaged
        Whether the weights are averaged over training steps, such as by EMA.
    trained_with
        What the run folder says of the input that it was trained with.
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
    checkpoint: str = ""
    is_averaged: bool = False
    trained_with: TrainedWith = field(default_factory=TrainedWith)
    notes: tuple[str, ...] = ()

    @property
    def is_program(self) -> bool:
        """Whether the layers of the module cannot be seen."""
        return isinstance(self.module, Program)

    @property
    def size(self) -> tuple[int, int] | None:
        """Height and width of the only tiles that it takes, or None if it takes others too."""
        return self.module.size if isinstance(self.module, Program) else None

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


def load_member(fold: Path, run: Path, choice: Choice, programs: bool) -> Member:
    """Load one checkpoint of a fold.

    Parameters
    ----------
    fold, run
        Its folders. They are the same if the run has no folds.
    choice
        The checkpoint, and which of its weights.
    programs
        Whether it may be a program that runs code when it is loaded.

    Raises
    ------
    CheckpointError
        The network cannot be built, or the weights do not fit it.
    """
    path = choice.snapshot.path
    folders = (path.parent, fold, run)
    description, source = _description(folders, run, required=not is_program(path))
    channels = description.get("in_channels", description.get("in_chans"))
    classes = description.get("classes", description.get("num_classes"))
    trained_with = read_trained_with(folders)
    notes = [choice.note] if choice.note else []
    is_averaged = choice.snapshot.kind != "raw"
    module: nn.Module
    if is_program(path):
        module = program = load_program(path, programs, channels, classes)
        channels, classes = program.channels, program.classes
        kind: MemberKind = "classifier" if program.is_classifier else "program"
        architecture, sha256 = f"a {path.suffix} program", file_sha256(path)
        notes += [program.note] if program.note else []
    else:
        module = build(description, source)
        architecture = describe(description)
        chosen = choose_state(
            read_weights(path), module.state_dict(), choice.snapshot, choice.prefer
        )
        refuse_odd_tensors(chosen.state, path)
        load_state(module, chosen.state, architecture, str(path))
        kind = "classifier" if description.get("arch") == "timm" else "segmenter"
        sha256 = weights_sha256(module.state_dict())
        trained_with = trained_with.with_buffers(chosen.beside)
        is_averaged = chosen.is_averaged
        notes += chosen.notes(path)
    for parameter in module.parameters():  # a TorchScript module has no requires_grad_
        parameter.requires_grad_(False)
    return Member(
        module=module,
        kind=kind,
        run=run.name,
        fold="0" if fold == run else fold.name,
        path=path,
        weights_sha256=sha256,
        architecture=architecture,
        parameters=sum(parameter.numel() for parameter in module.parameters()),
        score=choice.snapshot.score,
        channels=3 if channels is None else channels,
        classes=1 if classes is None else classes,
        is_averaged=is_averaged,
        trained_with=trained_with,
        notes=tuple(notes),
    )


def _description(
    folders: Sequence[Path], run: Path, required: bool
) -> tuple[Mapping[str, Any], str]:
    """The description of a network, and where it was found: the folders, or the run's name."""
    for path in (folder / name for folder in folders for name in DESCRIPTIONS):
        if path.exists():
            description = read_description(path)
            if description is not None:
                return description, str(path)
    description = from_folder_name(run.name)
    if description is None and required:
        raise CheckpointError(
            f"{run}: nothing says which network this is. Write a cfg.yaml with a section MODEL "
            "(arch, encoder_name, ...), or name the folder like Unet_resnet34_scse"
        )
    return description or {}, str(run)
