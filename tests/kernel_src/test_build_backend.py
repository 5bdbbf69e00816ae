"""The build backend: pip builds the dataset's wheel, and the wheel says what the package needs."""

import subprocess
import sys
import zipfile

import pytest
from packaging.metadata import Metadata
from packaging.utils import canonicalize_name

import build_backend
from devkit.image.profiles import load_profile
from devkit.lint import KERNEL_SOURCE, outside_modules
from devkit.lint.imports import standard_library
from devkit.tools import REPOSITORY
from devkit.wheels.lock import read_lock
from devkit.wheels.resolve import lock_path
from devkit.wheels.wheelfile import read_wheel
from kernelkit import __version__


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel that the dataset ships."""
    return build_backend.write_wheel(tmp_path_factory.mktemp("wheel"))


def metadata(wheel):
    """What a wheel says of itself, each field checked."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("/METADATA"))
        return Metadata.from_email(archive.read(name))


@pytest.mark.parametrize("place", [REPOSITORY, KERNEL_SOURCE], ids=["the root", "kernel_src"])
def test_pip_builds_the_datasets_wheel(wheel, tmp_path, place):
    """From both places pip builds the wheel that the dataset ships, to the byte, offline."""
    command = [sys.executable, "-m", "pip", "wheel", "--disable-pip-version-check", "--quiet"]
    command += ["--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", tmp_path, place]
    subprocess.run(command, check=True, timeout=120)
    (built,) = tmp_path.iterdir()
    assert built.name == wheel.name
    assert built.read_bytes() == wheel.read_bytes()


def test_an_editable_installation_leads_here(tmp_path):
    """`pip install -e` installs a path and no file of the package."""
    name = build_backend.build_editable(str(tmp_path))
    with zipfile.ZipFile(tmp_path / name) as archive:
        assert archive.read("kernelkit.pth").decode().strip() == str(KERNEL_SOURCE)
        assert not [member for member in archive.namelist() if member.startswith("kernelkit/")]
    assert metadata(tmp_path / name).requires_dist


def test_there_is_no_source_archive(tmp_path):
    """A frontend that asks for one is told what to do instead."""
    with pytest.raises(build_backend.UnsupportedOperation, match="Build its wheel from a clone$"):
        build_backend.build_sdist(str(tmp_path))


def test_the_wheel_says_what_it_is(wheel):
    """Each field of its metadata is valid, and the package states the version."""
    said = metadata(wheel)
    assert (said.name, str(said.version), said.license_expression) == (
        "kernelkit",
        __version__,
        "Apache-2.0",
    )
    assert read_wheel(wheel).modules == ("kernelkit",)


def test_what_is_imported_is_required(wheel):
    """The requirements are the packages that the code imports, no more and no fewer."""
    profile = load_profile("kaggle-py312")
    known = {*standard_library(profile.python_minor), "kernelkit"}
    known.add("onnxruntime")  # only who has ONNX members needs it
    required = {canonicalize_name(r.name) for r in metadata(wheel).requires_dist}
    imported = {
        module
        for module in outside_modules(sorted((KERNEL_SOURCE / "kernelkit").rglob("*.py")))
        if module.split(".")[0] not in known
    }
    owners = {module: required & set(profile.distributions_of(module)) for module in imported}
    assert [module for module, names in owners.items() if not names] == []
    assert required == set().union(*owners.values())


@pytest.mark.parametrize("name", ["kaggle-py312", "kaggle-py313"])
def test_each_image_has_what_is_required(wheel, name):
    """The image has each requirement at a version that fits, or the dataset ships it."""
    profile = load_profile(name)
    shipped = {locked.name: locked.version for locked in read_lock(lock_path(profile)).wheels}
    for requirement in read_wheel(wheel).requires:
        package = canonicalize_name(requirement.name)
        version = shipped.get(package) or profile.packages[package].version
        assert requirement.specifier.contains(version, prereleases=True), requirement
