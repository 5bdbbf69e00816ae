"""Which folders are runs and folds, which checkpoints count, and what is wrong with a folder."""

import shutil

import pytest
import timm
import torch
import yaml

from kernelkit.checkpoints import load_members
from kernelkit.errors import CheckpointError, RecipeError
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


def test_four_folds_are_four_networks(tmp_path):
    """Each checkpoint gets its own module: four folds give four answers, each as saved."""
    networks = write_run(tmp_path / "run", UNET, seeds=(1, 2, 3, 4))
    members = load_members(tmp_path)
    assert same_answers(members, networks)
    answers = [answer(member.module, PIXELS) for member in members]
    for i in range(4):
        assert not any(torch.equal(answers[i], answers[j]) for j in range(i))


def test_members_say_where_they_come_from(tmp_path):
    """A member has its run, fold, checkpoint, network, size and score, and the order is by name."""
    [saved] = write_run(tmp_path / "b", FPN, seeds=(5,))
    write_run(tmp_path / "a", UNET, seeds=(1, 2))
    members = load_members(tmp_path)
    assert [member.name for member in members] == ["a/fold_0", "a/fold_1", "b/fold_0"]
    last = members[-1]
    assert last.path == tmp_path / "b/fold_0/models/e2_t4_cmax_ema_0.95.pth"
    assert (last.architecture, last.score) == ("FPN, tu-test_resnet", 0.95)
    assert last.parameters == sum(p.numel() for p in saved.parameters())
    assert (last.channels, last.classes, last.kind) == (3, 1, "segmenter")
    assert not last.module.training
    assert not any(p.requires_grad for p in last.module.parameters())


@pytest.mark.parametrize("models", ["models", "model", "."])
def test_checkpoints_lie_in_either_folder(tmp_path, models):
    """Checkpoints are found in `models`, in `model`, and in the fold itself."""
    networks = write_run(tmp_path / "run", FPN, seeds=(1, 2), models=models)
    assert same_answers(load_members(tmp_path), networks)


def test_a_run_without_folds(tmp_path, run, unet):
    """A run with checkpoints in `model` and without folds is one member."""
    write_fold(run / "model", unet, "e100.pth")
    [member] = load_members(tmp_path)
    assert (member.name, member.score) == ("run/0", None)
    assert same_answers([member], [unet])


def test_folds_are_ordered_by_number(tmp_path):
    """Fold 10 comes after fold 9."""
    write_run(tmp_path / "run", FPN, seeds=tuple(range(11)))
    assert [m.fold for m in load_members(tmp_path)] == [f"fold_{i}" for i in range(11)]


def test_kaggle_folders_need_no_description(tmp_path):
    """The folder name `{Arch}_{encoder}_scse` describes the network, spelt as in 2021."""
    description = {
        "arch": "Unet",
        "encoder_name": "timm-regnety_002",
        "decoder_attention_type": "scse",
    }
    networks = [network(description, seed) for seed in (1, 2)]
    for index, module in enumerate(networks):
        write_fold(tmp_path / f"Unet_timm-regnety_002_scse/{index}", module)
    members = load_members(tmp_path)
    assert [member.name for member in members] == [
        "Unet_timm-regnety_002_scse/0",
        "Unet_timm-regnety_002_scse/1",
    ]
    assert members[0].architecture == "Unet, timm-regnety_002, scse"
    assert same_answers(members, networks)


def test_the_best_checkpoint_counts(tmp_path, run):
    """The checkpoint with the best score in its name is taken, of all or of one kind."""
    modules = {score: network(FPN, seed=int(score * 100)) for score in (0.91, 0.93, 0.92)}
    (run / "cfg.yaml").write_text(yaml.safe_dump({"MODEL": FPN}))
    for (score, module), kind, epoch in zip(
        modules.items(), ("val", "ema", "val"), (30, 4, 50), strict=True
    ):
        write_fold(run / "fold_0/models", module, f"e{epoch}_t50_cmax_{kind}_{score}.pth")
    assert same_answers(load_members(tmp_path), [modules[0.93]])
    assert same_answers(load_members(tmp_path, checkpoints="raw"), [modules[0.92]])
    assert same_answers(load_members(tmp_path, checkpoints="ema"), [modules[0.93]])
    with pytest.raises(RecipeError, match='no checkpoints "first". Choose "best"'):
        load_members(tmp_path, checkpoints="first")


def test_the_newest_of_equals_counts(tmp_path, run):
    """If scores are equal or missing, the checkpoint of the latest epoch is taken."""
    old, new = network(UNET, seed=1), network(UNET, seed=2)
    write_fold(run / "fold_0/models", old, "e9_t50_cmax_val_0.9.pth")
    write_fold(run / "fold_0/models", new, "e10_t50_cmax_val_0.9.pth")
    write_fold(run / "fold_1/models", network(UNET, seed=3), "e99.pth")
    write_fold(run / "fold_1/models", network(UNET, seed=4), "e100.pth")
    first, second = load_members(tmp_path)
    assert same_answers([first], [new])
    assert second.path.name == "e100.pth"


def test_saved_pretrained_per_fold(tmp_path):
    """A run may hold one saved form per fold."""
    networks = [network(UNET, seed) for seed in (1, 2)]
    for index, module in enumerate(networks):
        module.save_pretrained(tmp_path / f"run/fold_{index}")
    assert same_answers(load_members(tmp_path), networks)


