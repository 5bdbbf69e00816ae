"""`make tensorboard`: curves and pictures of the trainings of a models folder, in a browser.

TensorBoard prints its address. It shows trainings that are going on too. Ctrl-C ends it.
"""

import argparse
import os
import sys

from devkit.arguments import Arguments
from devkit.commands import command
from devkit.competitions import add_name, fill_in, models_folder

__all__ = ["main"]

_CURVES = "events.out.tfevents.*"


@command("tensorboard")
def main(arguments: list[str] | None = None) -> int:
    """Run the command line. TensorBoard takes the place of this process."""
    options = _parse(arguments)
    folder = models_folder(options.models).resolve()
    if not any(folder.rglob(_CURVES)):
        print(f"{folder}: no training has written curves yet", flush=True)
    os.execv(sys.executable, [sys.executable, "-m", "tensorboard.main", "--logdir", str(folder)])


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = Arguments("tensorboard", "python -m devkit.training.tensorboard", description=__doc__)
    parser.add_models(
        "the folder of the run folders (default: build/models, or that of your own competition)"
    )
    add_name(parser)
    options = parser.parse_args(arguments)
    if options.own_competition or options.models is None:
        fill_in(parser, options, models=("models_folder", "build/models"))
    return options


if __name__ == "__main__":
    sys.exit(main())
