"""`load_members`: folders of training runs become networks, one fresh module per checkpoint.

A models folder may hold runs in any of these forms, where `<run>` may have any name:

    <run>/cfg.yaml                        a section MODEL describes the network
    <run>/fold_<i>/models/e*.pth          its checkpoints, also in model/ or in the fold itself
    <run>/config.json, model.safetensors  as save_pretrained of the library writes, also per fold
    {Arch}_{encoder}[_scse]/<n>/e*.pth    no cfg.yaml: the folder's name describes the network

A fold's best checkpoint is the one with the best score in its name, such as
`e30_t50_cmax_ema_0.9312.pth`. If scores are equal, it is the newest. A checkpoint may also be a
program (see `programs`). Programs are loaded only on request.
"""

import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, get_args

import yaml
from torch import nn
from tqdm import tqdm

from kernelkit.checkpoints.networks import (
    build,
    describe,
    from_folder_name,
    load_state,
    weights_sha256,
)
from kernelkit.checkpoints.programs import SUFFIXES as PROGRAMS
from kernelkit.checkpoints.programs import is_program, load_program
from kernelkit.checkpoints.weights import PICKLES, is_unpacked, read_weights
from kernelkit.errors import CheckpointError, RecipeError
from kernelkit.files import file_sha256
from kernelkit.vocabulary import MemberKind, Prefer, choices

__all__ = ["Member", "load_members"]

_FOLD = re.compile(r"(?:fold_?)?(\d+)")
_SUFFIXES = (*PICKLES, ".safetensors", *PROGRAMS)
_DESCRIPTIONS = ("config.json", "cfg.yaml")


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
        be seen.
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
        The channels of input and output, as the network's description says.
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
        their names say), or only the others (`raw`).
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
    bar = tqdm(found, desc="members", unit="network", disable=len(found) < 2, file=sys.stdout)
    members = [_load_fold(fold, run, prefer, programs) for fold, run in bar]
    _refuse_duplicates(members)
    return members


def _matching_runs(folder: Path, patterns: Sequence[str]) -> list[Path]:
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
    return named or any((folder / name).exists() for name in _DESCRIPTIONS)


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
            found = [c for c in children if c.is_file() and c.suffix in _SUFFIXES]
            found += [c for c in children if is_unpacked(c)]
            if found:
                return found
    return []


def _score(checkpoint: Path) -> float | None:
    """The score in a checkpoint's name: its last number with a decimal point."""
    numbers = re.findall(r"\d*\.\d+", _stem(checkpoint))
    return float(numbers[-1]) if numbers else None


def _stem(checkpoint: Path) -> str:
    return checkpoint.stem if checkpoint.suffix in _SUFFIXES else checkpoint.name


def _rank(checkpoint: Path) -> tuple[float, int, bool, int, str]:
    """The key by which checkpoints are compared: the score, and if it is equal, the age."""
    score = _score(checkpoint)
    epoch = re.match(r"e(\d+)", checkpoint.name)
    return (
        -1.0 if score is None else score,
        int(epoch[1]) if epoch else -1,
        checkpoint.suffix == ".safetensors",
        checkpoint.stat().st_mtime_ns,
        checkpoint.name,
    )


def _best(fold: Path, prefer: Prefer) -> Path:
    """The checkpoint that stands for a fold."""
    checkpoints = _checkpoints(fold)
    if not checkpoints:
        raise CheckpointError(
            f"{fold}: there is no checkpoint in it ({', '.join(_SUFFIXES)}). Finish the training, "
            "or remove the folder"
        )
    averaged = [c for c in checkpoints if "_ema_" in c.name]
    plain = [c for c in checkpoints if c not in averaged]
    competing = {"best": checkpoints, "ema": averaged, "raw": plain}[prefer]
    if not competing:
        raise CheckpointError(
            f"{fold}: there is no {prefer} checkpoint, as the recipe wants "
            f"(there is {', '.join(c.name for c in checkpoints)}). Let it take the best"
        )
    return max(competing, key=_rank)


def _load_fold(fold: Path, run: Path, prefer: Prefer, programs: bool) -> Member:
    path = _best(fold, prefer)
    as_program = is_program(path)
    description, source = _description((path.parent, fold, run), run, required=not as_program)
    if as_program:
        module = load_program(path, trusted=programs)
        architecture, sha256 = f"a {path.suffix} program", file_sha256(path)
    else:
        module = build(description, source)
        architecture = describe(description)
        load_state(module, read_weights(path), architecture, str(path))
        sha256 = weights_sha256(module.state_dict())
    for parameter in module.parameters():  # a TorchScript module has no requires_grad_
        parameter.requires_grad_(False)
    classifier = description.get("arch") == "timm"
    return Member(
        module=module,
        kind="program" if as_program else "classifier" if classifier else "segmenter",
        run=run.name,
        fold="0" if fold == run else fold.name,
        path=path,
        weights_sha256=sha256,
        architecture=architecture,
        parameters=sum(parameter.numel() for parameter in module.parameters()),
        score=_score(path),
        channels=int(description.get("in_channels", description.get("in_chans", 3))),
        classes=int(description.get("classes", description.get("num_classes", 1))),
    )


def _description(
    folders: Sequence[Path], run: Path, required: bool
) -> tuple[Mapping[str, Any], str]:
    """The description of a network, and where it was found: the folders, or the run's name."""
    for path in (folder / name for folder in folders for name in _DESCRIPTIONS):
        if path.is_file():
            description = _read_description(path)
            if description is not None:
                return description, str(path)
    description = from_folder_name(run.name)
    if description is None and required:
        raise CheckpointError(
            f"{run}: nothing says which network this is. Write a cfg.yaml with a section MODEL "
            "(arch, encoder_name, ...), or name the folder like Unet_resnet34_scse"
        )
    return description or {}, str(run)


def _read_description(path: Path) -> Mapping[str, Any] | None:
    """What a configuration file says about the network, or None if it says nothing."""
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (ValueError, yaml.YAMLError) as error:
        raise CheckpointError(
            f"{path}: this is not valid {path.suffix[1:].upper()}. Correct it"
        ) from error
    if not isinstance(content, Mapping):
        return None
    if path.suffix == ".yaml":
        return content.get("MODEL")
    if "architecture" in content:  # as timm saves a classifier
        arguments = {k: content[k] for k in ("num_classes", "in_chans") if k in content}
        return {"arch": "timm", "model_name": content["architecture"], **arguments}
    return content if "_model_class" in content else None


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
