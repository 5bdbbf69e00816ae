"""Faults of what the builder is given: requirements, wheels, lists of an image, and locks.

A row is a fault: its name, what makes it, and the right answer.
"""

import datetime
import json
import re
import stat
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest
from packaging.version import Version

import build_dataset
from devkit.dataset import builder as builders
from devkit.dataset.builder import Builder
from devkit.dataset.limits import replace_dataset
from devkit.dataset.lines import notes_of_own_wheels
from devkit.dataset.listing import CLIENT_FILE, mark, proved_fingerprint, read_listing
from devkit.dataset.own import check_own
from devkit.dataset.verify import Proof
from devkit.errors import (
    DatasetError,
    LockError,
    ProfileError,
    ResolveError,
    TwinError,
    WheelError,
)
from devkit.image.profiles import load_profile
from devkit.image.sources import read_probe
from devkit.kaggle.manifest import check_proved, read_manifest
from devkit.kaggle.marks import read_marks
from devkit.tools import REPOSITORY
from devkit.wheels.downloads import WheelSource
from devkit.wheels.lock import read_lock
from devkit.wheels.needed import needed_packages
from devkit.wheels.releases import is_old
from devkit.wheels.resolve import lock_path, read_requirements
from devkit.wheels.twin import Twin, make_twin
from devkit.wheels.wheelfile import read_wheel
from kernelkit.errors import KernelKitError
from kernelkit.own import OwnCode
from tests.made.dataset import LISTING, make_source
from tests.made.wheels import (
    PYTHON_HERE,
    make_profile,
    make_resolver,
    make_sdist,
    make_wheel,
    profile_of_here,
)

FREEZE = "numpy==2.0.2\ntorch==2.10.0+cu128\nmatplotlib==3.10.0\nrequests==2.32.4\n"
PYTHON_WORDS = re.compile(
    r"KeyError|TypeError|AttributeError|NoneType|RecursionError|Errno|codec|Traceback|pydantic"
)


def names(rows):
    """The faults' names, which pytest shows."""
    return [row[0] for row in rows]


def values(rows):
    """What makes each fault, and the right answer."""
    return [row[1:] if len(row) > 2 else row[1] for row in rows]


def refused(error, answer, act, *arguments):
    """One sentence of the right class, in words of the house."""
    with pytest.raises(error, match=re.escape(answer)) as caught:
        act(*arguments)
    sentence = str(caught.value)
    assert isinstance(caught.value, KernelKitError)
    assert not sentence.endswith(".")
    assert not PYTHON_WORDS.search(sentence), sentence


# ---- what a user writes

REQUIREMENTS = [
    # (name, bytes, the right answer)
    ("UTF-16", "edt\n".encode("utf-16"), "requirements.in: found UTF-16, wanted UTF-8. Save it as"),
    ("UTF-16 of the other order", b"\xfe\xff\0e\0d\0t", "found UTF-16, wanted UTF-8"),
    ("Latin-1", b"edt\n# gr\xf6\xdfe\n", "line 2: found the byte 0xf6, wanted UTF-8"),
    ("binary", b"\x80\x81\x82", "line 1: found the byte 0x80, wanted UTF-8"),
    ("zero bytes", b"edt\n\0\0", "line 2: found a zero byte, wanted text"),
    ("an option", b"--pre\n", "requirements.in:1: '--pre' is not the name of a package"),
    ("a path", b"./x.whl\n", "'./x.whl' is not the name of a package"),
    ("an address", b"x @ https://e.org/x.whl\n", "is not the name of a package"),
    ("a shell line", b"pip install edt\n", "'pip install edt' is not the name of a package"),
]


@pytest.mark.parametrize(("content", "answer"), values(REQUIREMENTS), ids=names(REQUIREMENTS))
def test_a_list_that_cannot_be_read_is_named(tmp_path, content, answer):
    """One sentence with the file, what was found and what was wanted."""
    path = tmp_path / "requirements.in"
    path.write_bytes(content)
    refused(ResolveError, answer, read_requirements, path)


def test_a_byte_order_mark_changes_nothing(tmp_path):
    """What an editor of Windows writes before the first letter is no letter."""
    path = tmp_path / "requirements.in"
    path.write_bytes(b"\xef\xbb\xbfedt>=3\r\nnumpy\r\n")
    assert [str(found) for found in read_requirements(path)] == ["edt>=3", "numpy"]


def test_a_list_that_is_a_folder_is_named(tmp_path):
    """A folder is no file, and the sentence says so."""
    refused(ResolveError, f"there is no file {tmp_path}", read_requirements, tmp_path)


