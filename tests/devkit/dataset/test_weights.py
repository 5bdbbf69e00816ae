"""The weights dataset: converted, flat, resumable, and the same members once it is mounted."""

import json
import shutil
import time
from pathlib import Path

import pytest
import torch
import yaml
from safetensors import safe_open

import mounted
from bootstrap import Dataset
from devkit.dataset import weights as command
from devkit.dataset.listing import CLIENT_FILE
from devkit.dataset.weights import pack_weights
from devkit.errors import DatasetError
from devkit.kaggle.marks import read_marks
from devkit.kaggle.trained import changed_weights
from kernelkit.checkpoints import load_members
from kernelkit.errors import CheckpointError
from kernelkit.own import load_own
from mounted import BootstrapError
from tests.made.networks import FPN, UNET, checkpoint, network, write_run
from tests.made.own import PACKAGE, session_with, write_own
from tests.made.training_run import load_training, write_trained


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


LAYOUTS = [
    ("datasets/me/runs", "runs"),
    ("runs", "datasets/me/runs"),
    ("notebooks/me/train", "train"),
    ("models/me/net/pytorch/big/3", "net/pytorch/big/3"),
    ("net/pytorch/big/3", "models/me/net/pytorch/big/3"),
]


@pytest.mark.parametrize(("asked", "mounted_at"), LAYOUTS)
def test_models_are_found_in_either_layout_of_mounts(asked, mounted_at, tmp_path):
    """A version of a model that has the number of another is not taken for it."""
    inputs = tmp_path / "input"
    (inputs / mounted_at).mkdir(parents=True)
    (inputs / "models/me/other/pytorch/big/3").mkdir(parents=True)
    assert session(tmp_path).models(inputs / asked) == inputs / mounted_at
    assert session(tmp_path).models(inputs / "datasets/me/gone") == inputs / "datasets/me/gone"


STORES = [
    ("notebooks/me/other-run", "other-run"),
    ("other-run", "notebooks/me/other-run"),
    ("datasets/me/other-run/masks", "notebooks/me/other-run/masks"),
    ("other-run/masks", "datasets/me/other-run/masks"),
]


@pytest.mark.parametrize(("asked", "mounted_at"), STORES)
def test_stores_of_others_are_found_in_either_layout_of_mounts(asked, mounted_at, tmp_path):
    """So is a folder in what is mounted. What is nowhere stays as it was asked for."""
    inputs = tmp_path / "input"
    (inputs / mounted_at).mkdir(parents=True)
    assert session(tmp_path).mounted(inputs / asked) == inputs / mounted_at
    assert session(tmp_path).mounted(inputs / "notebooks/me/no") == inputs / "notebooks/me/no"


@pytest.mark.parametrize(("asked", "mounted_at"), STORES)
def test_a_recipe_is_found_in_either_layout_of_mounts(asked, mounted_at, tmp_path):
    """`make engine` writes one beside its runs. A name stays a name, and a wrong path as it was."""
    inputs = tmp_path / "input"
    (inputs / mounted_at).mkdir(parents=True)
    (inputs / mounted_at / "recipe.yaml").touch()
    found = session(tmp_path).recipe(str(inputs / asked / "recipe.yaml"))
    assert found == str(inputs / mounted_at / "recipe.yaml")
    assert session(tmp_path).recipe("hubmap") == "hubmap"
    missing = str(inputs / asked / "other.yaml")
    assert session(tmp_path).recipe(missing) == missing


@pytest.mark.parametrize("name", ["inference", "train", "validate", "engine"])
def test_each_notebook_looks_for_its_recipe_in_either_layout(name):
    """As it does for the models."""
    assert "kernelkit_dataset.recipe(recipe)" in Path(f"notebooks/{name}.ipynb").read_text()


def test_the_notebook_looks_for_stores_in_either_layout():
    """As it does for the competition and the models."""
    cells = json.loads(Path("notebooks/inference.ipynb").read_text())["cells"]
    [line] = [line for cell in cells for line in cell["source"] if "stores=" in line]
    assert "kernelkit_dataset.mounted(stores)" in line


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
    """The fingerprint depends on the weights and their places. Notes alone know the machine."""
    again = pack_weights(models, tmp_path / "again", cache_folder=tmp_path / "other", say=str)
    assert again.fingerprint == packed.fingerprint
    for path in packed.folder.iterdir():
        if path.name != CLIENT_FILE:
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


@pytest.fixture
def snapshots(models):
    """The runs, with two more checkpoints in a fold of the first."""
    fold = models / "unet+run" / "fold_0" / "models"
    for epoch, seed in ((10, 7), (20, 8)):
        torch.save(checkpoint(network(UNET, seed)), fold / f"e{epoch}_t20_cmax_val_0.5{epoch}.pth")
    return models


