"""The weights dataset: converted, flat, resumable, and the same members once it is mounted."""

import json
import shutil
import time

import pytest
import torch
from safetensors import safe_open

import mounted
from bootstrap import Dataset
from devkit.dataset import weights as command
from devkit.dataset.listing import CLIENT_FILE
from devkit.dataset.weights import pack_weights
from devkit.errors import DatasetError
from kernelkit.checkpoints import load_members
from kernelkit.errors import CheckpointError
from mounted import BootstrapError
from tests.made.networks import FPN, UNET, checkpoint, network, write_run


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """Two runs: one of two folds, the other as the library saves it. Nothing changes them."""
    folder = tmp_path_factory.mktemp("trained") / "models"
    write_run(folder / "unet+run", UNET, (1, 2))
    network(FPN, 3).save_pretrained(folder / "fpn")
    return folder


@pytest.fixture(scope="module")
def packed(original, tmp_path_factory):
    """Those runs as a dataset. Nothing changes it either."""
    folder = tmp_path_factory.mktemp("packed")
    return pack_weights(original, folder / "dataset", cache_folder=folder / "cache", say=str)


@pytest.fixture
def models(original, tmp_path):
    """A copy of the runs, to do something to."""
    return shutil.copytree(original, tmp_path / "models")


def session(tmp_path):
    """What the first cell leaves behind, as far as models are concerned."""
    return Dataset(tmp_path, tmp_path, "f" * 64, tmp_path / "work")


def test_the_mounted_dataset_has_the_same_members(original, packed, tmp_path):
    """Every member loads from the dataset as it loaded from its run folder."""
    tree = session(tmp_path).models(packed.folder)
    before, after = load_members(original), load_members(tree)
    assert [(m.name, m.weights_sha256, m.architecture) for m in after] == [
        (m.name, m.weights_sha256, m.architecture) for m in before
    ]
    assert len(after) == 3


def test_the_files_are_flat_safetensors_with_a_manifest(packed):
    """No folder, archive or code is in it. The manifest tells each file's place and hash."""
    names = sorted(path.name for path in packed.folder.iterdir())
    assert CLIENT_FILE in names
    assert mounted.WEIGHTS_MANIFEST in names
    manifest = json.loads((packed.folder / mounted.WEIGHTS_MANIFEST).read_text())
    assert {entry["safe_name"] for entry in manifest["files"]} == set(names) - {
        CLIENT_FILE,
        mounted.WEIGHTS_MANIFEST,
    }
    for entry in manifest["files"]:
        assert entry["safe_name"].endswith(".safetensors")
        assert "+" not in entry["safe_name"]
        with safe_open(packed.folder / entry["safe_name"], "pt") as file:
            assert len(list(file.keys())) > 10
    assert "unet+run/cfg.yaml" in manifest["target"]["configurations"]
    assert "fpn/config.json" in manifest["target"]["configurations"]


def test_two_conversions_are_the_same_bytes(models, packed, tmp_path):
    """The fingerprint depends on the weights and their places, not on time or machine."""
    again = pack_weights(models, tmp_path / "again", cache_folder=tmp_path / "other", say=str)
    assert again.fingerprint == packed.fingerprint
    for path in packed.folder.iterdir():
        assert (again.folder / path.name).read_bytes() == path.read_bytes()


def test_an_interrupted_conversion_goes_on_where_it_was(models, tmp_path):
    """What was converted stays, and what was half written is not trusted."""
    cache = tmp_path / "cache"
    told = []

    def stop_after_the_first(line):
        told.append(line)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pack_weights(models, tmp_path / "dataset", cache_folder=cache, say=stop_after_the_first)
    (done,) = cache.glob("*.safetensors")
    stamp = done.stat().st_mtime_ns
    assert not (tmp_path / "dataset").exists()
    (cache / ".half.safetensors").write_bytes(b"x")
    time.sleep(0.01)
    packed = pack_weights(models, tmp_path / "dataset", cache_folder=cache, say=told.append)
    assert done.stat().st_mtime_ns == stamp
    assert len(packed.files) == 3
    assert len([path for path in cache.iterdir() if not path.name.startswith(".")]) == 3