FACTS = b'python = "3.12"\nglibc = "2.35"\n'
PROFILES = [
    # (name, file, bytes, the right answer)
    (
        "a list in UTF-16",
        "freeze.txt",
        "numpy\n".encode("utf-16"),
        "freeze.txt: found UTF-16, want",
    ),
    ("a list in Latin-1", "freeze.txt", b"# gr\xf6\xdfe", "line 1: found the byte 0xf6"),
    ("a binary list", "freeze.txt", b"a\0b", "freeze.txt, line 1: found a zero byte"),
    ("facts in UTF-16", "profile.toml", "python".encode("utf-16"), "profile.toml: found UTF-16"),
    ("facts that are cut", "profile.toml", b"python = ", "profile.toml is not TOML"),
    ("facts that are nested", "profile.toml", b"a = " + b"[" * 20_000, "profile.toml is not TOML"),
    ("a number as Python", "profile.toml", b"python = 3.12\n", "python is 3.12. Write it like"),
    (
        "sources that are a text",
        "profile.toml",
        FACTS + b'sources = "x"',
        "sources is 'x', wanted tables",
    ),
    (
        "a source of a number",
        "profile.toml",
        FACTS + b"[[sources]]\nfile = 3\n",
        "file of source 1 is 3, w",
    ),
    (
        "a source above",
        "profile.toml",
        FACTS + b'[[sources]]\nfile = "../x"\n',
        "'../x', wanted the name",
    ),
    (
        "a source without file",
        "profile.toml",
        FACTS + b"[[sources]]\n",
        "file of source 1 is nothing",
    ),
    (
        "a number as machine",
        "profile.toml",
        FACTS + b'machine = 64\n[[sources]]\nfile = "freeze.txt"\n',
        "machine is 64. Write it like 'x86_64'",
    ),
]


@pytest.mark.parametrize(("file", "content", "answer"), values(PROFILES), ids=names(PROFILES))
def test_an_odd_profile_is_named(tmp_path, file, content, answer):
    """A file of a profile that is something else is one sentence."""
    profile = make_profile(tmp_path, FREEZE)
    (profile.folder / file).write_bytes(content)
    refused(ProfileError, answer, load_profile, profile.name, tmp_path)


PROBE = {"packages": {"numpy": "2.0.2"}, "imports": {"numpy": ["numpy"]}, "python": "3.12.13"}
PROBE |= {"glibc": "2.35"}
PROBES = [
    # (name, what the file holds, the right answer)
    ("packages of numbers", {**PROBE, "packages": {"numpy": 2}}, "packages.numpy is 2, wanted"),
    ("a list of packages", {**PROBE, "packages": ["numpy"]}, "packages is ['numpy'], wanted"),
    (
        "imports of texts",
        {**PROBE, "imports": {"numpy": "numpy"}},
        "imports.numpy is 'numpy', want",
    ),
    ("a number as Python", {**PROBE, "python": 3.12}, "python is 3.12, wanted"),
    (
        "no glibc",
        {k: v for k, v in PROBE.items() if k != "glibc"},
        "it lacks packages, imports, py",
    ),
    ("a list", [], "it lacks packages, imports, python or glibc"),
]


@pytest.mark.parametrize(("content", "answer"), values(PROBES), ids=names(PROBES))
def test_an_odd_probe_is_named(tmp_path, content, answer):
    """What the probe did not print is one sentence with the field."""
    path = tmp_path / "probe.json"
    path.write_text(json.dumps(content))
    refused(ProfileError, answer, read_probe, path)


LOCKS = [
    # (name, what is replaced, by what, the right answer)
    ("nested", "inputs = ", f"x = {'[' * 20_000}\ninputs = ", "is not a lock"),
    ("no inputs", "inputs", "outputs", "it has no 'inputs'"),
    ("a list of tools", "[tool.kernelkit]", "[[tool.kernelkit]]", "is not a lock"),
    ("no wheel", "-py3-none-any.whl", ".tar.gz", "is not a lock"),
    ("a short hash", 'sha256 = "', 'sha256 = "0", was = "', "is not a lock"),
    ("two versions", "version = ", "version = [1]\nwas = ", "is not a lock"),
]


@pytest.mark.parametrize(("old", "new", "answer"), values(LOCKS), ids=names(LOCKS))
def test_an_odd_lock_is_named(tmp_path, old, new, answer):
    """A lock that was edited is one sentence, and never names a path."""
    make_wheel(tmp_path / "registry", "one")
    profile = make_profile(tmp_path / "profiles", FREEZE)
    make_resolver(tmp_path, profile, "one").lock()
    path = lock_path(profile)
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    refused(LockError, answer, read_lock, path)


def test_a_lock_in_utf_16_is_named(tmp_path):
    """An editor saved it so."""
    path = tmp_path / "pylock.toml"
    path.write_bytes("lock".encode("utf-16"))
    refused(LockError, "pylock.toml: found UTF-16, wanted UTF-8", read_lock, path)


