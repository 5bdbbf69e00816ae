"""In which forms weights are read, into which networks, and what is refused."""

import json
import re
import shutil
import zipfile

import pytest
import torch
import yaml
from safetensors.torch import save_file, save_model

from kernelkit.checkpoints import load_members
from kernelkit.checkpoints.states import load_state
from kernelkit.checkpoints.weights import read_weights
from kernelkit.errors import CheckpointError
from tests.made.networks import (
    FPN,
    PIXELS,
    UNET,
    answer,
    checkpoint,
    network,
    same_answers,
    write_fold,
    write_run,
)


@pytest.mark.parametrize("flat", [False, True])
def test_a_checkpoint_that_was_unpacked(tmp_path, run, unet, flat):
    """A .pth that an upload turned into a folder loads, with or without its inner folder."""
    packed = tmp_path / "e3_t9_cmax_ema_0.97.pth"
    torch.save(checkpoint(unet), packed)
    folder = run / "fold_0/models" / packed.name
    with zipfile.ZipFile(packed) as archive:
        archive.extractall(folder)
    if flat:
        [inner] = folder.iterdir()
        shutil.copytree(inner, folder, dirs_exist_ok=True)
        shutil.rmtree(inner)
    [member] = load_members(tmp_path)
    assert member.score == 0.97
    assert same_answers([member], [unet])


def test_weights_that_two_layers_share_may_be_saved_once(tmp_path):
    """As safetensors saves them, under one of their names."""
    torch.manual_seed(0)
    saved, fresh = (torch.nn.Sequential(*[torch.nn.Conv2d(3, 3, 1) for _ in "ab"]) for _ in "ab")
    for network_of_two in (saved, fresh):
        network_of_two[1].weight = network_of_two[0].weight
    save_model(saved, tmp_path / "model.safetensors")
    [stored] = read_weights(tmp_path / "model.safetensors")
    assert len(stored.state) == 3
    load_state(fresh, stored.state, "a network", "model.safetensors")
    assert torch.equal(answer(fresh, PIXELS), answer(saved, PIXELS))


@pytest.mark.parametrize("name", ["state_dict", "model", None])
def test_states_of_other_training_codes(tmp_path, run, unet, name):
    """State dicts load bare, under the usual keys, and with Lightning's prefix."""
    state = unet.state_dict()
    if name == "state_dict":
        state = {f"model.{key}": tensor for key, tensor in state.items()}
    torch.save({name: state} if name else state, run / "last.pth")
    assert same_answers(load_members(tmp_path), [unet])


def test_an_averaged_model_has_a_counter(tmp_path, run, unet):
    """The step counter of torch's AveragedModel is no weight."""
    torch.save(torch.optim.swa_utils.AveragedModel(unet).state_dict(), run / "e1.pth")
    assert same_answers(load_members(tmp_path), [unet])


def test_numpy_scalars_of_both_generations(tmp_path, run, unet):
    """Numpy scalars load as numpy 2 and as numpy 1 pickle them."""
    path = run / "e1.pth"
    torch.save(checkpoint(unet), path)
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    assert b"numpy._core.multiarray" in files["e1/data.pkl"]
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content.replace(b"numpy._core.", b"numpy.core."))
    assert same_answers(load_members(tmp_path), [unet])


def test_code_in_a_checkpoint_never_runs(tmp_path, run):
    """A pickle that would run code is refused, and the code does not run."""
    trace = tmp_path / "trace"

    class Trap:
        def __reduce__(self):
            return open, (str(trace), "w")

    torch.save({"model_state": Trap()}, run / "e1.pth")
    with pytest.raises(CheckpointError, match=r"e1\.pth: it holds objects of .*open"):
        load_members(tmp_path)
    assert not trace.exists()


