"""Run a command that nothing outlives: not its own end, and not the end of who asked for it.

`python -m devkit.sandbox.guard PIPE -- COMMAND...` runs the command, and exits as it did. Whoever
asked holds the other end of a pipe. If it dies, even by `kill -9`, the pipe closes. Then all that
the command started ends too. Processes whose parent died become children of the guard, so none is
lost from sight.

What the command prints goes through the guard. If it can go nowhere, since a disk is full or a
reader went away, it is dropped, and the command never learns of it.
"""

import contextlib
import ctypes
import os
import subprocess
import sys
import threading
from typing import IO

import psutil

__all__ = ["end_processes", "main"]

# from <sys/prctl.h>
_PR_SET_CHILD_SUBREAPER = 36

# what a shell adds to the number of a signal, and its exit code for what it cannot run
_KILLED, _NOT_FOUND = 128, 127


def main(arguments: list[str]) -> int:
    """Run the command to its end, and return its exit code as a shell has it."""
    pipe, separator, *command = arguments
    if separator != "--" or not command:
        print("usage: python -m devkit.sandbox.guard PIPE -- COMMAND...", file=sys.stderr)
        return 2
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    threading.Thread(target=_end_with_asker, args=(int(pipe),), daemon=True).start()
    try:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    except OSError as error:
        print(f"{command[0]}: it cannot be run ({error.strerror})", file=sys.stderr)
        return _NOT_FOUND
    outputs = [(process.stdout, 1), (process.stderr, 2)]
    pumps = [threading.Thread(target=_pass_on, args=pair, daemon=True) for pair in outputs]
    for pump in pumps:
        pump.start()
    code = _wait_for(process.pid)
    _end_children()
    for pump in pumps:
        pump.join()
    return code


def end_processes(processes: set[psutil.Process]) -> None:
    """End processes and all below them, and wait until they are gone.

    Each is stopped before its children are listed, so that none starts another one unseen. A
    process group would not do: papermill starts the notebook in a session of its own.
    """
    stopped: set[psutil.Process] = set()
    while found := processes - stopped:
        for process in found:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.suspend()
                processes = processes.union(process.children(recursive=True))
        stopped |= found
    for process in stopped:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(list(stopped), timeout=10)


def _pass_on(source: IO[bytes], target: int) -> None:
    """Write all that comes from `source` to a descriptor, for as long as it takes it."""
    takes = True
    while data := os.read(source.fileno(), 1 << 16):
        try:
            while takes and data:
                data = data[os.write(target, data) :]
        except OSError:
            takes = False


def _end_with_asker(pipe: int) -> None:
    """Wait until the other end of the pipe is closed, then end everything."""
    os.read(pipe, 1)
    _end_children()
    os._exit(_KILLED)


def _end_children() -> None:
    end_processes(set(psutil.Process().children(recursive=True)))


def _wait_for(pid: int) -> int:
    """Wait for one child. Others that were left to the guard are waited for on the way."""
    while True:
        try:
            ended, status = os.wait()
        except ChildProcessError:  # the other thread has ended them
            return _KILLED
        if ended == pid:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else _KILLED - code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
