"""uv's resolver, asked on behalf of an image: its Python, glibc and platform, and what it has.

What the image has is given to the resolver as wheels that claim nothing but their name and version.
Its own requirements are thereby left alone: they are installed already, whatever they say (the
registry's torch 2.11 wants other CUDA packages than the image's does, and the resolver, told of
them, silently goes back to the first segmentation-models-pytorch ever). Their versions carry the
local label `+image`, so that no wheel of the registry can be taken for one of them.
"""

import re
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from packaging.utils import canonicalize_name, parse_wheel_filename

from devkit.errors import ResolveError, ToolError
from devkit.image.profiles import Profile
from devkit.tools import find_uv, run_tool
from devkit.wheels.downloads import WheelSource
from devkit.wheels.lock import LockedWheel

__all__ = ["Question", "solve"]

_LABEL = "+image"


@dataclass(frozen=True)
class Question:
    """What to resolve.

    Attributes
    ----------
    requirements
        As in a requirements file.
    constraints
        Versions to keep to, where a package is needed at all.
    opened
        Packages of the image whose extras are asked for: the registry is to say what those add.
    origin
        What to call the requirements when they cannot be met.
    is_alone
        Leave out what the requirements themselves require.
    """

    requirements: Sequence[str]
    constraints: Sequence[str] = ()
    opened: Collection[str] = ()
    origin: str = "the request"
    is_alone: bool = False


def solve(
    question: Question, profile: Profile, source: WheelSource, *, with_image: bool = True
) -> list[LockedWheel]:
    """The wheels that meet the question on the image, the image's own packages left out.

    Parameters
    ----------
    with_image
        False resolves as if nothing were installed: for making an environment like the image.

    Raises
    ------
    ResolveError
        When nothing meets it, in the resolver's words: which requirement disagrees with which.
    ToolError
        When uv fails in another way, such as without a network.
    """
    with tempfile.TemporaryDirectory(prefix="kernelkit-") as name:
        folder = Path(name)
        constraints = [*question.constraints]
        if with_image:
            constraints += _write_stubs(profile, folder / "image", question.opened)
        (folder / "constraints.txt").write_text("\n".join(constraints) + "\n")
        (folder / "requirements.in").write_text("\n".join(question.requirements) + "\n")
        command: list[str | Path] = [find_uv(), "pip", "compile", "--quiet", "--no-header"]
        command += ["--python-version", profile.python, "--python-platform", profile.uv_platform]
        command += ["--no-python-downloads", "--python", sys.executable, "--no-build"]
        command += ["--format", "pylock.toml", "--constraints", folder / "constraints.txt"]
        command += ["--no-deps"] if question.is_alone else []
        command += source.options
        command += ["--find-links", folder / "image"] if with_image else []
        try:
            answer = run_tool([*command, folder / "requirements.in"], timeout=600)
        except ToolError as error:
            if "No solution found" not in error.output:
                raise
            raise ResolveError(
                f"{question.origin} cannot be met on {profile.name}: {_explain(error.output)}"
            ) from None
    wheels = [_locked(package, profile) for package in tomllib.loads(answer).get("packages", [])]
    opened = question.opened if with_image else ()
    return [w for w in wheels if not w.version.endswith(_LABEL) and w.name not in opened]


def _write_stubs(profile: Profile, folder: Path, opened: Collection[str]) -> list[str]:
    """Write a stub of each installed package and return the constraints that pin them.

    A package whose version nobody knows has none: where it is needed, it is vendored.
    """
    folder.mkdir()
    pins = []
    for key, entry in profile.packages.items():
        if entry.pin is None:
            continue
        if key in opened:
            pins.append(f"{key}=={entry.pin}")
            continue
        version = f"{entry.pin}{_LABEL}"
        pins.append(f"{key}=={version}")
        stem = f"{key.replace('-', '_')}-{version}"
        with zipfile.ZipFile(folder / f"{stem}-py3-none-any.whl", "w") as wheel:
            home = f"{stem}.dist-info"
            wheel.writestr(
                f"{home}/METADATA", f"Metadata-Version: 2.1\nName: {key}\nVersion: {version}\n"
            )
            wheel.writestr(
                f"{home}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
            )
            wheel.writestr(f"{home}/RECORD", "")
    return pins


def _locked(package: dict[str, object], profile: Profile) -> LockedWheel:
    """The best of the wheels that the resolver lists for a package."""
    name, version = canonicalize_name(str(package["name"])), str(package["version"])
    candidates = []
    for wheel in _tables(package.get("wheels")):
        file = _file_name(wheel)
        rank = profile.wheel_rank(parse_wheel_filename(file)[3])
        hashes = wheel.get("hashes")
        if rank is not None and isinstance(hashes, dict):
            candidates.append((rank, file, str(hashes["sha256"])))
    if not candidates:
        raise ResolveError(f"{name} {version} has no wheel that {profile.name} can install")
    _, file, sha256 = min(candidates)
    return LockedWheel(name, version, file, sha256)


def _tables(value: object) -> Iterable[dict[str, object]]:
    return value if isinstance(value, list) else []


def _file_name(wheel: dict[str, object]) -> str:
    address = str(wheel.get("name") or wheel.get("url") or wheel.get("path"))
    return unquote(PurePosixPath(urlsplit(address).path).name)


def _explain(output: str) -> str:
    """The resolver's reasoning as one paragraph, in words that need no knowledge of stubs."""
    reasoning = output.split("cause:", 1)[-1].split("hint:")[0]
    text = " ".join(reasoning.split())
    text = text.replace("we can conclude that ", "")
    text = re.sub(r"([\w.-]+)==([^\s,]+)\+image", r"the image has \1 \2", text)
    text = text.replace(_LABEL, "").rstrip(".")
    if "no usable wheels" in text:
        text += ": there are only sources; build a wheel in the image, and put it in wheels/local/"
    return text