LISTINGS = [
    # (name, bytes, the right answer)
    ("empty", b"", "dataset-metadata.json: it is not as the client wants it"),
    ("binary", bytes(range(200)), "it is not as the client wants it"),
    ("a list", b"[]", "it is not as the client wants it"),
    ("nested", b"[" * 20_000, "it is not as the client wants it"),
    ("no id", b'{"title": "a", "subtitle": "b", "licenses": [{"name": "c"}]}', "id is not as the"),
    ("an id without owner", b'{"id": "a", "title": "a"}', "id is not as the client wants it"),
    ("no licence", b'{"id": "a/b", "title": "a", "subtitle": "b", "licenses": []}', "licenses is"),
]


@pytest.mark.parametrize(("content", "answer"), values(LISTINGS), ids=names(LISTINGS))
def test_an_odd_listing_is_named(tmp_path, content, answer):
    """The client's own file is read in one sentence, and never counts as proved."""
    (tmp_path / CLIENT_FILE).write_bytes(content)
    refused(DatasetError, answer, read_listing, tmp_path)
    assert proved_fingerprint(tmp_path) == ""


# ---- wheels


def _with(member, content=b"", link=False):
    """A wheel with one more member."""

    def make(folder):
        path = make_wheel(folder, "one")
        with zipfile.ZipFile(path, "a") as archive:
            info = zipfile.ZipInfo(member)
            info.external_attr = ((stat.S_IFLNK if link else stat.S_IFREG) | 0o644) << 16
            archive.writestr(info, content)
        return path

    return make


def _cut(folder):
    path = make_wheel(folder, "one")
    path.write_bytes(path.read_bytes()[:-30])
    return path


def _damaged(folder):
    """A wheel whose METADATA is not what its checksum says."""
    path = make_wheel(folder, "one", files={"one.py": b"x = 1"})
    path.write_bytes(path.read_bytes().replace(b"Metadata-Version: 2.1", b"Metadata-Version: 2.2"))
    return path


def _without_record(folder):
    path = folder / "one-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        text = "Metadata-Version: 2.1\nName: one\nVersion: 1.0\n"
        archive.writestr("one-1.0.dist-info/METADATA", text)
    return path


def _empty(folder):
    path = folder / "one-1.0-py3-none-any.whl"
    path.write_bytes(b"")
    return path


def _misnamed(folder):
    return make_wheel(folder, "one").rename(folder / "one.whl")


WHEELS = [
    # (name, what makes the wheel, the right answer)
    ("a member above", _with("../evil.py"), "has a file outside of it: ../evil.py"),
    ("a member far above", _with("a/../../evil.py"), "has a file outside of it: a/../../evil.py"),
    ("an absolute member", _with("/etc/evil"), "has a file outside of it: /etc/evil"),
    ("a link", _with("one/link", b"/etc/passwd", link=True), "has a link: one/link"),
    ("a cut archive", _cut, "is not a wheel that can be read"),
    ("a damaged member", _damaged, "is not a wheel that can be read: Bad CRC-32"),
    ("no list of files", _without_record, "is not a wheel that can be read: There is no item"),
    ("an empty file", _empty, "is not a wheel that can be read: File is not a zip file"),
    ("a name that is none", _misnamed, "one.whl is not a wheel that can be read"),
]


@pytest.mark.parametrize(("make", "answer"), values(WHEELS), ids=names(WHEELS))
def test_an_odd_wheel_is_named(tmp_path, make, answer):
    """A wheel that would write elsewhere, or cannot be read, is refused in one sentence."""
    refused(WheelError, answer, read_wheel, make(tmp_path))


OWN = [
    # (name, distribution, what the wheel holds, what is imported)
    ("tests beside it", "kornia", ["kornia/__init__.py", "test/__init__.py"], ("kornia",)),
    ("a setup.py beside it", "one", ["one/__init__.py", "setup.py"], ("one",)),
    ("docs without __init__", "one", ["one/__init__.py", "docs/conf.py"], ("one",)),
    ("another name than its own", "scikit-x", ["skx/__init__.py", "tests/a.py"], ("skx",)),
    ("a package called test", "test", ["test/__init__.py", "docs/a.py"], ("test",)),
    ("a package called tools", "tools", ["tools/__init__.py"], ("tools",)),
    ("nothing but tests", "one", ["tests/__init__.py"], ("tests",)),
    ("two of its own", "attrs", ["attr/__init__.py", "attrs/__init__.py"], ("attr", "attrs")),
    ("in its data", "one", ["one-1.0.data/purelib/one.py", "one-1.0.data/scripts/x.py"], ("one",)),
    ("compiled", "one", ["one.cpython-312-x86_64-linux-gnu.so", "conftest.py"], ("one",)),
]