def recipe_file(folder, **ensemble):
    """A recipe of one ensemble, as a YAML file."""
    content = {
        "name": "test",
        "competition": {"slug": "test"},
        "tiles": {"core": 64},
        "ensembles": [{"name": "one", **ensemble}],
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(content))
    return str(path)


@pytest.mark.parametrize(
    ("ensemble", "names"),
    [
        ({"runs": ["unet*"]}, ["e2_t4", "e2_t4"]),
        ({"runs": ["unet*"], "checkpoints": ["best", "last"]}, ["e2_t4", "e20_t", "e2_t4"]),
        ({"runs": ["unet*"], "checkpoints": "all"}, ["e10_t", "e20_t", "e2_t4", "e2_t4"]),
        ({"runs": ["fpn"]}, ["model"]),
        ({"runs": ["fpn"], "gate": {"runs": ["unet*"]}}, ["e2_t4", "e2_t4", "model"]),
    ],
)
def test_a_recipe_says_which_runs_and_checkpoints_go_out(
    snapshots, tmp_path, ensemble, names, capsys
):
    """What it does not name is left out, and the mounted dataset has the same members."""
    recipe = recipe_file(tmp_path, **ensemble)
    out = tmp_path / "out"
    assert command.main([str(snapshots), "--output", str(out), "--recipe", recipe]) == 0
    said = capsys.readouterr().out
    entries = json.loads((out / mounted.WEIGHTS_MANIFEST).read_text())["files"]
    assert sorted(Path(entry["name"]).name[:5] for entry in entries) == sorted(names)
    left = {name[:5] for name in ("e2_t4", "model")} - set(names)
    assert ("left out, since the recipe does not name them" in said) == bool(left)
    words = ensemble.get("checkpoints", "best")
    runs = (*ensemble["runs"], *ensemble.get("gate", {}).get("runs", ()))
    tree = session(tmp_path).models(out)
    before, after = (load_members(f, runs, checkpoints=words) for f in (snapshots, tree))
    assert [(m.name, m.weights_sha256) for m in after] == [
        (m.name, m.weights_sha256) for m in before
    ]


def test_checkpoints_can_be_named_without_a_recipe(snapshots, tmp_path, capsys):
    """Then every run is packed. With both, nobody knows what is meant."""
    out = tmp_path / "out"
    assert (
        command.main([str(snapshots), "--output", str(out), "--checkpoints", "best", "last"]) == 0
    )
    assert "4 checkpoints" in capsys.readouterr().out
    noted = read_marks(out)
    assert noted.made_by == (
        "PYTHONPATH=kernel_src .venv/bin/python -m devkit.dataset.weights "
        f"{snapshots} --output {out} --checkpoints best last"
    )
    assert changed_weights(noted.weights, noted.checkpoints) == ""
    [first, *_] = noted.weights.files.values()
    assert len(first) > 1
    with pytest.raises(SystemExit):
        command.main([str(snapshots), "--recipe", "hubmap", "--checkpoints", "best"])
    assert "a recipe says which checkpoints it takes" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--owner", "a/b"], "would not be listed on Kaggle. 'a/b' is no user of Kaggle"),
        (["--licence", "MIT"], "would not be listed on Kaggle. Kaggle knows no licence 'MIT'"),
        (["--output", "runs"], "runs is neither empty nor a dataset. Choose another folder"),
        (["--output", "runs/a/e1.pth"], "e1.pth is a file, wanted a folder"),
    ],
)
def test_what_would_be_refused_in_the_end_is_said_before_a_network_is_loaded(
    options, said, tmp_path, monkeypatch, capsys
):
    """To load and convert them takes minutes."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs/a").mkdir(parents=True)
    (tmp_path / "runs/a/e1.pth").write_bytes(b"no network")
    assert command.main(["runs", "--output", "out", *options]) == 1
    assert said in capsys.readouterr().err


def test_weights_are_packed_where_their_settings_say(tmp_path, monkeypatch, capsys):
    """A folder there that is no dataset is refused."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs/a").mkdir(parents=True)
    (tmp_path / "runs/a/e1.pth").write_bytes(b"no network")
    (tmp_path / "other.toml").write_text('weights_folder = "runs"\n')
    assert command.main(["runs", "--settings", "other.toml"]) == 1
    assert f"{tmp_path}/runs is neither empty nor a dataset" in capsys.readouterr().err


