"""Code of the user's own: from a folder to a wheel that is verified, installed and imported."""

import shutil
import sys
import zipfile
from pathlib import Path

import pytest

from devkit.dataset import own as owns
from devkit.dataset.builder import Builder
from devkit.dataset.own import find_own, own_wheel
from devkit.dataset.pack import Packed, pack
from devkit.dataset.verify import check_dataset, prove
from devkit.errors import LintError, TwinError
from devkit.kaggle.settings import load_settings
from devkit.lint import KERNEL_SOURCE
from devkit.wheels.twin import Twin
from kernelkit.own import OwnCode
from tests.made.dataset import LISTING, make_source, run_first_cell
from tests.made.own import PACKAGE, write_own
from tests.made.wheels import make_resolver, profile_of_here

ASK = f"""
from kernelkit.own import load_own
print("found", load_own("{PACKAGE}.model:Net"), load_own("tools").__file__)
"""


@pytest.fixture
def here(tmp_path):
    """A profile of the environment that runs the tests."""
    return profile_of_here(tmp_path / "profiles")


@pytest.fixture
def twin():
    """The environment that runs the tests, standing for its own image."""
    return Twin("here", Path(sys.prefix), Path(sys.executable), {}, ())


@pytest.fixture
def code(tmp_path):
    """Own code: a package, a module beside it, and what is left out."""
    folder = write_own(tmp_path / "own")
    (folder / "tools.py").write_text(f"from {PACKAGE}.parts import block\n")
    (folder / "tests").mkdir()
    (folder / "tests" / "test_it.py").write_text("import pytest\n")
    return OwnCode.below(folder)


def packed_with(tmp_path, here, code: OwnCode) -> Packed:
    """A dataset with this code and a small kernelkit that can load it."""
    source = make_source(tmp_path / "source")
    for name in ("own.py", "errors.py", "files.py"):
        shutil.copy(KERNEL_SOURCE / "kernelkit" / name, source / "kernelkit")
    (source / "kernelkit" / "grid.py").write_text("")
    return pack(here, [], {}, LISTING, tmp_path / "dataset", source, code)


def mounted_at(tmp_path, packed: Packed) -> Path:
    """A copy of the dataset where Kaggle mounts it."""
    folder = tmp_path / "input/datasets/someone/a-kernel"
    shutil.copytree(packed.folder, folder)
    return folder


