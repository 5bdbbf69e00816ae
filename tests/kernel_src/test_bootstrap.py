"""The bootstrap: finds the dataset in every layout, undoes what an upload does, or refuses."""

import json
import shutil
import sys
import zipfile
from pathlib import Path

import nbformat
import pytest

import mounted
from devkit.lint import NOTEBOOKS
from mounted import BootstrapError
from tests.made.dataset import FIRST_CELL, make_dataset, run_first_cell
from tests.made.wheels import make_profile, profile_of_here

SHAPES = "shapes-1.0+team.1-py3-none-any.whl"
SAFE = "shapes-1.0_team.1-py3-none-any.whl"
KERNELKIT = "kernelkit-0.1.0-py3-none-any.whl"


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """A dataset as it leaves the builder."""
    folder = tmp_path_factory.mktemp("packed")
    return make_dataset(folder, profile_of_here(folder / "profiles"))


@pytest.fixture
def upload(packed, tmp_path):
    """A copy of the dataset, to do to it what an upload does."""
    folder = tmp_path / "input" / "datasets" / "someone" / "a-kernel"
    shutil.copytree(packed.folder, folder)
    (folder / "dataset-metadata.json").unlink()
    return folder


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A scratch folder that sessions share, so that one installation serves them all."""
    return tmp_path_factory.mktemp("work")


def found(upload, packed):
    """Where each file of the dataset was found, by original name."""
    return mounted.verified(upload, packed.files)


def last_line(result):
    """The sentence that a failed run ends with."""
    assert result.returncode != 0
    return result.stderr.strip().splitlines()[-1]


@pytest.mark.parametrize(
    "layout",
    [
        "a-kernel",
        "a-kernel/a-kernel",
        "datasets/someone/a-kernel",
        "datasets/someone/a-kernel/a-kernel",
        "notebooks/someone/a-kernel",
        "notebooks/someone/a-kernel/output",
        "models/someone/a-kernel/other/default/1",
        "models/someone/a-kernel/other/default/1/a-kernel",
    ],
)
def test_the_first_cell_finds_the_dataset_in_every_layout(packed, tmp_path, work, layout):
    """The dataset is found, installed and imported wherever Kaggle mounts it, doubled or not."""
    shutil.copytree(packed.folder, tmp_path / "input" / layout)
    (tmp_path / "input" / "competitions" / "other").mkdir(parents=True)
    then = "import kernelkit.grid, shapes; print('from', shapes.__file__)"
    result = run_first_cell(tmp_path / "input", work, packed.fingerprint, then)
    assert result.returncode == 0, result.stderr
    assert f"kernel dataset {packed.fingerprint[:12]} for here" in result.stdout
    assert f"from {work}/kernelkit-{packed.fingerprint[:12]}/site/shapes" in result.stdout


def test_the_first_cell_is_short():
    """The verifier that every notebook carries can be read in a minute: at most 50 lines."""
    assert len(FIRST_CELL.splitlines()) <= 50


def test_the_inference_notebook_begins_with_the_finder():
    """The first cell after the parameters is the finder, to the letter."""
    notebook = nbformat.read(NOTEBOOKS / "inference.ipynb", as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    first = next(cell for cell in code if "parameters" not in cell.metadata.get("tags", ()))
    assert first.source.strip() == FIRST_CELL.strip()


@pytest.mark.usefixtures("upload")
def test_a_session_imports_from_the_dataset_and_keeps_the_images_own(packed, tmp_path):
    """The recipes are there, subprocesses see the packages, and numpy is the image's."""
    then = """
import importlib.resources, importlib.util, subprocess, sys
import kernelkit.grid, numpy
print(importlib.resources.files("kernelkit").joinpath("recipe/demo.yaml").read_text())
print("numpy from", numpy.__file__)
print("site is first:", sys.path[0] == str(kernelkit_dataset.site_folder))
print("dataset not on path:", str(kernelkit_dataset.folder) not in sys.path)
subprocess.run([sys.executable, "-c", "import kernelkit; print('child', kernelkit.__file__)"])
"""
    result = run_first_cell(tmp_path / "input", tmp_path / "work", packed.fingerprint, then)
    assert result.returncode == 0, result.stderr
    site = tmp_path / "work" / f"kernelkit-{packed.fingerprint[:12]}" / "site"
    assert "name: demo" in result.stdout
    assert f"numpy from {sys.prefix}" in result.stdout
    assert "site is first: True" in result.stdout
    assert "dataset not on path: True" in result.stdout
    assert f"child {site}/kernelkit" in result.stdout
    assert SHAPES in result.stdout
    assert f"it came as {SAFE}" in result.stdout


