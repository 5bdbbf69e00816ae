"""Every command by its name in the Makefile: `python -m devkit train --help`."""

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import cast

from devkit.arguments import Arguments

__all__ = ["COMMANDS", "main"]

# The module of each command, and the words that stand before its arguments.
COMMANDS: Mapping[str, tuple[str, ...]] = {
    "new": ("devkit.new.__main__",),
    "dry-run": ("devkit.dryrun.__main__",),
    "shell": ("devkit.dryrun.shell",),
    "look": ("devkit.training.look",),
    "folds": ("devkit.training.folds",),
    "cuts": ("devkit.training.cuts",),
    "train": ("devkit.training.__main__",),
    "validate": ("devkit.evaluation.__main__", "validate"),
    "tune": ("devkit.evaluation.__main__", "tune"),
    "shift": ("devkit.evaluation.__main__", "shift"),
    "predict": ("devkit.predict.__main__",),
    "engine": ("devkit.engine.__main__",),
    "runs": ("devkit.training.runs",),
    "tensorboard": ("devkit.training.tensorboard",),
    "kernel-dataset": ("build_dataset",),
    "weights-dataset": ("devkit.dataset.weights",),
    "doctor": ("devkit.kaggle.__main__", "doctor"),
    "prepare": ("devkit.kaggle.__main__", "prepare"),
    "push": ("devkit.kaggle.__main__", "push"),
    "status": ("devkit.kaggle.__main__", "status"),
    "logs": ("devkit.kaggle.__main__", "logs"),
    "submit": ("devkit.kaggle.__main__", "submit"),
    "queue": ("devkit.kaggle.__main__", "queue"),
    "submissions": ("devkit.kaggle.__main__", "submissions"),
    "download-data": ("devkit.kaggle.__main__", "download-data"),
    "schema": ("devkit.reference.__main__",),
    "forget": ("devkit.forget.__main__",),
    "gpu-check": ("devkit.gpu.__main__",),
    "gpu-wheels": ("devkit.gpu.gather",),
    "audit": ("devkit.audit",),
    "licences": ("devkit.licences",),
    "lint": ("devkit.lint.__main__",),
}


def main(arguments: list[str] | None = None) -> int:
    """Run a command, and return its exit code."""
    parser = Arguments(prog="python -m devkit", description=__doc__)
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND", help=", ".join(COMMANDS))
    given = sys.argv[1:] if arguments is None else arguments
    module, *before = COMMANDS[parser.parse_args(given[:1]).command]
    run = cast(Callable[[list[str]], int], importlib.import_module(module).main)
    return run([*before, *given[1:]])


if __name__ == "__main__":
    sys.exit(main())
