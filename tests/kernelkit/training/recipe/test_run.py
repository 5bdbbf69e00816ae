"""Runs: what follows from the recipe that predicts, and what they say about epochs."""

import inspect
from pathlib import Path
from typing import Any

import pytest
import segmentation_models_pytorch as smp
import torch
from hypothesis import given
from hypothesis import strategies as st
from segmentation_models_pytorch import MODEL_ARCHITECTURES_MAPPING
from timm.layers import DropPath

from kernelkit.checkpoints.networks import build
from kernelkit.training.recipe import NetworkRecipe, RunRecipe, TrainingRecipe
from kernelkit.training.recipe.network import _OF_SMP
from tests.made.training_run import MODEL, load_training

TILES = {"core": 192, "pad": 64, "scale": 2}
HUBMAP = TrainingRecipe.load("hubmap").runs["Unet_timm-regnety_016"]


def run_of(folder: Path, ensemble: dict[str, Any], tiles: Any = TILES, **keys: Any) -> RunRecipe:
    return load_training(folder, ensemble, tiles, **keys).runs["small"]


def with_epochs(epochs: int, **keys: Any) -> RunRecipe:
    return HUBMAP.model_copy(update={"epochs": epochs, **keys})


def test_a_zoom_of_the_pyramid_changes_the_scale_of_the_training(tmp_path: Path) -> None:
    """A run that looks at half the size is trained at twice the scale."""
    pyramid = [{"zoom": 0.5, "runs": ["small"]}, {"zoom": 1, "runs": ["other"]}]
    run = run_of(tmp_path, {"pyramid": pyramid, "runs": ["small", "other"]})
    assert (run.scale, run.tiles.core) == (4, 192)


def test_a_gate_of_its_own_size_is_trained_at_it(tmp_path: Path) -> None:
    """Otherwise it sees what the first scale of the pyramid gives."""
    gate = {"runs": ["small"], "size": [64, 64]}
    ensemble = {"runs": ["other"], "pyramid": [{"size": [96, 96]}], "gate": gate}
    keys: dict[str, Any] = {
        "task": "classify",
        "model": {"arch": "timm", "model_name": "resnet18"},
        "loss": {"ce": 1},
    }
    assert run_of(tmp_path, ensemble, "whole", **keys).size == (64, 64)
    del gate["size"]
    assert run_of(tmp_path, ensemble, "whole", **keys).size == (96, 96)


def test_whole_pictures_are_one_window_each(tmp_path: Path) -> None:
    """Without windows and sources, each picture is drawn once. Its size includes its pads."""
    tiles = {"whole": True, "pad": [14, 18]}
    run = run_of(tmp_path, {"pyramid": [{"size": [96, 64]}]}, tiles)
    assert run.windows["whole"].around == "picture"
    assert run.sources["whole"].windows == "whole"
    assert run.crop_size == run.window_size == (96, 64)


def test_pictures_of_unknown_size_say_none(tmp_path: Path) -> None:
    """Their size is known once they are read."""
    run = run_of(tmp_path, {}, "whole")
    assert run.window_size is None
    assert run.crop_size is None


def test_a_size_that_the_recipe_leaves_out_is_that_of_the_run(tmp_path: Path) -> None:
    """The run folder says it at inference."""
    assert run_of(tmp_path, {}, "whole", size=[64, 96]).size == (64, 96)


def test_an_input_that_the_recipe_leaves_out_is_that_of_the_run(tmp_path: Path) -> None:
    """What both say has to agree, in whatever form bands are written."""
    said = {"bands": [1, "(b1 + b2) / 2"], "mean": [0, 0], "std": [1, 1], "divide": 100}
    ensemble = {"input": said}
    given_here = {"bands": ["b1", "(b1+b2)/2"], "divide": 100, "resample": "nearest"}
    run = run_of(tmp_path, ensemble, input=given_here)
    assert (run.input.divide, run.input.resample) == (100, "nearest")
    assert not run.auto_statistics


def test_mean_and_std_may_be_those_of_the_windows(tmp_path: Path) -> None:
    """Until they are known they are 0 and 1."""
    run = run_of(tmp_path, {"input": {}}, input={"mean": "auto", "divide": 255})
    assert run.auto_statistics
    assert (run.input.mean, run.input.std) == ((0, 0, 0), (1, 1, 1))
    known = run.with_statistics([0.5, 0.4, 0.3], [0.2, 0.2, 0.1])
    assert (known.input.mean, known.input.std) == ((0.5, 0.4, 0.3), (0.2, 0.2, 0.1))
    assert known.input.divide == 255


