"""The offline twin of a Kaggle session: a command run without a network, its memory watched.

If the system allows namespaces, the command sees its inputs read-only at the real `/kaggle` paths.
It has no network but the loopback. If the system does not allow them, a printed line says so. Then
the same folders stand below a folder that stands for `/kaggle`.
"""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from devkit.errors import SandboxError
from devkit.sandbox.footprint import process_tree, tree_bytes
from devkit.sandbox.guard import end_processes
from devkit.sandbox.isolate import FORBIDDEN
from devkit.tools import REPOSITORY
from kernelkit.children import starting_children

__all__ = ["Mount", "Sandbox", "SandboxResult"]

# between two samples of the memory, and times what a sample takes of a processor if that is more
_SAMPLE_SECONDS = 0.3
_SAMPLE_PAUSE = 20
# a shell's exit code of a process that was killed
_OVER_BUDGET = 137


@dataclass(frozen=True, slots=True)
class Mount:
    """A folder of this machine, and where the command finds it.

    Attributes
    ----------
    source
        The folder.
    target
        Where the command finds it. As a rule this is below `/kaggle`.
    writable
        Whether the command may write to it.
    """

    source: Path
    target: str
    writable: bool = False


@dataclass(frozen=True, slots=True)
class SandboxResult:
    """How the command ended.

    Attributes
    ----------
    exit_code
        The command's exit code, as a shell has it: 128 and the signal's number if it was killed.
        It is 137 if it was ended for its memory.
    peak_bytes
        The most memory that its whole process tree held (PSS).
    seconds
        How long it took.
    is_over_budget
        Whether it was ended for its memory.
    """

    exit_code: int
    peak_bytes: int
    seconds: float
    is_over_budget: bool = False

    @property
    def was_killed(self) -> bool:
        """Whether it was killed, as a machine does that runs out of memory."""
        return self.exit_code == _OVER_BUDGET


