"""Faults of what is mounted: manifests, files and folders that are odd, hostile or left behind.

A row is a fault: its name, what makes it, and the right answer.
"""

import base64
import hashlib
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import bootstrap
import mounted
from bootstrap import Dataset
from mounted import BootstrapError
from tests.made.dataset import make_dataset, run_first_cell
from tests.made.wheels import profile_of_here

KERNELKIT = "kernelkit-0.1.0-py3-none-any.whl"
PYTHON_WORDS = re.compile(r"\b(KeyError|TypeError|AttributeError|NoneType|RecursionError|Errno)\b")


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """A dataset as it leaves the builder."""
    folder = tmp_path_factory.mktemp("packed")
    return make_dataset(folder, profile_of_here(folder / "profiles"))


def names(rows):
    """The faults' names, which pytest shows."""
    return [row[0] for row in rows]


def values(rows):
    """What makes each fault, and the right answer."""
    return [row[1:] if len(row) > 2 else row[1] for row in rows]


def sealed(content):
    """The manifest with the fingerprint that its content has, as who makes one can write it."""
    return {
        **content,
        "fingerprint": mounted.fingerprint_of(content["files"], content["target"]),
    }


def refusal(path):
    """The sentence with which a manifest is refused."""
    with pytest.raises(BootstrapError) as error:
        mounted.read_manifest(path)
    sentence = str(error.value)
    assert str(path) in sentence
    assert not sentence.endswith(".")
    assert not PYTHON_WORDS.search(sentence), sentence
    return sentence


def without(section, key):
    """A change that takes a field away."""
    return lambda content: _section(content, section).pop(key)


def with_value(section, key, value):
    """A change that gives a field another value."""
    return lambda content: _section(content, section).update({key: value})


def _section(content, section):
    return content["target"] if section == "target" else content["files"][section]


MANIFESTS = [
    # (name, change, the right answer)
    ("no kind", without(0, "kind"), "kind of file 1 is nothing, wanted wheel or bootstrap"),
    ("another kind", with_value(0, "kind", "egg"), "kind of file 1 is 'egg', wanted wheel or boot"),
    ("no name", without(1, "name"), "name of file 2 is nothing, wanted a name"),
    ("a number as name", with_value(1, "name", 7), "name of file 2 is 7, wanted a name"),
    ("an empty name", with_value(1, "name", ""), "name of file 2 is '', wanted a name"),
    ("NUL in a name", with_value(1, "name", "a\0b"), r"name of file 2 is 'a\x00b', wanted a name"),
    ("a line end in a name", with_value(1, "name", "a\nb"), r"is 'a\nb', wanted a name"),
    ("300 characters", with_value(1, "name", "x" * 300), "x..., wanted a name"),
    ("half a character", with_value(1, "name", "\ud800"), r"is '\ud800', wanted a name"),
    ("a name above", with_value(1, "name", "../x"), "names a file outside of its folder: ../x"),
    ("an absolute name", with_value(1, "name", "/etc/x"), "outside of its folder: /etc/x"),
    ("a safe name above", with_value(1, "safe_name", "a/../../x"), "outside of its folder: a/../"),
    ("a name of Windows", with_value(1, "name", "..\\x"), "outside of its folder: ..\\x"),
    ("no safe name", without(1, "safe_name"), "safe_name of file 2 is nothing, wanted a name"),
    ("no hash", without(0, "sha256"), "sha256 of file 1 is nothing, wanted a SHA-256"),
    ("a short hash", with_value(0, "sha256", "abc"), "sha256 of file 1 is 'abc', wanted a SHA-256"),
    ("a list as hash", with_value(0, "sha256", ["a"]), "sha256 of file 1 is ['a'], wanted a SHA"),
    ("no size", without(0, "size"), "size of file 1 is nothing, wanted a number of bytes"),
    ("a negative size", with_value(0, "size", -1), "size of file 1 is -1, wanted a number of byte"),
    ("a truth as size", with_value(0, "size", True), "size of file 1 is True, wanted a number"),
    ("no modules", without(1, "modules"), "modules of file 2 is nothing, wanted a list of module"),
    ("a path as module", with_value(1, "modules", ["a/b"]), "['a/b'], wanted a list of module n"),
    ("no list hash", without(1, "record_sha256"), "record_sha256 of file 2 is nothing, wanted a S"),
    ("no python", without("target", "python"), "python of target is nothing, wanted a version"),
    ("a number python", with_value("target", "python", 3.12), "python of target is 3.12, wanted"),
    ("no glibc", without("target", "glibc"), "glibc of target is nothing, wanted a version"),
    ("a word as glibc", with_value("target", "glibc", "new"), "glibc of target is 'new', wanted a"),
    ("no machine", without("target", "machine"), "machine of target is nothing, wanted a text"),
    ("no profile", without("target", "profile"), "profile of target is nothing, wanted a text"),
    ("no image", without("target", "image"), "image of target is nothing, wanted a table of texts"),
    ("a list as image", with_value("target", "image", []), "image of target is [], wanted a table"),
    (
        "numbers in image",
        with_value("target", "image", {"torch": 2}),
        "{'torch': 2}, wanted a tabl",
    ),
    (
        "one file twice",
        lambda content: content["files"].append(dict(content["files"][0])),
        "puts two things at bootstrap.py",
    ),
    (
        "a file where a folder is",
        with_value(1, "name", "bootstrap.py/x.whl"),
        "puts two things at bootstrap.py",
    ),
]