def test_the_session_installs_what_an_upload_mangled(upload, packed, tmp_path):
    """A renamed, an unpacked and a doubled file at once still make a working session."""
    with zipfile.ZipFile(upload / KERNELKIT) as archive:
        archive.extractall(upload / Path(KERNELKIT).stem)
    (upload / KERNELKIT).unlink()
    (upload / SAFE).rename(upload / "shapes-001.whl")
    then = "import kernelkit.grid, shapes; print(shapes.version)"
    result = run_first_cell(tmp_path / "input", tmp_path / "work", packed.fingerprint, then)
    assert result.returncode == 0, result.stderr
    assert "installed, though the upload had unpacked it" in result.stdout
    assert "it came as shapes-001.whl" in result.stdout
    assert "1.0+team.1" in result.stdout


def test_a_plus_in_a_name_is_restored(upload, packed):
    """A wheel is found by its safe name, its own, or its own with the `+` stripped."""
    for name in (SAFE, SHAPES, SHAPES.replace("+", "")):
        (path,) = upload.glob("shapes*")
        path.rename(upload / name)
        assert found(upload, packed)[SHAPES] == upload / name


def test_a_renamed_wheel_is_found_by_its_contents(upload, packed):
    """A name that was made up altogether does not matter, since the hash tells."""
    (upload / KERNELKIT).rename(upload / "kernelkit-0.1.0-py3-none-any-001.whl")
    assert found(upload, packed)[KERNELKIT].name == "kernelkit-0.1.0-py3-none-any-001.whl"


def test_a_file_in_a_folder_of_its_own_name_is_found(upload, packed):
    """Kaggle was seen to double a file into a folder."""
    (upload / KERNELKIT).rename(upload / "aside")
    (upload / KERNELKIT).mkdir()
    (upload / "aside").rename(upload / KERNELKIT / KERNELKIT)
    assert found(upload, packed)[KERNELKIT] == upload / KERNELKIT / KERNELKIT


@pytest.mark.parametrize(
    "place", [KERNELKIT, Path(KERNELKIT).stem, f"{Path(KERNELKIT).stem}/{Path(KERNELKIT).stem}"]
)
def test_an_unpacked_wheel_is_packed_again(upload, packed, tmp_path, place):
    """A wheel that became a folder is checked by its own list of hashes, and packed again."""
    (upload / KERNELKIT).rename(tmp_path / KERNELKIT)
    with zipfile.ZipFile(tmp_path / KERNELKIT) as archive:
        archive.extractall(upload / place)
        names = archive.namelist()
    source = found(upload, packed)[KERNELKIT]
    assert source == upload / place
    mounted.place(source, tmp_path / "again.whl")
    with zipfile.ZipFile(tmp_path / "again.whl") as archive:
        assert sorted(archive.namelist()) == sorted(names)


@pytest.mark.parametrize(
    ("harm", "problem"),
    [
        (lambda tree: (tree / "kernelkit/grid.py").write_text("x = 1\n"), "grid.py was changed"),
        (lambda tree: (tree / "kernelkit/grid.py").unlink(), "grid.py is missing"),
        (lambda tree: next(tree.glob("*/RECORD")).unlink(), "list of files is missing"),
        (lambda tree: next(tree.glob("*/RECORD")).write_text(""), "list of files was changed"),
    ],
)
def test_an_unpacked_wheel_that_was_changed_is_refused(upload, packed, harm, problem):
    """Each file of a wheel that became a folder is checked."""
    tree = upload / Path(KERNELKIT).stem
    with zipfile.ZipFile(upload / KERNELKIT) as archive:
        archive.extractall(tree)
    (upload / KERNELKIT).unlink()
    harm(tree)
    with pytest.raises(BootstrapError, match=f"{KERNELKIT} was unpacked, and its .*{problem}"):
        found(upload, packed)