@given(st.integers(1, 60), st.integers(1, 12))
def test_weights_are_judged_every_so_many_epochs_and_after_the_last(
    epochs: int, every: int
) -> None:
    """No gap is longer than `every`."""
    assert HUBMAP.validate_ is not None
    validate = HUBMAP.validate_.model_copy(update={"every": every})
    judged = with_epochs(epochs, validate_=validate).validated_epochs
    assert judged[-1] == epochs
    assert set(judged) == {n for n in range(1, epochs + 1) if n % every == 0} | {epochs}


@given(st.integers(1, 20), st.integers(1, 6))
def test_there_is_a_snapshot_at_the_end_of_each_period(period: int, restarts: int) -> None:
    """There are as many as periods, and the last is the last epoch's."""
    schedule = HUBMAP.schedule.model_copy(update={"restarts": restarts, "snapshots": True})
    taken = with_epochs(period * restarts, schedule=schedule).snapshot_epochs
    assert taken == tuple(period * (i + 1) for i in range(restarts))


@given(st.integers(1, 60), st.integers(0, 100))
def test_a_part_is_frozen_for_its_share_of_the_epochs(epochs: int, percent: int) -> None:
    """It is frozen from the first epoch on, and never again once it learns."""
    run = with_epochs(epochs, freeze={"encoder": percent / 100})
    frozen = [bool(run.frozen(epoch)) for epoch in range(epochs)]
    assert frozen == sorted(frozen, reverse=True)
    assert sum(frozen) == -(-percent * epochs // 100)


def test_known_keys_are_those_of_the_library() -> None:
    """A key that an architecture takes is no misspelt one."""
    assert set(MODEL_ARCHITECTURES_MAPPING) == set(NetworkRecipe.ARCHITECTURES)
    taken = {
        name
        for kind in MODEL_ARCHITECTURES_MAPPING.values()
        for name in inspect.signature(kind).parameters
    }
    ours = {"encoder_name", "encoder_depth", "encoder_weights", "aux_params"}
    assert taken - {"in_channels", "classes", "activation", "kwargs"} == _OF_SMP | ours


@pytest.mark.parametrize(
    "keys",
    [
        {"arch": "Unet"},
        {"arch": "UnetPlusPlus", "encoder_depth": 4, "decoder_channels": [8, 8, 8, 8]},
        {"arch": "FPN"},
        {"arch": "Linknet"},
        {"arch": "PSPNet"},
        {"arch": "DeepLabV3"},
        {"arch": "DeepLabV3Plus"},
        {"arch": "PAN"},
        {"arch": "MAnet"},
    ],
    ids=lambda keys: str(keys["arch"]),
)
def test_a_network_takes_multiples_of_its_stride(keys: dict[str, Any]) -> None:
    """What the recipe allows is answered in the size of the input, and nothing else is taken."""
    recipe = NetworkRecipe(encoder_name="resnet18", **keys)
    network = build(recipe.description(3, 2), "test")
    size = (4 * recipe.stride + 64, 6 * recipe.stride + 64)
    with torch.inference_mode():
        assert network(torch.zeros(2, 3, *size)).shape == (2, 2, *size)
        if recipe.stride > 1:
            with pytest.raises(RuntimeError, match="Wrong input shape"):
                network(torch.zeros(2, 3, size[0] + 1, size[1]))
    parts = {name for name, _ in network.named_children()}
    assert recipe.parts is not None
    assert set(recipe.parts) <= parts


def test_a_description_builds_the_network_with_its_channels() -> None:
    """What is about the beginning of the training is left out of it."""
    recipe = NetworkRecipe(**MODEL, encoder_weights="imagenet", aux_params={"classes": 1})
    description = recipe.description(2, 3)
    assert "encoder_weights" not in description
    network = build(description, "test")
    assert isinstance(network, smp.FPN)
    masks, labels = network.eval()(torch.zeros(1, 2, 64, 64))
    assert masks.shape == (1, 3, 64, 64)
    assert labels.shape == (1, 1)


def test_a_run_takes_back_with_null_what_all_share() -> None:
    """An argument of another architecture is then in no description."""
    recipe = NetworkRecipe(arch="FPN", encoder_name="tu-test_resnet", decoder_channels=None)
    assert recipe.description(3, 1) == {
        "arch": "FPN",
        "encoder_name": "tu-test_resnet",
        "in_channels": 3,
        "classes": 1,
    }


def test_an_encoder_of_timm_takes_its_own_arguments() -> None:
    """They are passed on to it, and other encoders have no such key."""
    keys = {"arch": "Unet", "drop_path_rate": 0.5}
    recipe = NetworkRecipe(encoder_name="tu-test_resnet", **keys)
    network = build(recipe.description(3, 1), "test")
    assert max(m.drop_prob for m in network.modules() if isinstance(m, DropPath)) == 0.5
    with pytest.raises(ValueError, match="drop_path_rate does not exist with arch Unet"):
        NetworkRecipe(encoder_name="resnet18", **keys)
