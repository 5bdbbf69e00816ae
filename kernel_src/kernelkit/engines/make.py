"""`make_engines`: members of a recipe's ensembles become engines, which are checked and measured.

All lie in a folder of their own until each has answered as its weights do. So a failure leaves what
was there.
"""

from collections.abc import Callable
from pathlib import Path

from kernelkit.competition import CompetitionFolder
from kernelkit.engines.checking import Engine, check_engines
from kernelkit.engines.export import Format, check_tools, export
from kernelkit.engines.parts import AS_ONE, Part, parts_of, refuse_members, refuse_two_sizes
from kernelkit.engines.placing import place_runs, refuse_runs, staging
from kernelkit.engines.recipes import recipe_of_engines
from kernelkit.engines.samples import read_samples
from kernelkit.ensemble import MegaModel
from kernelkit.ensemble.device import choose_device, device_name
from kernelkit.recipe import Execution, Recipe

__all__ = ["make_engines"]

# Weights as they are: nothing is fused, converted or moved about.
_PLAIN = Execution(channels_last=False, half_weights=False, fuse_norms=False)


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
    with staging(output) as staged:
        parts: dict[str, Part] = {}
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
            refuse_members(model)
            runs[ensemble.name] = sorted({member.run for member in model.all_members})
            sample = read_samples(recipe, images, model, count)
            for part in parts_of(model, sample, staged, form, as_one):
                refuse_two_sizes(parts.get(part.name), part)
                parts.setdefault(part.name, part)
        refuse_runs(output, [part.run for part in parts.values()])
        for part in parts.values():
            say(f"{part.name}: becomes {form} for {device_name(place)}")
            part.engine.parent.mkdir(parents=True, exist_ok=True)
            export(part.network, part.tiles, part.engine, form, is_half=is_half)
        engines = list(check_engines(list(parts.values()), staged, output, place, say))
        added = AS_ONE if as_one else None
        text = recipe_of_engines(recipe, runs, runs_code=form == "aoti", as_one=added)
        place_runs(staged, text, output)
    return engines