@pytest.mark.parametrize(("change", "answer"), values(MANIFESTS), ids=names(MANIFESTS))
def test_an_odd_field_is_named(packed, tmp_path, change, answer):
    """Each is one sentence with the file, the field, what was found and what was wanted."""
    content = json.loads(json.dumps(packed.manifest))
    change(content)
    path = tmp_path / mounted.MANIFEST
    path.write_text(json.dumps(sealed(content)))
    assert answer in refusal(path)


FILES = [
    # (name, bytes, the right answer)
    ("empty", b"", "it is not JSON of a manifest"),
    ("binary", bytes(range(256)) * 9, "it is not JSON of a manifest"),
    ("NUL", bytes(5000), "it is not JSON of a manifest"),
    ("cut", b'{"files": [', "it is not JSON of a manifest"),
    ("nested 20 000 deep", b"[" * 20_000 + b"]" * 20_000, "it is not JSON of a manifest"),
    ("a number of 5000 digits", b"9" * 5000, "it is not JSON of a manifest"),
    ("a list", b"[]", "it is [], wanted a table"),
    ("null", b"null", "it is nothing, wanted a table"),
    ("no files", b'{"target": {}}', "files is nothing, wanted a list"),
    ("files that are text", b'{"target": {}, "files": "all"}', "files is 'all', wanted a list"),
    ("files of numbers", b'{"target": {}, "files": [1]}', "file 1 is 1, wanted a table"),
    ("a list as target", b'{"target": [], "files": []}', "target is [], wanted a table"),
    ("no fingerprint", b'{"target": {}, "files": []}', "was changed after it was made"),
]


@pytest.mark.parametrize(("content", "answer"), values(FILES), ids=names(FILES))
def test_a_file_that_is_no_manifest_is_named(tmp_path, content, answer):
    """Whatever bytes it has, the answer is one sentence with its path."""
    path = tmp_path / mounted.MANIFEST
    path.write_bytes(content)
    assert answer in refusal(path)


