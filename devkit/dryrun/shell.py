"""`make shell`: a shell in the twin of an image, as a session on Kaggle would have it.

There is no network. The kernel dataset, and a competition and models if given, lie read-only below
`/kaggle/input`. Python is the image's, and imports kernelkit from the dataset alone. What is
written to `/kaggle/working` lies in `build/shell/working` here.
"""

import argparse
import os
import sys
from pathlib import Path

from devkit.commands import command
from devkit.errors import DryRunError
from devkit.tools import REPOSITORY

__all__ = ["main"]

_INSIDE = Path(__file__).with_name("in_shell.py")


@command("shell")
def main(arguments: list[str] | None = None, build: Path = REPOSITORY / "build") -> int:
    """Run the command line. The exit code is that of the shell.

    Raises
    ------
    DryRunError
        There is no such folder.
    """
    options = _parse(arguments)
    inputs = {"/kaggle/input/competitions": options.competition, "/kaggle/input": options.models}
    mounted = {}
    for place, folder in inputs.items():
        if folder is not None and not folder.is_dir():
            raise DryRunError(f"{folder}: there is no such folder. Check the path")
        if folder is not None:
            mounted[f"{place}/{folder.resolve().name}"] = folder.resolve()
    # torch takes seconds to import
    from devkit.dryrun.notebook import sandbox_of, session_variables
    from devkit.dryrun.runtime import make_runtime

    runtime = make_runtime(options.profile, build / "shell" / f"kernel-{options.profile}")
    sandbox = sandbox_of(mounted, build / "shell" / "working", runtime)
    print(runtime.twin.describe())
    variables = session_variables(sandbox) | {
        "KAGGLE_KERNEL_RUN_TYPE": "Interactive",
        "PATH": os.pathsep.join([str(runtime.twin.folder / "bin"), os.environ.get("PATH", "")]),
        "TERM": os.environ.get("TERM", "dumb"),
    }
    wanted = [str(_INSIDE), sandbox.path("/kaggle/input"), sandbox.path("/kaggle/working")]
    inside = [str(runtime.twin.python), *wanted, runtime.dataset.fingerprint, *options.command]
    return sandbox.run(inside, variables).exit_code


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m devkit.dryrun.shell", description=__doc__)
    parser.add_argument("--profile", default="kaggle-py312", help="the image (%(default)s)")
    parser.add_argument("--competition", type=Path, help="the folder of a competition")
    parser.add_argument("--models", type=Path, help="the folder of run folders")
    parser.add_argument(
        "command", nargs="*", help="what to run in place of a shell, behind --, such as -- python"
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
