"""Code of the user's own, as a folder with one package, and a session that has it."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

# The package that tests write. No other module may have its name.
PACKAGE = "mycode_of_tests"

# A network of convolutions whose parts lie in a module beside it.
MODEL = """\
from torch import nn

from .parts import block


class Net(nn.Module):
    def __init__(self, in_channels=3, classes=1, width=4):
        super().__init__()
        self.body = block(in_channels, width)
        self.head = nn.Conv2d(width, classes, 1)

    def forward(self, x):
        return self.head(self.body(x))
"""
PARTS = """\
from torch import nn


def block(before, after):
    return nn.Sequential(nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU())
"""


def write_own(folder: Path, model: str = MODEL, **others: str) -> Path:
    """Write the package: its module `model`, `parts`, and others by their names."""
    package = folder / PACKAGE
    package.mkdir(parents=True, exist_ok=True)
    for name, content in {"__init__": "", "parts": PARTS, "model": model, **others}.items():
        (package / f"{name}.py").write_text(content)
    return folder


@contextmanager
def session_with(folder: Path) -> Iterator[None]:
    """Have the code of a folder, and forget afterwards that it was imported."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KERNELKIT_OWN", str(folder))
        patch.setattr(sys, "path", sys.path.copy())
        forget()
        try:
            yield
        finally:
            forget()


def forget() -> None:
    """Forget what was imported of the package."""
    for name in [name for name in sys.modules if name.split(".")[0] == PACKAGE]:
        del sys.modules[name]
