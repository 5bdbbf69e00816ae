"""A notebook, run by papermill in a twin of the image and rendered for people.

papermill itself runs in the development environment. The notebook runs in the twin's Python, which
has none of the vendored packages. It gets them, and kernelkit, from the dataset alone.
"""

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import nbformat
import psutil
from nbconvert import HTMLExporter

from devkit.dryrun.runtime import Runtime
from devkit.dryrun.scenario import Scenario
from devkit.sandbox.run import Mount, Sandbox, SandboxResult
from devkit.tools import REPOSITORY
from kernelkit.files import open_atomically
from kernelkit.recipe import Recipe

__all__ = [
    "execute",
    "render",
    "run_notebook",
    "sandbox_of",
    "session_variables",
    "was_killed",
]

# The exit codes of a command that was killed, and of papermill if its kernel is gone.
_KILLED = (137, 138)
_NOTEBOOKS = REPOSITORY / "notebooks"
_INPUTS = "/kaggle/input"
_MODELS = f"{_INPUTS}/datasets/kernelkit/weights"
_CODE = f"{_INPUTS}/datasets/kernelkit/kernelkit"
_WORKING = "/kaggle/working"
_SCRATCH = "/kaggle/tmp"


def run_notebook(
    scenario: Scenario,
    runtime: Runtime,
    workers: int,
    budget_bytes: int | None = None,
    on_sample: Callable[[list[psutil.Process]], None] | None = None,
    devices: str = "auto",
) -> SandboxResult:
    """Run the inference notebook to its end, without a network, on what lies below `/kaggle`.

    Parameters
    ----------
    scenario
        What the notebook is run on.
    runtime
        What it runs in.
    workers
        Reader processes.
    budget_bytes, on_sample
        As for `Sandbox.run`.
    devices
        As the notebook has it.
    """
    slug = Recipe.load(scenario.recipe).competition.slug
    competition = f"{_INPUTS}/competitions/{slug}"
    inputs = {competition: scenario.competition, _MODELS: scenario.models}
    sandbox = sandbox_of(inputs, scenario.working, runtime)
    parameters: dict[str, str | int | bool] = {
        "competition": sandbox.path(competition),
        "models": sandbox.path(_MODELS),
        "recipe": scenario.recipe,
        "workers": workers,
        "devices": devices,
    }
    if scenario.is_rerun:
        parameters |= {"limit": 1, "strict": True}
    network = "without a network" if sandbox.is_isolated else "WITH the network"
    print(f"the notebook runs as on Kaggle, {network}. Its inputs are in {sandbox.root}/input")
    variables = {"KAGGLE_IS_COMPETITION_RERUN": "1"} if scenario.is_rerun else {}
    return execute(
        "inference", sandbox, runtime, parameters, variables, budget_bytes, on_sample=on_sample
    )


def sandbox_of(inputs: Mapping[str, Path], working: Path, runtime: Runtime) -> Sandbox:
    """The place that a notebook runs in, with what it finds below `/kaggle`.

    Parameters
    ----------
    inputs
        The folders of this machine, by where the notebook finds them.
    working
        What stands for `/kaggle/working`. The sandbox lies beside it.
    runtime
        What the notebook runs in.
    """
    return Sandbox(
        working.parent / "sandbox",
        [
            *(Mount(folder, place) for place, folder in inputs.items()),
            Mount(runtime.dataset.folder, _CODE),
            Mount(working, _WORKING, writable=True),
            Mount(working.parent / "scratch", _SCRATCH, writable=True),
            # its files are those of the installer's cache, so nothing may change them
            Mount(runtime.twin.folder, str(runtime.twin.folder)),
        ],
    )


def execute(
    name: str,
    sandbox: Sandbox,
    runtime: Runtime,
    parameters: Mapping[str, str | int | float | bool],
    variables: Mapping[str, str] = MappingProxyType({}),
    budget_bytes: int | None = None,
    on_sample: Callable[[list[psutil.Process]], None] | None = None,
) -> SandboxResult:
    """Run a notebook to its end, without a network. It is left in `/kaggle/working`.

    Parameters
    ----------
    name
        Such as `inference`.
    sandbox, runtime
        Where, and in what.
    parameters
        Those of the notebook, beside the ones that all notebooks have.
    variables
        What the session has in its environment, beside what each session has.
    budget_bytes, on_sample
        As for `Sandbox.run`.
    """
    chosen = {
        "output": sandbox.path(_WORKING),
        "allow_cpu": True,
        "inputs": sandbox.path(_INPUTS),
        "fingerprint": runtime.dataset.fingerprint,
        **parameters,
    }
    jupyter = sandbox.home.resolve() / "jupyter"
    command = _papermill(
        _NOTEBOOKS / f"{name}.ipynb",
        f"{sandbox.path(_WORKING)}/{name}.ipynb",
        runtime.twin.write_kernelspec(jupyter),
        chosen,
    )
    session = {**session_variables(sandbox), **variables, "JUPYTER_PATH": str(jupyter)}
    return sandbox.run(command, session, budget_bytes, on_sample)


def was_killed(exit_code: int, executed: Path) -> bool:
    """Whether a notebook failed because its kernel was gone, and not because a cell failed.

    A system that runs out of memory kills the kernel alone. papermill then ends with a code of its
    own, or as after any error. But no cell of the executed notebook has an error then.
    """
    if exit_code in _KILLED:
        return True
    try:
        cells = nbformat.read(executed, as_version=4).cells
    except (OSError, ValueError, AttributeError, nbformat.ValidationError):
        return False
    begun = any(cell.metadata.get("papermill", {}).get("start_time") for cell in cells)
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    return begun and not any(output.output_type == "error" for output in outputs)


def render(scenario: Scenario) -> Path:
    """Write the executed notebook as an HTML page beside it, and return the page."""
    executed = nbformat.read(scenario.working / "inference.ipynb", as_version=4)
    body, _ = HTMLExporter().from_notebook_node(executed)
    page = scenario.working / "inference.html"
    with open_atomically(page) as file:
        file.write(body)
    return page


def _papermill(
    notebook: Path, executed: str, kernel: str, parameters: Mapping[str, str | int | float | bool]
) -> list[str]:
    """The command that runs a notebook in a Jupyter kernel and writes it as `executed`."""
    command = [sys.executable, "-m", "papermill", str(notebook), executed, "--kernel", kernel]
    command += ["--no-progress-bar", "--no-log-output", "--stdout-file", "-"]
    for name, value in parameters.items():
        option = "-r" if isinstance(value, str) else "-p"  # a fingerprint may look like a number
        command += [option, name, str(value)]
    return command


def session_variables(sandbox: Sandbox) -> dict[str, str]:
    """Only what a Kaggle session has in its environment, and how threads of this machine wait."""
    names = ("PATH", "LANG", "TMPDIR", "OMP_WAIT_POLICY")
    kept = {name: os.environ[name] for name in names if name in os.environ}
    # the last one has torch take a CPU's memory in huge pages, which is a fifth faster there
    return kept | {
        "KAGGLE_KERNEL_RUN_TYPE": "Batch",
        "KERNELKIT_WORK": sandbox.path(_SCRATCH),
        "PYTHONUNBUFFERED": "1",
        "THP_MEM_ALLOC_ENABLE": "1",
    }