@pytest.mark.parametrize(("name", "files", "modules"), values(OWN), ids=names(OWN))
def test_only_modules_of_its_own_are_imported(tmp_path, name, files, modules):
    """What a project packs by mistake is not what its wheel is for."""
    path = make_wheel(tmp_path, name, files=dict.fromkeys(files, b""))
    assert read_wheel(path).modules == modules


SHARED = b"__path__ = __import__('pkgutil').extend_path(__path__, __name__)\n"
TAKEN = [
    # (name, files of a wheel, the right answer or None)
    ("json", {"json.py": b""}, "would hide the json of Python's own library"),
    ("dataclasses", {"dataclasses.py": b""}, "would hide the dataclasses of Python's own library"),
    ("typing", {"typing/__init__.py": b""}, "would hide the typing of Python's own library"),
    ("an old name", {"distutils/__init__.py": b""}, None),  # no longer in Python 3.12
    ("numpy", {"numpy/__init__.py": b""}, "would hide the numpy of numpy, which image has"),
    ("a namespace", {"mpl_toolkits/basemap/__init__.py": b""}, None),
    (
        "an older namespace",
        {"mpl_toolkits/__init__.py": SHARED, "mpl_toolkits/basemap/__init__.py": b""},
        None,
    ),
    ("no namespace", {"mpl_toolkits/__init__.py": b""}, "would hide the mpl_toolkits of matplotli"),
    ("google", {"google/thing/__init__.py": b""}, "lies in the namespace google"),
    ("tests of its own", {"thing/__init__.py": b"", "test/__init__.py": b""}, None),
]


@pytest.mark.parametrize(("files", "answer"), values(TAKEN), ids=names(TAKEN))
def test_what_python_and_the_image_have_is_never_hidden(tmp_path, files, answer):
    """The standard library and the image come first. Parts of a namespace are merged."""
    make_wheel(tmp_path / "registry", "thing", files=files)
    profile = make_profile(tmp_path / "profiles", FREEZE)
    resolver = make_resolver(tmp_path, profile, "thing")
    if answer is None:
        assert [wheel.name for wheel in resolver.resolve().wheels] == ["thing"]
    else:
        refused(ResolveError, answer, resolver.resolve)


def _python(folder, name, wants):
    """A wheel that asks for versions of Python."""
    path = make_wheel(folder, name)
    info = f"{name}-1.0.dist-info/METADATA"
    with zipfile.ZipFile(path) as archive:
        members = {member: archive.read(member) for member in archive.namelist()}
    members[info] += f"Requires-Python: {wants}\n".encode()
    with zipfile.ZipFile(path, "w") as archive:
        for member, content in members.items():
            archive.writestr(member, content)


PYTHONS = [
    # (name, what the wheel asks for, the right answer or None)
    ("an upper bound", ">=3.6,<3.7", "is for Python <3.7,>=3.6, but the image image has 3.12.13"),
    ("an upper bound alone", "<3.12", "is for Python <3.12, but the image image has 3.12.13"),
    ("one version", "==3.11.*", "is for Python ==3.11.*, but the image image has 3.12.13"),
    ("one that fits", ">=3.12,<4", None),
    ("one that fits closely", "<=3.12.13", None),
]


@pytest.mark.parametrize(("wants", "answer"), values(PYTHONS), ids=names(PYTHONS))
def test_a_bound_of_python_is_one_sentence_with_its_chain(tmp_path, wants, answer):
    """The resolver looks at lower bounds only, and pip would answer in its own words."""
    _python(tmp_path / "registry", "below", wants)
    make_wheel(tmp_path / "registry", "above", requires=["below"])
    profile = make_profile(tmp_path / "profiles", FREEZE)
    resolver = make_resolver(tmp_path, profile, "above")
    if answer is None:
        assert len(resolver.resolve().wheels) == 2
    else:
        refused(WheelError, answer, resolver.resolve)
        refused(WheelError, "requirements.in > above > below: ", resolver.resolve)


# ---- releases that are years old


def _old_wheel(folder):
    make_wheel(folder, "old", "0.3.0")
    make_sdist(folder, "old", "0.7.1")


AGES = [
    # (name, what is asked for, the right answer or None)
    ("sources are newer", ["old"], "found 0.3.0, wanted 0.7.1, which is out"),
    ("a wheel asks for it", ["user"], "requirements.in > user > old: found 0.3.0, wanted 0.7.1"),
    ("it says why", ["old"], "There are only sources. Build a wheel in the image"),
    ("it says how to go on", ["old"], "write `# allow-old` behind it in requirements.in, or build"),
    ("a bound of one's own", ["old<0.5"], None),
    ("accepted in the file", ["old  # allow-old: 0.3.0 is all we need"], None),
    ("another one accepted", ["old", "user  # allow-old"], "found 0.3.0, wanted 0.7.1"),
]


