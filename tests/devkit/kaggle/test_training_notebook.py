"""`make push NOTEBOOK=train` and `=validate`: these notebooks on Kaggle, and what they leave."""

import json

import pytest

from devkit.kaggle.notebook.kernel_folder import injected_parameters
from devkit.tools import REPOSITORY
from tests.made.kaggle_home import (
    DATASET,
    FINGERPRINT,
    Home,
)
from tests.made.kaggle_service import COMPETITION, USER

TRAIN = f"{USER}/kernelkit-train"
RUN = {
    "unet/cfg.yaml": b"MODEL: {}",
    "unet/fold_0/models/e1_t1_cmax_val_0.5000.pth": b"weights",
    "train.ipynb": b"{}",
}


def train(home: Home, *arguments: str) -> str:
    result = home.run("--notebook", "train", *arguments)
    assert result.code == 0, result.err
    return result.out


def test_the_training_notebook_is_pushed_with_a_gpu_and_without_the_internet(home: Home) -> None:
    """It has the dataset of the code and the competition, and no weights."""
    home.settings["train"] = {"kernels": [TRAIN], "parameters": {"overrides": "epochs=2"}}
    train(home, "push")
    [request] = home.server.bodies["SaveKernel"]
    assert request["slug"] == TRAIN
    assert request["enableInternet"] is False
    assert request["machineShape"] == "NvidiaTeslaT4"
    assert request["sessionTimeoutSeconds"] == 9 * 3600
    assert request["datasetDataSources"] == [DATASET]
    assert request["competitionDataSources"] == [COMPETITION]
    assert request["kernelDataSources"] == [TRAIN]
    _, parameters = injected_parameters(home.pushed_text())
    assert parameters == {
        "competition": f"/kaggle/input/competitions/{COMPETITION}",
        "recipe": "hubmap",
        "output": "/kaggle/working",
        "hours": 9.0,
        "fingerprint": FINGERPRINT,
        "overrides": "epochs=2",
    }
    cells = json.loads(home.pushed_text())["cells"]
    own = json.loads((REPOSITORY / "notebooks/train.ipynb").read_text())["cells"]
    assert len(cells) == len(own) + 1


def test_both_notebooks_can_be_pushed_beside_each_other(home: Home) -> None:
    """Each has its kernel and its folder. What was pushed is not pushed again."""
    assert home.run("push").code == 0
    train(home, "push")
    assert "is this one already" in train(home, "push")
    assert sorted(home.service.kernels) == [f"{USER}/kernelkit-inference", TRAIN]
    folders = sorted(path.name for path in (home.folder / "build").iterdir())
    assert folders == ["kernel", "kernel-kaggle-py312", "kernel-train", "weights"]


def test_the_inference_notebook_finds_the_output_of_the_training_notebook(home: Home) -> None:
    """Without a dataset of weights, it is the folder of the models."""
    home.settings |= {"weights": "", "kernels": [TRAIN]}
    assert home.run("prepare").code == 0
    text = (home.folder / "build/kernel/inference.ipynb").read_text()
    assert injected_parameters(text)[1]["models"] == f"/kaggle/input/notebooks/{TRAIN}"


def test_the_validation_notebook_finds_the_output_of_the_training_notebook(home: Home) -> None:
    """It has its own kernel and hours, and no weights. Its tables are fetched, and no store."""
    home.settings["validation"] = {"kernels": [TRAIN], "hours": 3.0}
    home.service.next_files = {
        "report.html": b"<p>",
        "scores.csv": b"image,fold\n",
        "hubmap.yaml": b"name: hubmap",
        "masks/part.sqlite": b"store",
        "validate.ipynb": b"{}",
    }
    assert home.run("--notebook", "validate", "push").code == 0
    [request] = home.server.bodies["SaveKernel"]
    assert request["slug"] == f"{USER}/kernelkit-validate"
    assert request["sessionTimeoutSeconds"] == 3 * 3600
    assert request["datasetDataSources"] == [DATASET]
    _, parameters = injected_parameters(home.pushed_text())
    assert parameters == {
        "competition": f"/kaggle/input/competitions/{COMPETITION}",
        "recipe": "hubmap",
        "models": f"/kaggle/input/notebooks/{TRAIN}",
        "output": "/kaggle/working",
        "hours": 3.0,
        "fingerprint": FINGERPRINT,
    }
    result = home.run("--notebook", "validate", "logs")
    assert "the report, the tables and the tuned recipe are fetched" in result.out
    folder = home.folder / "build/kaggle-output/validate-v1"
    assert sorted(path.name for path in folder.rglob("*")) == [
        *("hubmap.yaml", "report.html", "scores.csv"),
    ]


def test_logs_fetch_the_run_folders(home: Home) -> None:
    """Other files stay there, and what was fetched is not fetched again."""
    home.service.next_files = dict(RUN)
    train(home, "push")
    assert "the run folders are fetched" in train(home, "logs")
    folder = home.folder / "build/kaggle-output/train-v1"
    files = [path for path in folder.rglob("*") if path.is_file()]
    found = {str(path.relative_to(folder)): path.read_bytes() for path in files}
    assert found == {name: content for name, content in RUN.items() if "/" in name}
    count = len(home.server.downloaded)
    train(home, "logs")
    assert len(home.server.downloaded) == count


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ({"train.ipynb": b"{}"}, "left no run folder"),
        (RUN | {"../unet/cfg.yaml": b""}, "left a file outside of its folder, '../unet/cfg.yaml'"),
    ],
)
def test_an_output_that_is_not_run_folders_is_refused(
    home: Home, files: dict[str, bytes], problem: str
) -> None:
    """Nothing is written then."""
    home.service.next_files = files
    train(home, "push")
    result = home.run("--notebook", "train", "logs")
    assert result.code == 1
    assert problem in result.err
    assert not (home.folder / "build/kaggle-output").exists()
