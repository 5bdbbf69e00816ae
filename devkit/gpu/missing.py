"""Add what a Python lacks from a folder of wheels, beside it and never into it."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

from devkit.errors import GpuCheckError
from devkit.gpu.machine import Interpreter
from devkit.gpu.needed import FROM_THE_MACHINE, MODULES, REQUIREMENTS

__all__ = ["add_missing", "environment"]

_TIMEOUT = 300
_PIP = ("-m", "pip", "--disable-pip-version-check", "--no-input")


def environment(site: Path) -> dict[str, str]:
    """The variables of a process that finds kernelkit, and the packages that were added."""
    places = [str(site.absolute()), str(Path("kernel_src").absolute()), str(Path.cwd())]
    return os.environ | {
        "PYTHONPATH": os.pathsep.join(places),
        "PYTHONUNBUFFERED": "1",
        "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "PASSIVE"),
    }


def add_missing(interpreter: Interpreter, wheels: Path, site: Path) -> list[str]:
    """Unpack what is missing or too old into a folder. Return the wheels' names.

    Parameters
    ----------
    wheels
        A folder of wheels. It may be missing if nothing is.
    site
        The folder that the packages go to. What it holds already counts as there.

    Raises
    ------
    GpuCheckError
        The wheels do not fulfil what is wanted, or pip cannot be run.
    """
    wanted = _wanted(interpreter, site)
    found = _pip(
        interpreter, site, [*_from(wheels), "--dry-run", "--quiet", "--report", "-", *wanted]
    )
    report = json.loads(found.stdout) if found.returncode == 0 else {}
    if found.returncode:
        raise GpuCheckError(
            f"{wheels}: {interpreter.path} lacks packages, and these wheels do not fill the gap "
            f"({_reason(found.stderr)}). Gather them by `make gpu-wheels`, with WITH= for the "
            "heavy ones"
        )
    chosen = [_path(item) for item in report["install"]]
    replaced = [p.name for p in chosen if p.name.split("-")[0].lower() in FROM_THE_MACHINE]
    if replaced:
        raise GpuCheckError(
            f"{wheels}: found {', '.join(replaced)}, wanted those of {interpreter.path}. Take them "
            "out of the folder"
        )
    if chosen:
        options = ["--no-deps", "--no-compile", "--upgrade", "--quiet", "--target", str(site)]
        done = _pip(interpreter, site, [*_from(wheels), *options, *map(str, chosen)])
        if done.returncode:
            raise GpuCheckError(
                f"{site}: the wheels cannot be unpacked ({_reason(done.stderr)}). Remove the "
                "folder, and try again"
            )
    return [path.name for path in chosen]


def _wanted(interpreter: Interpreter, site: Path) -> list[str]:
    """The requirements, without those that a package of another name fulfils."""
    question = (
        f"import importlib.util as u; print(*[m for m in {list(MODULES)!r} if u.find_spec(m)])"
    )
    done = subprocess.run(
        [interpreter.path, "-c", question],
        env=environment(site),
        capture_output=True,
        text=True,
        timeout=_TIMEOUT,
        check=False,
    )
    there = {MODULES[module] for module in done.stdout.split()}
    return [requirement for requirement in REQUIREMENTS if requirement not in there]


def _from(wheels: Path) -> list[str]:
    found = ["--find-links", str(wheels.absolute())] if wheels.is_dir() else []
    return ["install", "--no-index", *found]


def _pip(
    interpreter: Interpreter, site: Path, arguments: list[str]
) -> "subprocess.CompletedProcess[str]":
    try:
        done = subprocess.run(
            [interpreter.path, *_PIP, *arguments],
            env=environment(site),
            capture_output=True,
            text=True,
            timeout=_TIMEOUT,
            check=False,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise GpuCheckError(f"{interpreter.path}: pip does not run ({error}). Repair it") from error
    if "No module named pip" in done.stderr:
        raise GpuCheckError(
            f"{interpreter.path}: found no pip, wanted one that unpacks wheels. Run "
            f"`{interpreter.path} -m ensurepip`, or name another Python by PYTHON="
        )
    return done


def _path(item: dict[str, Any]) -> Path:
    url: str = item["download_info"]["url"]
    return Path(unquote(urlparse(url).path))


def _reason(text: str) -> str:
    """What pip says is wrong, in its own words."""
    errors = [line.removeprefix("ERROR: ") for line in text.splitlines() if "ERROR: " in line]
    return (errors[-1] if errors else text.strip()[-200:] or "no reason given").rstrip(".")
