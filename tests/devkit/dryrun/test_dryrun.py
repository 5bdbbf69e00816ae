import fcntl
from pathlib import Path

import pytest

from devkit.dryrun import __main__ as dryrun
from devkit.dryrun.notebook import Kernel, Scenario, make_kernel, render, run_notebook
from devkit.dryrun.results import draw_overlay, image_reports, read_checked, results_table
from tests.made.competition import RECIPE, write_competition, write_models

pytestmark = [pytest.mark.timeout(600), pytest.mark.xdist_group("twin")]


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Kernel:
    return make_kernel("kaggle-py312", tmp_path_factory.mktemp("kernel") / "dataset")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe, models and a competition that are not of this repository."""
    folder = tmp_path_factory.mktemp("inputs")
    (folder / "recipe.yaml").write_text(RECIPE)
    write_models(folder / "models")
    write_competition(folder / "competition")
    hidden = {name: ("planar", 90 + 7 * i, 120) for i, name in enumerate("defgh")}
    write_competition(folder / "hidden", hidden, seed=1)
    return folder


def scenario(inputs: Path, working: Path, is_rerun: bool = False) -> Scenario:
    return Scenario(
        recipe=str(inputs / "recipe.yaml"),
        competition=inputs / ("hidden" if is_rerun else "competition"),
        models=inputs / "models",
        working=working / "working",
        is_rerun=is_rerun,
    )


def test_two_dry_runs_at_once_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The second says so in one sentence, and changes nothing: both would use one dataset."""
    monkeypatch.setattr(dryrun, "_BUILD", tmp_path)
    with (tmp_path / ".dry-run.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert dryrun.main([]) == 1
    assert "another dry-run is at work in this folder" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == [".dry-run.lock"]


def test_both_ways_of_reading_give_one_submission(
    inputs: Path, kernel: Kernel, tmp_path: Path
) -> None:
    """The notebook writes the same bytes with two reader processes and with none."""
    texts = []
    for workers in (0, 2):
        run = scenario(inputs, tmp_path / str(workers))
        assert run_notebook(run, kernel, workers).exit_code == 0
        masks = read_checked(run)
        texts.append(run.submission.read_bytes())
    assert texts[0] == texts[1]
    assert list(results_table(run, masks)["image"]) == ["a", "b", "c"]
    assert "a-test-competition" in render(run).read_text()
    assert draw_overlay(run, masks).stat().st_size > 1000


def test_the_hidden_rerun_predicts_all_images_and_is_never_strict(
    inputs: Path, kernel: Kernel, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Other ids, other sizes and a corrupt image: a limit of 1 and strict=True are ignored."""
    run = scenario(inputs, tmp_path, is_rerun=True)
    (inputs / "hidden/test/g.tiff").write_text("no image")
    assert run_notebook(run, kernel, workers=2).exit_code == 0
    log = capfd.readouterr().out
    assert log.startswith("the notebook runs as on Kaggle")  # and is in its place in a file, too
    assert "kernelkit: end of the run" in log
    statuses = {image["image"]: image["status"] for image in image_reports(run)}
    assert statuses == {
        "d": "predicted",
        "e": "predicted",
        "f": "predicted",
        "g": "fallback",
        "h": "predicted",
    }
    assert run.submission.read_text().count("\n") == 6
