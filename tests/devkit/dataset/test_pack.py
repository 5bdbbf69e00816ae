"""Packing: the same bytes every time, Kaggle's limits, and a command that tells the truth."""

import json
import os
import shutil
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

import build_dataset
import mounted
from build_backend import write_wheel
from devkit.dataset.limits import check_upload, replace_dataset, safe_name
from devkit.dataset.listing import CLIENT_FILE, Listing
from devkit.dataset.pack import pack, write_manifest
from devkit.errors import DatasetError
from devkit.lint import KERNEL_SOURCE
from devkit.wheels.wheelfile import read_wheel
from tests.made.dataset import LISTING, make_dataset, make_source
from tests.made.wheels import make_profile, make_wheel


def contents(folder):
    """The bytes of every file of a folder."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_two_builds_in_two_folders_are_the_same_bytes(tmp_path):
    """Folder, time, order of files and umask leave no trace."""
    profile = make_profile(tmp_path / "profiles")
    first = make_dataset(tmp_path / "one", profile)
    umask = os.umask(0o077)
    try:
        second = make_dataset(tmp_path / "a" / "longer" / "path", profile)
    finally:
        os.umask(umask)
    assert first.fingerprint == second.fingerprint
    assert contents(first.folder) == contents(second.folder)


def test_the_real_package_is_packed_the_same_from_two_places(tmp_path):
    """kernelkit's own wheel does not depend on where it lies, nor on what Python left there."""
    copy = tmp_path / "elsewhere"
    left_out = shutil.ignore_patterns("__pycache__")
    shutil.copytree(KERNEL_SOURCE, copy, ignore=left_out)
    os.utime(copy / "kernelkit" / "__init__.py", (time.time() - 1e6,) * 2)
    (copy / "kernelkit" / "__pycache__").mkdir()
    (copy / "kernelkit" / "__pycache__" / "x.cpython-312.pyc").write_bytes(b"x")
    (copy / "kernelkit" / ".hidden").write_text("x")
    first = write_wheel(tmp_path).read_bytes()
    assert write_wheel(tmp_path, copy).read_bytes() == first


def test_a_package_without_a_version_is_refused(tmp_path):
    """What cannot be built is told before anything is replaced."""
    source = make_source(tmp_path / "source")
    (source / "kernelkit" / "__init__.py").write_text("")
    with pytest.raises(DatasetError, match=r"__init__.py: found 0 lines like .* Write it$"):
        pack(make_profile(tmp_path / "profiles"), [], {}, LISTING, tmp_path / "dataset", source)
    (source / "pyproject.toml").unlink()
    with pytest.raises(DatasetError, match=r"pyproject.toml cannot be read"):
        pack(make_profile(tmp_path / "profiles"), [], {}, LISTING, tmp_path / "dataset", source)
    assert not (tmp_path / "dataset").exists()


def test_the_packages_wheel_has_its_recipes_and_is_valid(tmp_path):
    """Recipes travel inside the wheel, and each member is in its record with its hash."""
    path = write_wheel(tmp_path)
    wheel = read_wheel(path)
    assert (wheel.name, wheel.modules, wheel.tag_names) == (
        "kernelkit",
        ("kernelkit",),
        ["py3-none-any"],
    )
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        record = archive.read("kernelkit-0.1.0.dist-info/RECORD").decode().splitlines()
    recipes = {f"kernelkit/recipe/{p.name}" for p in KERNEL_SOURCE.rglob("*.yaml")}
    assert recipes
    assert recipes < set(names)
    assert {line.split(",")[0] for line in record} == set(names)
    assert not [name for name in names if "__pycache__" in name]


def test_one_changed_byte_changes_the_fingerprint(tmp_path):
    """The fingerprint changes with each file, and with the image that it is made for."""
    profile = make_profile(tmp_path / "profiles")
    source = make_source(tmp_path / "source")
    before = pack(profile, [], {}, LISTING, tmp_path / "before", source).fingerprint
    again = pack(profile, [], {}, replace(LISTING, owner="other"), tmp_path / "again", source)
    assert again.fingerprint == before
    (source / "kernelkit" / "recipe" / "demo.yaml").write_text("name: demO\n")
    assert pack(profile, [], {}, LISTING, tmp_path / "after", source).fingerprint != before
    (source / "kernelkit" / "recipe" / "demo.yaml").write_text("name: demo\n")
    other = make_profile(tmp_path / "profiles", name="other", python="3.13.1")
    assert pack(other, [], {}, LISTING, tmp_path / "other", source).fingerprint != before


