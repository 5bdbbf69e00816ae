"""`make dry-run`: the whole way to a checked submission, at home, as Kaggle would run it.

Prepares a small competition, or takes one of your own. Mounts it with models and code where
Kaggle would. Runs the inference notebook without a network, and checks and scores its submission.
"""

import argparse
import sys
from contextlib import AbstractContextManager
from io import TextIOWrapper
from pathlib import Path

from filelock import FileLock, Timeout

from devkit.arguments import Arguments, add_profile
from devkit.commands import command, forgiving_output
from devkit.competitions import OwnCompetition, add_name, competition_folder, fill_in, models_folder
from devkit.errors import BusyError, DryRunError
from devkit.image.profiles import load_profile
from devkit.tools import REPOSITORY
from kernelkit.recipe import Recipe

__all__ = ["main"]

# The recipes that have a small competition of their shape.
_SHAPES = ("nuclei", "clouds", "salt", "unosat")
_RECIPE_HELP = (
    f"{', '.join(_SHAPES)}: a small competition of that shape is made. With --competition: a "
    "recipe's name or YAML file"
)


@command("dry-run")
def main(arguments: list[str] | None = None, build: Path = REPOSITORY / "build") -> int:
    """Run the command line. The exit code is 0 only if a checked submission was made.

    Raises
    ------
    BusyError
        If another dry-run is at work in `build`.
    DryRunError
        If arguments contradict each other.
    """
    options, own = _parse(arguments)
    build = own.build_folder if own else build
    with forgiving_output(), _lock(build):
        # torch takes seconds to import: Ctrl-C ends the command in one line then, too
        from devkit.dryrun.run import DryRun

        dry_run = DryRun(
            build=build,
            profile=options.profile,
            workers=options.workers,
            budget_bytes=int(options.memory * 2**30),
            is_rerun=options.rerun,
            own_competition=own,
            devices=options.devices,
        )
        if options.competition:
            dry_run.on_own(Path(options.competition), Path(options.models), options.recipe)
        elif options.recipe and options.recipe != "nuclei":
            dry_run.on_shape(options.recipe)
        elif options.size == "large":
            dry_run.on_large_slides()
        else:
            dry_run.on_demo()
    return 0


def _lock(build: Path) -> AbstractContextManager[object]:
    """Keep other dry-runs out of a folder: each would replace the dataset that the other uses."""
    build.mkdir(parents=True, exist_ok=True)
    try:
        return FileLock(build / ".dry-run.lock", blocking=False).acquire()
    except Timeout:
        raise BusyError(
            f"{build}: another dry-run is at work in this folder. Wait for its end, or run this "
            "one in another clone"
        ) from None


def _parse(arguments: list[str] | None) -> tuple[argparse.Namespace, OwnCompetition | None]:
    parser = Arguments("dry-run", "python -m devkit.dryrun", description=__doc__)
    parser.add_argument(
        "--size",
        choices=("small", "large"),
        default="small",
        variable="SIZE",
        help="small: the demo's test images. large: four slides, 1.1 GB in all",
    )
    parser.add_argument(
        "--competition",
        metavar="FOLDER",
        variable="COMPETITION",
        help="the folder of a competition of your own",
    )
    parser.add_argument(
        "--models",
        metavar="FOLDER",
        variable="MODELS",
        help="with --competition: the models folder",
    )
    parser.add_argument("--recipe", variable="RECIPE", help=_RECIPE_HELP)
    add_name(parser, "none, which is the demo")
    parser.add_argument(
        "--workers",
        type=int,
        default=2,
        variable="WORKERS",
        help="reader processes, 0 for none",
    )
    parser.add_argument(
        "--devices", default="auto", help='all GPUs, or names such as "cpu cpu" for two processes'
    )
    parser.add_argument(
        "--rerun",
        action="store_true",
        variable="RERUN",
        help="rehearse the hidden rerun: other ids, other sizes, more images, limits ignored",
    )
    add_profile(parser)
    parser.add_argument(
        "--memory",
        type=float,
        default=24.0,
        metavar="GIB",
        variable="MEMORY",
        help="what all processes may hold, in GiB (PSS)",
    )
    options = parser.parse_args(arguments)
    own = None
    if options.own_competition:
        places = {"competition": "data_folder", "models": "models_folder", "recipe": "name"}
        own = fill_in(parser, options, **places)
    _refuse_contradictions(options)
    return options, own


def _refuse_contradictions(options: argparse.Namespace) -> None:
    """Refuse arguments that do not go together, before anything is made."""
    own = {
        "COMPETITION": options.competition,
        "MODELS": options.models,
        "RECIPE": options.recipe,
    }
    given = [name for name, value in own.items() if value]
    missing = [name for name, value in own.items() if not value]
    if given and missing and not (given == ["RECIPE"] and options.recipe in _SHAPES):
        raise DryRunError(
            f"found {' and '.join(given)} without {' and '.join(missing)}. A competition of your "
            "own needs all three. Give what is missing, and check how it is spelt. "
            f"Alone, RECIPE can be {', '.join(_SHAPES)}"
        )
    if given and options.size == "large":
        raise DryRunError("SIZE=large is for the demo's slides. Leave it out for your own images")
    if options.rerun and options.size == "large":
        raise DryRunError("SIZE=large has no hidden rerun. Leave out SIZE or RERUN")
    if options.workers < 0:
        raise DryRunError(f"found WORKERS={options.workers}, wanted 0 or more reader processes")
    if not options.memory > 0:
        raise DryRunError(f"found MEMORY={options.memory:g}, wanted more than 0 GiB")
    load_profile(options.profile)
    if options.competition:
        competition_folder(Path(options.competition))
        models_folder(Path(options.models))
        Recipe.load(options.recipe)  # a misspelt key is found now, not in the notebook


if __name__ == "__main__":
    if isinstance(sys.stdout, TextIOWrapper):  # the notebook writes into the same file, at once
        sys.stdout.reconfigure(line_buffering=True)
    sys.exit(main())
