"""A rehearsal: a reader process is killed midway, as a system does that runs out of memory."""

import time
from pathlib import Path

import psutil

from devkit.dryrun.notebook import run_notebook
from devkit.dryrun.runtime import Runtime
from devkit.dryrun.scenario import Scenario
from devkit.errors import DryRunError
from devkit.sandbox.run import SandboxResult
from kernelkit.predict.report import Report
from kernelkit.predict.store.store import Store

__all__ = ["rehearse_killed_reader"]


def rehearse_killed_reader(
    scenario: Scenario, runtime: Runtime, workers: int, after_seconds: float = 5.0
) -> SandboxResult:
    """Predict the last image again, kill a reader process midway, and compare the submissions.

    The masks of the other images are kept. So this also shows that an interrupted run goes on
    where it was.

    Parameters
    ----------
    scenario
        What the first run was run on. Its submission and report are there.
    runtime, workers
        As for `run_notebook`.
    after_seconds
        How long after it opened a slide the reader is killed.

    Raises
    ------
    DryRunError
        If no reader could be killed, or if the submission differs from that of the first run.
    """
    before = scenario.submission.read_bytes()
    last = [image for image in Report.load(scenario.report).images if image.stored][-1]
    Store(scenario.working / "masks").entry_named(last.stored).remove()
    scenario.submission.unlink()
    killer = _ReaderKiller(after_seconds)
    result = run_notebook(scenario, runtime, workers, on_sample=killer)
    if result.exit_code != 0:
        raise DryRunError(
            f"the run with a killed reader ended with exit code {result.exit_code}. "
            "Its last output is above"
        )
    if killer.killed is None:
        raise DryRunError("no reader process was found to kill. Use at least one worker")
    if scenario.submission.read_bytes() != before:
        raise DryRunError(f"{scenario.submission}: it differs from that of the undisturbed run")
    return result


class _ReaderKiller:
    """Sends SIGKILL to one reader process, some seconds after it opened a slide."""

    def __init__(self, after_seconds: float) -> None:
        self.killed: int | None = None
        self._after_seconds = after_seconds
        self._first_seen: float | None = None

    def __call__(self, tree: list[psutil.Process]) -> None:
        if self.killed is not None:
            return
        readers = [process for process in tree if _reads_a_slide(process, tree)]
        if readers and self._first_seen is None:
            self._first_seen = time.monotonic()
        if readers and time.monotonic() - (self._first_seen or 0) >= self._after_seconds:
            readers[-1].kill()
            self.killed = readers[-1].pid
            print(f"killed reader process {self.killed}", flush=True)


def _reads_a_slide(process: psutil.Process, tree: list[psutil.Process]) -> bool:
    """Whether a process has a slide open and is not the notebook itself."""
    try:
        notebook = next(p for p in tree if "ipykernel_launcher" in p.cmdline())
        # psutil lists only files that exist, and those of the sandbox do not exist out here
        names = [str(link.readlink()) for link in Path(f"/proc/{process.pid}/fd").iterdir()]
    except (psutil.Error, OSError, StopIteration):
        return False
    return process.pid != notebook.pid and any(name.endswith(".tiff") for name in names)
