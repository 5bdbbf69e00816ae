"""What a kernel's run on Kaggle left: its log and its files, listed and fetched."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kagglesdk.kernels.types.kernels_api_service import ApiListKernelSessionOutputRequest
from pydantic import JsonValue, TypeAdapter, ValidationError

from devkit.bars import bar
from devkit.errors import KaggleError
from devkit.kaggle.notebook.kernel import KernelVersion
from devkit.kaggle.outputs import writing
from devkit.kaggle.service.answers import OutputPage, event_text
from devkit.kaggle.service.client import Client
from devkit.kaggle.service.downloads import fetch_file
from devkit.kaggle.service.turns import turn
from kernelkit.files import replace_atomically
from mounted import is_inside

__all__ = ["RunOutput", "fetch_runs", "fetch_submissions", "fetch_tables", "run_output"]

# of the list of what a run left, a hundred files each
_PAGES = 100
# the recipe that reads engines
_RECIPE = "recipe.yaml"
# by these a run folder is known: how it was trained, or the record of an engine
_OF_RUNS = ("/cfg.yaml", ".onnx.json", ".pt2.json")
# what a run writes beside its submission
_REPORT = "report.json"
# what a validation writes beside its store
_TABLES = (".html", ".csv", ".yaml", ".json")
_EVENTS = TypeAdapter(list[JsonValue])


@dataclass(frozen=True, slots=True)
class RunOutput:
    """What a finished run left.

    Attributes
    ----------
    log : list of str
        The pieces of its log.
    files : dict
        The address of each file, by name.
    """

    log: list[str]
    files: dict[str, str]


def run_output(client: Client, version: KernelVersion) -> RunOutput:
    """Ask for everything that a run left.

    Parameters
    ----------
    client
        The client, signed in.
    version
        Whose run it is.

    Raises
    ------
    KaggleError
        Kaggle does not say.
    """

    # the client's own kernels_output drops the version
    def fetch(api: Any) -> RunOutput:
        request = ApiListKernelSessionOutputRequest()
        request.user_name, request.kernel_slug = version.ref.split("/")
        request.version_label = version.label
        request.page_size = 100
        files: dict[str, str] = {}
        log = ""
        with api.build_kaggle_client() as kaggle:
            for _ in range(_PAGES):
                answer = OutputPage.of(
                    kaggle.kernels.kernels_api_client.list_kernel_session_output(request)
                )
                log = log or answer.log
                files |= {file.file_name: file.url for file in answer.files}
                if not answer.next_page_token:
                    break
                request.page_token = answer.next_page_token
        return RunOutput(_pieces(log), files)

    return client.ask(f"fetch the output of {version.name}", fetch)


def fetch_submissions(client: Client, version: KernelVersion) -> list[Path]:
    """Fetch the submissions that the run wrote, as they are.

    Parameters
    ----------
    client
        The client, signed in.
    version
        Whose run it is.

    Returns
    -------
    The submission, in the settings' output folder, and the file of each of the recipe's
    `submissions`. The log lies beside it, and so does the report if the run left one.

    Raises
    ------
    KaggleError
        The run left one of them not, or Kaggle did not send it whole.
    OutputError
        The output folder cannot be written.
    """
    output = run_output(client, version)
    recipe = client.settings.loaded_recipe
    first = recipe.competition.submission_name
    suffix = Path(first).suffix
    names = [first, *(f"submissions/{name}{suffix}" for name in recipe.submissions)]
    if missing := [name for name in names if name not in output.files]:
        see = client.settings.command("logs")
        raise KaggleError(f"{version.name} left no {missing[0]}. See {see}")
    folder = client.settings.output_folder / version.label
    with writing(folder, "output_folder"):
        for name in [*names, *({_REPORT} & set(output.files))]:
            _download(client, output.files[name], folder / name)
        log = "".join(output.log)
        with replace_atomically(folder / "kernel.log") as path:
            path.write_text(log, encoding="utf-8", errors="backslashreplace")
    return [folder / name for name in names]


def fetch_runs(client: Client, version: KernelVersion, notebook: str = "train") -> Path:
    """Fetch the run folders that the training notebook wrote, or that of engines.

    A file that is there already is not fetched again, so an interrupted call goes on.

    Parameters
    ----------
    client
        The client, signed in.
    version
        Whose run it is.
    notebook
        What the folder of the files is called after, such as `train`.

    Returns
    -------
    The models folder, below the settings' output folder.

    Raises
    ------
    KaggleError
        The run left no run folder, names a file outside of its output, or Kaggle did not send one.
    OutputError
        The output folder cannot be written.
    """
    files = run_output(client, version).files
    runs = {name.split("/")[0] for name in files if name.endswith(_OF_RUNS)}
    wanted = [name for name in files if runs and name.split("/")[0] in {*runs, _RECIPE}]
    return _fetched(client, version, files, wanted, notebook, "run folder")


def fetch_tables(client: Client, version: KernelVersion) -> Path:
    """Fetch the report, the tables and the recipe that the validation notebook wrote.

    The store of probabilities stays there.

    Parameters, what is returned and what is raised are those of `fetch_runs`.
    """
    files = run_output(client, version).files
    wanted = [name for name in files if name.endswith(_TABLES) and "masks/" not in name]
    return _fetched(client, version, files, wanted, "validate", "report")


def _fetched(
    client: Client,
    version: KernelVersion,
    files: Mapping[str, str],
    wanted: Sequence[str],
    notebook: str,
    what: str,
) -> Path:
    """Fetch some files of a run's output into a folder of their own."""
    if outside := [name for name in files if not is_inside(name)]:
        raise KaggleError(
            f"{version.name} left a file outside of its folder, {outside[0]!r:.80}. Nothing was "
            "fetched. Look at its output on kaggle.com"
        )
    if not wanted:
        raise KaggleError(f"{version.name} left no {what}. See its log above")
    folder = client.settings.output_folder / f"{notebook}-{version.label}"
    with writing(folder, "output_folder"):
        for name in bar(wanted, description="fetching", unit="file"):
            if not (folder / name).is_file():
                _download(client, files[name], folder / name)
    return folder


def _pieces(log: str) -> list[str]:
    """The pieces of a log. Kaggle keeps it as a JSON list of events, or as plain lines."""
    try:
        events = _EVENTS.validate_json(log)
    except ValidationError:
        return log.splitlines(keepends=True)
    return [event_text(event) for event in events]


def _download(client: Client, url: str, path: Path) -> None:
    timeout = client.settings.answer_seconds
    path.parent.mkdir(parents=True, exist_ok=True)
    # each attempt goes on where the last one broke off
    with turn(client, f"the download of {path}"):
        client.ask(f"fetch {path.name}", lambda _: fetch_file(url, path, timeout))
