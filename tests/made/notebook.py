"""The inference notebook without Jupyter: its code cells run here, one after the other."""

import ast
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nbformat

from devkit.tools import REPOSITORY

NOTEBOOK = REPOSITORY / "notebooks/inference.ipynb"


def run_cells(after_predict: Callable[[Any], None] = lambda _done: None, **parameters: Any) -> str:
    """Run the cells as papermill would, but for the first one, and return what they show.

    Parameters
    ----------
    after_predict
        Called with the prediction between the cell that predicts and those that show.
    parameters
        The notebook's parameters.
    """
    names: dict[str, Any] = {"kernelkit_dataset": SimpleNamespace(models=Path)}
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
