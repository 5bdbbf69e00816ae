"""What runs in the twin's own Python: the notebook's first cell, then a shell.

`python in_shell.py INPUTS WORKING FINGERPRINT [COMMAND...]` needs the standard library alone. The
shell gets a terminal of its own, so that Ctrl-C reaches what runs in it and nothing else.
"""

import os
import pty
import shlex
import signal
import sys
from pathlib import Path

__all__ = ["main"]

_PROMPT = r"twin \w\$ "
_FIRST_CELL = Path(__file__).resolve().parents[2] / "kernel_src" / "first_cell.py"


def main(arguments: list[str]) -> int:
    """Start kernelkit from its dataset, and run the shell to its end."""
    inputs, working, fingerprint, *command = arguments
    cell = compile(_FIRST_CELL.read_text(encoding="utf-8"), "the first cell", "exec")
    exec(cell, {"inputs": inputs, "fingerprint": fingerprint})  # it sets PYTHONPATH too
    os.chdir(working)
    # the sandbox keeps Ctrl-C from what runs in it, and here it comes from the shell's own terminal
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    if command:
        return os.execvp(command[0], command)
    if not sys.stdin.isatty():
        return os.execvp("bash", ["bash", "--norc"])
    columns, lines = os.get_terminal_size(sys.stdin.fileno())
    shell = (
        f"stty columns {columns} rows {lines} && exec env PS1={shlex.quote(_PROMPT)} bash --norc -i"
    )
    return os.waitstatus_to_exitcode(pty.spawn(["bash", "-c", shell]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
