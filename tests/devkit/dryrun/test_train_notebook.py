"""The notebooks of training and validation as on Kaggle: in a twin of the image, offline."""

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import yaml

from devkit.dryrun.runtime import Runtime
from devkit.dryrun.shell import main, open_shell
from kernelkit.mask import BitMask
from kernelkit.predict.run import load_models
from kernelkit.training.fold_folder import FoldFolder
from tests.made.notebook import run_in_twin
from tests.made.training_run import load_training, write_trained

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600), pytest.mark.xdist_group("twin")]

COMPETITION = "/kaggle/input/competitions/a-competition"
MODELS = "/kaggle/input/notebooks/me/a-training"


def write_competition(folder: Path) -> None:
    """Two pictures of noise with a bright square, and the squares as labels."""
    (folder / "train").mkdir(parents=True)
    lines = ["id,rle"]
    for number, name in enumerate("ab"):
        pixels = np.random.default_rng(number).integers(0, 100, (96, 96, 3), np.uint8)
        mask = np.zeros((96, 96), bool)
        mask[20:60, 30:70] = True
        pixels[mask] += 100
        cv2.imwrite(str(folder / f"train/{name}.png"), pixels)
        lines.append(f"{name},{BitMask.from_array(mask).to_rle()}")
    (folder / "train.csv").write_text("\n".join(lines) + "\n")


def test_the_notebook_trains_a_run_that_inference_reads(runtime: Runtime, tmp_path: Path) -> None:
    """The image has what training imports. The output holds the run, its report and the cells."""
    write_competition(tmp_path / "competition")
    labels = {"rle": "train.csv", "id_column": "id", "rle_column": "rle"}
    training = load_training(
        tmp_path / "recipes",
        {"runs": ["small"]},
        {"core": 64},
        labels=labels,
        crop={"size": 32},
        input={"mean": "auto"},
        ema=0.9,
        steps=2,
        batch=2,
        validate={"floor": 0},
        keep=["best", "last"],
    )
    working = tmp_path / "run/working"
    shown = run_in_twin(
        "train",
        runtime,
        {COMPETITION: tmp_path / "competition"},
        working,
        {
            "competition": COMPETITION,
            "recipe": str(tmp_path / "recipes/small.yaml"),
            "cuts": "/kaggle/tmp/cuts",
            "overrides": "epochs=1 'summary=in small'",
            "folds": "1",
            "workers": 0,
        },
    )
    assert "all folds are trained" in shown["end"]
    assert "kernelkit: end of the run, training recipe small" in shown["end"]
    assert "data:image/png;base64" in shown["reports"]
    fold = FoldFolder(working / "small", 1)
    assert list(fold.metrics()["epoch"]) == [1]
    assert (working / "small/report.html").is_file()
    assert not (working / "small/fold_0").exists()
    said = yaml.safe_load((working / "small/cfg.yaml").read_text())
    assert said["DATA"]["mean"] == pytest.approx([0.26] * 3, abs=0.05)
    [model] = load_models(training.recipe, working, "cpu").values()
    assert model.recipe.input.mean == tuple(said["DATA"]["mean"])


def test_the_notebook_validates_what_was_trained(runtime: Runtime, tmp_path: Path) -> None:
    """The output holds scores out of fold and the report. No gain survives of random networks."""
    write_competition(tmp_path / "competition")
    labels = {"rle": "train.csv", "id_column": "id", "rle_column": "rle"}
    training = load_training(
        tmp_path / "recipes", {"runs": ["small"]}, {"core": 64}, labels=labels, crop={"size": 32}
    )
    write_trained(training.runs["small"], tmp_path / "models", (1, 2))
    working = tmp_path / "run/working"
    inputs = {COMPETITION: tmp_path / "competition", MODELS: tmp_path / "models"}
    shown = run_in_twin(
        "validate",
        runtime,
        inputs,
        working,
        {
            "competition": COMPETITION,
            "models": MODELS,
            "recipe": str(tmp_path / "recipes/small.yaml"),
            "workers": 0,
        },
    )
    assert "2 images are predicted out of fold" in shown["end"]
    assert "failed" not in shown["end"]
    assert "kernelkit: end of the run, training recipe small" in shown["end"]
    assert "data:image/png;base64" in shown["report"]
    scores = pd.read_csv(working / "scores.csv")
    assert scores[["image", "fold"]].values.tolist() == [["a", 0], ["b", 1]]
    total = pd.read_csv(working / "total.csv")
    assert total["name"].tolist() == ["a", "b", "AVE"]
    assert not (working / "predicting.yaml").exists()
    assert (working / "report.html").is_file()


def test_a_shell_in_the_twin_has_the_images_python_and_no_network(
    runtime: Runtime, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """kernelkit comes from the dataset, inputs are read-only, and the exit code is true."""
    (tmp_path / "mine").mkdir()
    checks = """
import os, sys, kernelkit
print("python", sys.executable, "kernelkit", kernelkit.__file__, "at", os.getcwd())
print("inputs", sorted(os.listdir("/kaggle/input/competitions")))
try:
    open("/kaggle/input/competitions/mine/x", "w")
except OSError as error:
    print("writing:", error.strerror)
sys.exit(7)
"""
    inputs = {"/kaggle/input/competitions/mine": tmp_path / "mine"}
    code = open_shell(runtime, inputs, tmp_path / "run/working", ["python", "-c", checks])
    printed = capfd.readouterr().out
    assert code == 7
    assert f"python {runtime.twin.folder}/bin/python kernelkit /kaggle/tmp/" in printed
    assert "at /kaggle/working" in printed
    assert "inputs ['mine']" in printed
    assert "writing: Read-only file system" in printed


def test_a_shell_needs_the_folders_that_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything is built."""
    assert main(["--models", str(tmp_path / "nowhere")], tmp_path) == 1
    assert "nowhere: there is no such models folder. Check the path" in capsys.readouterr().err
