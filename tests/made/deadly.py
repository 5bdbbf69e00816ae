"""A preprocessing of the user's own that kills its process over one image, as a fault would."""

import multiprocessing
import os
import signal
from pathlib import Path

from torch import Tensor

__all__ = ["DEADLY", "Deaths", "deadly"]

# each pixel of the image that kills
DEADLY = 201
_VARIABLE = "KERNELKIT_TESTS_DEATHS"


class Deaths:
    """How many processes are still to die.

    Parameters
    ----------
    folder
        Where they are counted.

    Attributes
    ----------
    environment
        The name and the value by which children find it.
    """

    def __init__(self, folder: Path) -> None:
        self.environment = _VARIABLE, str(folder)
        self._folder = folder

    def set(self, count: int) -> None:
        """Let the next so many processes die that see the deadly image."""
        for number in range(9):
            path = self._folder / str(number)
            path.touch() if number < count else path.unlink(missing_ok=True)


def deadly(tiles: Tensor) -> Tensor:
    """The networks' input. A child that sees the deadly image is killed, so often as is wanted."""
    path = Path(os.environ.get(_VARIABLE, "/nowhere"))
    sees_it = bool((tiles == DEADLY).flatten(1).all(dim=1).any())
    if multiprocessing.parent_process() is not None and sees_it:
        for death in path.glob("*"):
            death.unlink()
            os.kill(os.getpid(), signal.SIGKILL)
    return tiles.float() / 255
