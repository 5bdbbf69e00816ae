"""Verifying: a dataset is checked from its folder alone, then installed as on Kaggle, offline."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

import mounted
from devkit.dataset.builder import Builder
from devkit.dataset.listing import CLIENT_FILE
from devkit.dataset.pack import pack
from devkit.dataset.verify import check_dataset, prove
from devkit.errors import DatasetError, LintError, TwinError, WheelError
from devkit.lint import lint
from devkit.wheels.resolve import lock_path
from devkit.wheels.twin import Twin
from devkit.wheels.wheelfile import read_wheel
from tests.made.dataset import LISTING, make_dataset, make_source
from tests.made.wheels import make_profile, make_resolver, make_wheel, profile_of_here


@pytest.fixture
def here(tmp_path):
    """A profile of the environment that runs the tests."""
    return profile_of_here(tmp_path / "profiles")


@pytest.fixture
def twin():
    """The environment that runs the tests, standing for its own image."""
    return Twin("here", Path(sys.prefix), Path(sys.executable), {}, ())


def test_a_packed_dataset_passes(here, tmp_path):
    """What the builder wrote is complete, unchanged and fit for the image."""
    packed = make_dataset(tmp_path, here)
    assert check_dataset(packed.folder, here) == packed.manifest


@pytest.mark.parametrize(
    ("harm", "problem"),
    [
        (lambda f: (f / "bootstrap.py").write_text("x = 1\n"), "bootstrap.py was changed"),
        (lambda f: next(f.glob("shapes*")).unlink(), "shapes-1.0_team.1.* is missing"),
        (lambda f: (f / "notes.txt").write_text(""), "notes.txt is not in the manifest"),
        (lambda f: (f / mounted.MANIFEST).unlink(), "has no kernelkit-manifest.json"),
    ],
)
def test_what_changed_since_it_was_packed_is_named(here, tmp_path, harm, problem):
    """A file that is changed, missing or not listed is told before it is uploaded."""
    packed = make_dataset(tmp_path, here)
    harm(packed.folder)
    with pytest.raises(DatasetError, match=problem):
        check_dataset(packed.folder, here)


def test_a_manifest_edited_by_hand_is_refused(here, tmp_path):
    """A manifest whose content does not fit its fingerprint is refused."""
    packed = make_dataset(tmp_path, here)
    path = packed.folder / mounted.MANIFEST
    path.write_text(path.read_text().replace("asked for", "trust me"))
    check_dataset(packed.folder, here)
    content = json.loads(path.read_text())
    content["target"]["python"] = "3.7"
    path.write_text(json.dumps(content))
    with pytest.raises(DatasetError, match="was changed after it was made. Build the dataset"):
        check_dataset(packed.folder, here)


def test_a_dataset_of_another_profile_is_refused(here, tmp_path):
    """A dataset is checked against the image that it was made for."""
    packed = make_dataset(tmp_path, here)
    with pytest.raises(DatasetError, match="is made for here, not for image"):
        check_dataset(packed.folder, make_profile(tmp_path / "profiles"))


def test_the_listing_is_checked_again(here, tmp_path):
    """A title edited in the client's file is held against Kaggle's bounds."""
    packed = make_dataset(tmp_path, here)
    path = packed.folder / CLIENT_FILE
    path.write_text(path.read_text().replace("A kernel", "tiny"))
    with pytest.raises(DatasetError, match="The title 'tiny' has 4 characters"):
        check_dataset(packed.folder, here)


def packed_with(tmp_path, profile, *wheels):
    """A dataset of the given wheels, packed without asking the resolver."""
    source = make_source(tmp_path / "source")
    return pack(profile, list(map(read_wheel, wheels)), {}, LISTING, tmp_path / "dataset", source)


def test_an_unmet_requirement_of_a_wheel_is_named(here, tmp_path):
    """What a wheel requires must be in the image or in the dataset, at a version that fits."""
    wheel = make_wheel(tmp_path / "wheels", "needy", requires=["nowhere>=1"])
    packed = packed_with(tmp_path, here, wheel)
    with pytest.raises(
        DatasetError, match=r"needy 1\.0 requires nowhere>=1, but neither the image"
    ):
        check_dataset(packed.folder, here)
    wheel = make_wheel(tmp_path / "wheels", "needy", requires=["numpy>=3"])
    packed = packed_with(tmp_path / "again", here, wheel)
    with pytest.raises(DatasetError, match=f"requires numpy>=3, but {np.__version__} is there"):
        check_dataset(packed.folder, here)


def test_what_the_package_itself_requires_is_checked(here, tmp_path):
    """The image or the dataset must have what kernelkit's own wheel asks for."""
    source = make_source(tmp_path / "source")
    path = source / "pyproject.toml"
    path.write_text(f'{path.read_text()}dependencies = ["numpy>=1", "nowhere"]\n')
    packed = pack(here, [], {}, LISTING, tmp_path / "dataset", source)
    with pytest.raises(DatasetError, match=r"kernelkit 0\.1\.0 requires nowhere, but neither"):
        check_dataset(packed.folder, here)


