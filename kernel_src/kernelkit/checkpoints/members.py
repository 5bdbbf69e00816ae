"""`load_members`: folders of training runs become networks, one fresh module a checkpoint.

What is understood below the models folder, where `<run>` and the folds may have any of the forms:

    <run>/cfg.yaml                        a MODEL section describes the network
    <run>/fold_<i>/models/e*.pth          also model/, or the checkpoints in the fold itself
    <run>/config.json, model.safetensors  what save_pretrained of the library writes, or a fold each
    {Arch}_{encoder}[_scse]/<n>/e*.pth    no cfg.yaml: the folder's name describes the network

Of several checkpoints in a fold the one with the best score in its name is taken, such as
`e30_t50_cmax_ema_0.9312.pth`, and of equals the newest. In the place of a checkpoint there may be a
program (see `programs`), but only where programs are asked for.
"""

import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

import yaml
from torch import nn
from tqdm import tqdm

from kernelkit.checkpoints.networks import build, describe, fill, from_folder_name, weights_sha256
from kernelkit.checkpoints.programs import SUFFIXES as PROGRAMS
from kernelkit.checkpoints.programs import is_program, load_program
from kernelkit.checkpoints.weights import PICKLES, is_unpacked, read_weights
from kernelkit.errors import CheckpointError
from kernelkit.files import file_sha256
from kernelkit.vocabulary import Prefer

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
        In eval mode, float32, on the CPU, needing no gradients; shared with no other member.
        It takes (N, channels, h, w) and answers in logits.
    kind
        A `segmenter`, a `classifier`, or a `program`: a segmenter that cannot be looked into.
    run, fold
        The names of its folders; a run without folds has the fold "0".
    path
        The checkpoint.
    weights_sha256
        Of the weights themselves, so that it does not depend on the file's format; of a program,
        of its file.
    architecture
        In words: `Unet, resnet18, scse`.
    parameters
        How many.
    score
        The one in the checkpoint's name, or None.
    channels, classes
        Of input and output, as the description of the network says.
    """

    module: nn.Module
    kind: Literal["segmenter", "classifier", "program"]
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
    """Load every fold of the runs below `folder` whose names match one of the patterns `runs`.

    The order is that of the names of runs, then of the numbers of folds. A folder that is itself
    a run is taken as the only one.

    Parameters
    ----------
    prefer
        Which checkpoints of a fold compete: all of them, or only those of averaged (`ema` in the
        name) or of plain (`raw`) weights.
    programs
        Load programs as well. TorchScript and torch.export archives can run code when they are
        loaded: ask for them only if you trust where they come from.

    Raises
    ------
    CheckpointError
        A pattern matches no run, a fold has no checkpoint, a network cannot be built, weights do
        not fit it, or two members have the same weights.
    """
    found = [(fold, run) for run in _matching_runs(Path(folder), runs) for fold in _folds(run)]
    bar = tqdm(found, desc="members", unit="network", disable=len(found) < 2, file=sys.stdout)
    members = [_load_fold(fold, run, prefer, programs) for fold, run in bar]
    _refuse_twins(members)
    return members


def _matching_runs(folder: Path, patterns: Sequence[str]) -> list[Path]:
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: there is no such models folder; check the path.")
    runs = sorted(child for child in folder.iterdir() if _is_run(child))
    if _is_described(folder) or (not runs and _is_run(folder)):
        runs = [folder.absolute()]
    idle = [p for p in patterns if not any(fnmatchcase(run.name, p) for run in runs)]
    if idle:
        found = f"only {', '.join(run.name for run in runs)}" if runs else "no run folder at all"
        raise CheckpointError(
            f"{folder}: no run matches {', '.join(idle)} ({found} was found); "
            "correct the recipe's 'runs', or the models folder."
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
    """The folders of a run's folds; a run without any is its own only fold."""
    return _numbered(run) or [run]


def _checkpoints(fold: Path) -> list[Path]:
    """The checkpoints of a fold, wherever in it they lie."""
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
    """What makes a checkpoint the better one, and of equals the newer."""
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
    """The checkpoint of a fold that counts."""
    checkpoints = _checkpoints(fold)
    if not checkpoints:
        raise CheckpointError(
            f"{fold}: there is no checkpoint in it ({', '.join(_SUFFIXES)}); finish the training "
            "or remove the folder."
        )
    averaged = [c for c in checkpoints if "_ema_" in c.name]
    plain = [c for c in checkpoints if c not in averaged]
    competing = {"best": checkpoints, "ema": averaged, "raw": plain}[prefer]
    if not competing:
        raise CheckpointError(
            f"{fold}: the recipe asks for {prefer} checkpoints, but there is only "
            f"{', '.join(c.name for c in checkpoints)}; ask for the best."
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
        fill(module, read_weights(path), architecture, str(path))
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
            f"{run}: nothing says which network this is; write a cfg.yaml with a section MODEL "
            "(arch, encoder_name, ...), or name the folder like Unet_resnet34_scse."
        )
    return description or {}, str(run)


def _read_description(path: Path) -> Mapping[str, Any] | None:
    """What a configuration file says of the network, or None if that is not its subject."""
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (ValueError, yaml.YAMLError) as error:
        raise CheckpointError(
            f"{path}: this is not valid {path.suffix[1:].upper()}; correct it."
        ) from error
    if not isinstance(content, Mapping):
        return None
    if path.suffix == ".yaml":
        return content.get("MODEL")
    if "architecture" in content:  # a classifier as timm saves it
        arguments = {k: content[k] for k in ("num_classes", "in_chans") if k in content}
        return {"arch": "timm", "model_name": content["architecture"], **arguments}
    return content if "_model_class" in content else None


def _refuse_twins(members: Sequence[Member]) -> None:
    """Two names for the same weights are one network counted twice."""
    seen: dict[str, Member] = {}
    for member in members:
        twin = seen.setdefault(member.weights_sha256, member)
        if twin is not member:
            raise CheckpointError(
                f"{member.path}: these are the weights of {twin.path} again; an ensemble wants "
                "different members, so remove one of the two."
            )
