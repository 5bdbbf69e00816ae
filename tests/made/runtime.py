"""The dataset of kernelkit and the twin of the image, made and proved once for all tests."""

import pytest

from devkit.dryrun.runtime import Runtime, make_runtime
from tests.made.once import made_once

__all__ = ["proved_runtime"]


def proved_runtime(factory: pytest.TempPathFactory) -> Runtime:
    """What the notebook runs in. Tests read it, and never write into it."""
    return made_once(
        factory, "kernel", lambda folder: make_runtime("kaggle-py312", folder / "dataset")
    )[1]
