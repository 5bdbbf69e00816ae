"""`make push NOTEBOOK=engine`: engines are made on Kaggle, of what inference would load."""

from devkit.kaggle.notebook.kernel_folder import injected_parameters
from tests.made.kaggle_home import (
    FINGERPRINT,
    Home,
)
from tests.made.kaggle_service import COMPETITION, USER

TRAIN = f"{USER}/kernelkit-train"


def test_it_has_weights_and_a_gpu(home: Home) -> None:
    """The dataset of weights is attached, and its folder is baked in. Hours are no parameter."""
    home.settings["engine"] = {"parameters": {"one": True}, "hours": 2.0}
    result = home.run("--notebook", "engine", "push")
    assert result.code == 0, result.err
    [request] = home.server.bodies["SaveKernel"]
    assert request["slug"] == f"{USER}/kernelkit-engine"
    assert request["machineShape"] == "NvidiaTeslaT4"
    assert request["sessionTimeoutSeconds"] == 2 * 3600
    _, parameters = injected_parameters(home.pushed_text())
    weights = "kernelkit-weights"
    assert f"{USER}/{weights}" in request["datasetDataSources"]
    assert parameters == {
        "competition": f"/kaggle/input/competitions/{COMPETITION}",
        "recipe": "hubmap",
        "models": f"/kaggle/input/datasets/{USER}/{weights}",
        "output": "/kaggle/working",
        "fingerprint": FINGERPRINT,
        "one": True,
    }


def test_its_run_folders_are_fetched_with_their_recipe(home: Home) -> None:
    """Without a dataset of weights it finds the training's output. Its own output is fetched."""
    home.settings |= {"weights": ""}
    home.settings["engine"] = {"kernels": [TRAIN]}
    home.service.next_files = {
        "unet/cfg.yaml": b"MODEL: {}",
        "unet/fold_0/models/best.pt2": b"engine",
        "unet/fold_0/eager/best.safetensors": b"weights",
        "Unet_resnet18/models/best.pt2": b"engine of a run without a cfg.yaml",
        "Unet_resnet18/models/best.pt2.json": b"{}",
        "recipe.yaml": b"name: hubmap",
        "engine.ipynb": b"{}",
    }
    assert home.run("--notebook", "engine", "push").code == 0
    _, parameters = injected_parameters(home.pushed_text())
    assert parameters["models"] == f"/kaggle/input/notebooks/{TRAIN}"
    result = home.run("--notebook", "engine", "logs")
    assert "the run folders are fetched" in result.out
    folder = home.folder / "build/kaggle-output/engine-v1"
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert found == set(home.service.next_files) - {"engine.ipynb"}


def test_a_recipe_without_run_folders_is_no_result(home: Home) -> None:
    """An output that has lost its run folders is not told to be fetched."""
    home.settings |= {"weights": ""}
    home.settings["engine"] = {"kernels": [TRAIN]}
    home.service.next_files = {"recipe.yaml": b"name: hubmap"}
    assert home.run("--notebook", "engine", "push").code == 0
    result = home.run("--notebook", "engine", "logs")
    assert result.code == 1
    assert "left no run folder" in result.err
