"""`make engine`: export the members of a recipe for one kind of device, and check each.

An engine is an ONNX file or an AOTInductor package. It answers on real tiles, and its probabilities
may differ from those of the weights by 0.001 at most. The run folders that are written hold the
weights too, which answer wherever an engine does not load. Make engines on the kind of device that
they are for: on Kaggle, by make push NOTEBOOK=engine.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from devkit.arguments import Arguments, add_prediction, number_from_1
from devkit.commands import command
from devkit.competitions import add_name, competition_folder, fill_in, models_folder
from kernelkit.console import printable

if TYPE_CHECKING:
    from kernelkit.engines import Engine

__all__ = ["main"]


@command("engine")
def main(arguments: list[str] | None = None) -> int:
    """Run the command line. The exit code is 0 only if every engine is made and was checked.

    Raises
    ------
    EngineError
        As of `make_engines`.
    CheckpointError, CompetitionError, DeviceError, RecipeError
        Models, images or recipe cannot be read, or do not fit each other.
    """
    options = _parse(arguments)
    competition_folder(options.competition)
    models_folder(options.models)
    from devkit.predict.images import read_images
    from kernelkit.recipe import Recipe

    recipe = Recipe.load(options.recipe)
    _, images = read_images(options.competition, recipe)
    from kernelkit.engines import make_engines

    engines = make_engines(
        recipe,
        images,
        options.models,
        options.output,
        form=options.format,
        as_one=options.one,
        is_half=options.half,
        device=options.device,
        count=options.tiles,
        say=lambda line: print(printable(line), flush=True),
    )
    for line in _lines(engines, options.output):
        print(printable(line))
    return 0


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = Arguments("engine", "python -m devkit.engine", description=__doc__)
    add_prediction(
        parser, "a competition's folder, or any folder of images, for the tiles to check on"
    )
    parser.add_folder(
        "--output",
        variable="OUTPUT",
        help="the folder of the engines' runs (default: build/engines)",
    )
    parser.add_argument(
        "--format", choices=("onnx", "aoti"), default="onnx", variable="FORMAT", help="what to make"
    )
    parser.add_argument(
        "--one",
        action="store_true",
        variable="ONE",
        help="make one graph of each ensemble, with its views and its merging",
    )
    parser.add_argument(
        "--half", action="store_true", variable="HALF", help="compute in float16 inside"
    )
    parser.add_argument(
        "--device",
        default="auto",
        metavar="NAME",
        variable="DEVICE",
        help="what they are made for: auto, cpu or cuda:0",
    )
    parser.add_argument(
        "--tiles", type=number_from_1, default=4, variable="TILES", help="how many to check on"
    )
    add_name(parser)
    options = parser.parse_args(arguments)
    fill_in(
        parser,
        options,
        recipe="recipe",
        competition="data_folder",
        models="models_folder",
        output=("engines_folder", "build/engines"),
    )
    return options


def _lines(engines: "Sequence[Engine]", output: Path) -> Iterator[str]:
    """What was made, as lines for people."""
    worst = max(engines, key=lambda engine: engine.largest)
    size = sum(engine.megabytes for engine in engines)
    seconds = sum(engine.seconds for engine in engines)
    weights = sum(engine.weights_seconds for engine in engines)
    yield f"{len(engines)} engine(s), {size:.1f} MB. A tile takes {1e3 * seconds:.1f} ms by all"
    yield f"by their weights it takes {1e3 * weights:.1f} ms"
    yield f"the largest difference of a probability is {worst.largest:.1e}: {worst.where}"
    yield f"{output}: run folders, and recipe.yaml that reads them"


if __name__ == "__main__":
    sys.exit(main())
