"""`make_engines`: members of a recipe's ensembles become engines, which are checked and measured.

All lie in a folder of their own until each has answered as its weights do. So a failure leaves what
was there.
"""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

import torch
from torch import Tensor, nn

from kernelkit.checkpoints import Member, Runtime, load_members
from kernelkit.checkpoints.answers import masks_of
from kernelkit.checkpoints.engine_record import EngineRecord
from kernelkit.competition import CompetitionFolder
from kernelkit.engines.checking import compare, probabilities, seconds_per_tile
from kernelkit.engines.export import SUFFIXES, Format, check_tools, export
from kernelkit.engines.folders import (
    carry_over,
    fold_folder,
    place_runs,
    refuse_runs,
    save_ensemble,
    save_weights,
    without_network,
    write_record,
)
from kernelkit.engines.recipes import recipe_of_engines
from kernelkit.engines.samples import read_samples
from kernelkit.ensemble import MegaModel
from kernelkit.ensemble.device import choose_device, device_name
from kernelkit.ensemble.merged import MergedNetwork, merged_sha256
from kernelkit.errors import EngineError, KernelKitError, OutputError
from kernelkit.recipe import Execution, Recipe
from kernelkit.vocabulary import Activation

__all__ = ["AS_ONE", "Engine", "make_engines"]

# Added to an ensemble's name for the run that is all of its members.
AS_ONE = "_as_one"
# Weights as they are: nothing is fused, converted or moved about.
_PLAIN = Execution(channels_last=False, half_weights=False, fuse_norms=False)


@dataclass(frozen=True)
class Engine:
    """An engine that answers as its weights do.

    Attributes
    ----------
    name
        Its run, fold and checkpoint, as of a member.
    path
        Its file.
    megabytes
        The size of the file.
    largest, where
        The largest difference of a probability, and the tile, class and pixel where it is.
    seconds, weights_seconds
        What a tile takes by the engine, and by the weights.
    """

    name: str
    path: Path
    megabytes: float
    largest: float
    where: str
    seconds: float
    weights_seconds: float


@dataclass(frozen=True)
class _Part:
    """A network that becomes an engine, and how its answers are judged."""

    run: str
    name: str
    engine: Path
    network: nn.Module
    tiles: Tensor
    names: list[str]
    activation: Activation
    record: EngineRecord


def make_engines(
    recipe: Recipe,
    images: CompetitionFolder,
    models: Path,
    output: Path,
    *,
    form: Format = "onnx",
    as_one: bool = False,
    is_half: bool = False,
    device: str = "auto",
    count: int = 4,
    say: Callable[[str], None] = print,
) -> list[Engine]:
    """Make an engine of each member of a recipe's ensembles, and write run folders of them.

    Beside them, `recipe.yaml` is the recipe that reads them.

    Parameters
    ----------
    images
        On some tiles of these, engines and weights are asked.
    models
        The folder of trained runs.
    output
        The folder of the engines' runs.
    form
        `onnx` or `aoti`.
    as_one
        Make one engine of each ensemble, with its views and its merging. Members of a gate stay
        engines of their own.
    is_half
        Whether the engines compute in float16.
    device
        What they are made for.
    count
        How many tiles are asked about.
    say
        It gets one line per engine.

    Raises
    ------
    EngineError
        A tool is missing, a network cannot be exported, or an engine answers otherwise than its
        weights. Nothing is written then.
    CheckpointError, CompetitionError, DeviceError, RecipeError
        Members or images cannot be read, or do not fit the recipe.
    """
    place = choose_device(device)
    check_tools(form)
    output = output.absolute()
    with _staging_in(output) as staged:
        parts: dict[str, _Part] = {}
        runs: dict[str, list[str]] = {}
        for ensemble in recipe.ensembles:
            model = MegaModel(
                models,
                recipe=ensemble,
                precision="fp32",
                device=str(place),
                batch=count,
                execution=_PLAIN,
                whole=recipe.tiles.whole,
            )
            _refuse_what_cannot_be(model)
            runs[ensemble.name] = sorted({member.run for member in model.all_members})
            sample = read_samples(recipe, images, model, count)
            found = _parts_of(model, sample.seen, sample.names, staged, form, as_one)
            for part in found:
                _refuse_two_sizes(parts.get(part.name), part)
                parts.setdefault(part.name, part)
        refuse_runs(output, [part.run for part in parts.values()])
        for part in parts.values():
            say(f"{part.name}: becomes {form} for {device_name(place)}")
            part.engine.parent.mkdir(parents=True, exist_ok=True)
            export(part.network, part.tiles, part.engine, form, is_half=is_half)
        engines = list(_checked(list(parts.values()), staged, output, place, say))
        added = AS_ONE if as_one else None
        text = recipe_of_engines(recipe, runs, runs_code=form == "aoti", as_one=added)
        place_runs(staged, text, output)
    return engines


