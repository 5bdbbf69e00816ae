"""`make dry-run`: the whole way to a checked submission, at home, as Kaggle would run it.

Prepares the demo's competition, mounts it with models and code where Kaggle would, runs the
inference notebook without a network, checks and scores its submission, and says where all lies.
"""

import argparse
import fcntl
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from devkit.demo import prepare, prepare_large
from devkit.dryrun.large import SteadySpeed, measure_seams, rehearse_killed_reader, steady_speed
from devkit.dryrun.notebook import REPOSITORY, Kernel, Scenario, make_kernel, render, run_notebook
from devkit.dryrun.results import draw_overlay, read_checked, results_table
from devkit.errors import BusyError
from kernelkit.errors import CompetitionError, KernelKitError, SubmissionError
from kernelkit.mask import BitMask
from kernelkit.recipe import Recipe

__all__ = ["main"]

_BUILD = REPOSITORY / "build"
_SPEED = _BUILD / "large-speed.json"


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; the exit code is 0 only where a checked submission was made."""
    options = _parse(arguments)
    try:
        with _alone(_BUILD / ".dry-run.lock"):
            if options.competition:
                _dry_run_own(options)
            elif options.size == "large":
                _dry_run_large(options)
            else:
                _dry_run_small(options)
    except KernelKitError as error:
        print(f"dry-run failed: {error}", file=sys.stderr)
        return 1
    return 0


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Hold a lock while a dry-run lasts: another one would replace the dataset under its feet."""
    lock.parent.mkdir(exist_ok=True)
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BusyError(
                f"{lock.parent}: another dry-run is at work in this folder; wait for its end, or "
                "run this one in another clone."
            ) from error
        yield


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m devkit.dryrun", description=__doc__)
    parser.add_argument(
        "--size",
        choices=("small", "large"),
        default="small",
        help="small: the demo's test images; large: four slides, 1.1 GB in all",
    )
    parser.add_argument("--competition", type=Path, help="a competition of your own; its folder")
    parser.add_argument("--models", type=Path, help="with --competition: the folder of run folders")
    parser.add_argument("--recipe", help="with --competition: a recipe's name or YAML file")
    parser.add_argument("--workers", type=int, default=2, help="reader processes; 0 for none")
    parser.add_argument(
        "--rerun",
        action="store_true",
        help="rehearse the hidden rerun: other ids, other sizes, more images, limits ignored",
    )
    parser.add_argument(
        "--profile", default="kaggle-py312", help="the image whose twin the notebook runs in"
    )
    parser.add_argument(
        "--memory", type=float, default=24.0, help="budget of the whole process tree in GiB (PSS)"
    )
    options = parser.parse_args(arguments)
    if options.competition and not (options.models and options.recipe):
        parser.error("a competition of your own needs --models and --recipe too")
    return options


def _dry_run_small(options: argparse.Namespace) -> None:
    demo = prepare(_BUILD / "demo")
    name = "rerun" if options.rerun else "small"
    scenario = Scenario(
        recipe="nuclei",
        competition=demo.hidden_competition if options.rerun else demo.competition,
        models=demo.models,
        working=_BUILD / "dry-run" / name / "working",
        solution=demo.hidden_solution if options.rerun else demo.solution,
        is_rerun=options.rerun,
    )
    _run_and_report(scenario, _kernel(options), options)
    speed = SteadySpeed.load(_SPEED)
    print(speed.projection() if speed else "for a projection to HuBMAP: make dry-run SIZE=large")


def _dry_run_own(options: argparse.Namespace) -> None:
    for folder in (options.competition, options.models):
        if not folder.is_dir():
            raise CompetitionError(f"{folder}: there is no such folder; check the path.")
    Recipe.load(options.recipe)  # a misspelt key is found now, not in the notebook
    is_file = Path(options.recipe).is_file()
    scenario = Scenario(
        recipe=str(Path(options.recipe).resolve()) if is_file else options.recipe,
        competition=options.competition,
        models=options.models,
        working=_BUILD / "dry-run" / "own" / "working",
        is_rerun=options.rerun,
    )
    _run_and_report(scenario, _kernel(options), options)


def _dry_run_large(options: argparse.Namespace) -> None:
    demo, large = prepare(_BUILD / "demo"), prepare_large(_BUILD / "large")
    scenario = Scenario(
        recipe="hubmap",
        competition=large.competition,
        models=demo.large_models,
        working=_BUILD / "dry-run" / "large" / "working",
    )
    kernel = _kernel(options)
    masks = _run_and_report(scenario, kernel, options)
    speed = steady_speed(scenario, _device())
    speed.save(_SPEED)
    print(f"steady: {speed.megapixels_per_second:.2f} Mpx/s, {speed.waiting:.1%} of it waiting")
    print(speed.projection())
    seams = measure_seams(scenario, masks)
    print(
        f"seams: Dice with the crop {seams.crop} predicted in one piece: {seams.at_seams:.4f} "
        f"within 48 px of a seam, {seams.elsewhere:.4f} elsewhere"
    )
    print("\nonce more for the last image, with a reader process killed midway")
    rehearse_killed_reader(scenario, kernel, max(1, options.workers))
    print("the submission is the same, byte for byte")


def _run_and_report(
    scenario: Scenario, kernel: Kernel, options: argparse.Namespace
) -> dict[str, BitMask]:
    """Run the notebook from a clean working folder, check what it wrote, print the table."""
    shutil.rmtree(scenario.working, ignore_errors=True)
    result = run_notebook(scenario, kernel, options.workers, int(options.memory * 2**30))
    if result.exit_code != 0:
        raise SubmissionError(
            f"the notebook ended with exit code {result.exit_code}; its last output is above."
        )
    masks = read_checked(scenario)
    print(f"\n{results_table(scenario, masks).to_string(index=False)}\n")
    print(f"submission   {_shown(scenario.submission)}: checked, {len(masks)} masks")
    print(f"notebook     {_shown(render(scenario))}")
    print(f"picture      {_shown(draw_overlay(scenario, masks))}")
    print(f"peak memory  {result.peak_bytes / 2**30:.2f} GiB (PSS of all processes)")
    return masks


def _kernel(options: argparse.Namespace) -> Kernel:
    return make_kernel(options.profile, _BUILD / f"kernel-{options.profile}")


def _shown(path: Path) -> str:
    return os.path.relpath(path)


def _device() -> str:
    """What the models ran on, in words."""
    return f"CPU ({platform.machine()}, {len(os.sched_getaffinity(0))} cores)"


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)  # the notebook writes into the same file, at once
    sys.exit(main())