def test_the_same_code_is_the_same_wheel_whatever_lies_beside_it(code, tmp_path):
    """What Python caches, and tests, are not in it."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    first = own_wheel(code, tmp_path / "one")
    (code.folder / PACKAGE / "__pycache__").mkdir()
    (code.folder / PACKAGE / "__pycache__" / "model.cpython-312.pyc").touch()
    second = own_wheel(code, tmp_path / "two")
    assert first.path.read_bytes() == second.path.read_bytes()
    with zipfile.ZipFile(first.path) as archive:
        names = [name for name in archive.namelist() if "dist-info" not in name]
    modules = [f"{PACKAGE}/{name}.py" for name in ("__init__", "model", "parts")]
    assert names == [*modules, "tools.py"]


def test_the_manifest_lists_it_and_says_why(code, here, tmp_path):
    """It is a wheel like all others, with a hash and with each of its modules."""
    packed = packed_with(tmp_path, here, code)
    check_dataset(packed.folder, here)
    [entry] = [e for e in packed.files if e["name"] == "kernelkit_own-0-py3-none-any.whl"]
    assert entry["modules"] == [PACKAGE, "tools"]
    assert entry["why"] == f"your own code: {PACKAGE}, tools"


def test_the_first_cell_installs_it_and_its_names_can_be_loaded(code, here, tmp_path):
    """It is imported from where the bootstrap installed it, not from the home folder."""
    packed = packed_with(tmp_path, here, code)
    mounted_at(tmp_path, packed)
    result = run_first_cell(tmp_path / "input", tmp_path / "work", packed.fingerprint, ASK)
    assert result.returncode == 0, result.stderr
    assert f"found <class '{PACKAGE}.model.Net'> {tmp_path / 'work'}" in result.stdout


def test_a_changed_byte_is_found_before_anything_is_imported(code, here, tmp_path):
    """Nothing of a wheel runs that is not the one that was packed."""
    (code.folder / "tools.py").write_text("print('it runs')\n")
    packed = packed_with(tmp_path, here, code)
    wheel = mounted_at(tmp_path, packed) / "kernelkit_own-0-py3-none-any.whl"
    wheel.write_bytes(wheel.read_bytes().replace(b"it runs", b"it rans"))
    result = run_first_cell(tmp_path / "input", tmp_path / "work", packed.fingerprint)
    assert "kernelkit_own-0-py3-none-any.whl was changed" in result.stderr
    assert "it ra" not in result.stdout


@pytest.mark.parametrize("name", ["numpy", "json"])
def test_the_bootstrap_refuses_what_would_hide_something(name, code, here, tmp_path):
    """An image may be newer than its profile, so the builder's own check is not enough."""
    (code.folder / f"{name}.py").write_text("print('it runs')\n")
    packed = packed_with(tmp_path, here, OwnCode.below(code.folder))
    mounted_at(tmp_path, packed)
    result = run_first_cell(tmp_path / "input", tmp_path / "work", packed.fingerprint)
    assert result.returncode != 0
    assert "kernelkit_own-0-py3-none-any.whl would hide the " in result.stderr
    assert "it runs" not in result.stdout


def test_the_proof_imports_every_module_of_it(code, here, twin, tmp_path):
    """A module that would not import on Kaggle stops the build, with its name."""
    packed = packed_with(tmp_path, here, code)
    proof = prove(packed.folder, packed.fingerprint, twin)
    assert f"2 modules of {PACKAGE} import" in proof.output
    assert "0 modules of tools import" in proof.output
    (code.folder / PACKAGE / "model.py").write_text("import not_there_at_all\n")
    packed = packed_with(tmp_path / "again", here, code)
    with pytest.raises(TwinError, match="No module named 'not_there_at_all'"):
        prove(packed.folder, packed.fingerprint, twin)


def test_the_builder_lints_it_with_the_rest(code, here, tmp_path):
    """It may import itself. The network, and what the image lacks, it may not."""
    source = make_source(tmp_path / "source")
    files = [source / "kernelkit" / "__init__.py"]
    builder = Builder(make_resolver(tmp_path, here), LISTING, files, source, str, code)
    packed = builder.build(tmp_path / "dataset")
    assert any(entry["name"].startswith("kernelkit_own-") for entry in packed.files)
    (code.folder / "tools.py").write_text("import requests\nimport monai\n")
    with pytest.raises(LintError, match=r"2 things would fail on here:\n.*tools.py:1: requests"):
        builder.build(tmp_path / "dataset")


def test_the_folder_is_the_options_then_the_variables_then_the_settings(
    tmp_path, monkeypatch: pytest.MonkeyPatch
):
    """A path in kaggle.toml is relative to that file."""
    folders = [write_own(tmp_path / name) for name in ("first", "second", "third")]
    settings = tmp_path / "kaggle.toml"
    settings.write_text('own = "third"\n')
    monkeypatch.setattr(owns, "load_settings", lambda _: load_settings(settings, {}))
    monkeypatch.setenv("KERNELKIT_OWN", str(folders[1]))
    assert find_own(folders[0]).folder == folders[0].resolve()
    monkeypatch.setenv("KERNELKIT_OWN", str(folders[1]))
    assert find_own().folder == folders[1].resolve()
    monkeypatch.delenv("KERNELKIT_OWN")
    assert find_own().folder == folders[2].resolve()
    monkeypatch.delenv("KERNELKIT_OWN")
    settings.write_text("")
    assert find_own() is None