@contextmanager
def _staging_in(output: Path) -> Iterator[Path]:
    """A folder within `output` that vanishes afterwards. So does `output` if nothing is in it."""
    try:
        output.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=output, prefix=".engines-") as name:
            yield Path(name)
    except OSError as error:
        if error.errno is None or isinstance(error, KernelKitError):
            raise
        raise OutputError(
            f"{output}: engines cannot be written here ({error.strerror}). Choose another OUTPUT"
        ) from error
    finally:
        with suppress(OSError):  # it is not empty, or not there
            output.rmdir()


def _parts_of(
    model: MegaModel,
    seen: dict[str, Tensor],
    names: list[str],
    staged: Path,
    form: Format,
    as_one: bool,
) -> Iterator[_Part]:
    """Iterate over what becomes an engine, with the run folders that they are put into."""
    answering = {member.name for member in model.members}
    for member in model.all_members:
        is_merged = as_one and member.name in answering
        if not is_merged:
            yield _of_member(member, model, seen[member.name], names, staged, form)
    if not as_one:
        return
    run = f"{model.recipe.name}{AS_ONE}"
    carry_over(model.members[0], staged / run)
    without_network(staged / run)
    save_ensemble(model.members, model.recipe, staged / run / "eager")
    yield _Part(
        run=run,
        name=f"{run}/0",
        engine=staged / run / "models" / f"ensemble{SUFFIXES[form]}",
        network=MergedNetwork(model.members, model.recipe).eval(),
        tiles=_two_or_more(seen[model.members[0].name]),
        names=names,
        activation=model.recipe.activation,
        record=_record(
            "../eager",
            merged_sha256(model.members, staged / run / "eager"),
            ", ".join(member.name for member in model.members),
            model.device,
        ),
    )


def _of_member(
    member: Member, model: MegaModel, tiles: Tensor, names: list[str], staged: Path, form: Format
) -> _Part:
    run = staged / member.run
    fold = fold_folder(member, run)
    stem = member.checkpoint or member.stem
    carry_over(member, run)
    save_weights(member, fold / "eager" / f"{stem}.safetensors")
    classifies = member.kind == "classifier"
    return _Part(
        run=member.run,
        name=member.name,
        engine=fold / "models" / f"{stem}{SUFFIXES[form]}",
        network=member.module,
        tiles=_two_or_more(tiles),
        names=names,
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


@torch.no_grad()
def _checked(
    parts: list[_Part],
    staged: Path,
    output: Path,
    device: torch.device,
    say: Callable[[str], None],
) -> Iterator[Engine]:
    """Iterate over the engines, loaded as inference loads them, and compared with their weights."""
    runs = list(dict.fromkeys(part.run for part in parts))
    loaded = load_members(
        staged, runs, checkpoints="all", programs=True, runtime=Runtime(device, providers=None)
    )
    by_path = {member.path: member for member in loaded}
    for part in parts:
        member = by_path[part.engine]
        if not member.is_program:
            raise EngineError(f"{part.name}: {member.notes[0]}")
        names = part.names if len(part.names) == len(part.tiles) else part.names * 2
        answers = [
            probabilities(masks_of(network(part.tiles), part.engine), part.activation)
            for network in (member.module, part.network)
        ]
        checked = compare(part.name, answers[0], answers[1], names)
        seconds, weights_seconds = seconds_per_tile(member.module, part.network, part.tiles)
        record = replace(
            part.record,
            engine_sha256=member.weights_sha256,
            made_by=f"{part.record.made_by}, {member.runs_by}",
            largest_difference=checked.largest,
        )
        write_record(part.engine, record)
        say(
            f"{part.name}: differs by {checked.largest:.1e} at most ({checked.where}). A tile "
            f"takes {1e3 * seconds:.1f} ms, and {1e3 * weights_seconds:.1f} ms by the weights"
        )
        yield Engine(
            name=part.name,
            path=output / part.engine.relative_to(staged),
            megabytes=part.engine.stat().st_size / 1e6,
            largest=checked.largest,
            where=checked.where,
            seconds=seconds,
            weights_seconds=weights_seconds,
        )


def _refuse_what_cannot_be(model: MegaModel) -> None:
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


def _refuse_two_sizes(first: _Part | None, second: _Part) -> None:
    if first is not None and first.tiles.shape[1:] != second.tiles.shape[1:]:
        raise EngineError(
            f"{second.name}: two ensembles ask it about tiles of other sizes, and an engine takes "
            "one. Give each ensemble runs of its own"
        )