@pytest.mark.parametrize(("asked", "answer"), values(AGES), ids=names(AGES))
def test_an_old_release_is_never_taken_in_silence(tmp_path, asked, answer):
    """If newer releases are sources only, the build stops, unless that was accepted."""
    _old_wheel(tmp_path / "registry")
    make_wheel(tmp_path / "registry", "user", requires=["old"])
    profile = make_profile(tmp_path / "profiles", FREEZE)
    resolver = make_resolver(tmp_path, profile, *asked)
    if answer is None:
        assert {wheel.version for wheel in resolver.resolve().wheels if wheel.name == "old"} == {
            "0.3.0"
        }
    else:
        refused(ResolveError, answer, resolver.resolve)
        assert not lock_path(profile).exists()


def test_an_old_release_is_accepted_on_the_command_line(tmp_path):
    """`--allow-old NAME` does what the comment does, and the note stays."""
    options = build_dataset.parse(["--allow-old", "Efficientnet_PyTorch", "--no-index"])
    builder = build_dataset.make_builder(options)
    assert builder.made_by == (
        "PYTHONPATH=kernel_src .venv/bin/python build_dataset.py "
        "--allow-old Efficientnet_PyTorch --no-index"
    )
    allowed = builder.resolver.allow_old
    assert allowed == {"efficientnet-pytorch"}
    _old_wheel(tmp_path / "registry")
    profile = make_profile(tmp_path / "profiles", FREEZE)
    resolver = make_resolver(tmp_path, profile, "old")
    object.__setattr__(resolver, "allow_old", frozenset(["old"]))
    (wheel,) = resolver.resolve().wheels
    assert wheel.note.startswith("not the newest: old 0.7.1 cannot be met on image")


def test_a_year_makes_a_release_old(monkeypatch):
    """pip is asked which releases there were a year after. The newest was not among them."""
    asked = []

    def answer(command, **_):
        asked.append(command)
        return '{"versions": ["0.4.0", "0.3.0"]}'

    monkeypatch.setattr("devkit.wheels.releases.run_tool", answer)
    then = datetime.datetime(2019, 6, 29, tzinfo=datetime.UTC)
    assert is_old(then, "old", Version("0.7.1"), WheelSource())
    assert not is_old(then, "old", Version("0.4.0"), WheelSource())
    assert asked[0][-2] == "2020-06-28T00:00:00+00:00"


# ---- the twin


@pytest.fixture
def registry(tmp_path):
    """A folder of wheels that stands for the registry."""
    folder = tmp_path / "registry"
    make_wheel(folder, "fsspec", requires=["aiohttp; extra == 'http'"], extras=["http"])
    make_wheel(folder, "aiohttp")
    make_wheel(folder, "requests")
    return folder


def _twin(tmp_path, freeze, needed, **options):
    profile = make_profile(tmp_path / "profiles", freeze, python=PYTHON_HERE)
    source = WheelSource((tmp_path / "registry",), no_index=True)
    vendored = options.pop("vendored", ())
    return make_twin(profile, needed, vendored, source, tmp_path / "twins", **options)


@pytest.mark.usefixtures("registry")
def test_an_extra_of_the_image_is_in_the_twin(tmp_path):
    """What `fsspec[http]` adds is in the image, so it is in the twin."""
    profile = make_profile(tmp_path / "p", "fsspec==1.0\naiohttp==1.0\npip==24.1\n")
    wheel = read_wheel(make_wheel(tmp_path, "user", requires=["fsspec[http]>=1", "pip"]))
    needed = needed_packages(profile, [], [wheel])
    assert needed == ["fsspec[http]", "pip"]
    twin = _twin(tmp_path, "fsspec==1.0\naiohttp==1.0\n", ["fsspec[http]"])
    assert twin.versions == {"fsspec": "1.0", "aiohttp": "1.0"}


@pytest.mark.usefixtures("registry")
def test_what_an_extra_adds_and_the_dataset_ships_is_not_in_the_twin(tmp_path):
    """The dataset proves that itself, so it is no contradiction."""
    twin = _twin(tmp_path, "fsspec==1.0\n", ["fsspec[http]"], vendored=["aiohttp"])
    assert twin.versions == {"fsspec": "1.0"}


@pytest.mark.usefixtures("registry")
def test_an_undeclared_import_is_remembered(tmp_path):
    """What turned out to be missing is in the lock, so that the next build knows."""
    freeze = "fsspec==1.0\nrequests==1.0\n"
    twin = _twin(tmp_path, freeze, ["fsspec"], also={"requests"})
    assert twin.versions == {"fsspec": "1.0", "requests": "1.0"}
    assert _twin(tmp_path, freeze, ["fsspec"]).versions == twin.versions
    lock = read_lock(tmp_path / "profiles/image/pylock.twin.toml")
    assert lock.also == ("requests",)


