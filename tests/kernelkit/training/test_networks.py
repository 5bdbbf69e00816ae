"""Networks of runs: what they begin with, and what stays as it is."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
import safetensors.torch
import segmentation_models_pytorch as smp
import timm
import torch
from torch import Tensor, nn

from kernelkit.errors import CheckpointError, TrainingError
from kernelkit.training.networks import build_network, freeze_parts
from kernelkit.training.recipe import RunRecipe
from tests.made.networks import FPN, checkpoint, network
from tests.made.own import PACKAGE, session_with, write_own
from tests.made.training_run import MODEL, load_training

TILES = {"core": 64}
PIXELS = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(3))


def run_of(folder: Path, **keys: Any) -> RunRecipe:
    return load_training(folder, {}, TILES, **keys).runs["small"]


def state(run: RunRecipe, fold: int = 0) -> dict[str, Tensor]:
    return build_network(run, fold)[0].state_dict()


def is_same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


def test_random_weights_are_those_of_seed_and_fold(tmp_path: Path) -> None:
    """Nothing that was drawn before changes them, and each fold has its own."""
    run = run_of(tmp_path)
    first = state(run)
    torch.rand(5)
    assert is_same(first, state(run))
    assert not is_same(first, state(run, 1))
    assert not is_same(first, state(run_of(tmp_path, seed=1)))


def test_a_network_is_in_training_mode_with_channels_of_the_recipe(tmp_path: Path) -> None:
    """Bands and classes follow from the recipe that predicts."""
    ensemble = {"input": {"bands": [1, 2], "mean": [0, 0], "std": [1, 1]}}
    training = load_training(tmp_path, ensemble, TILES)
    built, notes = build_network(training.runs["small"])
    assert built.training
    assert built(PIXELS[:, :2]).shape == (2, 1, 64, 64)
    assert notes == []


def write_trained(folder: Path, description: dict[str, Any], seed: int) -> nn.Module:
    module = network(description, seed)
    folder.parent.mkdir(parents=True, exist_ok=True)
    torch.save(checkpoint(module), folder)
    return module


def test_a_run_begins_with_the_weights_of_a_checkpoint(tmp_path: Path) -> None:
    """All weights are those of the file, whatever prefix they have there."""
    trained = write_trained(tmp_path / "e2_t4_cmax_val_0.9.pth", FPN, 7)
    run = run_of(tmp_path, init=str(tmp_path / "e2_t4_cmax_val_0.9.pth"))
    built, notes = build_network(run)
    assert is_same(trained.state_dict(), built.state_dict())
    assert notes == [
        f"small: the network begins with the weights of {tmp_path / 'e2_t4_cmax_val_0.9.pth'}"
    ]


def test_a_fold_begins_with_the_best_of_the_same_fold(tmp_path: Path) -> None:
    """So no image that validates was trained on. Another fold than there are has the first."""
    best = [
        write_trained(tmp_path / f"run/fold_{i}/models/e4_cmax_ema_0.9.pth", FPN, i)
        for i in range(2)
    ]
    write_trained(tmp_path / "run/fold_1/models/e2_cmax_val_0.8.pth", FPN, 9)
    run = run_of(tmp_path, init={"model": str(tmp_path / "run")})
    assert is_same(best[1].state_dict(), state(run, 1))
    assert is_same(best[0].state_dict(), state(run, 5))


def test_a_head_of_other_classes_stays_random_and_is_named(tmp_path: Path) -> None:
    """A model of one class begins one of two, but for the layer that cannot."""
    write_trained(tmp_path / "one.pth", FPN, 7)
    ensemble = {"activation": "softmax"}
    training = load_training(
        tmp_path,
        ensemble,
        TILES,
        competition={"submitted": [1]},
        loss={"ce": 1},
        init=str(tmp_path / "one.pth"),
    )
    _, notes = build_network(training.runs["small"])
    (note,) = notes
    assert "Random are segmentation_head.0.weight, segmentation_head.0.bias" in note


def test_a_checkpoint_of_another_network_is_refused(tmp_path: Path) -> None:
    """The message counts what is missing."""
    write_trained(tmp_path / "one.pth", {**FPN, "encoder_name": "mobilenet_v2"}, 7)
    run = run_of(tmp_path, init=str(tmp_path / "one.pth"))
    with pytest.raises(CheckpointError, match=r"one\.pth: \d+ of \d+ weights of FPN, tu-test_resn"):
        build_network(run)


def test_a_checkpoint_that_is_not_there_is_named(tmp_path: Path) -> None:
    """A path of `init` is checked before the first step, and so is an empty run folder."""
    with pytest.raises(CheckpointError, match="no such file or run folder. Correct init"):
        build_network(run_of(tmp_path, init=str(tmp_path / "none.pth")))
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match="there is no checkpoint in it"):
        build_network(run_of(tmp_path, init=str(tmp_path / "empty")))


def test_only_the_encoder_of_a_checkpoint_is_taken(tmp_path: Path) -> None:
    """The decoder may be of another architecture."""
    unet = {**FPN, "arch": "Unet"}
    del unet["decoder_pyramid_channels"], unet["decoder_segmentation_channels"]
    trained = write_trained(tmp_path / "unet.pth", unet, 7)
    built, _ = build_network(run_of(tmp_path, init={"encoder": str(tmp_path / "unet.pth")}))
    assert is_same(trained.encoder.state_dict(), built.encoder.state_dict())


@pytest.mark.parametrize("form", [".safetensors", ".pth"])
def test_an_encoder_begins_with_a_file_of_timms_weights(tmp_path: Path, form: str) -> None:
    """Such as a dataset of pretrained weights on Kaggle has. Its classifier is left out."""
    torch.manual_seed(4)
    classifier = timm.create_model("test_resnet").state_dict()
    path = tmp_path / f"model{form}"
    if form == ".pth":
        torch.save(classifier, path)
    else:
        safetensors.torch.save_file(classifier, path)
    built, notes = build_network(run_of(tmp_path, init={"encoder": str(path)}))
    encoder = built.encoder.model.state_dict()
    assert is_same(encoder, {name: classifier[name] for name in encoder})
    assert notes == [f"small: the encoder begins with the weights of {path}"]


@pytest.fixture(name="own")
def fixture_own(tmp_path: Path) -> Iterator[dict[str, Any]]:
    """A network of code of the user's own, as a recipe names it."""
    with session_with(write_own(tmp_path / "own")):
        yield {"network": f"{PACKAGE}.model:Net", "width": 6}


