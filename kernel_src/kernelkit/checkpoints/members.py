"""`load_members`: folders of training runs become networks, one fresh module per checkpoint.

A models folder may hold runs in any of these forms, where `<run>` may have any name:

    <run>/cfg.yaml                        a section MODEL describes the network
    <run>/fold_<i>/models/e*.pth          its checkpoints, also in model/ or in the fold itself
    <run>/config.json, model.safetensors  as save_pretrained of the library writes, also per fold
    {Arch}_{encoder}[_scse]/<n>/e*.pth    no cfg.yaml: the folder's name describes the network

A fold's best checkpoint is the one with the best score in its name, such as
`e30_t50_cmax_ema_0.9312.pth` (see `snapshots`). A checkpoint may also be a program (see
`programs`). Programs are loaded only on request.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, get_args

from torch import nn

from kernelkit.checkpoints.descriptions import (
    DESCRIPTIONS,
    TrainedWith,
    read_description,
    read_trained_with,
)
from kernelkit.checkpoints.networks import (
    build,
    choose_state,
    describe,
    from_folder_name,
    load_state,
    weights_sha256,
)
from kernelkit.checkpoints.programs import SUFFIXES as PROGRAMS
from kernelkit.checkpoints.programs import Program, is_program, load_program
from kernelkit.checkpoints.snapshots import Choice, Snapshot, choose_snapshot
from kernelkit.checkpoints.weights import (
    PICKLES,
    checkpoint_stem,
    is_unpacked,
    read_weights,
    refuse_odd_tensors,
)
from kernelkit.console import progress
from kernelkit.errors import CheckpointError, RecipeError
from kernelkit.files import file_sha256
from kernelkit.vocabulary import MemberKind, Prefer, choices

__all__ = ["Member", "load_members"]

_FOLD = re.compile(r"(?:fold_?)?(\d+)")
_SUFFIXES = (*PICKLES, ".safetensors", *PROGRAMS)
# A part of a checkpoint that was unpacked, not a checkpoint.
_PART = "data.pkl"


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
        """`run/fold`."""
        return f"{self.run}/{self.fold}"


def load_members(
    folder: str | Path,
    runs: Sequence[str] = ("*",),
    *,
    prefer: Prefer = "best",
    programs: bool = False,
) -> list[Member]:
    """Load every fold of the runs in a models folder.

    The members are in the order of the runs' names, then of the folds' numbers.

    Parameters
    ----------
    folder
        The models folder. It may also be a run itself, which is then the only one.
    runs
        Glob patterns. The runs whose names match one of them are loaded.
    prefer
        Which checkpoints of a fold compete: all of them (`best`), only averaged weights (`ema`, as
        their names or their entries say), or only the others (`raw`).
    programs
        Load programs as well. TorchScript and torch.export archives can run code when they are
        loaded. Use this only if you trust their source.

    Raises
    ------
    CheckpointError
        A pattern matches no run, a fold has no checkpoint, a network cannot be built, weights do
        not fit it, or two members have the same weights.
    RecipeError
        `prefer` is none of the above.
    """
    if prefer not in get_args(Prefer):
        raise RecipeError(f'there are no checkpoints "{prefer}". Choose {choices(Prefer)}')
    found = [(fold, run) for run in _matching_runs(Path(folder), runs) for fold in _folds(run)]
    bar = progress(found, description="members", unit="network", disable=len(found) < 2)
    members = [_load_fold(fold, run, prefer, programs) for fold, run in bar]
    _refuse_duplicates(members)
    return members


def _matching_runs(folder: Path, patterns: Sequence[str]) -> list[Path]:
    if folder.exists() and not folder.is_dir():
        raise CheckpointError(f"{folder}: found a file, wanted the models folder. Check the path")
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: there is no such models folder. Check the path")
    runs = sorted(child for child in folder.iterdir() if _is_run(child))
    if _is_described(folder) or (not runs and _is_run(folder)):
        runs = [folder.absolute()]
    unmatched = [p for p in patterns if not any(fnmatchcase(run.name, p) for run in runs)]
    if unmatched:
        found = f"the runs are {', '.join(run.name for run in runs)}" if runs else "it has no runs"
        raise CheckpointError(
            f"{folder}: no run matches {', '.join(unmatched)} ({found}). "
            "Correct the recipe's 'runs', or choose another models folder"
        )
    return [run for run in runs if any(fnmatchcase(run.name, p) for p in patterns)]


def _is_run(folder: Path) -> bool:
    """Whether a folder looks like a training run, finished or not."""
    if not folder.is_dir():
        return False
    return _is_described(folder) or bool(_numbered(folder) or _checkpoints(folder))


def _is_described(folder: Path) -> bool:
    named = from_folder_name(folder.name) is not None
    return named or any((folder / name).exists() for name in DESCRIPTIONS)


def _numbered(run: Path) -> list[Path]:
    folds = [(m, child) for child in run.iterdir() if (m := _FOLD.fullmatch(child.name))]
    return [fold for _, fold in sorted((int(m[1]), fold) for m, fold in folds if fold.is_dir())]


def _folds(run: Path) -> list[Path]:
    """The folders of a run's folds. A run without folds is its own only fold."""
    return _numbered(run) or [run]


def _checkpoints(fold: Path) -> list[Path]:
    """The checkpoints of a fold, from the first of its possible folders that has any."""
    for folder in (fold / "models", fold / "model", fold):
        if folder.is_dir():
            children = sorted(folder.iterdir())
            found = [c for c in children if c.is_file() and _is_checkpoint(c)]
            found += [c for c in children if is_unpacked(c)]
            if found:
                return found
    return []


def _is_checkpoint(path: Path) -> bool:
    return path.name.endswith(_SUFFIXES) and path.name != _PART


def _best(fold: Path, prefer: Prefer) -> Choice:
    """The checkpoint that stands for a fold."""
    checkpoints = _checkpoints(fold)
    if not checkpoints:
        raise CheckpointError(
            f"{fold}: there is no checkpoint in it ({', '.join(_SUFFIXES)}). Finish the training, "
            "or remove the folder"
        )
    snapshots = [Snapshot.read(path, checkpoint_stem(path)) for path in checkpoints]
    return choose_snapshot(fold, snapshots, prefer)


def _load_fold(fold: Path, run: Path, prefer: Prefer, programs: bool) -> Member:
    choice = _best(fold, prefer)
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
        chosen = choose_state(read_weights(path), module.state_dict(), choice.snapshot, prefer)
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


def _refuse_duplicates(members: Sequence[Member]) -> None:
    """Refuse two members with the same weights, because one network would count twice."""
    seen: dict[str, Member] = {}
    for member in members:
        first = seen.setdefault(member.weights_sha256, member)
        if first is not member:
            raise CheckpointError(
                f"{member.path}: these are the weights of {first.path} again. An ensemble needs "
                "different members, so remove one of the two"
            )
