"""The command line of the Kaggle side; `make push`, `make submit` and the others call it.

Its exit code is 0 only where the goal was reached. Interrupted, or out of time, it says so, and the
same command goes on where it was.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from devkit.errors import ToolError
from devkit.kaggle.doctor import examine
from devkit.kaggle.notebook.folder import prepare_folder
from devkit.kaggle.notebook.kernel import kernel_state
from devkit.kaggle.notebook.push import newest, push, push_and_run
from devkit.kaggle.notebook.run import check_log, fetch_submission, follow_run
from devkit.kaggle.service.client import Client
from devkit.kaggle.settings import SETTINGS_FILE, Settings, load_settings
from devkit.kaggle.submissions.ledger import Ledger
from devkit.kaggle.submissions.listed import list_submissions
from devkit.kaggle.submissions.submit import submit_files, submit_kernel
from kernelkit.errors import KernelKitError

__all__ = ["main"]

Command = Callable[[Settings, argparse.Namespace], None]


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    options = _parse(arguments)
    try:
        settings = load_settings(options.settings)
        if getattr(options, "competition", None):
            settings = settings.model_copy(update={"competition": options.competition})
        command: Command = options.command
        command(settings, options)
    except KernelKitError as error:
        print(f"{options.name} failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{options.name} interrupted: run the same command again to go on", file=sys.stderr)
        return 130
    return 0


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m devkit.kaggle", description=__doc__)
    parser.add_argument(
        "--settings", type=Path, default=SETTINGS_FILE, help="the settings file (%(default)s)"
    )
    commands = parser.add_subparsers(dest="name", required=True, metavar="COMMAND")

    def add(name: str, command: Command, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(command=command)
        return sub

    add("doctor", _doctor, "say what is missing before a push can succeed")
    add("prepare", _prepare, "write the kernel's folder, to be pushed by hand")
    add("push", _push, "upload the datasets if they changed, then push the notebook")
    add("status", _status, "say how the newest version of the notebook is doing")
    add("logs", _logs, "follow its log to the end, check it, fetch and check its submission")
    submit = add("submit", _submit, "push, wait for the run, submit it, wait for the score")
    submit.add_argument("-f", "--file", type=Path, help="submit this CSV file instead")
    queue = add("queue", _queue, "submit several CSV files, as many as the day allows")
    queue.add_argument("files", type=Path, nargs="+")
    for sub in (submit, queue):
        sub.add_argument("-m", "--message", default="", help="what Kaggle's list is to say of it")
        sub.add_argument("--again", action="store_true", help="also if it was submitted before")
    listing = add("submissions", _submissions, "show the ledger beside what Kaggle lists")
    for sub in (submit, queue, listing):
        sub.add_argument("-c", "--competition", help="instead of the one in the settings")
    return parser.parse_args(arguments)


def _doctor(settings: Settings, _: argparse.Namespace) -> None:
    missing = []
    for finding in examine(settings):
        print(f"{'ok     ' if finding.is_fine else 'MISSING'}  {finding.what:<14} {finding.found}")
        if not finding.is_fine:
            missing.append(finding.what)
    if missing:
        raise ToolError(f"not ready to push: {', '.join(missing)}")


def _prepare(settings: Settings, _: argparse.Namespace) -> None:
    owner = settings.owner or Client(settings).owner
    folder = prepare_folder(settings, owner)
    print(f"{folder.path}: ready; push it with: kaggle kernels push -p {folder.path}")


def _push(settings: Settings, _: argparse.Namespace) -> None:
    pushed = push(Client(settings))
    print(f"{pushed.ref} version {pushed.number}: follow it with make logs")


def _status(settings: Settings, _: argparse.Namespace) -> None:
    client = Client(settings)
    head = newest(client)
    state, failure = kernel_state(client, head)
    said = f"{head.ref} version {head.number}: {state}{f' ({failure})' if failure else ''}"
    if state in ("QUEUED", "RUNNING", "COMPLETE"):
        client.say(said)
    else:
        raise ToolError(f"{said}; make logs shows why")


def _logs(settings: Settings, _: argparse.Namespace) -> None:
    client = Client(settings)
    head = newest(client)
    check_log(follow_run(client, head), head)
    fetch_submission(client, head)


def _submit(settings: Settings, options: argparse.Namespace) -> None:
    client = Client(settings)
    if options.file:
        submit_files(client, [options.file], options.message, again=options.again)
        return
    pushed = push_and_run(client)
    submit_kernel(client, pushed, options.message, again=options.again)


def _queue(settings: Settings, options: argparse.Namespace) -> None:
    submit_files(Client(settings), options.files, options.message, again=options.again)


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
