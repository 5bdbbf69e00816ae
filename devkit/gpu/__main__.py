"""`make gpu-check`: run the tests of a GPU and the benchmark of ensembles, and write one report.

It needs no network, no make and no uv. A Python that has torch with CUDA does, and a folder of the
wheels that it lacks, which `make gpu-wheels` gathers:

    python3 -m devkit.gpu --wheels build/gpu/wheels
"""

import sys

if sys.version_info < (3, 12):  # noqa: UP036
    sys.exit(
        f"gpu-check failed: {sys.executable}: found Python {sys.version.split()[0]}, wanted 3.12 "
        "or newer. Name one by PYTHON="
    )

import json
import subprocess
import time
from pathlib import Path

sys.path.insert(0, str(Path("kernel_src").absolute()))

from devkit.arguments import Arguments
from devkit.commands import command
from devkit.errors import GpuCheckError
from devkit.gpu.machine import Interpreter, find_interpreter, rehearsed_on
from devkit.gpu.missing import add_missing, environment
from devkit.gpu.needed import FROM_THE_MACHINE, REQUIREMENTS
from devkit.gpu.report import Report
from devkit.gpu.steps import run_benchmark, run_tests

# The benchmark gets what the tests leave, and so many seconds at least.
_LEAST = 60.0
# What the tests look at: the networks and the images of the demo.
_DEMO = (Path("build/demo/large_models"), Path("build/demo/competition/test/he_test_tiled.tiff"))


@command("gpu-check")
def main(arguments: list[str] | None = None) -> int:
    """Check, and return 0 if all tests passed and the benchmark ended well."""
    parser = Arguments("gpu-check", "python3 -m devkit.gpu", description=__doc__)
    parser.add_argument(
        "--wheels",
        type=Path,
        default=Path("build/gpu/wheels"),
        variable="WHEELS",
        help="the folder of wheels",
    )
    parser.add_argument(
        "--minutes", type=float, default=30, variable="MINUTES", help="for all of it"
    )
    parser.add_argument(
        "--quick", action="store_true", variable="QUICK", help="a shorter benchmark"
    )
    parser.add_argument(
        "--output", type=Path, default=Path("build/gpu"), help="the folder of the report"
    )
    parser.add_argument("--only", choices=["tests", "benchmark"], help="leave the other one out")
    parser.add_argument("--tests", help="only tests with these words in their names")
    options = parser.parse_args(arguments)
    if not Path("tests/gpu").is_dir():
        raise GpuCheckError(
            f"{Path.cwd()}: found no folder tests/gpu, wanted kernelkit's own folder. Go there"
        )
    end = time.monotonic() + 60 * options.minutes
    options.output.mkdir(parents=True, exist_ok=True)
    interpreter = find_interpreter()
    if options.only != "benchmark":
        _refuse_without_demo()
    site = Path("build/gpu") / f"site-{interpreter.tag}"
    added = add_missing(interpreter, options.wheels, site)
    report = Report(interpreter, rehearsed_on(), _versions(interpreter, site), added)
    print(report, flush=True)
    if options.only != "benchmark":
        share = 0.5 if options.only is None else 1.0
        words = ["-k", options.tests] if options.tests else []
        left = share * (end - time.monotonic())
        report.steps.append(run_tests(interpreter, site, options.output, left, words))
        report.save(options.output)  # the benchmark may be killed with this process
    if options.only != "tests":
        left = max(_LEAST, end - time.monotonic() - _LEAST)
        words = ["--quick"] if options.quick or rehearsed_on() else []
        report.steps.append(run_benchmark(interpreter, site, options.output, left, words))
    report.save(options.output)
    print(f"\n{report}\nreport: {options.output / 'report.txt'} and report.json")
    return report.exit_code


def _refuse_without_demo() -> None:
    """Refuse a machine to which the demo's networks and images were not taken."""
    for path in _DEMO:
        if not path.exists():
            raise GpuCheckError(
                f"{path}: this is missing, and the tests need it. Make it by `make dry-run` at "
                "home and take it along, or add --only benchmark"
            )


def _versions(interpreter: Interpreter, site: Path) -> dict[str, str]:
    """The versions of the packages, if all can be imported."""
    names = [*FROM_THE_MACHINE, *(each.split(">")[0] for each in REQUIREMENTS)]
    question = (
        "import json, sys, importlib.metadata as m\n"
        "import cv2, kernelkit.predict, kernelkit.ensemble, pytest, segmentation_models_pytorch\n"
        "found = {}\n"
        f"for name in {names!r}:\n"
        "    try: found[name] = m.version(name)\n"
        "    except m.PackageNotFoundError: pass\n"
        "print(json.dumps(found))"
    )
    done = subprocess.run(
        [interpreter.path, "-c", question],
        env=environment(site),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise GpuCheckError(
            f"{interpreter.path}: kernelkit cannot be imported there ({last}). Add wheels of "
            "fitting versions by `make gpu-wheels WITH=`"
        )
    versions: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    return versions


if __name__ == "__main__":
    sys.exit(main())
