"""The offline twin of a Kaggle session: a command run apart from the network, its memory watched.

Where the system allows namespaces, the command sees its inputs read-only at the real `/kaggle`
paths and no network but the loopback. Where it does not, that is said aloud, and the same folders
stand below a folder that stands for `/kaggle`.
"""

import contextlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from devkit.sandbox.footprint import process_tree, tree_bytes
from devkit.sandbox.isolate import FORBIDDEN
from devkit.tools import REPOSITORY

__all__ = ["Mount", "Sandbox", "SandboxResult"]

_SAMPLE_SECONDS = 0.3


@dataclass(frozen=True, slots=True)
class Mount:
    """A folder of this machine, and where the command finds it, below `/kaggle` as a rule."""

    source: Path
    target: str
    writable: bool = False


@dataclass(frozen=True, slots=True)
class SandboxResult:
    """How the command ended, and the most memory its whole process tree held (PSS, bytes)."""

    exit_code: int
    peak_bytes: int
    seconds: float


@dataclass
class Sandbox:
    """A place to run commands in as Kaggle would.

    Parameters
    ----------
    folder
        Where the spec, the private home and, without namespaces, the stand-in folder lie.
    mounts
        What lies below `/kaggle`.
    """

    folder: Path
    mounts: Sequence[Mount]
    is_isolated: bool = field(init=False)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.home = self.folder / "home"
        self.home.mkdir(exist_ok=True)
        for mount in self.mounts:
            mount.source.mkdir(parents=True, exist_ok=True)
        root = self.folder.resolve() / "root"
        root.mkdir(exist_ok=True)
        self._spec = self.folder / "isolation.json"
        self._spec.write_text(
            json.dumps(
                {
                    "root": str(root),
                    "folder": "/",
                    "mounts": [
                        [str(m.source.resolve()), m.target, m.writable] for m in self.mounts
                    ],
                }
            )
        )
        self.is_isolated = self._probe()
        if not self.is_isolated:
            self._stand_in()

    @property
    def root(self) -> str:
        """Where `/kaggle` is for the command: there, or at the folder that stands for it."""
        return "/kaggle" if self.is_isolated else str((self.folder / "kaggle").resolve())

    def path(self, target: str) -> str:
        """The path at which the command finds `target`, a path below `/kaggle`."""
        return self.root + target.removeprefix("/kaggle")

    def run(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        budget_bytes: int | None = None,
        on_sample: Callable[[list[psutil.Process]], None] | None = None,
    ) -> SandboxResult:
        """Run a command to its end, sampling the memory of its process tree.

        Parameters
        ----------
        environment
            All variables the command gets; `HOME` is set to the private home.
        budget_bytes
            The run is ended, with exit code 137, once the tree holds more (PSS).
        on_sample
            Called with the live processes of the tree at each sample.
        """
        start = time.monotonic()
        process = subprocess.Popen(
            [*self._prefix(), *command],
            env={**environment, "HOME": str(self.home.resolve())},
            cwd=REPOSITORY,
        )
        watcher = _MemoryWatcher(process.pid, budget_bytes, on_sample)
        watcher.start()
        try:
            exit_code = process.wait()
        finally:
            watcher.stop()
        if watcher.is_over_budget:
            exit_code = 137
        return SandboxResult(exit_code, watcher.peak_bytes, time.monotonic() - start)

    def _prefix(self) -> list[str]:
        if not self.is_isolated:
            return []
        return [sys.executable, "-m", "devkit.sandbox.isolate", str(self._spec), "--"]

    def _probe(self) -> bool:
        probe = [sys.executable, "-m", "devkit.sandbox.isolate", str(self._spec), "--", "true"]
        done = subprocess.run(probe, cwd=REPOSITORY, capture_output=True, text=True, timeout=60)
        if done.returncode == FORBIDDEN:
            print(
                f"{done.stderr.strip()}; the run goes on WITHOUT isolation: the network is "
                "reachable, and inputs lie in a folder that stands for /kaggle."
            )
            return False
        if done.returncode != 0:
            raise RuntimeError(f"the sandbox could not be set up: {done.stderr.strip()}")
        return True

    def _stand_in(self) -> None:
        for mount in self.mounts:
            if not mount.target.startswith("/kaggle/"):
                continue  # it is there anyway, if not read-only
            place = Path(self.path(mount.target))
            place.parent.mkdir(parents=True, exist_ok=True)
            place.unlink(missing_ok=True)
            place.symlink_to(mount.source.resolve())


class _MemoryWatcher(threading.Thread):
    """Samples the proportional set size of a process tree until stopped."""

    def __init__(
        self,
        pid: int,
        budget_bytes: int | None,
        on_sample: Callable[[list[psutil.Process]], None] | None,
    ) -> None:
        super().__init__(daemon=True)
        self.peak_bytes = 0
        self.is_over_budget = False
        self._pid = pid
        self._budget_bytes = budget_bytes
        self._on_sample = on_sample
        self._stopped = threading.Event()
        self._seen: set[psutil.Process] = set()

    def run(self) -> None:
        while not self._stopped.wait(_SAMPLE_SECONDS):
            tree = process_tree(self._pid)
            self._seen.update(tree)
            self.peak_bytes = max(self.peak_bytes, tree_bytes(tree))
            if self._on_sample is not None:
                self._on_sample(tree)
            if self._budget_bytes is not None and self.peak_bytes > self._budget_bytes:
                self.is_over_budget = True
                self._end_all()

    def stop(self) -> None:
        """Stop sampling, and end what the command left running."""
        self._stopped.set()
        self.join()
        self._end_all()

    def _end_all(self) -> None:
        # papermill's kernels are in sessions of their own, so ending a process group is not enough
        for process in self._seen:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
