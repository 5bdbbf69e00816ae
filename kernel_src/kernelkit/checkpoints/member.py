"""One checkpoint becomes a member: its network, built as its folder says, with its weights."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from kernelkit.checkpoints.descriptions import DESCRIPTIONS, read_description
from kernelkit.checkpoints.networks import build, describe, from_folder_name
from kernelkit.checkpoints.own_network import ask, with_code
from kernelkit.checkpoints.program import Program
from kernelkit.checkpoints.programs import is_program, load_program
from kernelkit.checkpoints.snapshots import Choice, Snapshot
from kernelkit.checkpoints.states import choose_state, load_state, weights_sha256
from kernelkit.checkpoints.trained_with import TrainedWith, read_trained_with
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
    size: tuple[int, int] | None = None
    checkpoint: str = ""
    is_averaged: bool = False
    trained_with: TrainedWith = field(default_factory=TrainedWith)
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
    if is_program(path):
        description, _ = _description(folders, run, required=False)
        loaded = _load_program(path, programs, _Declared.of(description))
    else:
        description, source = _description(folders, run, required=True)
        loaded = _load_network(choice, description, source)
    for parameter in loaded.module.parameters():  # a TorchScript module has no requires_grad_
        parameter.requires_grad_(False)
    return Member(
        module=loaded.module,
        kind=loaded.kind,
        run=run.name,
        fold="0" if fold == run else fold.name,
        path=path,
        weights_sha256=loaded.sha256,
        architecture=loaded.architecture,
        parameters=sum(parameter.numel() for parameter in loaded.module.parameters()),
        score=choice.snapshot.score,
        channels=3 if loaded.io.channels is None else loaded.io.channels,
        classes=1 if loaded.io.classes is None else loaded.io.classes,
        size=loaded.size,
        is_averaged=loaded.is_averaged or choice.snapshot.kind != "raw",
        trained_with=read_trained_with(folders).with_buffers(loaded.beside),
        notes=(*filter(None, (choice.note,)), *loaded.notes),
    )


@dataclass(frozen=True)
class _Declared:
    """The channels of input and output, if somebody says so."""

    channels: int | None
    classes: int | None

    @classmethod
    def of(cls, description: Mapping[str, Any]) -> "_Declared":
        return cls(
            description.get("in_channels", description.get("in_chans")),
            description.get("classes", description.get("num_classes")),
        )


@dataclass(frozen=True)
class _Loaded:
    """A network with its weights. The fields are as those of a member."""

    module: nn.Module
    kind: MemberKind
    sha256: str
    architecture: str
    io: _Declared
    size: tuple[int, int] | None = None
    is_averaged: bool = False
    beside: Mapping[str, Tensor] = field(default_factory=dict)
    notes: Sequence[str] = ()


def _load_program(path: Path, is_trusted: bool, declared: _Declared) -> _Loaded:
    program = load_program(path, is_trusted, declared.channels, declared.classes)
    return _Loaded(
        module=program,
        kind="classifier" if program.is_classifier else "program",
        sha256=file_sha256(path),
        architecture=f"a {path.suffix} program",
        io=_Declared(program.channels, program.classes),
        size=program.size,
        notes=[program.note] if program.note else [],
    )


def _load_network(choice: Choice, description: Mapping[str, Any], source: str) -> _Loaded:
    path = choice.snapshot.path
    module = build(description, source)
    wanted = module.state_dict()
    chosen = choose_state(read_weights(path), wanted, choice.snapshot, choice.prefer)
    refuse_odd_tensors(chosen.state, path)
    load_state(module, chosen.state, describe(description), str(path))
    loaded = _Loaded(
        module=module,
        kind="classifier" if description.get("arch") == "timm" else "segmenter",
        sha256=weights_sha256(module.state_dict()),
        architecture=describe(description),
        io=_Declared.of(description),
        is_averaged=chosen.is_averaged,
        beside=chosen.beside,
        notes=chosen.notes(path),
    )
    return _asked(loaded, description["network"], path) if "network" in description else loaded


def _asked(loaded: _Loaded, name: str, path: Path) -> _Loaded:
    """A network of the user's own class, with what it was found to answer with."""
    found = ask(loaded.module, path, loaded.io.channels, loaded.io.classes)
    return replace(
        loaded,
        kind="classifier" if found.is_classifier else "segmenter",
        sha256=with_code(loaded.sha256, name),
        io=_Declared(found.channels, found.classes),
        size=found.size,
        notes=[*filter(None, (found.note,)), *loaded.notes],
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