def test_a_network_of_your_own_code_is_built_and_frozen(tmp_path: Path, own: Any) -> None:
    """Its channels follow from the recipe, and its parts have their own names."""
    first = build_network(run_of(tmp_path, model=own))[0]
    torch.save(first.state_dict(), tmp_path / "own.pth")
    keys = {"model": own, "init": str(tmp_path / "own.pth"), "freeze": {"body": 0.5}}
    run = run_of(tmp_path, seed=8, **keys)
    built, _ = build_network(run)
    assert is_same(first.state_dict(), built.state_dict())
    freeze_parts(built, run, 0)
    assert built(PIXELS).shape == (2, 1, 64, 64)
    step(built)
    assert is_same(first.body.state_dict(), built.body.state_dict())
    assert not is_same(first.head.state_dict(), built.head.state_dict())


@pytest.mark.parametrize(
    ("keys", "wanted"),
    [
        ({"init": {"encoder": "x.pth"}}, r"found init\.encoder, but .*:Net has no encoder"),
        ({"freeze": {"bdy": 0.5}, "init": "x.pth"}, "freeze of bdy.* Its parts are body, head"),
    ],
    ids=["an encoder", "a part to freeze"],
)
def test_what_a_network_of_your_own_code_lacks_is_named(
    tmp_path: Path, own: Any, keys: dict[str, Any], wanted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the network itself can say which parts it has."""
    monkeypatch.chdir(tmp_path)
    torch.save(build_network(run_of(tmp_path, model=own))[0].state_dict(), "x.pth")
    with pytest.raises(TrainingError, match=wanted):
        build_network(run_of(tmp_path, model=own, **keys))


@pytest.fixture(name="cache")
def fixture_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub."""
    folder = tmp_path / "hub"
    folder.mkdir()
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(folder))
    return folder


