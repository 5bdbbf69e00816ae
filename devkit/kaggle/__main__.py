"""The command line of the Kaggle side. `make push`, `make submit` and the others call it."""

import argparse
import contextlib
import importlib
import sys
from pathlib import Path
from typing import TextIO, cast

from devkit.arguments import Arguments, add_json
from devkit.commands import command
from devkit.competitions import add_name
from devkit.kaggle.service.secrets import ScrubbedStream, known_secrets
from devkit.kaggle.settings import add_settings, chosen_file, load_settings
from kernelkit.errors import SubmissionError

__all__ = ["main"]

_DESCRIPTION = (
    "Push the datasets and the notebook to Kaggle, follow the run, submit it, and wait for the "
    "score. An exit code of 0 means that the goal was reached. If a command is interrupted or out "
    "of time, the same command goes on where it was."
)

# What each command does, in a sentence. Its work is the function of that name in `actions`.
_COMMANDS = {
    "doctor": "say what is missing before a push can succeed",
    "prepare": "write the notebook's folder, to push it by hand",
    "push": "upload the datasets if they changed, then push the notebook",
    "status": "show the state of the notebook's newest version",
    "logs": "follow the notebook's log to its end, then fetch and check what it wrote",
    "submit": "push, wait for the run, submit its output, wait for the score",
    "queue": "submit several CSV files, as many as the day allows",
    "submissions": "show Kaggle's list of submissions and the ledger",
    "download-data": "fetch the competition's files, and unpack them",
}


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code."""
    options = _parse(arguments)
    run = command(options.name, go_on="Run the same command again to go on")(_run)
    with contextlib.redirect_stderr(cast(TextIO, ScrubbedStream(sys.stderr, known_secrets()))):
        return run(options)


def _run(options: argparse.Namespace) -> int:
    settings = load_settings(chosen_file(options))
    _refuse_missing_files(options)
    if getattr(options, "competition", None):
        settings = settings.for_competition(options.competition)
    settings = settings.for_notebook(options.notebook)
    actions = importlib.import_module("devkit.kaggle.actions")  # it takes a second
    getattr(actions, options.name.replace("-", "_"))(settings, options)
    return 0


def _refuse_missing_files(options: argparse.Namespace) -> None:
    """Refuse files that are not there before Kaggle is asked anything."""
    files = [*getattr(options, "files", []), *filter(None, [getattr(options, "file", None)])]
    if missing := [path for path in files if not path.is_file()]:
        raise SubmissionError(f"{missing[0]}: there is no such file. Nothing was submitted")


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = Arguments(prog="python -m devkit.kaggle", description=_DESCRIPTION)
    _add_shared(parser)
    commands = parser.add_subparsers(dest="name", required=True, metavar="COMMAND")
    subs: dict[str, Arguments] = {}
    for name, text in _COMMANDS.items():
        about = f"{text[0].upper()}{text[1:]}."
        subs[name] = commands.add_parser(name, target=name, help=text, description=about)
        _add_shared(subs[name])
        subs[name].leave_to_parent()  # what stands before the command's name counts too
    _add_files(subs["submit"], subs["queue"])
    subs["download-data"].add_folder(
        "-o",
        "--output",
        variable="OUTPUT",
        help="where to (default: data/COMPETITION, or data of your own competition)",
    )
    for name in ("doctor", "submissions"):
        add_json(subs[name])
    for name in ("submit", "queue", "submissions", "download-data"):
        subs[name].add_argument(
            "-c",
            "--competition",
            metavar="SLUG",
            variable="COMPETITION",
            help="the competition (default: the one in the settings)",
        )
    return parser.parse_args(arguments)


def _add_shared(parser: Arguments) -> None:
    """Add what every command is told, before its name or behind it."""
    add_settings(parser)
    add_name(parser)
    parser.add_argument(
        "--notebook",
        default="inference",
        metavar="NAME",
        variable="NOTEBOOK",
        help="inference, train, validate or engine (default: inference)",
    )


def _add_files(submit: Arguments, queue: Arguments) -> None:
    """Add what both commands that submit are told."""
    submit.add_argument(
        "-f",
        "--file",
        type=Path,
        metavar="CSV",
        variable="FILE",
        help="submit this file, and push nothing",
    )
    queue.add_argument(
        "files", type=Path, nargs="+", metavar="CSV", variable="FILES", help="the files, in order"
    )
    for parser in (submit, queue):
        parser.add_argument(
            "-m",
            "--message",
            default="",
            metavar="TEXT",
            variable="MESSAGE",
            help="what Kaggle's list says about it",
        )
        parser.add_argument(
            "--again",
            action="store_true",
            variable="AGAIN",
            help="submit once more what was submitted before",
        )


if __name__ == "__main__":
    sys.exit(main())
