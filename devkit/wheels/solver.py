"""uv's resolver, asked on behalf of an image: its Python, glibc and platform, and what it has.

The resolver gets a stub for each package of the image. A stub is a wheel with a name, a version and
no requirements. What the image's packages require is thereby left alone, since they are installed
already. This matters: the registry's torch 2.11 wants other CUDA packages than the image's torch.
Told of that, the resolver silently goes back to the first segmentation-models-pytorch ever.

The versions of stubs carry the local label `+image`. No wheel of the registry can be taken for one.
"""

import re
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from packaging.markers import Environment
from packaging.pylock import PackageWheel, Pylock, PylockSelectError, PylockValidationError

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
        Versions to keep to, if a package is needed at all.
    opened
        Packages of the image with an extra that is asked for. The registry says what that adds.
    origin
        What to call the requirements if they cannot be met.
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
    """Find the wheels that meet the question on the image, but for the image's own packages.

    Parameters
    ----------
    question
        What to resolve.
    profile
        The image.
    source
        Where wheels are looked for.
    with_image
        False resolves as if nothing were installed. An environment like the image is made so.

    Raises
    ------
    ResolveError
        Nothing meets it. The resolver's words say which requirement disagrees with which.
    ToolError
        uv failed in another way, for example without a network.
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
    wheels = _selected(answer, profile)
    opened = question.opened if with_image else ()
    return [w for w in wheels if not w.version.endswith(_LABEL) and w.name not in opened]


def _write_stubs(profile: Profile, folder: Path, opened: Collection[str]) -> list[str]:
    """Write a stub of each installed package and return the constraints that pin them.

    A package at an unknown version has no stub. If it is needed, it is vendored.
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
            info_folder = f"{stem}.dist-info"
            wheel.writestr(
                f"{info_folder}/METADATA",
                f"Metadata-Version: 2.1\nName: {key}\nVersion: {version}\n",
            )
            wheel.writestr(
                f"{info_folder}/WHEEL",
                "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            )
            wheel.writestr(f"{info_folder}/RECORD", "")
    return pins


def _selected(answer: str, profile: Profile) -> list[LockedWheel]:
    """The best wheel for the image of each package that the resolver answers with."""
    try:
        lock = Pylock.from_dict(tomllib.loads(answer))
    except (tomllib.TOMLDecodeError, PylockValidationError) as error:
        raise ToolError(f"uv's answer is not a pylock.toml: {error}", answer) from None
    wheels = []
    environment = cast(Environment, profile.markers)
    try:
        for package, wheel in lock.select(environment=environment, tags=profile.tags):
            if not isinstance(wheel, PackageWheel):
                raise PylockSelectError(f"{package.name} {package.version} has sources only")
            wheels.append(
                LockedWheel(
                    name=package.name,
                    version=str(package.version),
                    file=wheel.filename,
                    sha256=wheel.hashes["sha256"],
                    uploaded=wheel.upload_time,
                )
            )
    except PylockSelectError as error:
        raise ResolveError(f"{profile.name} cannot install what uv found: {error}") from None
    return wheels


def _explain(output: str) -> str:
    """The resolver's reasoning as one paragraph, in words that need no knowledge of stubs."""
    reasoning = output.split("cause:", 1)[-1].split("hint:")[0]
    text = " ".join(reasoning.split())
    text = text.replace("we can conclude that ", "")
    text = re.sub(r"([\w.-]+)==([^\s,]+)\+image", r"the image has \1 \2", text)
    text = text.replace(_LABEL, "").rstrip(".")
    if "no usable wheels" in text:
        text += ". There are only sources. Build a wheel in the image and put it into wheels/local/"
    return text
