"""Tiny wheels and profiles, made on the spot: real files that the real resolver and pip read."""

import base64
import hashlib
import importlib.metadata
import platform
import shutil
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path

from devkit.image.profiles import PROFILES, Profile, load_profile
from devkit.wheels.downloads import WheelSource
from devkit.wheels.resolve import Resolver

PYTHON_HERE = platform.python_version()


def make_wheel(
    folder: Path,
    name: str,
    version: str = "1.0",
    *,
    requires: Sequence[str] = (),
    tag: str = "py3-none-any",
    files: Mapping[str, bytes] | None = None,
    extras: Sequence[str] = (),
) -> Path:
    """Make a wheel with one module of its own name, unless `files` says what is in it."""
    folder.mkdir(parents=True, exist_ok=True)
    module = name.replace("-", "_")
    info = f"{module}-{version}.dist-info"
    metadata = [f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"]
    metadata += [f"Provides-Extra: {extra}\n" for extra in extras]
    metadata += [f"Requires-Dist: {requirement}\n" for requirement in requires]
    members = dict(files or {f"{module}/__init__.py": f"version = '{version}'\n".encode()})
    members[f"{info}/METADATA"] = "".join(metadata).encode()
    members[f"{info}/WHEEL"] = (
        f"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: {tag}\n".encode()
    )
    record = "".join(f"{key},{_digest(value)},{len(value)}\n" for key, value in members.items())
    members[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n".encode()
    path = folder / f"{module}-{version}-{tag}.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for key, value in members.items():
            wheel.writestr(zipfile.ZipInfo(key), value)
    return path


def make_sdist(folder: Path, name: str, version: str = "1.0") -> Path:
    """Make a source distribution, as the registry has it for what was never built."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{version}.tar.gz"
    content = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode()
    with tarfile.open(path, "w:gz") as archive:
        member = tarfile.TarInfo(f"{name}-{version}/PKG-INFO")
        member.size = len(content)
        archive.addfile(member, BytesIO(content))
    return path


def make_profile(
    folder: Path,
    freeze: str = "numpy==2.0.2\ntorch==2.10.0+cu128\n",
    *,
    name: str = "image",
    python: str = "3.12.13",
    glibc: str = "2.35",
) -> Profile:
    """Make a profile that has what `freeze` lists, with the real table of import names."""
    profile_folder = folder / name
    profile_folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(PROFILES / "import-names.toml", folder)
    (profile_folder / "freeze.txt").write_text(freeze)
    (profile_folder / "profile.toml").write_text(
        f'python = "{python}"\nglibc = "{glibc}"\n[[sources]]\nfile = "freeze.txt"\n'
    )
    return load_profile(name, folder)


def profile_of_here(folder: Path) -> Profile:
    """Make a profile of the environment that runs the tests, as far as a dataset looks at it."""
    names = ("numpy", "torch", "torchvision")
    freeze = "".join(f"{name}=={importlib.metadata.version(name)}\n" for name in names)
    return make_profile(folder, freeze, name="here", python=PYTHON_HERE, glibc="2.17")


def make_resolver(folder: Path, profile: Profile, *asked: str) -> Resolver:
    """Make a resolver that finds wheels in `folder / "registry"` and nowhere else."""
    requirements = folder / "requirements.in"
    requirements.write_text("".join(f"{line}\n" for line in asked))
    (folder / "registry").mkdir(exist_ok=True)
    source = WheelSource((folder / "registry",), no_index=True)
    return Resolver(profile, requirements, source, folder / "downloads")


def _digest(content: bytes) -> str:
    digest = hashlib.sha256(content).digest()
    return "sha256=" + base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
