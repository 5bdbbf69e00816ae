"""Add what a Python lacks from a folder of wheels, beside it and never into it."""

import json
import os
import re
import subprocess
import zipfile
from collections.abc import Iterable
from email.parser import HeaderParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

from devkit.errors import GpuCheckError
from devkit.gpu.machine import Interpreter
from devkit.gpu.needed import FROM_THE_MACHINE, MODULES, REQUIREMENTS

__all__ = ["add_missing", "environment"]

_TIMEOUT = 300
_PIP = ("-m", "pip", "--disable-pip-version-check", "--no-input")
_NAME = re.compile(r"^[A-Za-z0-9._-]+")


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

    What is there and new enough stays as it is, and its own needs are not looked at. So a torch
    that was built by hand is as good as one that was installed.

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
    own = [w.name for w in sorted(wheels.glob("*.whl")) if _name(w.name) in FROM_THE_MACHINE]
    if own:
        raise GpuCheckError(
            f"{wheels}: found {', '.join(own)}, wanted those of {interpreter.path}. Take them out "
            "of the folder"
        )
    wanted = _wanted(interpreter, site)
    chosen = _chosen(interpreter, wheels, site, wanted)
    while more := [need for need in _needs(chosen, wheels) if need not in wanted]:
        wanted += more
        chosen = _chosen(interpreter, wheels, site, wanted)
    if chosen:
        options = ["--no-deps", "--no-compile", "--upgrade", "--quiet", "--target", str(site)]
        done = _pip(interpreter, site, ["install", "--no-index", *options, *map(str, chosen)])
        if done.returncode:
            raise GpuCheckError(
                f"{site}: the wheels cannot be unpacked ({_reason(done.stderr)}). Remove the "
                "folder, and try again"
            )
    return [wheel.name for wheel in chosen]


def _wanted(interpreter: Interpreter, site: Path) -> list[str]:
    """The requirements, without those that a package of another name fulfils."""
    there = f"import importlib.util as u; print(*[m for m in {list(MODULES)!r} if u.find_spec(m)])"
    done = _run(interpreter, site, ["-c", there])
    fulfilled = {MODULES[module] for module in done.stdout.split()}
    return [requirement for requirement in REQUIREMENTS if requirement not in fulfilled]


def _chosen(
    interpreter: Interpreter, wheels: Path, site: Path, wanted: Iterable[str]
) -> list[Path]:
    """The wheels that pip would install, if what is wanted is not there."""
    folder = ["--find-links", str(wheels.absolute())] if wheels.is_dir() else []
    options = ["--no-index", *folder, "--no-deps", "--dry-run", "--quiet", "--report", "-"]
    done = _pip(interpreter, site, ["install", *options, *wanted])
    if done.returncode:
        raise GpuCheckError(
            f"{wheels}: {interpreter.path} lacks packages, and these wheels do not fill the gap "
            f"({_reason(done.stderr)}). Gather them by `make gpu-wheels`, with WITH= for the "
            "heavy ones"
        )
    items: list[dict[str, Any]] = json.loads(done.stdout)["install"]
    return [Path(unquote(urlparse(item["download_info"]["url"]).path)) for item in items]


def _needs(chosen: Iterable[Path], wheels: Path) -> list[str]:
    """What wheels need in turn, as far as the folder has it."""
    there = {_name(wheel.name) for wheel in wheels.glob("*.whl")}
    needs = [need for wheel in chosen for need in _requirements(wheel)]
    return [need for need in needs if "extra ==" not in need and _name(need) in there]


def _requirements(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        [metadata] = [n for n in archive.namelist() if n.endswith(".dist-info/METADATA")][:1]
        text = archive.read(metadata).decode("utf-8")
    return HeaderParser().parsestr(text).get_all("Requires-Dist", [])


def _name(text: str) -> str:
    """The name that a requirement or a wheel begins with, as pip compares them."""
    found = _NAME.match(text.split("-")[0] if text.endswith(".whl") else text)
    return re.sub(r"[-_.]+", "-", found[0]).lower() if found else ""


def _pip(
    interpreter: Interpreter, site: Path, arguments: list[str]
) -> "subprocess.CompletedProcess[str]":
    done = _run(interpreter, site, [*_PIP, *arguments])
    if "No module named pip" in done.stderr:
        raise GpuCheckError(
            f"{interpreter.path}: found no pip, wanted one that unpacks wheels. Run "
            f"`{interpreter.path} -m ensurepip`, or name another Python by PYTHON="
        )
    return done


def _run(
    interpreter: Interpreter, site: Path, arguments: list[str]
) -> "subprocess.CompletedProcess[str]":
    command = [interpreter.path, *arguments]
    try:
        return subprocess.run(
            command,
            env=environment(site),
            capture_output=True,
            text=True,
            timeout=_TIMEOUT,
            check=False,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise GpuCheckError(
            f"{interpreter.path}: it does not run ({error}). Name another Python by PYTHON="
        ) from error


def _reason(text: str) -> str:
    """What pip says is wrong, in its own words."""
    errors = [line.removeprefix("ERROR: ") for line in text.splitlines() if "ERROR: " in line]
    return (errors[-1] if errors else text.strip()[-200:] or "no reason given").rstrip(".")
