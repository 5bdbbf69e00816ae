from pathlib import Path

import pytest
import yaml
from torch import nn

from tests.made.networks import UNET, network


@pytest.fixture
def unet() -> nn.Module:
    """A U-Net of random weights."""
    return network(UNET, seed=1)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder that has the U-Net's description and no folds yet."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "cfg.yaml").write_text(yaml.safe_dump({"MODEL": UNET}))
    return folder
