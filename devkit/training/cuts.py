"""`make cuts`: shrink the training images once, lay windows over them, and show what each gives.

What is there already is taken as it is. After Ctrl-C or a crash the same command goes on after the
last whole image. With `--files` the windows are written as PNG or GeoTIFF files too.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from devkit.arguments import (
    Arguments,
    add_runs,
    add_set,
    add_training_recipe,
    add_workers,
)
from devkit.bars import bar
from devkit.commands import command
from devkit.competitions import add_name, competition_folder, fill_in
from devkit.predict.executors import add_scheduler, workers_of
from devkit.tables import aligned
from kernelkit.console import printable

if TYPE_CHECKING:
    from kernelkit.training.cuts import Cuts

__all__ = ["main"]


@command("cuts", go_on="The same command goes on after the last whole image")
def main(arguments: list[str] | None = None) -> int:
    """Run the command line. The exit code is 0 only if cuts are made.

    Images that cannot be read are left out, and named. What workers died of is not left out.

    Raises
    ------
    RecipeError
        There is no such recipe or run.
    LabelError, TrainingError, OutputError, ReaderError
        As of `kernelkit.training.cuts.make_cuts`.
    ClusterError
        As of `devkit.predict.executors.workers_of`.
    """
    options = _parse(arguments)
    from kernelkit.training.recipe import TrainingRecipe

    training = TrainingRecipe.load(options.recipe, options.set)
    chosen = training.chosen_runs(options.run)
    competition_folder(options.competition)
    from kernelkit.training.cuts import make_cuts

    # other machines have other working folders
    competition = options.competition.absolute()
    shown: dict[Path, list[str]] = {}
    with workers_of(options.scheduler) as executor:
        for run in chosen:
            cuts = make_cuts(
                run,
                competition,
                options.cuts,
                options.workers,
                progress=sys.stderr.isatty(),
                executor=executor,
            )
            runs = shown.setdefault(cuts.folder, [])
            runs.append(run.name)
            if len(runs) > 1:
                continue  # a run before it sees the same
            for line in _lines(cuts):
                print(printable(line), flush=True)
            if options.files:
                _write_files(cuts, options)
    for folder, runs in shown.items():
        print(printable(f"{folder}: the cuts of {', '.join(runs)}"))
    return 0


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = Arguments("cuts", "python -m devkit.training.cuts", description=__doc__)
    add_training_recipe(parser)
    add_name(parser)
    parser.add_folder(
        "--cuts",
        variable="CUTS",
        help="where cuts lie (default: build/cuts, or below build/ for your own competition)",
    )
    add_runs(parser)
    add_set(parser, "windows.grid.step=512")
    add_workers(parser, "processes that decode")
    add_scheduler(parser)
    parser.add_argument(
        "--files", choices=("png", "geotiff"), variable="FILES", help="write windows as files too"
    )
    parser.add_folder(
        "--output",
        default=Path("build/cut_files"),
        help="where files go",
    )
    options = parser.parse_args(arguments)
    fill_in(
        parser,
        options,
        recipe="training_recipe",
        competition="data_folder",
        cuts=("cuts_folder", "build/cuts"),
    )
    return options


def _lines(cuts: "Cuts") -> Iterator[str]:
    """What each source gives, as lines for people."""
    reasons = [reason for reason in dict.fromkeys(cuts.windows["skip"]) if reason]
    names = [f"{name or 'target'} %" for name in cuts.classes]
    columns = [column for column in map(str, cuts.windows) if column.startswith("share_")]
    rows = [("windows", "all", "kept", *(f"skipped: {reason}" for reason in reasons), *names)]
    for source, windows in cuts.windows.groupby("source", sort=False):
        kept = windows[windows["skip"] == ""]
        shares = kept[columns or ["target_share"]].mean()
        skipped = [str((windows["skip"] == reason).sum()) for reason in reasons]
        percents = ["-" if share != share else f"{100 * share:.2f}" for share in shares]
        rows.append((str(source), str(len(windows)), str(len(kept)), *skipped, *percents))
    yield from aligned(rows)
    yield f"{len(cuts.images)} image(s) in {cuts.folds.count} fold(s)"
    yield from cuts.notes


def _write_files(cuts: "Cuts", options: argparse.Namespace) -> None:
    from devkit.training.cut_files import write_cut_files

    with bar(description="files", unit="window", total=len(cuts.kept)) as written:
        table = write_cut_files(
            cuts, options.output, options.files, options.workers, written.update
        )
    print(printable(f"{options.output}: {len(table)} windows as {options.files} files"))


if __name__ == "__main__":
    sys.exit(main())
