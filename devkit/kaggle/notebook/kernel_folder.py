"""The kernel's folder: a notebook with its parameters baked in, and its metadata.

`kaggle kernels push -p FOLDER` pushes it as it is, and so does `make push`. The notebook is the one
that the dry-run runs, cell by cell. It has one more cell after its parameters, which papermill
writes. The first line of that cell holds a digest of all that the push depends on. So Kaggle itself
can be asked whether this push was made before.
"""

import ast
import hashlib
import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import papermill
from pydantic import BaseModel, ValidationError

from devkit.errors import DatasetError, SettingsError
from devkit.kaggle.built import build_command, build_weights_command, check_sources, check_weights
from devkit.kaggle.manifest import check_proved, read_manifest
from devkit.kaggle.outputs import writing
from devkit.kaggle.settings import Settings
from kernelkit.files import open_atomically
from mounted import MANIFEST, WEIGHTS_MANIFEST

__all__ = [
    "METADATA_FILE",
    "KernelFolder",
    "injected_parameters",
    "notebook_content",
    "prepare_folder",
]

METADATA_FILE = "kernel-metadata.json"
_INJECTED = "injected-parameters"
# how papermill begins its cell
_PARAMETERS = "# Parameters"

Parameters = Mapping[str, str | int | float | bool]


@dataclass(frozen=True, slots=True)
class KernelFolder:
    """A folder that is ready to be pushed.

    Attributes
    ----------
    path : Path
        Where it lies.
    ref : str
        The kernel, `owner/slug`.
    digest : str
        A hash of the notebook, its parameters, its metadata and the datasets' fingerprints.
    fingerprint : str
        The fingerprint of the kernel dataset that the notebook is to find.
    sources : frozenset of str
        The datasets, competition, models and scripts to attach, in lower case.
    content : str
        A hash of the notebook's cells, as `notebook_content` makes it.
    """

    path: Path
    ref: str
    digest: str
    fingerprint: str
    sources: frozenset[str]
    content: str


def prepare_folder(settings: Settings, owner: str) -> KernelFolder:
    """Write the notebook and `kernel-metadata.json` into the settings' kernel folder.

    Parameters
    ----------
    settings
        What to push, with what parameters and sources.
    owner
        The user or group on Kaggle to whom the kernel and the datasets belong.

    Raises
    ------
    SettingsError
        There is no owner, no notebook, or the notebook lacks a parameter.
    DatasetError
        The datasets are not built yet, are built for another profile, or were not proved. Or they
        are not what would be built now.
    OutputError
        The folder cannot be written.
    """
    if not owner:
        raise SettingsError("nobody is signed in. Set owner in kaggle.toml, or KERNELKIT_OWNER")
    build = build_command(settings)
    manifest = read_manifest(settings.dataset_folder / MANIFEST, build)
    fingerprint, profile = manifest.fingerprint, manifest.target.profile
    if not profile:
        raise DatasetError(
            f"{settings.dataset_folder / MANIFEST}: it names no profile. Run {build}"
        )
    if profile != settings.profile:
        raise DatasetError(
            f"{settings.dataset_folder} was built for {profile}, but profile is "
            f"{settings.profile}. Run {build}"
        )
    check_proved(settings.dataset_folder, manifest, build)
    check_sources(settings)
    fingerprints = [fingerprint]
    if settings.weights:
        path = settings.weights_folder / WEIGHTS_MANIFEST
        fingerprints.append(read_manifest(path, build_weights_command(settings)).fingerprint)
        check_weights(settings)
    metadata = _metadata(settings, owner)
    known = _known_parameters(settings.notebook)
    notebook = _with_parameters(settings, _parameters(settings, owner, fingerprint, known))
    parts = [metadata, [cell.source for cell in notebook.cells], *fingerprints]
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
    cell = _injected(notebook)
    cell.source = cell.source.replace(_PARAMETERS, f"{_PARAMETERS} of push {digest}", 1)
    folder = settings.kernel_folder
    with writing(folder, "kernel_folder"):
        folder.mkdir(parents=True, exist_ok=True)
        with open_atomically(folder / settings.notebook.name) as file:
            nbformat.write(notebook, file)
        with open_atomically(folder / METADATA_FILE) as file:
            file.write(f"{json.dumps(metadata, indent=1)}\n")
    sources = (source for key in metadata if key.endswith("_sources") for source in metadata[key])
    wanted = frozenset(source.lower() for source in sources)
    content = notebook_content(nbformat.writes(notebook))
    return KernelFolder(folder, str(metadata["id"]), digest, fingerprint, wanted, content)


class _Cell(BaseModel):
    source: str | list[str] = ""

    @property
    def text(self) -> str:
        """The cell's source. A notebook's file may hold it in pieces."""
        return "".join(self.source)


class _Notebook(BaseModel):
    cells: list[_Cell]