def test_the_models_folder_may_be_the_run(tmp_path, unet):
    """If the models folder is itself a run, its members are loaded."""
    unet.save_pretrained(tmp_path / "mine")
    [member] = load_members(tmp_path / "mine")
    assert member.name == "mine/0"


def test_an_unfinished_folder_is_no_run(tmp_path):
    """What a killed command left beside a run would be the same member again."""
    write_run(tmp_path / "run", FPN, seeds=(1,))
    shutil.copytree(tmp_path / "run", tmp_path / ".run-unfinished")
    assert [member.run for member in load_members(tmp_path)] == ["run"]


def test_equal_weights_under_two_names_are_refused(tmp_path, unet):
    """Two members with the same weights are an error that names both files."""
    for index in range(2):
        write_fold(tmp_path / f"run/fold_{index}", unet, f"e{index}.pth")
    (tmp_path / "run/cfg.yaml").write_text(yaml.safe_dump({"MODEL": UNET}))
    with pytest.raises(CheckpointError, match=r"fold_1/e1.pth.*fold_0/e0.pth"):
        load_members(tmp_path)


def test_a_classifier_loads(tmp_path):
    """A run may hold a classifier of timm, for a gate."""
    with torch.random.fork_rng():
        module = timm.create_model("test_resnet", num_classes=2).eval()
    folder = tmp_path / "gate"
    folder.mkdir()
    description = {"arch": "timm", "model_name": "test_resnet", "num_classes": 2}
    (folder / "cfg.yaml").write_text(yaml.safe_dump({"MODEL": description}))
    torch.save(checkpoint(module), folder / "e1.pth")
    [member] = load_members(tmp_path)
    assert (member.kind, member.classes) == ("classifier", 2)
    assert same_answers([member], [module])


def _no_folder(tmp_path):
    return tmp_path / "nowhere", ("*",), "no such models folder"


def _empty_folder(tmp_path):
    return tmp_path, ("*",), "found no run in it, wanted run folders with checkpoints"


def _no_match(tmp_path):
    write_run(tmp_path / "he_unet", FPN, seeds=(1,))
    return tmp_path, ("he_*", "fluo_*"), "no run matches fluo_.*the runs are he_unet"


def _empty_fold(tmp_path):
    write_run(tmp_path / "run", FPN, seeds=(1,))
    (tmp_path / "run/fold_1/models").mkdir(parents=True)
    return tmp_path, ("*",), "fold_1: there is no checkpoint in it"


def _no_description(tmp_path):
    write_run(tmp_path / "run", FPN, seeds=(1,))
    (tmp_path / "run/cfg.yaml").write_text("TRAIN: {EPOCHS: 4}\n")
    return tmp_path, ("*",), "run: nothing says which network"


def _unknown_encoder(tmp_path):
    write_run(tmp_path / "run", FPN, seeds=(1,))
    description = FPN | {"encoder_name": "resnet999"}
    (tmp_path / "run/cfg.yaml").write_text(yaml.safe_dump({"MODEL": description}))
    return tmp_path, ("*",), "cfg.yaml: no network can be built from FPN, resnet999"


def _unknown_attention(tmp_path):
    write_run(tmp_path / "run", FPN, seeds=(1,))
    description = UNET | {"decoder_attention_type": "cbam"}
    (tmp_path / "run/cfg.yaml").write_text(yaml.safe_dump({"MODEL": description}))
    return tmp_path, ("*",), "cfg.yaml: no network can be built from Unet, mobilenet_v2, cbam"


def _truncated(tmp_path):
    write_run(tmp_path / "run", FPN, seeds=(1,))
    [path] = (tmp_path / "run").rglob("*.pth")
    path.write_bytes(path.read_bytes()[:20_000])
    return tmp_path, ("*",), r"e2_t4_cmax_ema_0\.91\.pth: the file is truncated"


def _truncated_safetensors(tmp_path):
    network(UNET, seed=1).save_pretrained(tmp_path / "run")
    path = tmp_path / "run/model.safetensors"
    path.write_bytes(path.read_bytes()[:20_000])
    return tmp_path, ("*",), r"model\.safetensors: the file is truncated"


def _no_weights(tmp_path):
    write_run(tmp_path / "run", FPN, seeds=(1,))
    [path] = (tmp_path / "run").rglob("*.pth")
    torch.save({"epoch": 3, "loss": 0.1}, path)
    return tmp_path, ("*",), "no weights were found in it .*epoch, loss"


def _bad_yaml(tmp_path):
    write_run(tmp_path / "run", FPN, seeds=(1,))
    (tmp_path / "run/cfg.yaml").write_text("MODEL: {arch: [")
    return tmp_path, ("*",), r"cfg\.yaml: this is not valid YAML"


@pytest.mark.parametrize(
    "make",
    [
        _no_folder,
        _empty_folder,
        _no_match,
        _empty_fold,
        _no_description,
        _unknown_encoder,
        _unknown_attention,
        _truncated,
        _truncated_safetensors,
        _no_weights,
        _bad_yaml,
    ],
)
def test_what_is_wrong_is_one_line(tmp_path, make):
    """Each fault of a models folder is one line that names the file and what to do."""
    folder, runs, message = make(tmp_path)
    with pytest.raises(CheckpointError, match=message) as error:
        load_members(folder, runs)
    assert not str(error.value).endswith(".")
    assert "\n" not in str(error.value)