ENTRY = {"name": "run/a.safetensors", "safe_name": "run__a.safetensors", "size": 1, "kind": "x"}
WEIGHTS = [
    # (name, names of files, configurations, the right answer)
    ("no configurations", ["run/a"], None, "configurations of target is nothing, wanted a table"),
    ("a list", ["run/a"], [], "configurations of target is [], wanted a table of texts"),
    ("numbers", ["run/a"], {"run/cfg.yaml": 1}, "wanted a table of texts"),
    ("above", ["run/a"], {"../cfg.yaml": ""}, "names a file outside of its folder: ../cfg.yaml"),
    ("absolute", ["run/a"], {"/etc/cfg": ""}, "names a file outside of its folder: /etc/cfg"),
    ("NUL", ["run/a"], {"a\0b": ""}, r"a name in configurations is 'a\x00b', wanted a name"),
    ("over a file", ["run/a"], {"run/a": "mine"}, "puts two things at run/a"),
    ("over a file, in other words", ["run/a"], {"run//a": "mine"}, "wanted a name"),
    ("below a file", ["run/a"], {"run/a/cfg.yaml": ""}, "puts two things at run/a"),
    ("a file below a file", ["run", "run/a"], {}, "puts two things at run"),
]


@pytest.mark.parametrize(("names", "texts", "answer"), values(WEIGHTS), ids=names(WEIGHTS))
def test_a_weights_manifest_never_writes_elsewhere(tmp_path, names, texts, answer):
    """It is refused before anything is placed, and the mounted files stay as they are."""
    folder = weights_dataset(tmp_path, names, texts)
    before = {path: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(BootstrapError, match=re.escape(answer)):
        Dataset(tmp_path, tmp_path, "f" * 64, tmp_path / "work").models(folder)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    assert not (tmp_path / "cfg.yaml").exists()


def weights_dataset(tmp_path, names, configurations):
    """A weights dataset with these names, whatever they are."""
    folder = tmp_path / "weights"
    folder.mkdir()
    entries = []
    for number, name in enumerate(names):
        content = f"weights {number}".encode()
        (folder / f"{number}.bin").write_bytes(content)
        digest = hashlib.sha256(content).hexdigest()
        entries.append({**ENTRY, "name": name, "safe_name": f"{number}.bin", "sha256": digest})
    target = {} if configurations is None else {"configurations": configurations}
    text = json.dumps(sealed({"files": entries, "target": target}))
    (folder / mounted.WEIGHTS_MANIFEST).write_text(text)
    return folder


def _link_at_the_models_folder(work, victim):
    name = json.loads((work.parent / "weights" / mounted.WEIGHTS_MANIFEST).read_text())
    folder = work / f"models-{name['fingerprint'][:12]}"
    folder.parent.mkdir()
    folder.symlink_to(victim)


def _link_below_the_models_folder(work, victim):
    _link_at_the_models_folder(work, work.parent / "nowhere")
    (link,) = work.iterdir()
    link.unlink()
    link.mkdir()
    (link / "run").symlink_to(victim)


@pytest.mark.parametrize("leave", [_link_at_the_models_folder, _link_below_the_models_folder])
def test_weights_are_never_placed_through_a_link(tmp_path, leave):
    """A link that was left where the models go is replaced, and what it names stays empty."""
    folder = weights_dataset(tmp_path, ["run/a"], {"run/cfg.yaml": "x: 1"})
    victim = tmp_path / "victim"
    victim.mkdir()
    leave(tmp_path / "work", victim)
    models = Dataset(tmp_path, tmp_path, "f" * 64, tmp_path / "work").models(folder)
    assert (models / "run/a").read_text() == "weights 0"
    assert (models / "run/cfg.yaml").read_text() == "x: 1"
    assert not models.is_symlink()
    assert list(victim.iterdir()) == []


# ---- wheels that the upload unpacked


def _record_line(name, content):
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
    return f"{name},sha256={digest},{len(content)}\n"


def _names(name):
    """A list of files with this name, whose hash is that of the secret outside."""
    return lambda _, secret: _record_line(name.format(secret=secret), secret.read_bytes())


def _link(tree, secret):
    (tree / "linked.py").symlink_to(secret)
    return _record_line("linked.py", secret.read_bytes())


def _folder_link(tree, secret):
    (tree / "linked").symlink_to(secret.parent)
    return _record_line(f"linked/{secret.name}", secret.read_bytes())


def _unhashed(tree, _):
    (tree / "free.py").write_text("anything")
    return "free.py,,\n"


def _weak(tree, _):
    (tree / "free.py").write_text("anything")
    return f"free.py,md5={hashlib.md5(b'anything', usedforsecurity=False).hexdigest()},8\n"


UNPACKED = [
    # (name, what is listed, the right answer)
    ("a name above", _names("../secret.py"), "list of files names '../secret.py', outside of it"),
    ("a name far above", _names("a/../../secret.py"), "names 'a/../../secret.py', outside of it"),
    ("an absolute name", _names("{secret}"), "secret.py', outside of it"),
    ("a link", _link, "linked.py is a link that leads outside of it"),
    ("a folder that is a link", _folder_link, "linked/secret.py is a link that leads outside"),
    ("a file without a hash", _unhashed, "free.py was changed"),
    ("a hash that is not trusted", _weak, "free.py was changed"),
    ("a name with NUL", lambda _tree, _secret: "a\0b,sha256=x,1\n", "outside of it"),
    ("no list at all", lambda _tree, _secret: '"', "kernelkit"),
]


@pytest.mark.parametrize(("listed", "answer"), values(UNPACKED), ids=names(UNPACKED))
def test_an_unpacked_wheel_stays_inside(packed, tmp_path, listed, answer):
    """A list of files that leads outside is refused, even if the manifest has its hash."""
    secret = tmp_path / "secret.py"
    secret.write_text("secret = 1\n")
    tree = tmp_path / "d" / Path(KERNELKIT).stem
    with zipfile.ZipFile(packed.folder / KERNELKIT) as archive:
        archive.extractall(tree)
    if tree.parent != tmp_path:
        shutil.copy(secret, tree.parent)
    (record,) = tree.glob("*/RECORD")
    record.write_text(record.read_text() + listed(tree, secret))
    (entry,) = (dict(entry) for entry in packed.files if entry["name"] == KERNELKIT)
    entry["record_sha256"] = hashlib.sha256(record.read_bytes()).hexdigest()
    with pytest.raises(BootstrapError, match=re.escape(answer)):
        mounted.verified(tree.parent, [entry])
    with pytest.raises(BootstrapError, match=re.escape(answer)):
        mounted.copy_wheel(tree, tmp_path / "copy.whl", entry)


@pytest.mark.parametrize("name", ["../evil.py", "/tmp/evil.py", "a/../../evil.py"])
def test_a_member_of_a_wheel_stays_inside(tmp_path, name):
    """A wheel with such a member is not installed, even if its hash is right."""
    path = tmp_path / "x-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, "evil = 1")
    entry = {"name": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    with pytest.raises(BootstrapError, match=f"has a member outside of it: {name}"):
        mounted.copy_wheel(path, tmp_path / "copy" / path.name, entry)


def test_a_link_is_replaced_and_never_written_through(packed, tmp_path):
    """What is placed takes the place of a link. The file that the link names stays."""
    victim = tmp_path / "victim.txt"
    victim.write_text("mine")
    tree = tmp_path / "tree"
    with zipfile.ZipFile(packed.folder / KERNELKIT) as archive:
        archive.extractall(tree)
    for source in (tree, packed.folder / KERNELKIT):
        target = tmp_path / "target.whl"
        target.unlink(missing_ok=True)
        target.symlink_to(victim)
        mounted.place(source, target)
        assert victim.read_text() == "mine"
        assert zipfile.is_zipfile(target)


# ---- the first cell: what runs, and from where


@pytest.fixture
def inputs(packed, tmp_path):
    """The dataset as it is mounted, in a folder that a row may do something to."""
    folder = tmp_path / "input" / "datasets" / "someone" / "a-kernel"
    shutil.copytree(packed.folder, folder)
    return tmp_path / "input"


EVIL = "print('EVIL CODE RAN')\n"


def _own(inputs):
    return inputs / "datasets" / "someone" / "a-kernel"


def _second_dataset(inputs):
    """A dataset that names the wanted fingerprint, and is listed before the true one."""
    folder = inputs / "a-first"
    shutil.copytree(_own(inputs), folder)
    for name in ("bootstrap.py", "mounted.py"):
        (folder / name).write_text(EVIL)
    return folder


def _second_with_its_hashes(inputs):
    folder = _second_dataset(inputs)
    manifest = json.loads((folder / mounted.MANIFEST).read_text())
    for entry in manifest["files"]:
        entry["sha256"] = hashlib.sha256((folder / entry["safe_name"]).read_bytes()).hexdigest()
    (folder / mounted.MANIFEST).write_text(json.dumps(manifest))


def _second_sealed(inputs):
    _second_with_its_hashes(inputs)
    path = inputs / "a-first" / mounted.MANIFEST
    path.write_text(json.dumps(sealed(json.loads(path.read_text()))))


def _second_that_names_it_elsewhere(inputs):
    _second_with_its_hashes(inputs)
    path = inputs / "a-first" / mounted.MANIFEST
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps({**sealed(manifest), "note": manifest["fingerprint"]}))


def _stray_modules(inputs):
    for name in ("json", "csv", "zipfile", "hashlib", "subprocess", "dataclasses", "shapes"):
        (_own(inputs) / f"{name}.py").write_text(EVIL)
    (_own(inputs) / "sitecustomize.py").write_text(EVIL)


def _broken_neighbours(inputs):
    for number, content in enumerate((b"", bytes(99), b"[" * 20_000, b"[]", b'{"files": 1}')):
        (inputs / f"n{number}").mkdir()
        (inputs / f"n{number}" / mounted.MANIFEST).write_bytes(content)
    (inputs / "n9" / mounted.MANIFEST).mkdir(parents=True)


SOUND = [
    # (name, what else is mounted)
    ("a second dataset that names the fingerprint", _second_dataset),
    ("a second with hashes of its own", _second_with_its_hashes),
    ("a second that is sealed", _second_sealed),
    ("a second that mentions the fingerprint", _second_that_names_it_elsewhere),
    ("stray modules beside the manifest", _stray_modules),
    ("neighbours that are no manifests", _broken_neighbours),
]


@pytest.mark.parametrize("attach", values(SOUND), ids=names(SOUND))
def test_only_the_dataset_that_is_wanted_runs(packed, inputs, tmp_path, attach):
    """Whatever else is attached, the cell starts the wanted dataset, and no other code runs."""
    attach(inputs)
    result = run_first_cell(
        inputs, tmp_path / "work", packed.fingerprint, "import shapes; print(shapes.version)"
    )
    assert result.returncode == 0, result.stderr
    assert "EVIL" not in result.stdout
    assert "1.0+team.1" in result.stdout


def _changed_bootstrap(inputs):
    (_own(inputs) / "bootstrap.py").write_text(EVIL)


def _changed_mounted(inputs):
    (_own(inputs) / "mounted.py").write_text(EVIL)


def _no_bootstrap(inputs):
    (_own(inputs) / "bootstrap.py").unlink()


def _folder_bootstrap(inputs):
    _no_bootstrap(inputs)
    (_own(inputs) / "bootstrap.py").mkdir()


def _evil_wheel(inputs):
    """A wheel that became a folder, with a list of its own that the manifest is made to name."""
    folder = _own(inputs)
    with zipfile.ZipFile(folder / KERNELKIT) as archive:
        archive.extractall(folder / Path(KERNELKIT).stem)
    (folder / KERNELKIT).unlink()
    tree = folder / Path(KERNELKIT).stem
    (tree / "kernelkit/__init__.py").write_text(EVIL)
    (record,) = tree.glob("*/RECORD")
    record.write_text(_record_line("kernelkit/__init__.py", EVIL.encode()))
    manifest = json.loads((folder / mounted.MANIFEST).read_text())
    for entry in manifest["files"]:
        if entry["name"] == KERNELKIT:
            entry["record_sha256"] = hashlib.sha256(record.read_bytes()).hexdigest()
    (folder / mounted.MANIFEST).write_text(json.dumps(manifest))


def _other_modules(inputs):
    """Another module to import than the one that was packed."""
    path = _own(inputs) / mounted.MANIFEST
    path.write_text(path.read_text().replace('"shapes"', '"antigravity"'))


REFUSED = [
    # (name, what is done to the dataset, the right answer)
    ("another bootstrap", _changed_bootstrap, "which was changed after it was made. Wait until"),
    ("another mounted", _changed_mounted, "which was changed after it was made. Wait"),
    (
        "no bootstrap",
        _no_bootstrap,
        "which cannot be read or is not complete. Wait",
    ),
    ("a folder bootstrap", _folder_bootstrap, "which cannot be read or is not complete. Wait"),
    ("a wheel with another list", _evil_wheel, "which was changed after it was made. Wait until"),
    ("other imports", _other_modules, "which was changed after it was made. Wait until"),
]


@pytest.mark.parametrize(("harm", "answer"), values(REFUSED), ids=names(REFUSED))
def test_a_changed_dataset_is_refused_before_it_runs(packed, inputs, tmp_path, harm, answer):
    """The notebook stops with one sentence, and none of the changed code ran."""
    harm(inputs)
    result = run_first_cell(inputs, tmp_path / "work", packed.fingerprint)
    assert result.returncode != 0
    assert "EVIL" not in result.stdout
    assert answer in result.stderr.strip().splitlines()[-1]


def test_without_a_fingerprint_the_only_dataset_is_taken_and_said(inputs, tmp_path):
    """At home nothing is baked in. One line says what is trusted then."""
    result = run_first_cell(inputs, tmp_path / "work")
    assert result.returncode == 0, result.stderr
    (line,) = (line for line in result.stdout.splitlines() if "no fingerprint is given" in line)
    assert "the only kernel dataset that is mounted is trusted" in line


def test_without_a_fingerprint_a_broken_one_is_named(inputs, tmp_path):
    """A manifest that cannot be read is one sentence with its path."""
    path = _own(inputs) / mounted.MANIFEST
    path.write_bytes(b"[" * 20_000)
    line = run_first_cell(inputs, tmp_path / "work").stderr.strip().splitlines()[-1]
    assert f"no sound kernel dataset is mounted ({path}, which cannot be read or" in line


# ---- the folder that the wheels are installed into


def _site_of_somebody(folder, _):
    (folder / "site" / "kernelkit").mkdir(parents=True)
    (folder / "site" / "kernelkit" / "__init__.py").write_text(EVIL)
    (folder / "site" / "shapes.py").write_text(EVIL)
    folder.chmod(0o777)


def _link_to_somebody(folder, tmp_path):
    _site_of_somebody(tmp_path / "other", tmp_path)
    folder.symlink_to(tmp_path / "other")


def _link_site(folder, tmp_path):
    _site_of_somebody(tmp_path / "other", tmp_path)
    folder.mkdir()
    (folder / "site").symlink_to(tmp_path / "other" / "site")


def _link_wheels(folder, tmp_path):
    (tmp_path / "other").mkdir()
    folder.mkdir()
    (folder / "wheels").symlink_to(tmp_path / "other")


def _a_file(folder, _):
    folder.write_text("")


def _a_dangling_link(folder, tmp_path):
    folder.symlink_to(tmp_path / "nowhere")


WORK = [
    # (name, what lies at the work folder's place)
    ("a site of somebody", _site_of_somebody),
    ("a link to a folder of somebody", _link_to_somebody),
    ("a link at the site", _link_site),
    ("a link at the wheels", _link_wheels),
    ("a file", _a_file),
    ("a dangling link", _a_dangling_link),
]


@pytest.mark.parametrize("leave", values(WORK), ids=names(WORK))
def test_what_lies_in_the_work_folder_is_not_trusted(packed, inputs, tmp_path, leave):
    """The session installs into a folder of its own, private, and imports from there alone."""
    work = tmp_path / "work"
    work.mkdir()
    leave(work / f"kernelkit-{packed.fingerprint[:12]}", tmp_path)
    outside = sorted((tmp_path / "other").rglob("*"))
    then = "import kernelkit, shapes; print(shapes.version, kernelkit_dataset.work_folder)"
    result = run_first_cell(inputs, work, packed.fingerprint, then)
    assert result.returncode == 0, result.stderr
    assert "EVIL" not in result.stdout
    version, folder = result.stdout.strip().splitlines()[-1].split()
    assert version == "1.0+team.1"
    assert stat.S_IMODE(Path(folder).lstat().st_mode) == 0o700
    assert Path(folder).parent == work
    assert not Path(folder).is_symlink()
    assert sorted((tmp_path / "other").rglob("*")) == outside


def test_a_folder_of_another_user_is_left_alone(packed, tmp_path, monkeypatch):
    """If somebody else owns the folder, another one is made."""
    monkeypatch.setenv("KERNELKIT_WORK", str(tmp_path))
    theirs = tmp_path / f"kernelkit-{packed.fingerprint[:12]}"
    theirs.mkdir(0o755)
    owner = theirs.stat().st_uid
    monkeypatch.setattr(bootstrap.os, "geteuid", lambda: owner + 1)
    made = bootstrap._work_folder(packed.fingerprint)
    assert made != theirs
    assert stat.S_IMODE(made.stat().st_mode) == 0o700
    assert stat.S_IMODE(theirs.stat().st_mode) == 0o755


@pytest.mark.parametrize("place", ["a file", "below a file"])
def test_a_work_folder_that_cannot_be_made_is_one_sentence(packed, tmp_path, monkeypatch, place):
    """The sentence names the folder and the variable to set."""
    (tmp_path / "file").write_text("")
    parent = tmp_path / "file" / ("x" if place == "below a file" else "")
    monkeypatch.setenv("KERNELKIT_WORK", str(parent))
    with pytest.raises(BootstrapError, match=r"cannot be made: .*Set KERNELKIT_WORK to") as error:
        bootstrap._work_folder(packed.fingerprint)
    assert not PYTHON_WORDS.search(str(error.value))


# ---- relative paths


@pytest.mark.usefixtures("inputs")
def test_relative_paths_hold_from_any_folder(tmp_path):
    """Inputs, models and the work folder may be relative. What is linked is found from anywhere."""
    weights_dataset(tmp_path, ["run/a"], {"run/cfg.yaml": "x: 1"})
    code = (Path(bootstrap.__file__).parent / "first_cell.py").read_text()
    then = """
import os
models = kernelkit_dataset.models("weights")
plain = kernelkit_dataset.models("input")
os.chdir("/")
import shapes
print(models.is_absolute(), plain.is_absolute(), (models / "run/a").read_text(), sys.path[0][0])
"""
    result = subprocess.run(
        [sys.executable, "-I", "-c", f"inputs = 'input'\n{code}\n{then}"],
        env={"PATH": os.environ["PATH"], "KERNELKIT_WORK": "work"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip().splitlines()[-1] == "True True weights 0 /"


def test_a_relative_source_is_linked_by_its_whole_path(tmp_path, monkeypatch):
    """A link does not dangle if the path that it was given was relative."""
    (tmp_path / "a.bin").write_text("x")
    monkeypatch.chdir(tmp_path)
    mounted.place(Path("a.bin"), tmp_path / "deep" / "er" / "link.bin")
    assert (tmp_path / "deep/er/link.bin").read_text() == "x"


def test_a_dataset_that_hides_the_standard_library_is_refused(tmp_path):
    """A wheel whose module is `json` would come before the standard library's."""
    profile = profile_of_here(tmp_path / "profiles")
    made = make_dataset(tmp_path / "made", profile)
    content = json.loads(json.dumps(made.manifest).replace('["shapes"]', '["json"]'))
    path = made.folder / mounted.MANIFEST
    path.write_text(json.dumps(sealed(content)))
    (tmp_path / "input").mkdir()
    shutil.copytree(made.folder, tmp_path / "input" / "d")
    line = run_first_cell(tmp_path / "input", tmp_path / "w").stderr.strip().splitlines()[-1]
    assert "would hide the standard library's json. Build the dataset without it" in line
