"""A run that is killed, as a system does that runs out of memory, and the run after it."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from devkit.tools import REPOSITORY
from kernelkit.competition import CompetitionFolder
from kernelkit.predict import Prediction, load_models, predict
from kernelkit.recipe import Recipe
from tests.made.competition import RECIPE, write_competition, write_models
from tests.made.pictures import Salt


def kill_after(
    batches: int,
    recipe: Recipe,
    folder: Path,
    models: Path,
    output: Path,
    by: signal.Signals = signal.SIGKILL,
) -> None:
    """Start a run, and send it a signal once it has asked about so many batches."""
    path = output.parent / "recipe.yaml"
    path.write_text(json.dumps(recipe.model_dump(mode="json", exclude_unset=True)))
    arguments = [path, folder, models, output]
    command = [sys.executable, "-m", "tests.made.killed_run", *map(str, arguments)]
    asked = 0
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            asked += "asked" in line
            if asked == batches:
                process.send_signal(by)
    assert process.returncode == -by


def run(recipe: Recipe, folder: Path, models: Path, output: Path) -> Prediction:
    competition = CompetitionFolder.read(folder, recipe.competition)
    return predict(competition, recipe, load_models(recipe, models), output)


@pytest.mark.timeout(180)
@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGINT])
def test_whole_pictures_go_on_where_a_killed_run_was(tmp_path: Path, by: signal.Signals) -> None:
    """What was stored before is kept, and the submission is that of an undisturbed run."""
    made = Salt(tmp_path)
    recipe = made.recipe.override(batch=1)
    kill_after(10, recipe, made.folder, made.models, tmp_path / "out", by)
    done = run(recipe, made.folder, made.models, tmp_path / "out")
    counts = done.report.counts
    assert counts["fallback"] == 0
    # a run that is interrupted writes what it has, and one that is killed loses a second of it
    assert counts["kept"] >= (3 if by == signal.SIGKILL else 6)
    assert counts["predicted"] >= 3
    wanted = run(recipe, made.folder, made.models, tmp_path / "undisturbed")
    assert done.submission.read_bytes() == wanted.submission.read_bytes()


@pytest.mark.timeout(180)
def test_tiles_go_on_where_a_killed_run_was(tmp_path: Path) -> None:
    """Finished images are kept. The image that was in the middle of its tiles is predicted."""
    folder = write_competition(tmp_path / "in")
    models = write_models(tmp_path / "models")
    recipe = Recipe.parse(RECIPE)
    # image a has 12 tiles, which are 3 batches
    kill_after(5, recipe, folder, models, tmp_path / "out")
    done = run(recipe, folder, models, tmp_path / "out")
    assert {image.image: image.status for image in done.report.images} == {
        "a": "kept",
        "b": "predicted",
        "c": "predicted",
    }
    wanted = run(recipe, folder, models, tmp_path / "undisturbed")
    assert done.submission.read_bytes() == wanted.submission.read_bytes()