SETUP = """\
import base64, hashlib, os, zipfile
def build_wheel(folder, *_):
    name = "antlr4_runtime-4.9.3"
    path = f"{name}-py3-none-any.whl"
    with zipfile.ZipFile(os.path.join(folder, path), "w") as wheel:
        for key, text in (
            ("antlr4/__init__.py", ""),
            (f"{name}.dist-info/METADATA",
             "Metadata-Version: 2.1\\nName: antlr4-runtime\\nVersion: 4.9.3\\n"),
            (f"{name}.dist-info/WHEEL",
             "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n"),
            (f"{name}.dist-info/RECORD", ""),
        ):
            wheel.writestr(zipfile.ZipInfo(key), text)
    return path
"""


def _sources(folder, backend):
    """A source archive that builds itself, without a network."""
    folder.mkdir(exist_ok=True)
    project = '[build-system]\nrequires = []\nbuild-backend = "setup"\nbackend-path = ["."]\n'
    info = "Metadata-Version: 2.1\nName: antlr4-runtime\nVersion: 4.9.3\n"
    files = {"PKG-INFO": info, "pyproject.toml": project, "setup.py": backend}
    with tarfile.open(folder / "antlr4_runtime-4.9.3.tar.gz", "w:gz") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(f"antlr4_runtime-4.9.3/{name}")
            member.size = len(text.encode())
            archive.addfile(member, BytesIO(text.encode()))


def test_a_package_of_the_image_that_has_sources_only_is_built(tmp_path):
    """hydra-core needs such a one. The twin has it, and its lock says where it comes from."""
    _sources(tmp_path / "registry", SETUP)
    make_wheel(tmp_path / "registry", "hydra", requires=["antlr4-runtime==4.9.*"])
    freeze = "hydra==1.0\nantlr4-runtime==4.9.3\n"
    twin = _twin(tmp_path, freeze, ["hydra"])
    assert twin.versions == {"hydra": "1.0", "antlr4-runtime": "4.9.3"}
    (built,) = (wheel for wheel in twin.lock.wheels if wheel.name == "antlr4-runtime")
    assert built.why == "built from its sources"
    (tmp_path / "twins/built" / built.file).unlink()  # as on another machine
    assert _twin(tmp_path, freeze, ["hydra"]).versions == twin.versions


def test_sources_that_cannot_be_built_are_named(tmp_path):
    """The sentence names the package, and what to do."""
    _sources(tmp_path / "registry", "raise SystemExit('no compiler here')\n")
    answer = "image has antlr4-runtime 4.9.3, which the registry has as sources only"
    freeze = "antlr4-runtime==4.9.3\n"
    with pytest.raises(TwinError, match=f"{answer}.*wheels/local/$"):
        _twin(tmp_path, freeze, ["antlr4-runtime"])


@pytest.mark.usefixtures("registry")
def test_a_twin_whose_note_is_broken_is_named(tmp_path):
    """What stands in a finished twin is read in one sentence."""
    twin = _twin(tmp_path, "requests==1.0\n", ["requests"])
    for content in (b"", b"[]", b'{"python": 3}', bytes(99)):
        (twin.folder / "twin.json").write_bytes(content)
        with pytest.raises(TwinError, match=r"twin.json is not what was written there. Remove "):
            _twin(tmp_path, "requests==1.0\n", ["requests"])


# ---- what is replaced, and when


@pytest.fixture
def build(tmp_path, monkeypatch):
    """A builder whose proof ends as the test says, and what it said."""
    here = profile_of_here(tmp_path / "profiles")
    make_wheel(tmp_path / "registry", "shapes")
    source = make_source(tmp_path / "source")
    said, ends = [], []
    builder = Builder(make_resolver(tmp_path, here, "shapes"), LISTING, [], source, said.append)
    twins = []

    def twin(_, also=()):
        twins.append(set(also))
        return Twin("here", Path(sys.prefix), Path(sys.executable), {}, ())

    def proof(*_):
        if ends and (problem := ends.pop(0)):
            raise TwinError(problem)
        return Proof("", 0.0, is_isolated=True)

    monkeypatch.setattr(Builder, "twin", twin)
    monkeypatch.setattr(builders, "prove", proof)
    builder.ends, builder.twins, builder.said = ends, twins, said
    return builder