def test_one_changed_byte_is_refused_by_name(upload, packed):
    """A wheel that is not what was packed is named, with both hashes."""
    content = bytearray((upload / SAFE).read_bytes())
    content[len(content) // 2] ^= 1
    (upload / SAFE).write_bytes(content)
    with pytest.raises(BootstrapError, match=rf"{SAFE} was changed: its SHA-256 is .* not "):
        found(upload, packed)


def test_all_that_is_wrong_is_named_at_once(upload, packed):
    """A missing file and a changed one are in one message."""
    (upload / SAFE).unlink()
    (upload / "bootstrap.py").write_text("")
    with pytest.raises(BootstrapError) as error:
        found(upload, packed)
    assert "shapes-1.0+team.1-py3-none-any.whl is missing" in str(error.value)
    assert "bootstrap.py was changed" in str(error.value)
    assert str(error.value).endswith(". Upload it again")


def test_no_dataset_is_one_sentence(tmp_path, work):
    """With nothing mounted the first cell says what to add."""
    (tmp_path / "input").mkdir()
    line = last_line(run_first_cell(tmp_path / "input", work))
    assert "no kernelkit dataset in" in line
    assert "Add it to the notebook's inputs" in line


@pytest.mark.usefixtures("upload")
def test_another_fingerprint_stops_the_notebook(packed, tmp_path, work):
    """A notebook for another version says which it wants, which is there, and what to do."""
    line = last_line(run_first_cell(tmp_path / "input", work, "f" * 64))
    assert f"wants the kernel dataset {'f' * 12}, but mounted is {packed.fingerprint[:12]}" in line
    assert "Wait until its new version is ready" in line


@pytest.mark.usefixtures("upload")
def test_of_several_the_wanted_one_is_taken(packed, tmp_path, work):
    """Of two mounted versions the fingerprint decides. Without one they are an error."""
    folder = tmp_path / "other"
    other = make_dataset(folder, profile_of_here(folder / "profiles"), version="2.0")
    shutil.copytree(other.folder, tmp_path / "input" / "datasets" / "another" / "a-kernel")
    for wanted in (packed, other):
        result = run_first_cell(tmp_path / "input", work, wanted.fingerprint)
        assert f"kernel dataset {wanted.fingerprint[:12]}" in result.stdout, result.stderr
    line = last_line(run_first_cell(tmp_path / "input", work))
    assert "several kernel datasets are mounted" in line
    assert packed.fingerprint[:12] in line
    assert other.fingerprint[:12] in line


def test_a_manifest_that_was_changed_is_refused(upload, packed, tmp_path, work):
    """An edited hash does not fit the fingerprint, and a manifest that was cut is told."""
    path = upload / mounted.MANIFEST
    content = json.loads(path.read_text())
    content["files"][0]["sha256"] = "0" * 64
    path.write_text(json.dumps(content))
    line = last_line(run_first_cell(tmp_path / "input", work, packed.fingerprint))
    assert "was changed after it was made" in line
    path.write_text(path.read_text()[:100])
    line = last_line(run_first_cell(tmp_path / "input", work))
    assert "cannot be read" in line


def test_a_name_that_leads_out_of_the_folder_is_refused(packed, tmp_path):
    """A manifest from elsewhere is never trusted with a path."""
    for name in ("../x.whl", "/tmp/x.whl"):
        files = [{**packed.files[0], "name": name}]
        content = {"files": files, "target": {}, "fingerprint": mounted.fingerprint_of(files, {})}
        path = tmp_path / mounted.MANIFEST
        path.write_text(json.dumps(content))
        with pytest.raises(BootstrapError, match="names a file outside of its folder"):
            mounted.read_manifest(path)


@pytest.mark.parametrize(
    ("facts", "sentence"),
    [
        ({"python": "3.9.18"}, "with Python 3.9, but this session has Python 3."),
        ({"glibc": "2.99"}, "with glibc 2.99, but this session has glibc 2."),
        ({"freeze": "torch==1.13.1\n"}, "with torch 1.13.1, but this session has 2."),
    ],
)
def test_another_image_stops_the_notebook(tmp_path, work, facts, sentence):
    """A dataset for another Python, glibc or torch is refused, with what to attach instead."""
    here = {"python": sys.version.split()[0], "glibc": "2.17", "freeze": "numpy==2.0.2\n"}
    packed = make_dataset(tmp_path / "made", make_profile(tmp_path / "p", **{**here, **facts}))
    shutil.copytree(packed.folder, tmp_path / "input" / "a-kernel")
    line = last_line(run_first_cell(tmp_path / "input", work))
    assert sentence in line
    assert "Attach the dataset made for this image" in line


@pytest.mark.usefixtures("upload")
def test_a_module_imported_too_early_is_told(packed, tmp_path, work):
    """A package that was imported from elsewhere before the first cell cannot be replaced."""
    early = tmp_path / "early"
    (early / "shapes").mkdir(parents=True)
    (early / "shapes" / "__init__.py").write_text("")
    before = f"import sys\nsys.path.insert(0, {str(early)!r})\nimport shapes\n"
    result = run_first_cell(tmp_path / "input", work, packed.fingerprint, before=before)
    line = last_line(result)
    assert f"shapes was imported from {early}/shapes/__init__.py instead of the dataset's" in line
    assert "import nothing before the first cell" in line


@pytest.mark.usefixtures("upload")
def test_running_the_cell_again_is_quick_and_the_same(packed, tmp_path):
    """The second run in a session installs nothing."""
    then = f"site = kernelkit_dataset.site_folder.stat().st_mtime_ns\n{FIRST_CELL}\n"
    then += "print('same', site == kernelkit_dataset.site_folder.stat().st_mtime_ns)"
    result = run_first_cell(tmp_path / "input", tmp_path / "work", packed.fingerprint, then)
    assert result.returncode == 0, result.stderr
    assert "same True" in result.stdout


def test_a_folder_that_cannot_be_replaced_comes_back(tmp_path):
    """It was moved away already when the new one could not take its place."""
    folder = tmp_path / "folder"
    (folder / "old").mkdir(parents=True)
    with pytest.raises(FileNotFoundError), mounted.replaced(folder) as unfinished:
        unfinished.rmdir()
    assert (folder / "old").is_dir()
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