def notebook_content(source: str) -> str:
    """Hash the cells of a notebook file. White space does not count.

    Kaggle stores a notebook as it was pushed, until somebody edits it there.

    Parameters
    ----------
    source
        The text of the notebook file.

    Returns
    -------
    The hash. Empty if that is no notebook.
    """
    try:
        cells = _Notebook.model_validate_json(source).cells
    except ValidationError:
        return ""
    words = [cell.text.split() for cell in cells]
    return hashlib.sha256(json.dumps(words).encode()).hexdigest()[:16]


def injected_parameters(source: str) -> tuple[str, dict[str, Any]]:
    """Read the digest that a pushed notebook names, and the parameters baked into it.

    Both are empty if the notebook was not pushed from a folder that was made here. They are empty
    too if somebody edited the parameters on Kaggle, and they are no plain values now.

    Parameters
    ----------
    source
        The text of the notebook file.
    """
    try:
        cells = _Notebook.model_validate_json(source).cells
    except ValidationError:
        return "", {}
    for cell in cells:
        if found := re.match(rf"{_PARAMETERS} of push (\w+)\n", cell.text):
            parameters = _assigned(cell.text)
            return ("", {}) if parameters is None else (found[1], parameters)
    return "", {}


def _assigned(code: str) -> dict[str, Any] | None:
    """Read the values that a cell assigns to names. None if it does anything else."""
    found: dict[str, Any] = {}
    try:
        for node in ast.parse(code).body:
            if not isinstance(node, ast.Assign) or not isinstance(node.targets[0], ast.Name):
                return None
            found[node.targets[0].id] = ast.literal_eval(node.value)
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError):
        return None
    return found


def _known_parameters(notebook: Path) -> list[str]:
    """The parameters in the notebook's cell tagged `parameters`."""
    if not notebook.is_file():
        raise SettingsError(
            f"{notebook}: there is no such notebook. Correct notebook in kaggle.toml"
        )
    try:
        return list(papermill.inspect_notebook(str(notebook)))
    except Exception as error:  # whatever two libraries raise of a file that is no notebook
        raise SettingsError(
            f"{notebook}: it is not a notebook that can be read. Correct it, or notebook in "
            "kaggle.toml"
        ) from error


def _parameters(settings: Settings, owner: str, fingerprint: str, known: list[str]) -> Parameters:
    """Collect the notebook's parameters on Kaggle. Those in the settings count most."""
    baked: dict[str, str | int | float | bool] = {
        "competition": f"/kaggle/input/competitions/{settings.competition}",
        "recipe": settings.recipe,
        "output": "/kaggle/working",
    }
    if settings.section is not None:
        section = settings.section
        baked["recipe"] = section.recipe or settings.recipe
        if "hours" in known:
            baked["hours"] = section.hours
    trained = [ref for ref in settings.kernels if ref.endswith(f"/{settings.train.kernel}")]
    if settings.weights:
        baked["models"] = f"/kaggle/input/datasets/{owner}/{settings.weights}"
    elif trained and settings.section != settings.train:
        baked["models"] = f"/kaggle/input/notebooks/{trained[0]}"
    if "fingerprint" in known:  # a user's own notebook may have no such parameter
        baked["fingerprint"] = fingerprint
    parameters = baked | settings.parameters
    if unknown := sorted(set(parameters) - set(known)):
        raise SettingsError(
            f"{settings.notebook} has no parameter {unknown[0]}. Its cell tagged 'parameters' has "
            f"{', '.join(known) or 'none'}. Correct parameters in kaggle.toml"
        )
    return parameters


def _with_parameters(settings: Settings, parameters: Parameters) -> nbformat.NotebookNode:
    """Let papermill add its cell, without outputs, dates or paths of this machine."""
    logging.getLogger("papermill").setLevel(logging.WARNING)
    notebook = papermill.execute_notebook(
        str(settings.notebook), None, dict(parameters), prepare_only=True, progress_bar=False
    )
    notebook.metadata.pop("papermill", None)
    for cell in notebook.cells:
        cell.metadata.pop("papermill", None)
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    _injected(notebook).id = _INJECTED
    return notebook


def _injected(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    return next(cell for cell in notebook.cells if _INJECTED in cell.metadata.get("tags", ()))


def _metadata(settings: Settings, owner: str) -> dict[str, Any]:
    """The content of `kernel-metadata.json`. It has every key: some defaults are dangerous."""
    own = [settings.dataset, *([settings.weights] if settings.weights else [])]
    metadata: dict[str, Any] = {
        "id": f"{owner}/{settings.kernel}",
        "title": settings.kernel_title,
        "code_file": settings.notebook.name,
        "language": "python",
        "kernel_type": "notebook",
        "is_private": True,
        "enable_gpu": bool(settings.accelerator),
        "enable_tpu": False,
        "enable_internet": False,
        "dataset_sources": list(
            dict.fromkeys([*(f"{owner}/{slug}" for slug in own), *settings.datasets])
        ),
        "competition_sources": [settings.competition],
        "kernel_sources": list(settings.kernels),
        "model_sources": list(settings.models),
        "keywords": [],
        "docker_image_pinning_type": settings.image_pinning,
    }
    if settings.accelerator:
        metadata["machine_shape"] = settings.accelerator
    if settings.docker_image:
        metadata["docker_image"] = settings.docker_image
    return metadata