def contents(folder):
    """The bytes of every file of a folder."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_failed_proof_leaves_the_last_good_dataset_and_lock(build, tmp_path):
    """The folder and the lock that were proved stay, to the byte, and nothing half made is left."""
    folder = tmp_path / "build" / "kernel"
    first = build.build_proved(folder)
    assert proved_fingerprint(folder) == first.fingerprint
    before, lock = contents(folder), lock_path(build.profile).read_bytes()
    (tmp_path / "source/kernelkit/grid.py").write_text("import shapes, broken\n")
    make_wheel(tmp_path / "registry", "more")
    (tmp_path / "requirements.in").write_text("shapes\nmore\n")
    build.ends.append("grid cannot be imported")
    with pytest.raises(TwinError):
        build.build_proved(folder)
    assert contents(folder) == before
    assert lock_path(build.profile).read_bytes() == lock
    assert [path.name for path in folder.parent.iterdir()] == ["kernel"]
    again = build.build_proved(folder)
    assert again.fingerprint != first.fingerprint
    assert proved_fingerprint(folder) == again.fingerprint
    assert lock_path(build.profile).read_bytes() != lock


def test_what_was_proved_is_not_proved_again(build, tmp_path):
    """What is noted stays. So a push notices a changed lock, and prints the command that built."""
    folder = tmp_path / "build" / "kernel"
    replace(build, made_by="make it").build_proved(folder)
    noted = read_marks(folder)
    assert "profile and lock" in [source.what for source in noted.sources]
    build.twins.clear()
    build.build_proved(folder)
    assert build.said[-1].endswith(" before")
    assert build.twins == []
    assert read_marks(folder) == noted


def test_the_same_dataset_of_another_image_is_proved_again(build, tmp_path):
    """What the image has is part of what was proved, though it is not packed."""
    folder = tmp_path / "build" / "kernel"
    build.build_proved(folder)
    build.twins.clear()
    (build.profile.folder / "more.txt").write_text("another==1.0\n")
    build.build_proved(folder)
    assert build.twins == [set()]


def test_a_first_failed_proof_leaves_nothing(build, tmp_path):
    """Neither a folder that could be pushed nor a lock is there."""
    build.ends.append("it does not start")
    with pytest.raises(TwinError):
        build.build_proved(tmp_path / "build" / "kernel")
    assert not (tmp_path / "build" / "kernel").exists()
    assert not lock_path(build.profile).exists()


def test_what_is_not_proved_never_replaces_what_is(build, tmp_path):
    """`--no-proof` builds elsewhere, and a folder that was proved is refused."""
    folder = tmp_path / "kernel"
    build.build_proved(folder)
    before = contents(folder)
    refused(DatasetError, "holds a dataset that was proved", build.build, folder)
    assert contents(folder) == before
    other = build.build(tmp_path / "other")
    assert proved_fingerprint(other.folder) == ""


def test_a_module_of_the_image_that_the_twin_lacks_is_added(build, tmp_path):
    """The proof begins again with it, instead of a refusal that is not true."""
    build.ends.append("x.whl cannot be imported: No module named 'torchvision.ops'")
    build.build_proved(tmp_path / "kernel")
    assert build.twins == [set(), {"torchvision"}]
    assert "twin     made again with torchvision of the image" in build.said


def test_a_module_that_nobody_has_stays_an_error(build, tmp_path):
    """What the image lacks too is a true refusal."""
    build.ends.append("x.whl cannot be imported: No module named 'nowhere'")
    with pytest.raises(TwinError, match="nowhere"):
        build.build_proved(tmp_path / "kernel")
    assert build.twins == [set()]


def test_an_unproved_dataset_is_never_pushed(build, tmp_path):
    """The push asks for the note of the proof, which is of this very dataset."""
    unproved = build.build(tmp_path / "unproved").folder
    path = unproved / "kernelkit-manifest.json"
    answer = "this dataset was not proved in the twin of here. Run make it"
    refused(DatasetError, answer, check_proved, unproved, read_manifest(path, "make it"), "make it")
    mark(unproved, proved="0" * 64)
    refused(DatasetError, answer, check_proved, unproved, read_manifest(path, "make it"), "make it")
    proved = build.build_proved(tmp_path / "proved").folder
    check_proved(proved, read_manifest(proved / "kernelkit-manifest.json", "make it"), "make it")
    (proved / CLIENT_FILE).write_bytes(b"[" * 20_000)
    manifest = read_manifest(proved / "kernelkit-manifest.json", "make it")
    refused(DatasetError, answer, check_proved, proved, manifest, "make it")


@pytest.mark.parametrize("what", ["a file", "a link"])
def test_a_dataset_never_takes_the_place_of_something_else(tmp_path, what):
    """A file stays, and what a link names stays too."""
    staging, place, other = tmp_path / "new", tmp_path / "place", tmp_path / "other"
    staging.mkdir()
    other.mkdir()
    (other / CLIENT_FILE).write_text("{}")
    if what == "a file":
        place.write_text("mine")
    else:
        place.symlink_to(other)
    refused(DatasetError, f"{place} is {what}, wanted a folder", replace_dataset, staging, place)
    assert (other / CLIENT_FILE).exists()


# ---- wheels of one's own


def _stranger(folder):
    make_wheel(folder, "stranger")


def _of_the_image(folder):
    make_wheel(folder, "numpy", "9.9")


def _loser(folder):
    make_wheel(folder, "shapes", "0.9")


def _broken_wheel(folder):
    folder.mkdir()
    (folder / "x-1.0-py3-none-any.whl").write_bytes(b"x")


SPOKEN = [
    # (name, what lies there, the right answer)
    ("not asked for", _stranger, "nothing asks for it. Add stranger to requirements.in, or remove"),
    ("of the image", _of_the_image, "note: numpy-9.9-py3-none-any.whl: not taken. here has"),
    (
        "a loser",
        _loser,
        "1.0 is taken, shapes-1.0-py3-none-any.whl. To take this one, ask for shap",
    ),
    ("broken", _broken_wheel, "note: x-1.0-py3-none-any.whl: not taken. "),
]


@pytest.mark.parametrize(("leave", "answer"), values(SPOKEN), ids=names(SPOKEN))
def test_a_wheel_of_ones_own_is_never_left_out_in_silence(build, tmp_path, leave, answer):
    """A line says why a wheel in wheels/local/ was not taken, at each build."""
    lock = build.resolver.lock()
    leave(tmp_path / "local")
    source = WheelSource((tmp_path / "local",))
    object.__setattr__(build.resolver, "source", source)
    (line,) = notes_of_own_wheels(build.resolver, lock)
    assert answer in line


def test_a_wheel_that_is_taken_needs_no_word(build, tmp_path):
    """Nothing is said of a wheel of one's own that goes along."""
    lock = build.resolver.lock()
    object.__setattr__(build.resolver, "source", WheelSource((tmp_path / "registry",)))
    assert notes_of_own_wheels(build.resolver, lock) == []