@dataclass
class Sandbox:
    """A place to run commands in as Kaggle would.

    Attributes
    ----------
    folder
        Where the private home lies, and the stand-in folder if there are no namespaces.
    mounts
        What lies below `/kaggle`.
    shm_bytes
        How large /dev/shm is in the sandbox. None means as large as a tmpfs is by default. It is
        the sandbox's own, so nothing is left in that of the machine.
    is_isolated
        Whether the system allows namespaces.
    home
        The private home of the command.
    """

    folder: Path
    mounts: Sequence[Mount]
    shm_bytes: int | None = None
    is_isolated: bool = field(init=False)
    home: Path = field(init=False)

    def __post_init__(self) -> None:
        self.home = self.folder / "home"
        self.home.mkdir(parents=True, exist_ok=True)
        for mount in self.mounts:
            mount.source.mkdir(parents=True, exist_ok=True)
        self._spec = self._write_spec()
        self.is_isolated = self._probe()
        if not self.is_isolated:
            self._stand_in()

    @property
    def root(self) -> str:
        """The path of `/kaggle` for the command: itself, or the folder that stands for it."""
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
        """Run a command to its end, and sample the memory of its process tree.

        Nothing of the tree outlives this call, however it ends, nor this process, even if it is
        killed. Ctrl-C does not reach the tree.

        Parameters
        ----------
        command
            The program and its arguments.
        environment
            All variables that the command gets. `HOME` is set to the private home.
        budget_bytes
            The run is ended, with exit code 137, once the tree holds more (PSS).
        on_sample
            Called at each sample with the live processes of the tree.
        """
        start = time.monotonic()
        watcher = _Watcher(budget_bytes, on_sample)
        # the guard ends the tree once the other end is closed, and it alone has this one
        held_by_guard, held_here = os.pipe()
        guard = [sys.executable, "-m", "devkit.sandbox.guard", str(held_by_guard), "--"]
        try:
            with starting_children():
                process = subprocess.Popen(
                    [*guard, *(self._isolate if self.is_isolated else []), *command],
                    env={**environment, "HOME": str(self.home.resolve())},
                    cwd=REPOSITORY,
                    pass_fds=[held_by_guard],
                    start_new_session=True,
                )
                watcher.watch(process.pid)
            exit_code = process.wait()
        finally:
            os.close(held_here)
            os.close(held_by_guard)
            watcher.stop()
        return SandboxResult(
            exit_code=_OVER_BUDGET if watcher.is_over_budget else exit_code,
            peak_bytes=watcher.peak_bytes,
            seconds=time.monotonic() - start,
            is_over_budget=watcher.is_over_budget,
        )

    def _write_spec(self) -> Path:
        """Write what `devkit.sandbox.isolate` reads."""
        root = self.folder.resolve() / "root"
        root.mkdir(exist_ok=True)
        spec = {
            "root": str(root),
            "folder": "/",
            "shm_bytes": self.shm_bytes,
            "mounts": [[str(m.source.resolve()), m.target, m.writable] for m in self.mounts],
        }
        path = self.folder / "isolation.json"
        path.write_text(json.dumps(spec))
        return path

    @property
    def _isolate(self) -> list[str]:
        """What stands before a command that is to be isolated."""
        return [sys.executable, "-m", "devkit.sandbox.isolate", str(self._spec), "--"]

    def _probe(self) -> bool:
        """Try whether the system allows namespaces."""
        done = subprocess.run(
            [*self._isolate, "true"],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if done.returncode == FORBIDDEN:
            print(
                f"{done.stderr.strip()}. The run goes on WITHOUT isolation: the network can be "
                f"reached, and the inputs lie in {(self.folder / 'kaggle').resolve()}"
            )
            return False
        if done.returncode != 0:
            raise SandboxError(
                f"{self._spec}: the sandbox could not be set up, exit code {done.returncode}: "
                f"{done.stderr.strip()}"
            )
        return True

    def _stand_in(self) -> None:
        """Link the mounts below the folder that stands for `/kaggle`."""
        for mount in self.mounts:
            if not mount.target.startswith("/kaggle/"):
                continue  # it is there anyway, if not read-only
            place = Path(self.path(mount.target))
            place.parent.mkdir(parents=True, exist_ok=True)
            place.unlink(missing_ok=True)
            place.symlink_to(mount.source.resolve())


class _Watcher(threading.Thread):
    """Samples the memory (PSS) of a process tree until it is stopped, and ends the tree then."""

    def __init__(
        self,
        budget_bytes: int | None,
        on_sample: Callable[[list[psutil.Process]], None] | None,
    ) -> None:
        super().__init__(daemon=True)
        self.peak_bytes = 0
        self.is_over_budget = False
        self._budget_bytes = budget_bytes
        self._on_sample = on_sample
        self._stopped = threading.Event()
        self._seen: set[psutil.Process] = set()  # empty until there is something to watch

    def watch(self, pid: int) -> None:
        """Begin to sample the tree of this process."""
        self._root = psutil.Process(pid)
        self._seen.add(self._root)
        self.start()

    def run(self) -> None:
        pause = _SAMPLE_SECONDS
        while not self._stopped.wait(pause):
            begun = time.thread_time()
            tree = process_tree(self._root.pid)
            self._seen.update(tree)
            self.peak_bytes = max(self.peak_bytes, tree_bytes(tree))
            if self._on_sample is not None:
                self._on_sample(tree)
            if self._budget_bytes is not None and self.peak_bytes > self._budget_bytes:
                self.is_over_budget = True
                end_processes(self._seen)
            pause = max(_SAMPLE_SECONDS, _SAMPLE_PAUSE * (time.thread_time() - begun))

    def stop(self) -> None:
        """Stop sampling, and end what the command left running."""
        if self._seen:
            self._stopped.set()
            self.join()
            end_processes(self._seen)
