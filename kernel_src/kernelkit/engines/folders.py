"""Run folders of engines: the engine, the weights that it was made of, and what both are asked."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import yaml
from safetensors.torch import save_file

from kernelkit.checkpoints import Member
from kernelkit.checkpoints.descriptions import read_content
from kernelkit.checkpoints.engine_record import ENGINE_SUFFIX, EngineRecord
from kernelkit.checkpoints.trained_with import SETTINGS
from kernelkit.ensemble.merged import ENSEMBLE_FILE
from kernelkit.files import open_atomically
from kernelkit.recipe import EnsembleRecipe

__all__ = [
    "carry_over",
    "fold_folder",
    "save_ensemble",
    "save_weights",
    "without_network",
    "write_record",
]


def _run_folder(member: Member) -> Path:
    """The folder of a member's run."""
    return next(parent for parent in member.path.parents if parent.name == member.run)


def fold_folder(member: Member, run: Path) -> Path:
    """The folder of a member's fold, below another folder `run`."""
    is_alone = member.fold == "0" and not (_run_folder(member) / "0").is_dir()
    return run if is_alone else run / member.fold


def carry_over(member: Member, run: Path) -> None:
    """Copy what says how a member was trained, and what its network is, into the folder `run`."""
    source = _run_folder(member)
    folders = [folder for folder in member.path.parents if source in (folder, *folder.parents)]
    for path in (folder / name for folder in folders for name in SETTINGS):
        if path.is_file():
            target = run / path.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
    said = member.trained_with
    # mean and std may be buffers beside the network's weights
    if said.mean is not None and said.std is not None and not {"mean", "std"} & set(said.said_in):
        norm = {"mean": said.mean, "std": said.std}
        _write(fold_folder(member, run) / "models" / SETTINGS[-1], json.dumps(norm))


def save_weights(member: Member, path: Path) -> None:
    """Write a member's weights as safetensors."""
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {name: tensor.cpu().clone() for name, tensor in member.module.state_dict().items()}
    save_file(state, path, metadata={"format": "pt"})


def save_ensemble(members: Sequence[Member], recipe: EnsembleRecipe, folder: Path) -> None:
    """Write the runs of all members into `folder`, and what the recipe says of them."""
    for member in members:
        run = folder / member.run
        carry_over(member, run)
        stem = member.checkpoint or member.stem
        save_weights(member, fold_folder(member, run) / "models" / f"{stem}.safetensors")
    content = recipe.model_dump(mode="json", exclude={"when", "gate", "postprocess"})
    content |= {"checkpoints": "all", "programs": False}
    _write(folder / ENSEMBLE_FILE, yaml.safe_dump(content, sort_keys=False))


def without_network(run: Path) -> None:
    """Let the settings of a run say how it was trained, and no more which network it is."""
    path = run / "cfg.yaml"
    if path.is_file():
        content = {key: value for key, value in read_content(path).items() if key != "MODEL"}
        _write(path, yaml.safe_dump(content, sort_keys=False))


def write_record(engine: Path, record: EngineRecord) -> None:
    """Write what is known of an engine beside it."""
    text = json.dumps(record.plain(), indent=1, ensure_ascii=False)
    _write(engine.with_name(engine.name + ENGINE_SUFFIX), f"{text}\n")


def _write(path: Path, text: str) -> None:
    with open_atomically(path) as file:
        file.write(text)
