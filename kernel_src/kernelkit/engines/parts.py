"""What becomes an engine: each member of an ensemble, or all of them as one network."""

from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import torch
from torch import Tensor, nn

from kernelkit.checkpoints import Member
from kernelkit.checkpoints.engine_record import EngineRecord
from kernelkit.engines.export import SUFFIXES, Format
from kernelkit.engines.folders import (
    carry_over,
    fold_folder,
    save_ensemble,
    save_weights,
    without_network,
)
from kernelkit.engines.samples import Sample
from kernelkit.ensemble import MegaModel
from kernelkit.ensemble.device import device_name
from kernelkit.ensemble.merged import MergedNetwork, merged_sha256
from kernelkit.errors import EngineError
from kernelkit.vocabulary import Activation

__all__ = ["AS_ONE", "Part", "parts_of", "refuse_members", "refuse_two_sizes"]

# Added to an ensemble's name for the run that is all of its members.
AS_ONE = "_as_one"


@dataclass(frozen=True)
class Part:
    """A network that becomes an engine, and how its answers are judged.

    Attributes
    ----------
    run, name
        The run that it is written to. The name is that of a member.
    engine
        Where its file is written.
    network
        The network, with the weights.
    tiles
        What it sees of real tiles: float32 (N, C, h, w) on its device, two or more.
    names
        Where each tile is from.
    activation
        What makes probabilities of its answers.
    record
        What is known of it before it is checked.
    """

    run: str
    name: str
    engine: Path
    network: nn.Module
    tiles: Tensor
    names: list[str]
    activation: Activation
    record: EngineRecord


def parts_of(
    model: MegaModel,
    sample: Sample,
    staged: Path,
    form: Format,
    as_one: bool,
) -> Iterator[Part]:
    """Iterate over what becomes an engine, and write all else of its run folder.

    Parameters
    ----------
    model
        The ensemble, with plain weights.
    sample
        Real tiles, and what its members see of them.
    staged
        The folder of the run folders.
    form
        What the engines are written as.
    as_one
        Whether all members become one engine. Members of a gate stay engines of their own.
    """
    answering = {member.name for member in model.members}
    for member in model.all_members:
        is_merged = as_one and member.name in answering
        if not is_merged:
            yield _of_member(member, model, sample, staged, form)
    if not as_one:
        return
    run = f"{model.recipe.name}{AS_ONE}"
    carry_over(model.members[0], staged / run)
    without_network(staged / run)
    save_ensemble(model.members, model.recipe, staged / run / "eager")
    yield Part(
        run=run,
        name=f"{run}/0",
        engine=staged / run / "models" / f"ensemble{SUFFIXES[form]}",
        network=MergedNetwork(model.members, model.recipe).eval(),
        tiles=_two_or_more(sample.seen[model.members[0].name]),
        names=sample.names,
        activation=model.recipe.activation,
        record=_record(
            "../eager",
            merged_sha256(model.members, staged / run / "eager"),
            ", ".join(member.name for member in model.members),
            model.device,
        ),
    )


def _of_member(
    member: Member, model: MegaModel, sample: Sample, staged: Path, form: Format
) -> Part:
    run = staged / member.run
    fold = fold_folder(member, run)
    stem = member.checkpoint or member.stem
    carry_over(member, run)
    save_weights(member, fold / "eager" / f"{stem}.safetensors")
    classifies = member.kind == "classifier"
    return Part(
        run=member.run,
        name=member.name,
        engine=fold / "models" / f"{stem}{SUFFIXES[form]}",
        network=member.module,
        tiles=_two_or_more(sample.seen[member.name]),
        names=sample.names,
        activation="sigmoid" if classifies else model.recipe.activation,
        record=_record(
            f"../eager/{stem}.safetensors", member.weights_sha256, member.name, model.device
        ),
    )


def _record(weights: str, sha256: str, made_of: str, device: torch.device) -> EngineRecord:
    return EngineRecord(
        weights=weights,
        weights_sha256=sha256,
        engine_sha256="",
        made_of=made_of,
        made_on=device_name(device),
        made_by=f"torch {torch.__version__}",
        largest_difference=0.0,
    )


def _two_or_more(tiles: Tensor) -> Tensor:
    """The tiles, of which there are two at least: of one, torch would fix the number."""
    return tiles if len(tiles) > 1 else torch.cat([tiles, tiles])


def refuse_members(model: MegaModel) -> None:
    """Refuse members that no engine can be made of.

    Raises
    ------
    EngineError
        A member is a program already, or a gate asks a classification head.
    """
    gate = model.recipe.gate.runs if model.recipe.gate else ()
    for member in model.all_members:
        if member.kind == "segmenter" and any(fnmatchcase(member.run, run) for run in gate):
            raise EngineError(
                f"{member.name}: the gate asks its classification head, and an engine answers with "
                "masks alone. Name a classifier in the gate's 'runs'"
            )
        if member.is_program:
            raise EngineError(
                f"{member.path}: this is a program already. Name runs with weights in 'runs'"
            )


def refuse_two_sizes(first: Part | None, second: Part) -> None:
    """Refuse a part that two ensembles ask about tiles of different sizes.

    Parameters
    ----------
    first, second
        The part as each of two ensembles has it. The first is None if only one has it.

    Raises
    ------
    EngineError
        The sizes differ.
    """
    if first is not None and first.tiles.shape[1:] != second.tiles.shape[1:]:
        raise EngineError(
            f"{second.name}: two ensembles ask it about tiles of other sizes, and an engine takes "
            "one. Give each ensemble runs of its own"
        )
