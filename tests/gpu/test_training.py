"""A training on the device, for machines that have the libraries of training."""

from pathlib import Path

import pytest

from kernelkit.checkpoints import load_members
from tests.made.on_device import DEVICE, IS_GPU

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(300)]


@pytest.mark.parametrize("precision", ["auto", "fp16", "fp32"] if IS_GPU else ["fp32"])
def test_a_fold_is_trained(tmp_path: Path, precision: str) -> None:
    """It learns on the device, and its network can be loaded without one."""
    for library in ("pytorch_lightning", "shapely", "pyogrio"):
        pytest.importorskip(library)
    from kernelkit.training.recipe import TrainingRecipe
    from kernelkit.training.train import train
    from tests.made.squares import write_squares

    competition = write_squares(tmp_path)
    training = TrainingRecipe.load(tmp_path / "train.yaml", [f"precision={precision}"])
    [result] = train(
        training,
        competition,
        tmp_path / "models",
        cuts=tmp_path / "cuts",
        folds=[0],
        devices=str(DEVICE),
        progress=False,
    )
    assert result.score is not None
    assert result.score > 0.3
    assert {member.fold for member in load_members(tmp_path / "models")} == {"fold_0"}