def test_only_the_checkpoint_that_counts_goes_out(models, tmp_path):
    """Of several checkpoints of a fold the best one is packed."""
    fold = models / "unet+run" / "fold_0" / "models"
    torch.save(checkpoint(network(UNET, 9)), fold / "e99_0.9999.pth")
    packed = pack_weights(models, tmp_path / "dataset", cache_folder=tmp_path / "cache", say=str)
    names = [entry["name"] for entry in packed.files if "fold_0" in entry["name"]]
    assert names == ["unet+run/fold_0/models/e99_0.9999.safetensors"]


def test_a_folder_that_is_itself_a_run_keeps_its_name(models, tmp_path):
    """A single run is packed under its own name, which may be all that describes it."""
    run = models / "unet+run"
    packed = pack_weights(run, tmp_path / "dataset", cache_folder=tmp_path / "cache", say=str)
    assert {entry["name"].split("/")[0] for entry in packed.files} == {"unet+run"}
    tree = session(tmp_path).models(packed.folder)
    assert [m.name for m in load_members(tree)] == [m.name for m in load_members(run)]


def test_a_changed_weight_is_refused_by_name(packed, tmp_path):
    """One changed byte of a mounted file stops the notebook before the first tile."""
    folder = shutil.copytree(packed.folder, tmp_path / "dataset")
    path = folder / packed.files[0]["safe_name"]
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(BootstrapError, match=f"{path.name} was changed"):
        session(tmp_path).models(folder)


@pytest.mark.parametrize("layout", ["weights", "datasets/someone/weights", "weights/weights"])
def test_the_dataset_is_found_under_another_layout(packed, tmp_path, layout):
    """The notebook's parameter names one layout of mounts. The others are tried too."""
    shutil.copytree(packed.folder, tmp_path / "input" / layout)
    tree = session(tmp_path).models(tmp_path / "input/datasets/someone/weights")
    assert len(load_members(tree)) == 3


def test_a_plain_models_folder_is_left_as_it_is(models, tmp_path):
    """At home the same cell takes the run folders themselves."""
    assert session(tmp_path).models(models) == models


def test_runs_that_would_fail_on_kaggle_fail_here(models, tmp_path, capsys):
    """The same weights twice, and a folder without runs, end in one line and 1."""
    write_run(models / "copy", UNET, (1,))
    with pytest.raises(CheckpointError, match="these are the weights of"):
        pack_weights(models, tmp_path / "dataset", cache_folder=tmp_path / "cache", say=str)
    empty = tmp_path / "empty"
    empty.mkdir()
    assert command.main([str(empty), "--out", str(tmp_path / "out")]) == 1
    assert "weights-dataset failed:" in capsys.readouterr().err
    assert command.main([str(tmp_path / "nothing"), "--out", str(tmp_path / "out")]) == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_more_than_fifty_checkpoints_are_refused(models, tmp_path):
    """Kaggle takes 50 files. The client would stop after hours of uploading."""
    small = network(FPN, 0)
    for number in range(47):
        small.segmentation_head[0].bias.data.fill_(number)
        small.save_pretrained(models / "many" / f"fold_{number}")
    with pytest.raises(DatasetError, match="51 files lie at the top, Kaggle takes 50"):
        pack_weights(models, tmp_path / "dataset", cache_folder=tmp_path / "cache", say=str)


def test_the_command_lists_what_it_packed(models, tmp_path, capsys):
    """The command prints each checkpoint, the total and the folder."""
    folder = tmp_path / "out"
    listing = ["--owner", "me", "--slug", "my-weights", "--title", "My weights"]
    assert command.main([str(models), "--out", str(folder), *listing]) == 0
    said = capsys.readouterr().out
    assert "unet+run/fold_0/models/" in said
    assert "3 checkpoints" in said
    assert json.loads((folder / CLIENT_FILE).read_text())["id"] == "me/my-weights"
