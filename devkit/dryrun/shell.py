"""`make shell`: a shell in the twin of an image, as a session on Kaggle would have it.

There is no network. The kernel dataset, and a competition and models if given, lie read-only below
`/kaggle/input`. Python is the image's, and imports kernelkit from the dataset alone. What is
written to `/kaggle/working` lies in `build/shell/working` here.
"""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from devkit.arguments import Arguments, add_profile
from devkit.commands import command
from devkit.competitions import OwnCompetition, add_name, competition_folder, find, models_folder
from devkit.image.profiles import load_profile
from devkit.tools import REPOSITORY

if TYPE_CHECKING:
    from devkit.dryrun.runtime import Runtime

__all__ = ["main", "open_shell"]

_INSIDE = Path(__file__).with_name("in_shell.py")


@command("shell")
def main(arguments: list[str] | None = None, build: Path = REPOSITORY / "build") -> int:
    """Run the command line. The exit code is that of the shell.

    Raises
    ------
    CompetitionError, CheckpointError, ProfileError
        There is no such folder or profile.
    """
    options, own = _parse(arguments)
    build = own.build_folder if own else build
    if options.competition is not None:
        competition_folder(options.competition)
    if options.models is not None:
        models_folder(options.models)
    load_profile(options.profile)
    # torch takes seconds to import
    from devkit.dryrun.runtime import make_runtime

    runtime = make_runtime(options.profile, build / "shell" / f"kernel-{options.profile}", own)
    print(runtime.twin.describe())
    places = {"competitions": options.competition, "models": options.models}
    inputs = {
        f"/kaggle/input/{place}/{folder.resolve().name}": folder.resolve()
        for place, folder in places.items()
        if folder is not None
    }
    return open_shell(runtime, inputs, build / "shell/working", options.command)


def open_shell(
    runtime: "Runtime", inputs: Mapping[str, Path], working: Path, wanted: Sequence[str] = ()
) -> int:
    """Run a shell in the twin to its end, and return its exit code.

    Parameters
    ----------
    runtime
        The twin, and the dataset that brings kernelkit.
    inputs
        Folders of this machine, by where the shell finds them.
    working
        What stands for `/kaggle/working`.
    wanted
        A command that is run in place of a shell.
    """
    from devkit.dryrun.notebook import sandbox_of, session_variables

    sandbox = sandbox_of(inputs, working, runtime)
    variables = session_variables(sandbox) | {
        "KAGGLE_KERNEL_RUN_TYPE": "Interactive",
        "PATH": os.pathsep.join([str(runtime.twin.folder / "bin"), os.environ.get("PATH", "")]),
        "TERM": os.environ.get("TERM", "dumb"),
    }
    places = [sandbox.path("/kaggle/input"), sandbox.path("/kaggle/working")]
    started = [str(runtime.twin.python), str(_INSIDE), *places, runtime.dataset.fingerprint]
    return sandbox.run([*started, *wanted], variables).exit_code


def _parse(arguments: list[str] | None) -> tuple[argparse.Namespace, OwnCompetition | None]:
    parser = Arguments("shell", "python -m devkit.dryrun.shell", description=__doc__)
    add_profile(parser)
    add_name(parser, "none")
    parser.add_folder(
        "--competition",
        variable="COMPETITION",
        help="the folder of a competition",
    )
    parser.add_folder("--models", variable="MODELS", help="the models folder")
    parser.add_argument(
        "command", nargs="*", help="what to run in place of a shell, behind --, such as -- python"
    )
    options = parser.parse_args(arguments)
    own = find(options.own_competition) if options.own_competition else None
    if own is not None:
        # what is not there yet is not mounted
        options.competition = options.competition or _there(own.data_folder)
        options.models = options.models or _there(own.models_folder)
    return options, own


def _there(folder: Path) -> Path | None:
    return folder if folder.is_dir() else None


if __name__ == "__main__":
    sys.exit(main())
