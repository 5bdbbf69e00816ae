"""The command line of the Kaggle side. `make push`, `make submit` and the others call it."""

import argparse
import contextlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TextIO, cast

from devkit.commands import command
from devkit.errors import KaggleError, SettingsError
from devkit.kaggle.datasets.competition import download_competition
from devkit.kaggle.doctor import examine
from devkit.kaggle.notebook.kernel import run_state
from devkit.kaggle.notebook.kernel_folder import prepare_folder
from devkit.kaggle.notebook.run import check_log, fetch_runs, fetch_tables, follow_run
from devkit.kaggle.push import newest_version, push, push_and_submit
from devkit.kaggle.service.client import Client
from devkit.kaggle.service.secrets import ScrubbedStream, known_secrets
from devkit.kaggle.settings import SETTINGS_FILE, Settings, load_settings
from devkit.kaggle.submissions.check import fetch_checked
from devkit.kaggle.submissions.ledger import Ledger
from devkit.kaggle.submissions.listing import list_submissions
from devkit.kaggle.submissions.submit import submit_files

__all__ = ["main"]

_DESCRIPTION = (
    "Push the datasets and the notebook to Kaggle, follow the run, submit it, and wait for the "
    "score. An exit code of 0 means that the goal was reached. If a command is interrupted or out "
    "of time, the same command goes on where it was."
)

