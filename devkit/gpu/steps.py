"""The tests and the benchmark, each in a process that ends in time."""

import json
import re
import resource
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from devkit.gpu.machine import Interpreter
from devkit.gpu.missing import environment

__all__ = ["Step", "run_benchmark", "run_tests"]

_TEST = re.compile(
    r"^(?P<name>tests/\S+::.+?) (?P<result>PASSED|FAILED|SKIPPED|ERROR|XFAIL|XPASS)\b"
)
# How lines of pytest's summary begin, with what went wrong.
_BAD = ("FAILED ", "ERROR ")
# Those about tests that were skipped: how many, where, and why.
_SKIPPED = re.compile(r"^SKIPPED \[(?P<count>\d+)\] \S+: (?P<reason>.+)$")
# How long a process may take to end by itself after its time is over, in seconds.
_GRACE = 10
# Its exit code then, as that of the command `timeout`.
_OUT_OF_TIME = 124


@dataclass(frozen=True)
class Step:
    """What came of a step.

    Attributes
    ----------
    name
        What was run.
    exit_code
        Of its process. 124 if its time was over.
    seconds, processor_seconds
        How long it took, and how long processors computed for it.
    log
        The file with all that it printed.
    results
        Its figures, for the report.
    problems
        What went wrong, a line each.
    """

    name: str
    exit_code: int
    seconds: float
    processor_seconds: float
    log: Path
    results: dict[str, Any] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        """Whether it ended well."""
        return self.exit_code == 0 and not self.problems


def run_tests(
    interpreter: Interpreter, site: Path, output: Path, seconds: float, words: Sequence[str] = ()
) -> Step:
    """Run the tests that are marked `gpu`.

    Parameters
    ----------
    seconds
        After so long they are ended. What they found until then counts.
    words
        More arguments of pytest, such as `-k graph`.
    """
    log = output / "tests.log"
    command = [interpreter.path, "-m", "pytest", "-m", "gpu", "-v", "-rfEs", "--tb=short"]
    # a line per test, whatever the project's own options are
    command += ["-o", "addopts=--import-mode=importlib --strict-markers", "--color=no"]
    command += ["--continue-on-collection-errors", "-p", "no:cacheprovider", "--durations=15"]
    command += [*words, "tests/gpu"]
    code, took, computed = _run(command, site, log, seconds)
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    tests = {found["name"]: found["result"] for line in lines if (found := _TEST.match(line))}
    counts = Counter(tests.values())
    problems = [line for line in lines if line.startswith(_BAD)]
    if code == _OUT_OF_TIME:
        problems.append(f"the tests were ended after {took:.0f} s, before the last one")
    elif code and not problems:
        problems.append(
            f"pytest ended with exit code {code}: {lines[-1] if lines else 'no output'}"
        )
    if not counts["PASSED"]:
        problems.append("no test passed, so nothing was shown")
    results = {"counts": dict(counts), "skipped": _skipped(lines), "tests": tests}
    return Step("tests", code, took, computed, log, results, problems)


def _skipped(lines: Sequence[str]) -> dict[str, int]:
    """How many tests were skipped for each reason."""
    counts: Counter[str] = Counter()
    for found in filter(None, map(_SKIPPED.match, lines)):
        counts[found["reason"]] += int(found["count"])
    return dict(counts)


def run_benchmark(
    interpreter: Interpreter, site: Path, output: Path, seconds: float, words: Sequence[str] = ()
) -> Step:
    """Run the benchmark of ensembles. It begins nothing that would not end in time."""
    log, figures = output / "benchmark.log", output / "benchmark.json"
    figures.unlink(missing_ok=True)
    command = [interpreter.path, "benchmarks/bench_ensemble.py", "--json", str(figures)]
    command += ["--minutes", f"{seconds / 60:.2f}", *words]
    code, took, computed = _run(command, site, log, seconds + 60)
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    problems = []
    if code:
        last = next((line for line in reversed(lines) if line.strip()), "no output")
        problems.append(f"the benchmark ended with exit code {code}: {last}")
    results = json.loads(figures.read_text()) if figures.exists() else {}
    return Step("benchmark", code, took, computed, log, results, problems)


def _run(command: list[str], site: Path, log: Path, seconds: float) -> tuple[int, float, float]:
    """Run a command, show what it prints, and keep it.

    Returns
    -------
    Its exit code, how long it took, and how long processors computed for it, in seconds.
    """
    start, before = time.monotonic(), _computed()
    with log.open("wb") as file:
        process = subprocess.Popen(
            command, env=environment(site), stdout=file, stderr=subprocess.STDOUT
        )
        with log.open("rb") as printed:
            code = None
            while code is None and time.monotonic() - start < seconds:
                try:
                    code = process.wait(0.2)
                except subprocess.TimeoutExpired:
                    _show(printed.read())
            if code is None:
                code = _end(process)
            _show(printed.read())
    return code, time.monotonic() - start, _computed() - before


def _computed() -> float:
    """Seconds of processors for all processes that this one has waited for, and for theirs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _end(process: "subprocess.Popen[bytes]") -> int:
    """End a process whose time is over, so that it can still say what it found."""
    process.send_signal(signal.SIGINT)
    try:
        process.wait(_GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    return _OUT_OF_TIME


def _show(printed: bytes) -> None:
    sys.stdout.write(printed.decode("utf-8", "replace"))
    sys.stdout.flush()
