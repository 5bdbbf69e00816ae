"""The inference notebook, run by papermill in a twin of the image and rendered for people.

papermill itself stays in the development environment; the notebook's kernel is the twin's Python,
which has none of the vendored packages: it gets them, and kernelkit, from the dataset alone.
"""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nbformat
import psutil
from nbconvert import HTMLExporter

from devkit.dataset.builder import Builder, default_listing
from devkit.dataset.pack import Packed
from devkit.image.profiles import load_profile
from devkit.sandbox.run import Mount, Sandbox, SandboxResult
from devkit.tools import REPOSITORY
from devkit.wheels.resolve import Resolver
from devkit.wheels.twin import Twin
from kernelkit.files import open_atomically
from kernelkit.recipe import Recipe

__all__ = ["REPOSITORY", "Kernel", "Scenario", "make_kernel", "render", "run_notebook"]

_NOTEBOOK = REPOSITORY / "notebooks/inference.ipynb"
_MODELS = "/kaggle/input/datasets/kernelkit/nuclei-models"
_CODE = "/kaggle/input/datasets/kernelkit/kernelkit"
_WORKING = "/kaggle/working"
_SCRATCH = "/kaggle/tmp"


@dataclass(frozen=True, slots=True)
class Kernel:
    """What runs the notebook: the kernel dataset, and the twin of the image it was packed for."""

    dataset: Packed
    twin: Twin


def make_kernel(name: str, folder: Path) -> Kernel:
    """Build the kernel dataset for the image `name` into `folder`, and its twin if need be."""
    profile = load_profile(name)
    builder = Builder(Resolver(profile), default_listing(profile), say=print)
    return Kernel(builder.build(folder), builder.twin())


@dataclass(frozen=True, slots=True)
class Scenario:
    """What the notebook is run on, and where its output goes.

    Attributes
    ----------
    recipe
        Name of a recipe of kernelkit, or path of a YAML file.
    competition, models
        The folders that Kaggle would mount.
    solution
        Held-out labels, or None where there are none.
    working
        The folder that stands for `/kaggle/working`.
    is_rerun
        Set what Kaggle sets in the hidden rerun, and ask for limits, which it must ignore.
    """

    recipe: str
    competition: Path
    models: Path
    working: Path
    solution: Path | None = None
    is_rerun: bool = False

    @property
    def submission(self) -> Path:
        """The submission that the notebook writes."""
        return self.working / "submission.csv"


def run_notebook(
    scenario: Scenario,
    kernel: Kernel,
    workers: int,
    budget_bytes: int | None = None,
    on_sample: Callable[[list[psutil.Process]], None] | None = None,
) -> SandboxResult:
    """Run the inference notebook to its end, apart from the network, on what lies below `/kaggle`.

    Parameters
    ----------
    workers
        Reader processes.
    budget_bytes, on_sample
        As for `Sandbox.run`.
    """
    slug = Recipe.load(scenario.recipe).competition.slug
    competition = f"/kaggle/input/competitions/{slug}"
    sandbox = Sandbox(
        scenario.working.parent / "sandbox",
        [
            Mount(scenario.competition, competition),
            Mount(scenario.models, _MODELS),
            Mount(kernel.dataset.folder, _CODE),
            Mount(scenario.working, _WORKING, writable=True),
            Mount(scenario.working.parent / "scratch", _SCRATCH, writable=True),
            # its files are those of the installer's cache, so nothing may change them
            Mount(kernel.twin.folder, str(kernel.twin.folder)),
        ],
    )
    parameters: dict[str, str | int | bool] = {
        "competition": sandbox.path(competition),
        "models": sandbox.path(_MODELS),
        "recipe": scenario.recipe,
        "workers": workers,
        "output": sandbox.path(_WORKING),
        "allow_cpu": True,
        "inputs": sandbox.path("/kaggle/input"),
        "fingerprint": kernel.dataset.fingerprint,
    }
    if scenario.is_rerun:
        parameters |= {"limit": 1, "strict": True}
    command = [sys.executable, "-m", "papermill", str(_NOTEBOOK)]
    command += [sandbox.path(f"{_WORKING}/inference.ipynb")]
    command += ["--no-progress-bar", "--no-log-output", "--stdout-file", "-"]
    command += ["--kernel", kernel.twin.write_kernel(sandbox.home / "jupyter")]
    for name, value in parameters.items():
        option = "-r" if isinstance(value, str) else "-p"  # a fingerprint may look like a number
        command += [option, name, str(value)]
    network = "without a network" if sandbox.is_isolated else "WITH the network"
    print(f"the notebook runs as on Kaggle, {network}, its inputs below {sandbox.root}/input")
    environment = _environment(scenario) | {
        "JUPYTER_PATH": str(sandbox.home.resolve() / "jupyter"),
        "KERNELKIT_WORK": sandbox.path(_SCRATCH),
    }
    return sandbox.run(command, environment, budget_bytes, on_sample)


def render(scenario: Scenario) -> Path:
    """Write the executed notebook as an HTML page beside it."""
    executed = nbformat.read(scenario.working / "inference.ipynb", as_version=4)
    body, _ = HTMLExporter().from_notebook_node(executed)
    page = scenario.working / "inference.html"
    with open_atomically(page) as file:
        file.write(body)
    return page


def _environment(scenario: Scenario) -> dict[str, str]:
    """Only what a Kaggle session has: no variable of the user's gets in."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
    kaggle = {"KAGGLE_KERNEL_RUN_TYPE": "Batch"}
    if scenario.is_rerun:
        kaggle["KAGGLE_IS_COMPETITION_RERUN"] = "1"
    # the second has torch take a CPU's memory in huge pages, which is a fifth faster there
    return kept | kaggle | {"PYTHONUNBUFFERED": "1", "THP_MEM_ALLOC_ENABLE": "1"}