def test_the_help_says_what_is_packed_by_default(capsys):
    """Who forgets the recipe can know what goes out."""
    with pytest.raises(SystemExit):
        command.main(["--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert "That is the best checkpoint, unless the recipe says `checkpoints`" in said


def test_a_mean_that_lies_in_the_checkpoint_goes_out_as_a_file(models, tmp_path):
    """A Lightning module keeps it as a buffer, which is none of the network's weights."""
    fold = models / "unet+run" / "fold_0" / "models"
    [path] = fold.iterdir()
    state = {f"model.{name}": tensor for name, tensor in network(UNET, 1).state_dict().items()}
    norm = {"mean": torch.full((1, 3, 1, 1), 0.25), "std": torch.full((1, 3, 1, 1), 0.5)}
    torch.save({"state_dict": state | norm}, path)
    packed = pack_weights(models, tmp_path / "dataset", cache_folder=tmp_path / "cache", say=str)
    before, after = load_members(models), load_members(session(tmp_path).models(packed.folder))
    assert [m.trained_with for m in after] == [m.trained_with for m in before]
    assert before[1].trained_with.mean == (0.25,) * 3


def test_code_of_the_users_own_is_loaded_once_too(tmp_path):
    """Its weights go out as safetensors, and come back to the same class."""
    own = write_own(tmp_path / "own")
    with session_with(own):
        run = tmp_path / "models/mine"
        run.mkdir(parents=True)
        torch.save(load_own(f"{PACKAGE}.model:Net")().state_dict(), run / "e1.pth")
        (run / "cfg.yaml").write_text(f"MODEL: {{network: '{PACKAGE}.model:Net'}}")
        out = ["--output", str(tmp_path / "out"), "--own", str(own)]
        assert command.main([str(run.parent), *out]) == 0
        tree = session(tmp_path).models(tmp_path / "out")
        [before], [after] = load_members(run.parent), load_members(tree)
    assert before.weights_sha256 == after.weights_sha256


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


@pytest.mark.parametrize("place", ["kernelkit-train", "notebooks/alice/kernelkit-train"])
def test_the_output_of_the_training_notebook_is_found_where_it_is_mounted(tmp_path, place):
    """Its run folders are the models, as they are. Kaggle mounts outputs in two layouts."""
    write_trained(
        load_training(tmp_path, {}, {"core": 96}).runs["small"], tmp_path / "input" / place
    )
    named = tmp_path / "input/notebooks/alice/kernelkit-train"
    folder = session(tmp_path).models(named)
    assert folder == tmp_path / "input" / place
    assert [member.name for member in load_members(folder)] == ["small/fold_0"]


def test_a_trained_run_is_packed_with_all_that_inference_needs(tmp_path):
    """The activation, the fill and the mean of its training arrive, and so do its members."""
    ensemble = {"input": {"mean": [0.1, 0.2, 0.3], "std": [0.1] * 3}}
    tiles = {"whole": True, "pad": [3, 5], "fill": "reflect"}
    run = load_training(tmp_path, ensemble, tiles).runs["small"]
    folder = write_trained(run, tmp_path / "models", (1, 2))
    (folder / "fold_0/resume.ckpt").write_bytes(b"what an unfinished training goes on from")
    packed = pack_weights(tmp_path / "models", tmp_path / "out", cache_folder=tmp_path / "cache")
    before = load_members(tmp_path / "models")
    after = load_members(session(tmp_path).models(packed.folder))
    assert [m.weights_sha256 for m in after] == [m.weights_sha256 for m in before]
    assert [m.trained_with for m in after] == [m.trained_with for m in before]
    assert after[0].trained_with.fill == "reflect"


def test_a_fold_that_is_not_finished_has_no_checkpoint(tmp_path):
    """What it goes on from is a file of its own, and no network."""
    folder = write_trained(load_training(tmp_path, {}, {"core": 96}).runs["small"], tmp_path)
    for path in folder.glob("fold_0/models/*"):
        path.unlink()
    (folder / "fold_0/resume.ckpt").write_bytes(b"x")
    with pytest.raises(CheckpointError, match="there is no checkpoint in it"):
        load_members(tmp_path, ["small"])


def test_runs_that_would_fail_on_kaggle_fail_here(models, tmp_path, capsys):
    """The same weights twice, and a folder without runs, end in one line and 1."""
    write_run(models / "copy", UNET, (1,))
    with pytest.raises(CheckpointError, match="these are the weights of"):
        pack_weights(models, tmp_path / "dataset", cache_folder=tmp_path / "cache", say=str)
    empty = tmp_path / "empty"
    empty.mkdir()
    assert command.main([str(empty), "--output", str(tmp_path / "out")]) == 1
    assert "weights-dataset failed:" in capsys.readouterr().err
    assert command.main([str(tmp_path / "nothing"), "--output", str(tmp_path / "out")]) == 1
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
    assert command.main([str(models), "--output", str(folder), *listing]) == 0
    said = capsys.readouterr().out
    assert "unet+run/fold_0/models/" in said
    assert "3 checkpoints" in said
    assert json.loads((folder / CLIENT_FILE).read_text())["id"] == "me/my-weights"
