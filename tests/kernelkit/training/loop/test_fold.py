import resource
from pathlib import Path

import pytest
import torch
from timm.utils import ModelEmaV3
from torch import nn

from kernelkit.errors import OutputError
from kernelkit.training.loop.fold import Fold, fit
from kernelkit.training.loop.rounds import Progress
from tests.made.small_fold import (
    Falling,
    Notes,
    SquareLoader,
    lose,
    network,
    normalised,
    parts,
    small_fold,
)

CPU = [torch.device("cpu")]


def trained(fold: Fold, notes: Notes | None = None) -> Progress:
    notes = notes or Notes()
    return fit(fold, CPU, lambda _: None, lambda _: notes)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "models").iterdir())


def bare_loop(epochs: int, accumulate: int = 1) -> tuple[nn.Module, nn.Module]:
    """The same training in plain torch: the network, and its moving average."""
    model = network().to(memory_format=torch.channels_last)
    average = ModelEmaV3(model, decay=0.8)
    optimiser = torch.optim.AdamW(model.parameters(), lr=0.05)
    schedule, updates, loader = Falling(optimiser, 0.05), 0, SquareLoader()
    for epoch in range(epochs):
        torch.manual_seed(3 * 100_003 + epoch)
        model.train()
        for step, batch in enumerate(loader.batches(epoch), 1):
            pixels = normalised(batch.pixels).contiguous(memory_format=torch.channels_last)
            (lose(model(pixels), batch.targets) / accumulate).backward()
            if step % accumulate == 0:
                optimiser.step()
                optimiser.zero_grad()
                updates += 1
                schedule.step_update(updates)
                average.update(model)
    return model, average.module


@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_weights_are_those_of_a_bare_loop(tmp_path: Path, accumulate: int) -> None:
    """Batches, updates, learning rates and averages are those of a loop in plain torch."""
    trained(small_fold(tmp_path / "fold_0", epochs=3, accumulate=accumulate))
    stored = torch.load(tmp_path / "fold_0" / "resume.ckpt", weights_only=True)["training"]
    model, average = bare_loop(3, accumulate)
    for name, wanted in (("network", model), ("average", average)):
        for key, tensor in wanted.state_dict().items():
            torch.testing.assert_close(stored[name][key], tensor, rtol=1e-5, atol=1e-6)


def test_only_the_best_weights_and_the_last_are_kept(tmp_path: Path) -> None:
    """The name of the best checkpoint says the highest score of raw and averaged weights."""
    notes = Notes()
    reached = trained(small_fold(tmp_path / "fold_0"), notes)
    score, epoch, kind = max(
        (numbers[kind], epoch, kind)
        for epoch, numbers in notes.epochs.items()
        for kind in ("val", "ema")
    )
    assert (reached.best, reached.best_epoch, reached.kind) == (score, epoch, kind)
    assert names(tmp_path / "fold_0") == [
        f"e{epoch}_t4_cmax_{kind}_{score:.4f}.pth",
        "e4_t4_last.pth",
    ]


def test_a_checkpoint_has_the_keys_that_inference_reads(tmp_path: Path) -> None:
    """It holds the epoch, the loss, the weights, the optimiser's state and the run's name."""
    notes = Notes()
    trained(small_fold(tmp_path / "fold_0", epochs=1), notes)
    state = torch.load(tmp_path / "fold_0" / "models" / "e1_t1_last.pth", weights_only=True)
    assert list(state) == ["epoch", "loss", "model_state", "opt_state", "model_name"]
    assert (state["epoch"], state["model_name"]) == (1, "squares")
    assert state["loss"] == notes.epochs[1]["loss"]
    network().load_state_dict(state["model_state"])


def test_no_score_above_the_floor_means_no_best_checkpoint(tmp_path: Path) -> None:
    """A score at or below the floor is not worth a checkpoint."""
    reached = trained(small_fold(tmp_path / "fold_0", epochs=1, plan={"floor": 0.999}))
    assert names(tmp_path / "fold_0") == ["e1_t1_last.pth"]
    assert reached.best is None
    assert 0 < reached.highest < 0.999


