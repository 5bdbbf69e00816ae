"""Notebooks that run: in a twin of Kaggle's image, or cell by cell without Jupyter."""

import ast
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nbformat

from devkit.dryrun.notebook import execute, sandbox_of
from devkit.dryrun.runtime import Runtime
from devkit.tools import REPOSITORY

NOTEBOOK = REPOSITORY / "notebooks/inference.ipynb"


def run_in_twin(
    name: str,
    runtime: Runtime,
    inputs: Mapping[str, Path],
    working: Path,
    parameters: Mapping[str, str | int],
) -> dict[str, str]:
    """Run a notebook to its good end, and return what each cell shows, by the cell's id.

    Parameters
    ----------
    inputs
        What is mounted, by its place below `/kaggle/input`.
    working
        The folder that is `/kaggle/working`.
    parameters
        The notebook's parameters, with Kaggle's own places.
    """
    sandbox = sandbox_of(inputs, working, runtime)
    places = {
        key: sandbox.path(str(value))
        for key, value in parameters.items()
        if str(value).startswith("/kaggle/")
    }
    result = execute(name, sandbox, runtime, {**parameters, **places})
    page = (working / f"{name}.ipynb").read_text()
    assert result.exit_code == 0, page[-3000:]
    return {cell.id: str(cell.get("outputs")) for cell in nbformat.reads(page, as_version=4).cells}


def run_cells(after_predict: Callable[[Any], None] = lambda _done: None, **parameters: Any) -> str:
    """Run inference's cells here as papermill would, but for the first, and return what they show.

    Parameters
    ----------
    after_predict
        Called with the prediction between the cell that predicts and those that show.
    parameters
        The notebook's parameters.
    """
    names: dict[str, Any] = {"kernelkit_dataset": SimpleNamespace(models=Path, recipe=str)}
    shown = []
    for cell in nbformat.read(NOTEBOOK, as_version=4).cells:
        if cell.cell_type != "code" or "bootstrap" in cell.source:
            continue
        shown.append(_run(cell.source, names))
        if "parameters" in cell.metadata.get("tags", ()):
            names |= parameters
        if "done = predict" in cell.source:
            after_predict(names["done"])
    return "\n".join(filter(None, shown))


def sent(value: object) -> str:
    """What Jupyter would send of a cell's last value. It must be JSON in UTF-8."""
    bundle: dict[str, str] = getattr(value, "_repr_mimebundle_", lambda: {"text": repr(value)})()
    return json.dumps(bundle, ensure_ascii=False).encode().decode()


def _run(source: str, names: dict[str, Any]) -> str:
    body = ast.parse(source).body
    last = body.pop() if body and isinstance(body[-1], ast.Expr) else None
    exec(compile(ast.Module(body, []), "cell", "exec"), names)
    if not isinstance(last, ast.Expr):
        return ""
    value = eval(compile(ast.Expression(last.value), "cell", "eval"), names)
    return "" if value is None else sent(value)