def test_other_weights_are_listed(tmp_path, run):
    """Missing, unexpected and mismatched weights are all counted and named."""
    other = network(UNET | {"decoder_channels": [16, 16, 8, 8, 8]}, seed=1)
    state = other.state_dict()
    del state["segmentation_head.0.bias"]
    state["classifier.weight"] = torch.zeros(2)
    torch.save(state, run / "e1.pth")
    with pytest.raises(CheckpointError) as error:
        load_members(tmp_path)
    message = str(error.value)
    assert "e1.pth: these weights do not fit Unet, mobilenet_v2" in message
    assert "1 missing (segmentation_head.0.bias)" in message
    assert "1 unexpected (classifier.weight)" in message
    assert re.search(r"\d+ of another shape \(.* is 16x\d+x3x3, not 32x\d+x3x3.* more\)", message)
    assert len(message) < 700


def test_weights_of_another_architecture(tmp_path):
    """A checkpoint of another architecture is one short sentence, not a list of all its keys."""
    write_run(tmp_path / "run", FPN, seeds=(1,))
    (tmp_path / "run/cfg.yaml").write_text(yaml.safe_dump({"MODEL": UNET}))
    with pytest.raises(CheckpointError, match="do not fit Unet, mobilenet_v2: .* missing") as error:
        load_members(tmp_path)
    assert len(str(error.value)) < 900


def test_encoder_names_of_2021(tmp_path):
    """Weights of an encoder that has moved to timm load under their names of 2021."""
    module = network({"arch": "Unet", "encoder_name": "timm-regnetx_002"}, seed=1)
    state = checkpoint(module)
    state["model_state"] = {
        name.replace("encoder.model.", "encoder."): tensor
        for name, tensor in state["model_state"].items()
    }
    assert "module.encoder.stem.conv.weight" in state["model_state"]
    folder = tmp_path / "Unet_timm-regnetx_002/0"
    folder.mkdir(parents=True)
    torch.save(state, folder / "e1.pth")
    assert same_answers(load_members(tmp_path), [module])


@pytest.mark.parametrize(
    "arch", ["UnetPlusPlus", "PSPNet", "Linknet", "DeepLabV3Plus", "Segformer"]
)
def test_architectures(tmp_path, arch):
    """The other decoders of the library load as they were saved."""
    description = {"arch": arch, "encoder_name": "tu-test_resnet", "in_channels": 2, "classes": 3}
    [module] = write_run(tmp_path / "run", description, seeds=(1,))
    [member] = load_members(tmp_path)
    assert (member.channels, member.classes) == (2, 3)
    pixels = PIXELS[:, :2]
    assert torch.equal(answer(member.module, pixels), answer(module, pixels))


def test_saved_pretrained_loads_without_fetching(tmp_path, unet, monkeypatch):
    """The library's own saved form loads, and the pretrained weights that it names do not."""
    unet.save_pretrained(tmp_path / "run")
    config = json.loads((tmp_path / "run/config.json").read_text())
    config["encoder_weights"] = "imagenet"
    (tmp_path / "run/config.json").write_text(json.dumps(config))

    def no_network(*_, **__):
        raise AssertionError("something reached for the network")

    monkeypatch.setattr("socket.socket.connect", no_network)
    [member] = load_members(tmp_path)
    assert same_answers([member], [unet])
    assert member.name == "run/0"


def test_the_hash_does_not_depend_on_the_format(tmp_path, unet):
    """One network has the same hash as .pth, as .safetensors and as saved_pretrained."""
    hashes = set()
    for form in ("pth", "safetensors", "pretrained"):
        folder = tmp_path / form / "run"
        if form == "pretrained":
            unet.save_pretrained(folder)
        else:
            folder.mkdir(parents=True)
            (folder / "cfg.yaml").write_text(yaml.safe_dump({"MODEL": UNET}))
            if form == "pth":
                write_fold(folder / "fold_0/models", unet)
            else:
                save_file(unet.state_dict(), folder / "e1.safetensors")
        hashes |= {member.weights_sha256 for member in load_members(folder.parent)}
    assert len(hashes) == 1
