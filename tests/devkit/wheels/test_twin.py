"""The twin of an image: its packages at its versions, made once, and honest about what differs."""

import json
import platform
import subprocess

import pytest

from devkit.errors import ResolveError, TwinError
from devkit.wheels.downloads import WheelSource
from devkit.wheels.lock import read_lock
from devkit.wheels.needed import needed_packages
from devkit.wheels.twin import make_twin
from devkit.wheels.wheelfile import read_wheel
from tests.made.wheels import make_profile, make_wheel

PYTHON = platform.python_version()


@pytest.fixture
def registry(tmp_path):
    """A folder of wheels that stands for the registry."""
    folder = tmp_path / "registry"
    for version in ("1.0", "2.0", "3.0"):
        make_wheel(folder, "below", version)
    make_wheel(folder, "wanted", "1.0", requires=["below>=2"])
    make_wheel(folder, "other", "1.0", requires=["below"])
    return folder


@pytest.fixture
def make(tmp_path, registry):
    """A function that makes the twin of an image with the packages of a freeze."""

    def make(freeze, *needed, vendored=()):
        profile = make_profile(tmp_path / "profiles", freeze, python=PYTHON)
        source = WheelSource((registry,), no_index=True)
        return make_twin(profile, needed, vendored, source, tmp_path / "twins")

    return make


def ask(twin, code):
    """What the twin's Python prints."""
    run = [twin.python, "-I", "-c", code]
    return subprocess.run(run, capture_output=True, text=True, check=True).stdout.strip()


def test_it_has_the_images_versions_of_what_is_needed(make):
    """What is needed is there, with all that it requires, and nothing else."""
    twin = make("other==1.0\nbelow==2.0\nwanted==1.0\n", "other")
    assert twin.versions == {"other": "1.0", "below": "2.0"}
    assert ask(twin, "import other, below; print(other.version, below.version)") == "1.0 2.0"
    with pytest.raises(subprocess.CalledProcessError):
        ask(twin, "import wanted")


def test_it_is_made_once(make):
    """A second request finds the environment. Other packages make another one."""
    first = make("other==1.0\nbelow==2.0\n", "other")
    mark = first.folder / "mark"
    mark.touch()
    assert make("other==1.0\nbelow==2.0\n", "other").folder == first.folder
    assert mark.exists()
    assert make("other==1.0\nbelow==3.0\n", "other").folder != first.folder


def test_what_a_notebook_starts_with_is_compiled(make, registry):
    """A notebook cannot write into the twin, so each of them would compile it anew."""
    files = {"ipykernel/__init__.py": b"", "ipykernel/kernelapp.py": b"import below"}
    make_wheel(registry, "ipykernel", "1.0", requires=["below"], files=files)
    twin = make("ipykernel==1.0\nbelow==2.0\n", "ipykernel")
    compiled = {path.name.partition(".")[0] for path in twin.folder.rglob("*.pyc")}
    assert compiled >= {"kernelapp", "__init__"}
    assert list(twin.folder.rglob("below/__pycache__/*.pyc"))


def test_an_interrupted_making_is_made_again(make):
    """An environment that was not finished is not used."""
    twin = make("other==1.0\nbelow==2.0\n", "other")
    (twin.folder / "twin.json").unlink()
    for path in twin.folder.rglob("other/__init__.py"):
        path.unlink()
    again = make("other==1.0\nbelow==2.0\n", "other")
    assert ask(again, "import other; print(other.version)") == "1.0"


def test_the_lock_is_kept_beside_the_profile(make, tmp_path):
    """Each package has one hash. The lock serves until the image or the need changes."""
    make("other==1.0\nbelow==2.0\n", "other")
    path = tmp_path / "profiles/image/pylock.twin.toml"
    lock = read_lock(path)
    assert {wheel.name: wheel.version for wheel in lock.wheels} == {"other": "1.0", "below": "2.0"}
    before = path.read_bytes()
    make("other==1.0\nbelow==2.0\n", "other")
    assert path.read_bytes() == before
    make("other==1.0\nbelow==2.0\n", "other", "below")
    assert path.read_bytes() != before


def test_what_is_only_required_gives_way_if_the_list_contradicts_itself(make):
    """If two lists contradict each other, the twin says what it took instead."""
    twin = make("wanted==1.0\nbelow==1.0\n", "wanted")
    assert twin.versions["below"] == "3.0"
    assert "below 3.0, the image has 1.0" in twin.differences
    with pytest.raises(ResolveError, match="the twin of image cannot be met"):
        make("wanted==1.0\nbelow==1.0\n", "wanted", "below")


def test_differences_are_told(make, tmp_path, registry):
    """Another Python, a local label and an unknown version are one clause each."""
    make_wheel(registry, "torch", "2.10.0", requires=["below"])
    twin = make("torch==2.10.0+cu128\nbelow\n", "torch")
    text = twin.describe()
    assert "torch 2.10.0 as the registry builds it, the image has 2.10.0+cu128" in text
    assert "below 3.0, the image's version is not known" in text
    profile = make_profile(tmp_path / "p", "other==1.0\n", python=PYTHON.rsplit(".", 1)[0] + ".99")
    source = WheelSource((registry,), no_index=True)
    twin = make_twin(profile, ["other"], (), source, tmp_path / "twins")
    assert any(
        difference.startswith(f"Python {PYTHON}, the image") for difference in twin.differences
    )
    assert "below 3.0, which the image's list does not have" in twin.differences


def test_a_vendored_package_is_never_in_it(make):
    """A twin that had what the dataset ships could prove nothing."""
    with pytest.raises(TwinError, match="the image's packages require below, which the dataset"):
        make("other==1.0\nbelow==2.0\n", "other", vendored=["below"])


def test_it_needs_what_code_imports_and_wheels_require(tmp_path):
    """It takes the image's packages that matter, one opencv of several, and no vendored one."""
    profile = make_profile(
        tmp_path / "profiles",
        "numpy==2.0.2\ntorch==2.10.0\ntimm==1.0.26\nopencv-python==4\nopencv-python-headless==4\n"
        "ipykernel==6.17.1\npip==24.1.2\npandas==2.2.2\n",
    )
    wheel = make_wheel(tmp_path, "smp", requires=["timm>=1", "pandas; extra == 'all'"])
    needed = needed_packages(profile, ["cv2", "numpy.linalg", "json", "smp"], [read_wheel(wheel)])
    assert needed == ["ipykernel", "numpy", "opencv-python-headless", "pip", "timm"]


def test_its_kernelspec_runs_the_twins_python(make, tmp_path):
    """A notebook runner outside finds a kernel that starts the twin's interpreter."""
    twin = make("other==1.0\nbelow==2.0\n", "other")
    name = twin.write_kernelspec(tmp_path / "jupyter")
    kernel = json.loads((tmp_path / "jupyter/kernels" / name / "kernel.json").read_text())
    assert kernel["argv"][0] == str(twin.python)
    assert kernel["argv"][1:3] == ["-m", "ipykernel_launcher"]