def test_pretrained_weights_that_are_not_here_are_named(tmp_path: Path, cache: Path) -> None:
    """Nothing is fetched, and the message says what helps on a machine without internet."""
    run = run_of(tmp_path, model={**MODEL, "encoder_name": "resnet18", "encoder_weights": "swsl"})
    with pytest.raises(TrainingError, match=r"resnet18 are not on this machine.* init\.encoder"):
        build_network(run)
    assert not any(cache.iterdir())


def test_weights_that_the_library_does_not_offer_are_named(tmp_path: Path) -> None:
    """The message has those that it offers."""
    run = run_of(tmp_path, model={**MODEL, "encoder_name": "resnet18", "encoder_weights": "imag"})
    with pytest.raises(TrainingError, match=r"Available options are: \['imagenet', 'ssl', 'swsl'"):
        build_network(run)


def test_pretrained_weights_of_the_cache_are_taken(tmp_path: Path, cache: Path) -> None:
    """They begin the encoder, fitted to the bands of the input."""
    settings = smp.encoders.encoders["resnet18"]["pretrained_settings"]["imagenet"]
    torch.manual_seed(5)
    pretrained = smp.encoders.get_encoder("resnet18").state_dict()
    name = f"models--{settings['repo_id'].replace('/', '--')}"
    snapshot = cache / name / "snapshots" / settings["revision"]
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    safetensors.torch.save_file(dict(pretrained), snapshot / "model.safetensors")
    model = {**MODEL, "encoder_name": "resnet18", "encoder_weights": "imagenet"}
    ensemble = {"input": {"bands": [1], "mean": [0], "std": [1]}}
    training = load_training(tmp_path, ensemble, TILES, model=model)
    built, (note,) = build_network(training.runs["small"])
    found = built.encoder.state_dict()
    assert torch.equal(found["layer4.1.conv2.weight"], pretrained["layer4.1.conv2.weight"])
    assert torch.allclose(found["conv1.weight"], pretrained["conv1.weight"].sum(1, keepdim=True))
    assert "begins with the pretrained weights of resnet18 (imagenet)" in note
    shutil.rmtree(cache)


def step(built: nn.Module) -> None:
    optimiser = torch.optim.SGD(built.parameters(), lr=0.1)
    built(PIXELS).square().mean().backward()
    optimiser.step()


def test_a_frozen_encoder_stays_until_its_share_of_the_epochs(tmp_path: Path) -> None:
    """Neither its weights nor the statistics of its norms change. Afterwards they do."""
    write_trained(tmp_path / "one.pth", FPN, 7)
    run = run_of(tmp_path, init=str(tmp_path / "one.pth"), freeze={"encoder": 0.5}, epochs=4)
    built, _ = build_network(run)
    for epoch in range(4):
        before = {name: tensor.clone() for name, tensor in built.state_dict().items()}
        built.train()
        freeze_parts(built, run, epoch)
        step(built)
        after = built.state_dict()
        encoder = {n: t for n, t in before.items() if n.startswith("encoder.")}
        assert is_same(encoder, after) == (epoch < 2), epoch
        assert not is_same({n: t for n, t in before.items() if n not in encoder}, after)


def test_a_part_that_a_network_lacks_is_named_with_its_parts(tmp_path: Path) -> None:
    """Of a classifier only the network itself can say them."""
    training = load_training(
        tmp_path,
        {"gate": {"runs": ["small"]}, "runs": ["other"]},
        "whole",
        task="classify",
        loss={"ce": 1},
        model={"arch": "timm", "model_name": "test_resnet"},
        init=str(tmp_path / "one.pth"),
        freeze={"layer9": 0.5},
    )
    torch.save(timm.create_model("test_resnet", num_classes=2).state_dict(), tmp_path / "one.pth")
    with pytest.raises(TrainingError, match="freeze of layer9, which timm, test_resnet does not h"):
        build_network(training.runs["small"])