def test_weights_are_judged_every_other_epoch_and_after_the_last(tmp_path: Path) -> None:
    """Between that an epoch has a loss and no score."""
    notes = Notes()
    trained(small_fold(tmp_path / "fold_0", epochs=5, plan={"every": 2}), notes)
    assert [epoch for epoch, numbers in notes.epochs.items() if "val" in numbers] == [2, 4, 5]
    assert all("loss" in numbers for numbers in notes.epochs.values())


def test_without_validation_only_the_last_weights_are_kept(tmp_path: Path) -> None:
    """Nothing is judged then."""
    reached = trained(small_fold(tmp_path / "fold_0", epochs=2, plan={"every": None}))
    assert (names(tmp_path / "fold_0"), reached.best) == (["e2_t2_last.pth"], None)


def test_a_snapshot_is_taken_before_each_restart(tmp_path: Path) -> None:
    """Its name says its epoch and the score of the raw weights."""
    notes = Notes()
    plan = {"snapshots": frozenset({2, 4}), "keep": (), "every": 4}
    trained(small_fold(tmp_path / "fold_0", plan=plan), notes)
    wanted = [f"e{epoch}_t4_snapshot_{notes.epochs[epoch]['val']:.4f}.pth" for epoch in (2, 4)]
    assert names(tmp_path / "fold_0") == wanted


def test_it_stops_early_if_nothing_gets_better(tmp_path: Path) -> None:
    """With a learning rate of nearly 0, scores stay, and patience counts the judgements."""
    fold = small_fold(tmp_path / "fold_0", epochs=9, plan={"patience": 2}, parts=parts(lr=1e-12))
    steps: list[int] = []
    reached = fit(fold, CPU, steps.append, lambda _: Notes())
    assert reached.stopped
    assert reached.epoch == reached.best_epoch + 2 < 9
    assert sum(steps) == 9 * len(fold.loader), "the bar reaches its end"
    assert f"e{reached.epoch}_t9_last.pth" in names(tmp_path / "fold_0")


def test_a_finished_training_is_not_begun_again(tmp_path: Path) -> None:
    """If only its record is missing, nothing is trained."""
    trained(small_fold(tmp_path / "fold_0", epochs=2))
    notes = Notes()
    assert trained(small_fold(tmp_path / "fold_0", epochs=2), notes).epoch == 2
    assert notes.epochs == {}


def test_parts_that_are_frozen_stay_as_they_are(tmp_path: Path) -> None:
    """The first layer begins to learn in the epoch in which it is let."""
    before = network().state_dict()["0.weight"]
    seen = []

    def freeze(module: nn.Module, epoch: int) -> None:
        seen.append(torch.equal(module.state_dict()["0.weight"], before))
        module[0].requires_grad_(epoch >= 2)  # type: ignore[index]

    trained(small_fold(tmp_path / "fold_0", parts=parts(freeze=freeze), is_frozen=True))
    assert seen == [True, True, True, False]


def test_nothing_of_lightnings_is_shown_or_left(
    tmp_path: Path, capfd: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A training prints nothing, and leaves no folder of logs where it was started."""
    monkeypatch.chdir(tmp_path)
    trained(small_fold(tmp_path / "fold_0", epochs=1))
    shown = capfd.readouterr()
    assert (shown.out, shown.err) == ("", "")
    assert [path.name for path in tmp_path.iterdir()] == ["fold_0"]


def test_a_full_disk_leaves_the_last_good_checkpoint(tmp_path: Path) -> None:
    """No half file is left, and once there is room the training goes on."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    losses = []

    def fill_late(answer: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        losses.append(1)
        if len(losses) == 9:  # no file can grow any more in the third epoch
            resource.setrlimit(resource.RLIMIT_FSIZE, (512, before[1]))
        return lose(answer, targets)

    try:
        with pytest.raises(OutputError, match=r"e3_t3_cmax_.*: it cannot be written \(") as error:
            trained(small_fold(tmp_path / "fold_0", epochs=3, parts=parts(lose=fill_late)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    [good] = names(tmp_path / "fold_0")
    assert f"What was written before stays: {good}" in str(error.value)
    assert torch.load(tmp_path / "fold_0" / "models" / good, weights_only=True)["epoch"] == 2
    assert trained(small_fold(tmp_path / "fold_0", epochs=3)).epoch == 3
