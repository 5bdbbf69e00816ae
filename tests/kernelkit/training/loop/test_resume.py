import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from devkit.tools import REPOSITORY
from kernelkit.errors import TrainingError
from kernelkit.files import file_sha256
from kernelkit.training.loop.fold import fit
from kernelkit.training.loop.rounds import Progress
from tests.made.killed_fold import train_squares
from tests.made.small_fold import Notes, small_fold
from tests.made.squares import write_squares

CPU = [torch.device("cpu")]


def trained(folder: Path, notes: Notes | None = None) -> Progress:
    notes = notes or Notes()
    return fit(small_fold(folder), CPU, lambda _: None, lambda _: notes)


def hashes(folder: Path) -> dict[str, str]:
    paths = [*(folder / "models").iterdir(), folder / "resume.ckpt"]
    return {path.name: file_sha256(path) for path in paths}


@pytest.mark.timeout(240)
def test_a_killed_training_ends_with_the_same_files(tmp_path: Path) -> None:
    """After kill -9 in the third epoch all files have the hashes of those of an unbroken run."""
    write_squares(tmp_path)
    command = [sys.executable, "-m", "tests.made.killed_fold", tmp_path, tmp_path / "killed"]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for _ in range(2 * 4 + 2):
            assert process.stdout.readline() == "step\n"
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    done: list[int] = []
    killed = train_squares(tmp_path, tmp_path / "killed", done.append)
    assert done[0] == 2 * 4, "whole epochs are not trained again"
    whole = train_squares(tmp_path, tmp_path / "whole", done.append)
    assert hashes(killed) == hashes(whole)
    assert any("_cmax_" in name for name in hashes(whole))


class StoppedError(Exception):
    pass


def stop_after(wanted: int) -> Notes:
    def stop(epoch: int) -> None:
        if epoch == wanted:
            raise StoppedError

    return Notes(stop)


@pytest.mark.parametrize("epoch", [1, 2, 4])
def test_a_training_that_stops_between_its_files_ends_with_the_same(
    tmp_path: Path, epoch: int
) -> None:
    """A checkpoint that is newer than the file to resume from is written again."""
    broken = tmp_path / "broken" / "fold_0"
    with pytest.raises(StoppedError):
        trained(broken, stop_after(epoch))
    trained(broken)
    trained(tmp_path / "whole" / "fold_0")
    assert hashes(broken) == hashes(tmp_path / "whole" / "fold_0")


def test_the_best_checkpoint_is_there_at_any_time(tmp_path: Path) -> None:
    """A better one is written before the one that it follows is removed."""
    broken = tmp_path / "fold_0"
    with pytest.raises(StoppedError):
        trained(broken, stop_after(3))
    names = sorted(path.name for path in (broken / "models").iterdir())
    assert [name[:2] for name in names] == ["e2", "e3"]


def test_a_damaged_file_to_resume_from_is_named(tmp_path: Path) -> None:
    """The sentence says what to remove."""
    folder = tmp_path / "fold_0"
    small_fold(folder)
    (folder / "resume.ckpt").write_bytes(b"half a file")
    with pytest.raises(TrainingError, match=r"resume.ckpt: .* damaged. Remove the fold's folder"):
        trained(folder)