def test_the_manifest_tells_all_of_each_file(tmp_path):
    """Original and safe names, hashes, sizes, tags, reasons, and the image it is made for."""
    packed = make_dataset(tmp_path, make_profile(tmp_path / "profiles"))
    manifest = json.loads((packed.folder / mounted.MANIFEST).read_text())
    assert manifest == packed.manifest
    entries = {entry["name"]: entry for entry in manifest["files"]}
    shapes = entries["shapes-1.0+team.1-py3-none-any.whl"]
    assert shapes["safe_name"] == "shapes-1.0_team.1-py3-none-any.whl"
    assert shapes["size"] == (packed.folder / shapes["safe_name"]).stat().st_size
    assert (shapes["tags"], shapes["modules"]) == (["py3-none-any"], ["shapes"])
    assert shapes["why"] == "asked for"
    assert entries["bootstrap.py"]["kind"] == "bootstrap"
    assert manifest["target"] == {
        "profile": "image",
        "python": "3.12",
        "glibc": "2.35",
        "machine": "x86_64",
        "image": {"numpy": "2.0.2", "torch": "2.10.0+cu128"},
    }
    listed = {entry["safe_name"] for entry in manifest["files"]}
    assert {p.name for p in packed.folder.iterdir()} == {*listed, mounted.MANIFEST, CLIENT_FILE}
    metadata = json.loads((packed.folder / CLIENT_FILE).read_text())
    assert metadata["id"] == "someone/a-kernel"
    assert metadata["licenses"] == [{"name": "apache-2.0"}]


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("torch-2.0+cu128-py3-none-any.whl", "torch-2.0_cu128-py3-none-any.whl"),
        ("a~b c.txt", "a_b_c.txt"),
        ("größe.yaml", "große.yaml".replace("ß", "")),
        ("plain-1.0.whl", "plain-1.0.whl"),
    ],
)
def test_safe_names_have_only_what_survives(name, safe):
    """What the upload would drop is replaced: `+`, `~`, spaces and what is not ASCII."""
    assert safe_name(name) == safe


def test_two_files_of_one_safe_name_are_refused(tmp_path):
    """A collision would get `-001` from the upload."""
    entries = [{"name": n, "safe_name": "x_1", "sha256": "0"} for n in ("x+1", "x~1")]
    with pytest.raises(DatasetError, match="two files would be named x_1"):
        write_manifest(tmp_path / "m.json", entries, {})


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"title": "short"}, "The title 'short' has 5 characters, Kaggle wants 6 to 50"),
        ({"title": "x" * 51}, "has 51 characters"),
        ({"slug": "tiny"}, "The slug 'tiny' has 4 characters"),
        ({"slug": "s" * 51}, "has 51 characters"),
        ({"slug": "Has_Capitals"}, "may have only a-z, 0-9 and single '-'"),
        ({"subtitle": "too short"}, "The subtitle 'too short' has 9 characters, Kaggle wants 20"),
        ({"subtitle": "x" * 81}, "has 81 characters"),
        ({"licence": "MIT"}, "Kaggle knows no licence 'MIT', only"),
        ({"owner": "not a user"}, "'not a user' is no user of Kaggle"),
    ],
)
def test_what_the_client_would_refuse_is_refused_first(tmp_path, change, problem):
    """The bounds of titles, slugs, subtitles and licences are checked before any upload."""
    with pytest.raises(DatasetError, match=problem):
        check_upload(tmp_path, replace(LISTING, **change))


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("x+1.whl", r"x\+1.whl would be renamed"),
        ("x~.whl", "would be renamed"),
        ("ü.whl", "would be renamed"),
        ("x.tar.gz", "x.tar.gz would be unpacked"),
        ("x.ZIP", "would be unpacked"),
        ("folder/x.txt", "folder is a folder, which the client leaves out"),
    ],
)
def test_what_the_upload_would_mangle_is_refused(tmp_path, name, problem):
    """Archives, folders and names that lose characters are refused."""
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("x")
    with pytest.raises(DatasetError, match=problem):
        check_upload(tmp_path, LISTING)


def test_fifty_files_are_the_most(tmp_path):
    """The client's own file does not count. The fifty-first of the others is too many."""
    for number in range(50):
        (tmp_path / f"{number}.txt").write_text("")
    (tmp_path / CLIENT_FILE).write_text("{}")
    check_upload(tmp_path, LISTING)
    (tmp_path / "one-more.txt").write_text("")
    with pytest.raises(DatasetError, match="51 files lie at the top, Kaggle takes 50"):
        check_upload(tmp_path, LISTING)


def test_too_large_a_dataset_is_refused(tmp_path):
    """Sizes are summed before an upload of hours."""
    with (tmp_path / "sparse.bin").open("wb") as file:
        file.truncate(201 * 10**9)
    with pytest.raises(DatasetError, match="it holds 201 GB, Kaggle takes 200"):
        check_upload(tmp_path, LISTING)


