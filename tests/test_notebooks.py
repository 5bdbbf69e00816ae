import ast
from pathlib import Path

import nbformat
import pytest
from papermill import inspect_notebook

NOTEBOOKS = sorted((Path(__file__).resolve().parent.parent / "notebooks").glob("*.ipynb"))
FIRST_CELL = NOTEBOOKS[0].parent.parent / "kernel_src" / "first_cell.py"
INFERENCE = next(path for path in NOTEBOOKS if path.stem == "inference")


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request: pytest.FixtureRequest) -> nbformat.NotebookNode:
    return nbformat.read(request.param, as_version=4)


def test_a_notebook_is_stored_without_its_outputs(notebook: nbformat.NotebookNode) -> None:
    """Nothing that a run left, and no execution count, is in the repository."""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert not cell.outputs
            assert cell.execution_count is None


def test_no_cell_is_longer_than_a_screen(notebook: nbformat.NotebookNode) -> None:
    """The logic lies in the package, so 30 lines do. Only the verifier cannot import, with 50."""
    verifier = FIRST_CELL.read_text().strip()
    lines = [cell.source.count("\n") for cell in notebook.cells if cell.source != verifier]
    assert max(lines) < 30
    assert verifier.count("\n") < 50


def test_the_cells_define_no_functions_of_their_own(notebook: nbformat.NotebookNode) -> None:
    """A function in a notebook is one that no test can reach."""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            nodes = ast.walk(ast.parse(cell.source))
            assert not any(isinstance(node, ast.FunctionDef | ast.ClassDef) for node in nodes)


def test_each_parameter_has_a_type_and_a_sentence() -> None:
    """`papermill --help-notebook` explains every parameter."""
    parameters = inspect_notebook(str(INFERENCE))
    assert {"competition", "models", "recipe", "workers", "tile", "overlap", "limit", "output"} <= (
        set(parameters)
    )
    for parameter in parameters.values():
        assert parameter["inferred_type_name"] in ("str", "int", "bool")
        assert len(parameter["help"].split()) >= 4
