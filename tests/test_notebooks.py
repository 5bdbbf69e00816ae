import ast
from pathlib import Path

import nbformat
import pytest
from papermill import inspect_notebook

NOTEBOOKS = sorted((Path(__file__).resolve().parent.parent / "notebooks").glob("*.ipynb"))
FIRST_CELL = NOTEBOOKS[0].parent.parent / "kernel_src" / "first_cell.py"
INFERENCE, *OTHERS = (
    next(path for path in NOTEBOOKS if path.stem == name)
    for name in ("inference", "train", "validate", "engine")
)


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


@pytest.mark.parametrize("path", [INFERENCE, *OTHERS], ids=lambda path: path.stem)
def test_each_parameter_has_a_type_and_a_sentence(path: Path) -> None:
    """`papermill --help-notebook` explains every parameter. It reads one line of code at a time."""
    parameters = inspect_notebook(str(path))
    cells = nbformat.read(path, as_version=4).cells
    [cell] = [cell for cell in cells if "parameters" in cell.metadata.get("tags", ())]
    assert set(parameters) == {line.split(":")[0] for line in cell.source.splitlines()}
    for parameter in parameters.values():
        assert parameter["inferred_type_name"] in ("str", "int", "float", "bool")
        assert len(parameter["help"].split()) >= 4


@pytest.mark.parametrize("path", OTHERS, ids=lambda path: path.stem)
def test_all_notebooks_start_kernelkit_by_the_same_cells(path: Path) -> None:
    """What is verified before the first import does not depend on the notebook."""
    first, second = (
        {cell.id: cell.source for cell in nbformat.read(each, as_version=4).cells}
        for each in (INFERENCE, path)
    )
    assert first["first-cell"] == second["first-cell"] == FIRST_CELL.read_text().strip()
    assert first["environment"] == second["environment"]