def test_names_that_differ_in_case_only_are_refused(tmp_path):
    """One of the two would be lost on some systems."""
    (tmp_path / "a.txt").write_text("")
    (tmp_path / "A.txt").write_text("")
    with pytest.raises(DatasetError, match="differ only in case"):
        check_upload(tmp_path, LISTING)


def test_only_a_dataset_is_ever_replaced(tmp_path):
    """A folder that the builder did not write is left alone."""
    stage, folder = tmp_path / "stage", tmp_path / "home"
    stage.mkdir()
    folder.mkdir()
    (folder / "thesis.tex").write_text("")
    with pytest.raises(DatasetError, match="neither empty nor a dataset"):
        replace_dataset(stage, folder)
    assert (folder / "thesis.tex").exists()


def test_a_refused_build_keeps_the_dataset_that_was_there(tmp_path):
    """The old dataset stays until the new one is checked. Nothing half done is left."""
    profile = make_profile(tmp_path / "profiles")
    packed = make_dataset(tmp_path, profile)
    before = contents(packed.folder)
    listing = Listing("someone", "tiny", "A kernel", "Made of tiny wheels by the tests")
    wheel = read_wheel(make_wheel(tmp_path / "wheels", "more"))
    with pytest.raises(DatasetError, match="slug"):
        pack(profile, [wheel], {}, listing, packed.folder, tmp_path / "source")
    assert contents(packed.folder) == before
    assert not list(tmp_path.glob(".packing-*"))


def command(tmp_path, *asked, requirements=()):
    """The command line of a build from a folder of made wheels."""
    path = tmp_path / "requirements.in"
    path.write_text("".join(f"{line}\n" for line in requirements))
    (tmp_path / "registry").mkdir(exist_ok=True)
    folders = ["--find-links", str(tmp_path / "registry"), "--no-index"]
    out = ["--output", str(tmp_path / "out"), "--requirements", str(path), *folders]
    return build_dataset.main([*out, *asked])


def test_the_dry_mode_says_what_would_be_done_and_does_nothing(tmp_path, capsys):
    """`--dry` resolves, fetches and writes nothing."""
    lock = Path(build_dataset.REPOSITORY / "wheels/profiles/kaggle-py312/pylock.toml")
    before = lock.read_bytes()
    assert command(tmp_path, "--dry", "--owner", "me", requirements=["new-thing"]) == 0
    said = capsys.readouterr().out
    assert "for kaggle-py312: Python 3.12.13, glibc 2.35" in said
    assert "would resolve new-thing again" in said
    assert "me/kernelkit-kaggle-py312" in said
    assert not (tmp_path / "out").exists()
    assert lock.read_bytes() == before


@pytest.mark.parametrize(
    ("asked", "folder"),
    [
        ([], "mine-kaggle-py312"),
        (["--no-proof"], "mine-kaggle-py312-unproved"),
        (["--profile", "kaggle-py313"], "kernel-kaggle-py313"),
    ],
)
def test_a_dataset_is_built_where_its_settings_say(tmp_path, capsys, asked, folder):
    """The command says that it was for these settings. One for another image lies beside."""
    settings = tmp_path / "other.toml"
    settings.write_text('dataset = "my-other-code"\ndataset_folder = "made/mine-{profile}"\n')
    given = ["--settings", str(settings), "--dry", *asked]
    assert build_dataset.main(given) == 0
    said = capsys.readouterr().out
    assert f"the wheels into {tmp_path}/made/{folder}\n" in said
    assert said.endswith("/my-other-code\n")
    made_by = build_dataset.parse(["--settings", str(settings)]).made_by
    assert made_by == f"make kernel-dataset SETTINGS={settings}"


def test_what_fails_exits_non_zero_with_a_sentence(tmp_path, capsys):
    """No command of ours exits 0 when its goal was not reached."""
    assert command(tmp_path, "--profile", "kaggle-py399") == 1
    assert "kernel-dataset failed: there is no profile 'kaggle-py399'" in capsys.readouterr().err
    lock = Path(build_dataset.REPOSITORY / "wheels/profiles/kaggle-py312/pylock.toml")
    before = lock.read_bytes()
    assert command(tmp_path, "--no-proof", requirements=["numpy>=3"]) == 1
    assert "numpy>=3 and the image has numpy 2.0.2" in capsys.readouterr().err
    assert lock.read_bytes() == before
    assert not (tmp_path / "out").exists()
    assert build_dataset.main(["--find-links", str(tmp_path / "nowhere")]) == 1
    assert "nowhere with wheels. Name one that exists" in capsys.readouterr().err


def test_each_option_is_explained(capsys):
    """`--help` has a sentence for every option."""
    with pytest.raises(SystemExit) as stop:
        build_dataset.main(["--help"])
    assert stop.value.code == 0
    said = capsys.readouterr().out
    for option in ("--profile", "--output", "--requirements", "--find-links", "--dry", "--owner"):
        assert option in said
