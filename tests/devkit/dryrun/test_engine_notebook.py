"""The notebook of engines as on Kaggle: in a twin of the image, offline, on a CPU."""

import shutil
from pathlib import Path

import pytest

from devkit.dryrun.runtime import Runtime
from kernelkit.predict.run import load_models
from kernelkit.recipe import Recipe
from tests.made.competition import RECIPE, write_competition
from tests.made.networks import COMPILED, write_run
from tests.made.notebook import run_in_twin

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.xdist_group("twin"),
    pytest.mark.skipif(not shutil.which("g++"), reason="compiling for a CPU needs a compiler"),
]

COMPETITION = "/kaggle/input/competitions/a-test-competition"
MODELS = "/kaggle/input/datasets/me/kernelkit-weights"


def test_the_notebook_makes_a_package_that_inference_reads(
    runtime: Runtime, tmp_path: Path
) -> None:
    """Its output is a models folder with its recipe. The image has all that compiling needs."""
    write_competition(tmp_path / "competition")
    write_run(tmp_path / "models/run", COMPILED, seeds=(1,))
    (tmp_path / "test.yaml").write_text(RECIPE)
    working = tmp_path / "run/working"
    inputs = {COMPETITION: tmp_path / "competition", MODELS: tmp_path / "models"}
    shown = run_in_twin(
        "engine",
        runtime,
        inputs,
        working,
        {
            "competition": COMPETITION,
            "models": MODELS,
            "recipe": str(tmp_path / "test.yaml"),
            "tiles": 2,
        },
    )
    assert "run/fold_0: differs by " in shown["engines"]
    assert "kernelkit: end of the run, recipe test" in shown["end"]
    [package] = working.rglob("*.pt2")
    assert package.relative_to(working).parts[:3] == ("run", "fold_0", "models")
    [model] = load_models(Recipe.load(working / "recipe.yaml"), working, "cpu").values()
    # on a machine of this kind it is the package, else its weights
    assert model.members[0].is_program or "does not load here" in model.notes[0]
