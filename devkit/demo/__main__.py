"""Make the demo's data and models: `python -m devkit.demo prepare`, or `large` for big slides."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from devkit.arguments import Arguments
from devkit.commands import command

if TYPE_CHECKING:
    from devkit.demo.prepare import Scores

__all__ = ["main"]


@command("demo")
def main(arguments: list[str] | None = None) -> int:
    """Run the command line. The exit code is 0 only if everything was made."""
    parser = Arguments(prog="python -m devkit.demo", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    small = commands.add_parser("prepare", help="a competition, its labels, trained models")
    small.add_folder("--output", default=Path("build/demo"), help="where to")
    large = commands.add_parser("large", help="slides of 12 000 x 12 000 and more, 1 GB in all")
    large.add_folder("--output", default=Path("build/large"), help="where to")
    large.add_folder("--downloads", help="the wheels with the pictures")
    options = parser.parse_args(arguments)
    if options.command == "prepare":
        _show_demo(options.output)
    else:
        _show_large(options.output, options.downloads)
    return 0


def _show_demo(out: Path) -> None:
    from devkit.demo.prepare import prepare

    demo = prepare(out)
    print(_table(demo.scores))
    print(f"competition {demo.competition}\nlabels      {demo.solution}\nmodels      {demo.models}")


def _show_large(out: Path, downloads: Path | None) -> None:
    from devkit.demo.prepare import prepare_large

    competition = prepare_large(out, downloads).competition
    for path in sorted((competition / "test").iterdir()):
        print(f"{path.stat().st_size / 1e6:8.0f} MB  {path}")


def _table(scores: "Scores") -> str:
    """Scores as lines for people."""
    lines = [
        f"{'run':24}{'fold':8}{'best checkpoint':32}"
        f"{'validation':>10}{'held out':>10}{'ms/tile':>9}"
    ]
    lines += [
        f"{row['run']:24}{row['fold']:8}{row['checkpoint']:32}{row['validation_dice']:10.3f}"
        f"{row['heldout_dice']:10.3f}{row['milliseconds_per_tile']:9.1f}"
        for row in scores["members"]
    ]
    lines += [
        f"{'mean of all ' + name:24}{'':50}{score:10.3f}"
        for name, score in scores["ensembles"].items()
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
