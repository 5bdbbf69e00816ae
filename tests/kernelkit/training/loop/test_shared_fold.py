from pathlib import Path

import pytest
import torch

from kernelkit.training.loop.fold import fit
from kernelkit.training.loop.machine import Share, free_port
from kernelkit.training.loop.processes import Seat, in_processes
from tests.made.small_fold import Notes, SquareLoader, parts, plain_network, small_fold


def train_share(folder: str, share: Share, seat: Seat) -> dict[str, float]:
    fold = small_fold(
        Path(folder),
        epochs=2,
        parts=parts(network=plain_network()),
        loader=SquareLoader(rank=share.rank, ranks=share.world),
        ema=None,
    )
    notes = Notes()
    fit(fold, [torch.device("cpu")] * share.world, seat.advance, lambda _: notes, share=share)
    return notes.epochs.get(2, {})


def test_two_processes_train_one_fold(tmp_path: Path) -> None:
    """Two that average their gradients give the weights of one that adds up two batches."""
    folders = [tmp_path / name / "fold_0" for name in ("two", "one")]
    for folder in folders:
        small_fold(folder)
    port = free_port()
    tasks = [(str(folders[0]), Share(rank, 2, port)) for rank in range(2)]
    numbers, nothing = in_processes(train_share, tasks, workers=2, steps=8, say=str, show=False)
    assert nothing == {}, "only the first writes"
    notes = Notes()
    alone = small_fold(
        folders[1],
        epochs=2,
        parts=parts(network=plain_network()),
        loader=SquareLoader(),
        ema=None,
        accumulate=2,
    )
    fit(alone, [torch.device("cpu")], lambda _: None, lambda _: notes)
    assert numbers["val"] == pytest.approx(notes.epochs[2]["val"], abs=2e-3)
    states = [
        torch.load(folder / "resume.ckpt", weights_only=True)["training"]["network"]
        for folder in folders
    ]
    for name, tensor in states[0].items():
        torch.testing.assert_close(tensor, states[1][name], rtol=1e-4, atol=1e-5)