# ---- the command


@pytest.mark.parametrize("version", ["3.8", "3.11", "3.12 without packages"])
def test_a_python_without_the_environment_is_told(tmp_path, version):
    """One sentence names the Python to use, before anything else is imported."""
    script = REPOSITORY / "build_dataset.py"
    number = tuple(map(int, version.split()[0].split(".")))
    hidden = "{'packaging', 'pydantic', 'devkit'}" if "without" in version else "{'devkit'}"
    code = f"""
import importlib.util, runpy, sys
sys.version_info = {(*number, 0, "final", 0)!r}
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name in {hidden} else find(name, *rest)
runpy.run_path({str(script)!r}, run_name="__main__")
"""
    result = subprocess.run(
        [sys.executable, "-I", "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    (line,) = result.stderr.strip().splitlines()
    assert line.startswith(f"kernel-dataset failed: {sys.executable} lacks the environment. Use ")
    assert str(REPOSITORY / ".venv" / "bin" / "python") in line


def test_the_command_can_be_parsed_by_an_old_python():
    """What an old Python cannot parse ends in its own words."""
    target = ["--isolated", "--no-cache", "--target-version", "py37", "--select", "E902"]
    command = [sys.executable, "-m", "ruff", "check", *target, "build_dataset.py"]
    subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True)


# ---- code of the user's own


def _link(folder):
    (folder / "model.py").symlink_to("/etc/hostname")


def _large(folder):
    (folder / "model").mkdir()
    (folder / "model" / "nets.py").touch()
    with (folder / "model" / "best.pth").open("wb") as file:
        file.truncate(60 << 20)


def _compiled(folder):
    _file("model/nets.py")(folder)
    _file("model/fast.so")(folder)


def _file(name):
    """What writes an empty file of this name."""

    def make(folder):
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.touch()

    return make


OWN = [
    # (name, what makes it, the right answer)
    (
        "the standard library's",
        _file("json.py"),
        "json would hide the module of that name in the s",
    ),
    (
        "the image's",
        _file("numpy/__init__.py"),
        "numpy would hide the module of that name in the i",
    ),
    ("kernelkit's", _file("kernelkit/own.py"), "kernelkit would hide the module of that name in k"),
    ("the bootstrap's", _file("mounted.py"), "mounted would hide the module of that name in kern"),
    (
        "what stays at home",
        _file("devkit/x.py"),
        "devkit would hide the module of that name in ker",
    ),
    ("a vendored wheel's", _file("shapes.py"), "shapes would hide the module of that name in a v"),
    ("compiled", _compiled, "fast.so is compiled. Build a wheel of it, and vendor th"),
    ("a link that leads outside", _link, "model.py is a link that leads outside. Copy the file"),
    ("weights in it", _large, "it holds 63 MB, such as "),
]


@pytest.mark.parametrize(("make", "answer"), values(OWN), ids=names(OWN))
def test_own_code(make, answer, tmp_path):
    """What would hide something on the image, or is no code, is refused before it is packed."""
    folder = tmp_path / "own"
    folder.mkdir()
    make(folder)
    code = OwnCode.below(folder)
    profile = make_profile(tmp_path / "profiles")
    refused(DatasetError, answer, check_own, code, profile, ["shapes"])
