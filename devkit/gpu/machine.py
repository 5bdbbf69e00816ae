"""Find the Python whose torch can use a GPU."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from devkit.errors import GpuCheckError

__all__ = ["DEVICE_VARIABLE", "Interpreter", "find_interpreter", "rehearsed_on"]

# Where tests and benchmark run instead of on a GPU, to rehearse them.
DEVICE_VARIABLE = "KERNELKIT_GPU_CHECK_DEVICE"
# A folder on a slow disk, with a torch that nobody has imported yet.
_TIMEOUT = 180
_QUESTION = """
import json, os, platform, sys
found = {"version": platform.python_version(), "tag": "cp%d%d" % sys.version_info[:2]}
try:
    import torch
except ImportError:
    pass
else:
    found["torch"] = torch.__version__
    found["cuda"] = torch.version.cuda or ""
    if torch.cuda.is_available():
        found["devices"] = [
            f"{p.name}, {p.total_memory / 2**30:.0f} GiB, compute capability {p.major}.{p.minor}"
            for p in map(torch.cuda.get_device_properties, range(torch.cuda.device_count()))
        ]
        found["cudnn"] = str(torch.backends.cudnn.version())
print(json.dumps(found))
"""


@dataclass(frozen=True)
class Interpreter:
    """A Python, and what its torch sees.

    Attributes
    ----------
    path
        Its program.
    version, tag
        Its version, and the same as wheels have it, such as `cp312`.
    torch, cuda, cudnn
        Versions. They are empty if there is none.
    devices
        The GPUs, in words.
    """

    path: str
    version: str
    tag: str
    torch: str = ""
    cuda: str = ""
    cudnn: str = ""
    devices: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        torch = f"torch {self.torch}" if self.torch else "no torch"
        return f"{self.path} (Python {self.version}, {torch})"


def rehearsed_on() -> str:
    """The device that everything is rehearsed on, or nothing."""
    return os.environ.get(DEVICE_VARIABLE, "")


def find_interpreter() -> Interpreter:
    """The first Python whose torch sees a GPU. Of a rehearsal, the first that has torch.

    This program's own comes first, then `.venv`, then those on PATH.

    Raises
    ------
    GpuCheckError
        There is none.
    """
    seen = []
    for path in _candidates():
        interpreter = _asked(path)
        if interpreter is None:
            continue
        if interpreter.devices or (rehearsed_on() and interpreter.torch):
            return interpreter
        seen.append(interpreter)
    wanted = "a Python that has torch" if rehearsed_on() else "one whose torch sees a GPU"
    raise GpuCheckError(
        f"found {', '.join(map(str, seen)) or 'no Python'}, wanted {wanted}. Name one by PYTHON=, "
        f"or set {DEVICE_VARIABLE}=cpu to rehearse without a GPU"
    )


def _candidates() -> Iterator[str]:
    own = Path(".venv/bin/python")
    on_path = [shutil.which(name) for name in ("python3", "python")]
    places = [sys.executable, str(own) if own.exists() else None, *on_path]
    yield from dict.fromkeys(place for place in places if place)


def _asked(path: str) -> Interpreter | None:
    try:
        done = subprocess.run(
            [path, "-c", _QUESTION], capture_output=True, text=True, timeout=_TIMEOUT, check=True
        )
        answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None
    return Interpreter(path, **answer)
