"""One checkpoint becomes a member: its network, built as its folder says, with its weights.

That has three steps, so that several members can load side by side. Networks are built and asked in
the caller's thread only: libraries, and code of a user's own, may share something. Files are read
and hashed in any thread.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kernelkit.checkpoints.descriptions import DESCRIPTIONS, read_description
from kernelkit.checkpoints.engine_record import EngineRecord
from kernelkit.checkpoints.networks import build_empty, describe, from_folder_name
from kernelkit.checkpoints.onnx_file import refuse_large
from kernelkit.checkpoints.onnx_session import OnnxSession
from kernelkit.checkpoints.own_network import ask, with_code
from kernelkit.checkpoints.program import Program
from kernelkit.checkpoints.programs import is_program, load_program
from kernelkit.checkpoints.runtime import Runtime
from kernelkit.checkpoints.snapshots import Choice, Snapshot
from kernelkit.checkpoints.states import ChosenState, choose_state, load_state, weights_sha256
from kernelkit.checkpoints.stored_states import refuse_odd_tensors
from kernelkit.checkpoints.trained_with import TrainedWith, read_trained_with
from kernelkit.checkpoints.weights import checkpoint_stem, read_weights
from kernelkit.errors import CheckpointError
from kernelkit.files import file_sha256
from kernelkit.vocabulary import MemberKind

__all__ = ["Member", "MemberLoader"]


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


class MemberLoader:
    """Loads one checkpoint of a fold, in three steps. Making it is the first: a network is built.

    Parameters
    ----------
    fold, run
        Its folders. They are the same if the run has no folds.
    choice
        The checkpoint, and which of its weights.
    programs
        Whether it may be a program that runs code when it is loaded.
    runtime
        Where it runs if it is a program.

    Raises
    ------
    CheckpointError
        The network cannot be built.
    """

    def __init__(
        self, fold: Path, run: Path, choice: Choice, programs: bool, runtime: Runtime
    ) -> None:
        self._fold, self._run, self._choice = fold, run, choice
        self._path = choice.snapshot.path
        self._folders = (self._path.parent, fold, run)
        self._steps: _Program | _Network
        if is_program(self._path):
            description, _ = _description(self._folders, run, required=False)
            self._steps = _Program(choice, programs, self._folders, description, runtime)
        else:
            self._steps = _Network(choice, *_description(self._folders, run, required=True))

    @property
    def size(self) -> int:
        """Bytes of its file, or of the files that it was unpacked into."""
        files = self._path.rglob("*") if self._path.is_dir() else (self._path,)
        return sum(path.stat().st_size for path in files)

    def read(self) -> None:
        """Read and hash its file. Any thread may do that.

        Raises
        ------
        CheckpointError
            The file cannot be read, or its weights do not fit the network.
        """
        self._steps.read()

    def finish(self) -> Member:
        """Ask what cannot be known otherwise, and return the member.

        Raises
        ------
        CheckpointError
            A program cannot be loaded, or the network answers with what an ensemble cannot use.
        """
        loaded, choice = self._steps.finish(), self._choice
        for parameter in loaded.module.parameters():  # a TorchScript module has no requires_grad_
            parameter.requires_grad_(False)
        return Member(
            module=loaded.module,
            kind=loaded.kind,
            run=self._run.name,
            fold="0" if self._fold == self._run else self._fold.name,
            path=self._path,
            weights_sha256=loaded.sha256,
            architecture=loaded.architecture,
            parameters=sum(parameter.numel() for parameter in loaded.module.parameters()),
            score=choice.snapshot.score,
            channels=3 if loaded.io.channels is None else loaded.io.channels,
            classes=1 if loaded.io.classes is None else loaded.io.classes,
            size=loaded.size,
            origin_sha256=loaded.origin_sha256 or loaded.sha256,
            is_averaged=loaded.is_averaged or choice.snapshot.kind != "raw",
            trained_with=read_trained_with(self._folders).with_buffers(loaded.beside),
            runs_by=loaded.runs_by,
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
    origin_sha256: str = ""
    is_averaged: bool = False
    runs_by: str = f"torch {torch.__version__}"
    beside: Mapping[str, Tensor] = field(default_factory=dict)
    notes: Sequence[str] = ()


class _Program:
    """The steps of a program. It is loaded in the last one, since it may run code."""

    def __init__(
        self,
        choice: Choice,
        is_trusted: bool,
        folders: Sequence[Path],
        description: Mapping[str, Any],
        runtime: Runtime,
    ) -> None:
        self._choice, self._path, self._folders = choice, choice.snapshot.path, folders
        self._is_trusted = is_trusted
        self._description, self._runtime = description, runtime
        self._sha256 = ""

    def read(self) -> None:
        if not self._path.is_file():  # loading says what is wrong with it
            return
        if self._path.suffix == ".onnx":
            refuse_large(self._path)
        self._sha256 = file_sha256(self._path)

    def finish(self) -> _Loaded:
        can_run = self._is_trusted or self._path.suffix == ".onnx"
        record = EngineRecord.beside(self._path) if can_run else None
        try:
            if record is None or not self._sha256:  # loading says that there is no file
                return self._loaded()
            record.refuse_changed(self._path, self._sha256)
            return replace(self._loaded(), origin_sha256=record.weights_sha256)
        except CheckpointError as error:
            if record is None:
                raise
            loaded = self._weights_instead(record)
            reason = str(error).removeprefix(f"{self._path}: ")
            note = (
                f"{self._path}: this engine does not load here, so the weights answer that it was "
                f"made of. The reason: {reason}"
            )
            return replace(loaded, notes=[note, *loaded.notes])

    def _weights_instead(self, record: EngineRecord) -> _Loaded:
        """The network that the engine was made of, or all of an ensemble as one."""
        weights = record.place_beside(self._path)
        if record.is_ensemble:
            loaded = self._ensemble_instead(weights, record)
        else:
            loaded = self._member_instead(weights)
        if loaded.sha256 != record.weights_sha256:
            raise CheckpointError(
                f"{weights}: these are not the weights that {self._path.name} was made of. Make "
                "the engine again"
            )
        return loaded

    def _member_instead(self, weights: Path) -> _Loaded:
        snapshot = Snapshot.read(weights, checkpoint_stem(weights))
        _, source = _description(self._folders, self._folders[-1], required=True)
        network = _Network(Choice(snapshot, "best"), self._description, source)
        network.read()
        return network.finish()

    def _ensemble_instead(self, folder: Path, record: EngineRecord) -> _Loaded:
        if self._runtime.merged is None or not folder.is_dir():
            raise CheckpointError(
                f"{folder}: the weights of the ensemble are not there. Make the engine again"
            )
        module, channels, classes, sha256 = self._runtime.merged(folder)
        return _Loaded(
            module=module,
            kind="segmenter",
            sha256=sha256,
            architecture=f"an ensemble of {record.made_of}",
            io=_Declared(channels, classes),
        )

    def _loaded(self) -> _Loaded:
        declared = _Declared.of(self._description)
        program = load_program(
            self._path, self._is_trusted, declared.channels, declared.classes, self._runtime
        )
        notes = [program.note] if program.note else []
        if self._path.suffix == ".onnx":
            notes.append(f"{self._path}: it is run by {program.runs_by}")
        if isinstance(program.module, OnnxSession):
            notes += program.module.notes
        return _Loaded(
            module=program,
            kind="classifier" if program.is_classifier else "program",
            sha256=self._sha256,
            architecture=f"a {self._path.suffix} program",
            io=_Declared(program.channels, program.classes),
            size=program.size,
            runs_by=program.runs_by,
            notes=notes,
        )


class _Network:
    """The steps of a network that its folder describes."""

    def __init__(self, choice: Choice, description: Mapping[str, Any], source: str) -> None:
        self._choice, self._description = choice, description
        self._module = build_empty(description, source)
        self._chosen: ChosenState | None = None
        self._sha256 = ""

    def read(self) -> None:
        path, module = self._choice.snapshot.path, self._module
        stored, wanted = read_weights(path), module.state_dict()
        chosen = choose_state(stored, wanted, self._choice.snapshot, self._choice.prefer)
        refuse_odd_tensors(chosen.state, path)
        load_state(module, chosen.state, describe(self._description), str(path))
        self._sha256 = weights_sha256(module.state_dict())
        # what is left of the file may be as large as the network
        self._chosen = replace(chosen, state={})

    def finish(self) -> _Loaded:
        path, description, chosen = self._choice.snapshot.path, self._description, self._chosen
        assert chosen is not None
        loaded = _Loaded(
            module=self._module,
            kind="classifier" if description.get("arch") == "timm" else "segmenter",
            sha256=self._sha256,
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
