"""A training in a process of its own, to be killed in the middle: python -m ... FOLDER."""

import sys
import time
from pathlib import Path

import torch

from kernelkit.training.loop.fold import fit
from tests.made.small_fold import Notes, lose, parts, small_fold


def main(folder: str) -> None:
    """Train a fold slowly, and say when an epoch is over."""

    def slowly(answer: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        time.sleep(0.1)
        return lose(answer, targets)

    def say(epoch: int) -> None:
        print("epoch", epoch, flush=True)

    fold = small_fold(Path(folder), parts=parts(lose=slowly))
    fit(fold, [torch.device("cpu")], lambda _: None, lambda _: Notes(say))


if __name__ == "__main__":
    main(sys.argv[1])