_Action = Callable[[Settings, argparse.Namespace], None]


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code."""
    options = _parse(arguments)
    run = command(options.name, go_on="Run the same command again to go on")(_run)
    with contextlib.redirect_stderr(cast(TextIO, ScrubbedStream(sys.stderr, known_secrets()))):
        return run(options)


def _run(options: argparse.Namespace) -> int:
    if options.settings != SETTINGS_FILE and not options.settings.exists():
        raise SettingsError(f"{options.settings}: there is no such file. Correct --settings")
    settings = load_settings(options.settings)
    if getattr(options, "competition", None):
        settings = settings.model_copy(update={"competition": options.competition})
    settings = settings.for_notebook(options.notebook)
    action: _Action = options.action
    action(settings, options)
    return 0


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m devkit.kaggle", description=_DESCRIPTION)
    parser.add_argument(
        "--settings",
        type=Path,
        default=SETTINGS_FILE,
        metavar="FILE",
        help="the settings file (default: kaggle.toml)",
    )
    parser.add_argument(
        "--notebook",
        default="inference",
        metavar="NAME",
        help="inference, train, validate or engine (default: inference)",
    )
    commands = parser.add_subparsers(dest="name", required=True, metavar="COMMAND")

    def add(name: str, action: _Action, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        sub.set_defaults(action=action)
        return sub

    add("doctor", _doctor, "say what is missing before a push can succeed")
    add("prepare", _prepare, "write the notebook's folder, to push it by hand")
    add("push", _push, "upload the datasets if they changed, then push the notebook")
    add("status", _status, "show the state of the notebook's newest version")
    add("logs", _logs, "follow the notebook's log to its end, then fetch and check what it wrote")
    submit = add("submit", _submit, "push, wait for the run, submit its output, wait for the score")
    submit.add_argument(
        "-f", "--file", type=Path, metavar="CSV", help="submit this file, and push nothing"
    )
    queue = add("queue", _queue, "submit several CSV files, as many as the day allows")
    queue.add_argument("files", type=Path, nargs="+", metavar="CSV", help="the files, in order")
    for sub in (submit, queue):
        sub.add_argument(
            "-m", "--message", default="", metavar="TEXT", help="what Kaggle's list says about it"
        )
        sub.add_argument(
            "--again", action="store_true", help="submit once more what was submitted before"
        )
    data = add("download-data", _download_data, "fetch the competition's files, and unpack them")
    data.add_argument(
        "-o", "--output", type=Path, metavar="DIR", help="where to (default: data/COMPETITION)"
    )
    listing = add("submissions", _submissions, "show Kaggle's list of submissions and the ledger")
    for sub in (submit, queue, listing, data):
        sub.add_argument(
            "-c",
            "--competition",
            metavar="SLUG",
            help="the competition (default: the one in the settings)",
        )
    return parser.parse_args(arguments)


def _doctor(settings: Settings, _: argparse.Namespace) -> None:
    missing = []
    for finding in examine(settings):
        print(f"{'ok     ' if finding.is_fine else 'MISSING'}  {finding.what:<14} {finding.found}")
        if not finding.is_fine:
            missing.append(finding.what)
    if missing:
        raise KaggleError(f"not ready to push: {', '.join(missing)}")


def _prepare(settings: Settings, _: argparse.Namespace) -> None:
    owner = settings.owner or Client(settings).owner
    folder = prepare_folder(settings, owner)
    print(f"{folder.path} is ready. Push it with: kaggle kernels push -p {folder.path}")


def _push(settings: Settings, _: argparse.Namespace) -> None:
    pushed = push(Client(settings))
    print(f"{pushed.ref} version {pushed.number} is on Kaggle. Follow it with make logs")


def _status(settings: Settings, _: argparse.Namespace) -> None:
    client = Client(settings)
    version = newest_version(client)
    state, failure = run_state(client, version)
    said = f"{version.name}: {state}{f' ({failure})' if failure else ''}"
    if state in ("QUEUED", "RUNNING", "COMPLETE"):
        client.say(said)
    else:
        raise KaggleError(f"{said}. See make logs")


def _logs(settings: Settings, _: argparse.Namespace) -> None:
    client = Client(settings)
    version = newest_version(client)
    log = follow_run(client, version)
    if settings.section is not None:
        if settings.section == settings.validation:
            folder = fetch_tables(client, version)
            what = "the report, the tables and the tuned recipe"
        else:
            notebook = settings.notebook.stem
            folder, what = fetch_runs(client, version, notebook), "the run folders"
        client.say(f"{folder}: {what} are fetched")
        check_log(log, version)
    else:
        check_log(log, version)
        fetch_checked(client, version)


def _submit(settings: Settings, options: argparse.Namespace) -> None:
    if settings.section is not None and not options.file:
        raise SettingsError(
            f"found the notebook {options.notebook}, which writes no submission. Push it, and "
            "submit that of inference"
        )
    client = Client(settings)
    if options.file:
        submit_files(client, [options.file], options.message, again=options.again)
        return
    push_and_submit(client, options.message, again=options.again)


def _queue(settings: Settings, options: argparse.Namespace) -> None:
    submit_files(Client(settings), options.files, options.message, again=options.again)


def _download_data(settings: Settings, options: argparse.Namespace) -> None:
    client = Client(settings)
    folder = options.output or SETTINGS_FILE.parent / "data" / settings.competition
    count = download_competition(client, folder.absolute())
    client.say(f"{folder}: {count} files of {settings.competition}")


def _submissions(settings: Settings, _: argparse.Namespace) -> None:
    client = Client(settings)
    ledger = Ledger(settings.ledger)
    own = {entry.ref: entry for entry in ledger.entries() if entry.ref}
    listed = list_submissions(client, settings.competition)
    for item in listed:
        entry = own.get(item.ref)
        origin = f"{entry.kernel} v{entry.version}" if entry and entry.kernel else item.file
        known = entry.fingerprint[:12] if entry else "not in the ledger"
        score = item.public_score or item.status.lower()
        client.say(f"{item.date}  {score:>9}  {item.ref}  {origin}  {known}  {item.description}")
    if not listed:
        client.say(f"nothing was submitted to {settings.competition} yet")
    here = [entry for entry in ledger.entries() if entry.competition == settings.competition]
    gone = {entry.ref for entry in here if entry.ref} - {item.ref for item in listed}
    for ref in sorted(gone):
        client.say(f"only in the ledger: {ref}  {own[ref].message}  {own[ref].public_score}")


if __name__ == "__main__":
    sys.exit(main())
