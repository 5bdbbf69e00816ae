"""Several checkpoints of one fold: which become members, and what these are called."""

import shutil
from pathlib import Path

import pytest
import yaml
from torch import nn

from kernelkit.checkpoints import load_groups, load_members
from kernelkit.errors import CheckpointError
from tests.made.networks import FPN, network, same_answers, write_fold

BEST, MIDDLE, LAST = (network(FPN, seed=seed) for seed in (1, 2, 3))
NAMES = ("e10_t50_cmax_val_0.93.pth", "e30_t50_cmax_val_0.91.pth", "e50_t50_cmax_val_0.92.pth")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run whose fold 0 has three checkpoints, and whose fold 1 has one."""
    folder = tmp_path / "run"
    for name, module in zip(NAMES, (BEST, MIDDLE, LAST), strict=True):
        write_fold(folder / "fold_0/models", module, name)
    write_fold(folder / "fold_1/models", network(FPN, seed=4), "e20_t50_cmax_val_0.9.pth")
    (folder / "cfg.yaml").write_text(yaml.safe_dump({"MODEL": FPN}))
    return folder


def names(tmp_path: Path, checkpoints) -> list[str]:
    return [member.name for member in load_members(tmp_path, checkpoints=checkpoints)]


@pytest.mark.usefixtures("run")
def test_the_last_is_that_of_the_highest_epoch(tmp_path):
    """Its score does not count. A fold with one member keeps its name."""
    members = load_members(tmp_path, checkpoints="last")
    assert [member.name for member in members] == ["run/fold_0", "run/fold_1"]
    assert same_answers(members[:1], [LAST])
    assert "its epoch is 50, the highest" in members[0].notes[0]


@pytest.mark.usefixtures("run")
def test_all_are_members_in_the_order_of_their_epochs(tmp_path):
    """The checkpoint is named behind its fold, if the fold has several."""
    members = load_members(tmp_path, checkpoints="all")
    stems = [Path(name).stem for name in NAMES]
    assert [member.checkpoint for member in members] == [*stems, ""]
    assert members[1].name == f"run/fold_0/{stems[1]}"
    assert same_answers(members[:3], [BEST, MIDDLE, LAST])


@pytest.mark.usefixtures("run")
def test_best_and_last_are_two_members_of_a_fold(tmp_path):
    """If they are one file, it counts once, and a note says so."""
    members = load_members(tmp_path, checkpoints=["best", "last"])
    assert same_answers(members[:2], [BEST, LAST])
    assert [m.name for m in members[:2]] == [f"run/fold_0/{Path(NAMES[i]).stem}" for i in (0, 2)]
    assert members[2].name == "run/fold_1"
    assert members[0].notes == (f"run/fold_0: {NAMES[0]} is taken as the best checkpoint",)
    assert members[2].notes == (
        "run/fold_1: e20_t50_cmax_val_0.9.pth is the best and the last checkpoint, so it counts "
        "once",
    )


def test_best_and_last_with_the_same_weights_count_once(run, tmp_path):
    """Many training codes write both files, though the best epoch is the last."""
    write_fold(run / "fold_1/models", network(FPN, seed=4), "last.pth")
    members = load_members(tmp_path, checkpoints=["best", "last"])
    assert [m.name for m in members[2:]] == ["run/fold_1"]
    assert (
        members[2]
        .notes[-1]
        .endswith("these are the weights of e20_t50_cmax_val_0.9.pth again, so they count once")
    )


def test_all_with_the_same_weights_are_refused(run, tmp_path):
    """As if one module was appended once per snapshot, which makes an ensemble of one network."""
    write_fold(run / "fold_1/models", network(FPN, seed=4), "last.pth")
    with pytest.raises(CheckpointError, match=r"e20_.*: these are the weights of .*last\.pth"):
        load_members(tmp_path, checkpoints="all")


def test_a_name_that_says_last_wins_over_epochs(run, tmp_path):
    """Lightning calls it last.ckpt, and keeps the epochs in the names of the best ones."""
    last = network(FPN, seed=5)
    write_fold(run / "fold_0/models", last, "last.ckpt")
    assert same_answers(load_members(tmp_path, checkpoints="last")[:1], [last])


def test_a_training_state_is_no_snapshot(run, tmp_path):
    """An optimiser's state lies beside the weights, and all does not mean it."""
    write_fold(run / "fold_1/models", network(FPN, seed=6), "e50_optimizer.pth")
    assert names(tmp_path, "all")[-1] == "run/fold_1"
    assert names(tmp_path, "last")[-1] == "run/fold_1"


def test_plain_and_averaged_weights_of_one_fold(run, tmp_path):
    """Both words give two members, as the names of their files say."""
    shutil.rmtree(run / "fold_0")
    write_fold(run / "fold_1/models", network(FPN, seed=6), "e20_t50_cmax_ema_0.91.pth")
    assert names(tmp_path, ["ema", "raw"]) == [
        "run/fold_1/e20_t50_cmax_ema_0.91",
        "run/fold_1/e20_t50_cmax_val_0.9",
    ]


def test_names_differ_even_if_only_the_suffixes_do(run, tmp_path):
    """Two files of one stem keep their suffixes in the members' names."""
    write_fold(run / "fold_1/models", network(FPN, seed=6), "e20_t50_cmax_val_0.9.pkl")
    stem = "run/fold_1/e20_t50_cmax_val_0.9"
    assert names(tmp_path, "all")[-2:] == [f"{stem}.pkl", f"{stem}.pth"]


@pytest.mark.usefixtures("run")
def test_groups_share_what_they_have_in_common(tmp_path):
    """A run may be asked for masks by its best, and as a gate by all."""
    best, snapshots = load_groups(tmp_path, [(("*",), "best"), (("run",), "all")])
    assert len(best) == 2
    assert len(snapshots) == 4
    assert best[0].module is snapshots[0].module
    assert best[0].name == snapshots[0].name
    modules: set[nn.Module] = {member.module for member in (*best, *snapshots)}
    assert len(modules) == 4