def test_a_wheel_of_another_python_is_refused(here, tmp_path):
    """Tags are checked on the packed wheels themselves."""
    tag = "cp39-cp39-manylinux_2_17_x86_64"
    packed = packed_with(tmp_path, here, make_wheel(tmp_path / "wheels", "old", tag=tag))
    with pytest.raises(WheelError, match=r"old-1\.0.* is for cp39"):
        check_dataset(packed.folder, here)


def test_the_proof_installs_and_imports_offline(here, twin, tmp_path):
    """The first cell runs on the read-only mounted dataset, and every module imports."""
    packed = make_dataset(tmp_path, here)
    proof = prove(packed.folder, packed.fingerprint, twin)
    assert f"kernel dataset {packed.fingerprint[:12]} for here" in proof.output
    assert "/input/datasets/someone/a-kernel" in proof.output
    assert "1 modules of kernelkit import" in proof.output


def test_the_proof_fails_if_a_module_does_not_import(here, twin, tmp_path):
    """A module that nothing imports at the start is tried as well."""
    source = make_source(tmp_path / "source")
    (source / "kernelkit" / "grid.py").write_text("import not_there_at_all\n")
    packed = pack(here, [], {}, LISTING, tmp_path / "dataset", source)
    with pytest.raises(TwinError, match="No module named 'not_there_at_all'"):
        prove(packed.folder, packed.fingerprint, twin)


def test_the_proof_fails_for_another_fingerprint(here, twin, tmp_path):
    """The proof is for the dataset that was built, not for any that lies there."""
    packed = make_dataset(tmp_path, here)
    with pytest.raises(TwinError, match="this notebook wants the kernel dataset 000000000000"):
        prove(packed.folder, "0" * 64, twin)


def test_the_builder_goes_from_requirements_to_a_checked_dataset(here, tmp_path):
    """Lint, wheels, pack and verify are told in that order. A table says why each file is there."""
    make_wheel(tmp_path / "registry", "shapes", requires=["numpy", "deeper"])
    make_wheel(tmp_path / "registry", "deeper")
    resolver = make_resolver(tmp_path, here, "shapes", "numpy")
    source = make_source(tmp_path / "source")
    said = []
    files = sorted(source.rglob("*.py"))
    builder = Builder(resolver, LISTING, files, source, said.append)
    packed = builder.build(tmp_path / "dataset")
    assert [line.split()[0] for line in said] == ["resolve", "lint", "wheels", "pack", "verify"]
    table = "\n".join(builder.table(packed))
    assert "deeper-1.0-py3-none-any.whl" in table
    assert "wanted by shapes, not in the image" in table
    assert f"fingerprint {packed.fingerprint}" in table
    assert f"note: numpy: not shipped, here has {np.__version__}" in table
    said.clear()
    assert builder.build(tmp_path / "dataset").fingerprint == packed.fingerprint
    assert [line.split()[0] for line in said] == ["lint", "wheels", "pack", "verify"]


def test_a_finding_of_the_lint_stops_the_build(here, tmp_path):
    """Nothing is packed from code that would fail, and every finding is listed."""
    source = make_source(tmp_path / "source")
    (source / "kernelkit" / "grid.py").write_text("import requests\nimport monai\n")
    resolver = make_resolver(tmp_path, here)
    builder = Builder(resolver, LISTING, sorted(source.rglob("*.py")), source, str)
    with pytest.raises(LintError, match=r"2 things would fail on here:\n.*grid.py:1: requests"):
        builder.build(tmp_path / "dataset")
    assert not (tmp_path / "dataset").exists()
    assert len(lint(builder.files, here, (), source)) == 2


def test_the_plan_reaches_for_nothing(here, tmp_path):
    """The dry mode tells what would be fetched and packed, and leaves no trace."""
    make_wheel(tmp_path / "registry", "shapes")
    resolver = make_resolver(tmp_path, here, "shapes")
    builder = Builder(resolver, LISTING, [], make_source(tmp_path / "source"), str)
    assert "would resolve shapes again" in "\n".join(builder.describe_plan(tmp_path / "dataset"))
    assert not lock_path(here).exists()
    resolver.lock()
    shutil.rmtree(resolver.downloads_folder)
    plan = "\n".join(builder.describe_plan(tmp_path / "dataset"))
    assert "would fetch shapes-1.0-py3-none-any.whl" in plan
    assert "to be uploaded as someone/a-kernel" in plan
    assert not resolver.downloads_folder.exists()
