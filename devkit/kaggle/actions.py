"""What each command of the Kaggle side does, once its arguments and settings are known."""

import argparse
import dataclasses
import json
import shlex

from devkit.errors import KaggleError, SettingsError
from devkit.kaggle.datasets.competition import download_competition
from devkit.kaggle.doctor import examine, find_next_step
from devkit.kaggle.notebook.follow import check_log, follow_run
from devkit.kaggle.notebook.kernel import run_state
from devkit.kaggle.notebook.kernel_folder import prepare_folder
from devkit.kaggle.notebook.output import fetch_runs, fetch_tables
from devkit.kaggle.push import newest_version, push_and_submit
from devkit.kaggle.push import push as push_notebook
from devkit.kaggle.service.client import Client
from devkit.kaggle.service.endings import explain_ending
from devkit.kaggle.service.secrets import scrub
from devkit.kaggle.service.turns import turn
from devkit.kaggle.settings import SETTINGS_FILE, Settings
from devkit.kaggle.submissions.check import fetch_checked
from devkit.kaggle.submissions.ledger import Ledger
from devkit.kaggle.submissions.listing import list_submissions
from devkit.kaggle.submissions.submit import submit_files
from devkit.kaggle.submissions.table import as_json, lines_of

__all__ = [
    "doctor",
    "download_data",
    "logs",
    "prepare",
    "push",
    "queue",
    "status",
    "submissions",
    "submit",
]


def doctor(settings: Settings, options: argparse.Namespace) -> None:
    """Say what is missing before a push can succeed, and what is to be done next."""
    findings = []
    for finding in examine(settings):
        findings.append(finding)
        if not options.json:
            mark = "ok     " if finding.is_fine else "MISSING"
            print(f"{mark}  {finding.what:<14} {finding.found}", flush=True)
    missing = [finding.what for finding in findings if not finding.is_fine]
    step = find_next_step(settings)
    if options.json:
        content = [dataclasses.asdict(finding) for finding in findings]
        print(json.dumps({"is_ready": not missing, "findings": content, "next": step}, indent=1))
    else:
        print(f"next     {step}")
    if missing:
        raise KaggleError(f"not ready to push: {', '.join(missing)}")


def prepare(settings: Settings, _: argparse.Namespace) -> None:
    """Write the notebook's folder."""
    owner = settings.owner or Client(settings).owner
    folder = prepare_folder(settings, owner)
    push_it = shlex.join([".venv/bin/kaggle", "kernels", "push", "-p", str(folder.path)])
    print(f"{folder.path} is ready. Push it with: {push_it}")


def push(settings: Settings, _: argparse.Namespace) -> None:
    """Upload the datasets if they changed, then push the notebook."""
    pushed = push_notebook(Client(settings))
    follow = settings.command("logs")
    print(f"{pushed.ref} version {pushed.number} is on Kaggle. Follow it with {follow}")


def status(settings: Settings, _: argparse.Namespace) -> None:
    """Show the state of the notebook's newest version."""
    client = Client(settings)
    version = newest_version(client)
    state, failure = run_state(client, version)
    said = f"{version.name}: {state}{f' ({failure})' if failure else ''}"
    if state in ("QUEUED", "RUNNING", "COMPLETE"):
        client.say(said)
    else:
        means = explain_ending(settings, failure)
        raise KaggleError(f"{said}. {means and f'{means}. '}See {settings.command('logs')}")


def logs(settings: Settings, _: argparse.Namespace) -> None:
    """Follow the log to its end, then fetch and check what the notebook wrote."""
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
        check_log(log, version, settings)
    else:
        check_log(log, version, settings)
        fetch_checked(client, version)


def submit(settings: Settings, options: argparse.Namespace) -> None:
    """Push, run and submit the notebook, or submit a file."""
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


def queue(settings: Settings, options: argparse.Namespace) -> None:
    """Submit several files."""
    submit_files(Client(settings), options.files, options.message, again=options.again)


def download_data(settings: Settings, options: argparse.Namespace) -> None:
    """Fetch the competition's files."""
    client = Client(settings)
    own = settings.own_competition
    folder = own.data_folder if own else SETTINGS_FILE.parent / "data" / settings.competition
    folder = options.output or folder
    with turn(client, f"the download into {folder.absolute()}"):
        count = download_competition(client, folder.absolute())
    client.say(f"{folder}: {count} files of {settings.competition}")


def submissions(settings: Settings, options: argparse.Namespace) -> None:
    """Show Kaggle's list of submissions beside the ledger."""
    client = Client(settings)
    entries = Ledger(settings.ledger).entries()
    listed = list_submissions(client, settings.competition)
    if options.json:
        print(scrub(json.dumps(as_json(settings.competition, listed, entries)), client.secrets))
        return
    for line in lines_of(settings.competition, listed, entries):
        client.say(line)
