"""Profiles of images: what they say, and how one's own is made."""

import json
import sys
import tomllib
from importlib.metadata import version

import nbformat
import pytest
from nbclient import NotebookClient
from packaging.markers import Marker
from packaging.tags import parse_tag
from packaging.version import Version

from devkit.errors import ProfileError
from devkit.image import add_profile as command
from devkit.image.add_profile import add_profile
from devkit.image.profiles import PROFILES, load_profile, profile_names
from devkit.lint import NOTEBOOKS
from tests.made.wheels import make_profile


def accepts(profile, tag):
    """Whether the profile's Python installs a wheel of this compressed tag."""
    return profile.accepts(parse_tag(tag))


def test_two_profiles_are_there_from_the_start():
    """Both images of Kaggle have a profile, and each of its sources has an origin and a date."""
    assert {"kaggle-py312", "kaggle-py313"} <= set(profile_names())
    for name in ("kaggle-py312", "kaggle-py313"):
        facts = tomllib.loads((PROFILES / name / "profile.toml").read_text())
        assert all(source["origin"] and source["date"] for source in facts["sources"])


@pytest.mark.parametrize(
    ("name", "python", "torch", "numpy"),
    [
        ("kaggle-py312", "3.12.13", "2.10.0+cu128", "2.0.2"),
        ("kaggle-py313", "3.13.15", "2.11.0+cu128", "2.1.3"),
    ],
)
def test_local_labels_are_kept_and_stripped_for_resolving(name, python, torch, numpy):
    """Versions are compared with their local labels. The registry is asked without them."""
    profile = load_profile(name)
    assert profile.python == python
    assert profile.packages["torch"].version == Version(torch)
    assert profile.packages["torch"].pin == torch.split("+")[0]
    assert profile.packages["numpy"].version == Version(numpy)


def test_later_sources_lie_over_earlier_ones():
    """Kaggle's pins replace Colab's versions. Its unpinned names have no known version."""
    profile = load_profile("kaggle-py312")
    assert profile.packages["protobuf"].version == Version("5.29.5")
    assert profile.packages["nbconvert"].version == Version("6.4.5")
    assert profile.packages["kornia"].version is None
    assert profile.packages["segment-anything"].version is None
    assert profile.packages["scikit-learn"].version == Version("1.6.1")
    assert not profile.is_pinned("kornia")


def test_a_bound_that_the_freeze_breaks_leaves_the_version_unknown(tmp_path):
    """A requirement that the frozen version does not meet shows that it was replaced."""
    profile = make_profile(tmp_path, "fastcore==2.1\nfastcore<2\nnumpy==2.0.2\nnumpy>=2\n")
    assert profile.packages["fastcore"].version is None
    assert profile.packages["numpy"].version == Version("2.0.2")


def test_tags_are_those_of_the_image_not_of_this_machine():
    """Wheels of the image's Python fit. Those of a newer glibc or another Python do not."""
    py312, py313 = load_profile("kaggle-py312"), load_profile("kaggle-py313")
    assert accepts(py312, "cp312-cp312-manylinux_2_35_x86_64")
    assert accepts(py312, "cp312-cp312-manylinux2014_x86_64")
    assert accepts(py312, "cp38-abi3-manylinux_2_17_x86_64")
    assert accepts(py312, "py3-none-any")
    assert not accepts(py312, "cp312-cp312-manylinux_2_36_x86_64")
    assert not accepts(py312, "cp313-cp313-manylinux_2_17_x86_64")
    assert not accepts(py312, "cp312-cp312-win_amd64")
    assert not accepts(py312, "cp312-cp312-manylinux_2_17_aarch64")
    assert accepts(py313, "cp313-cp313-manylinux_2_28_x86_64")
    assert not accepts(py313, "cp312-cp312-manylinux_2_28_x86_64")


def test_the_best_tag_is_the_most_specific():
    """The tags begin with those of compiled wheels for the newest glibc."""
    ranks = list(map(str, load_profile("kaggle-py312").tags))
    best_first = ["cp312-cp312-manylinux_2_28_x86_64", "cp312-cp312-manylinux_2_17_x86_64"]
    best_first += ["cp38-abi3-manylinux_2_17_x86_64", "py3-none-any"]
    assert sorted(best_first, key=ranks.index) == best_first


def test_markers_are_those_of_the_image():
    """The image's Python decides about a marker, whichever Python runs the builder."""
    py313 = load_profile("kaggle-py313")
    assert Marker("python_version >= '3.13'").evaluate(py313.markers)
    assert not Marker("python_full_version < '3.13.10'").evaluate(py313.markers)
    assert Marker("sys_platform == 'linux'").evaluate(py313.markers)


@pytest.mark.parametrize(
    ("module", "distribution"),
    [
        ("cv2", "opencv-python"),
        ("yaml", "pyyaml"),
        ("PIL.Image", "pillow"),
        ("skimage.measure", "scikit-image"),
        ("scipy.sparse", "scipy"),
        ("google.protobuf.message", "protobuf"),
        ("google.cloud.storage", "google-cloud-storage"),
        ("mpl_toolkits.mplot3d", "matplotlib"),
        ("jaraco.context", "jaraco-context"),
    ],
)
def test_import_names_lead_to_distributions(module, distribution):
    """The table has an import name, or it is the name of its distribution."""
    profile = load_profile("kaggle-py312")
    assert distribution in profile.distributions_of(module)
    assert profile.provides(module)


@pytest.mark.parametrize("module", ["importlib.resources.abc", "importlib.metadata", "json"])
def test_the_standard_library_is_of_no_distribution(module):
    """Some of its modules have namesakes among the image's packages, as importlib-resources."""
    assert load_profile("kaggle-py312").distributions_of(module) == ()


def test_what_neither_list_has_is_not_provided():
    """The packages that users miss on Kaggle are missing from the profiles."""
    for profile in map(load_profile, ("kaggle-py312", "kaggle-py313")):
        for module in ("segmentation_models_pytorch", "monai", "imagecodecs", "cc3d", "zarr"):
            assert not profile.provides(module)


def test_a_freeze_becomes_a_profile(tmp_path):
    """`pip freeze` with its editable installs, addresses and comments is understood."""
    freeze = tmp_path / "freeze.txt"
    freeze.write_text(
        "# made by pip freeze\nnumpy==2.0.2\nsome_tool @ file:///tmp/some_tool-1.0.whl\n"
        "-e git+https://example.org/team/segment-anything.git@abc#egg=x\nPyYAML==6.0.3  # pinned\n"
    )
    profile = add_profile("mine", freeze, python="3.11", folder=tmp_path)
    assert profile.python == "3.11.0"
    assert profile.packages["some-tool"].version is None
    assert profile.packages["segment-anything"].version is None
    assert profile.packages["pyyaml"].version == Version("6.0.3")


@pytest.mark.timeout(120)
def test_the_probe_makes_a_profile_of_the_machine_it_runs_on(tmp_path):
    """The probe notebook runs, and its file becomes a profile with import names of its own."""
    notebook = nbformat.read(NOTEBOOKS / "probe.ipynb", as_version=4)
    for cell in notebook.cells:
        if "parameters" in cell.metadata.get("tags", ()):
            cell.source = f"output = {str(tmp_path)!r}"
    NotebookClient(notebook, timeout=100, kernel_name="python3").execute()
    profile = add_profile("probed", tmp_path / "profile.json", folder=tmp_path / "profiles")
    assert profile.python == sys.version.split()[0]
    assert profile.packages["torch"].pin == version("torch")
    assert profile.import_names["yaml"] == ("pyyaml",)
    assert profile.provides("segmentation_models_pytorch")
    assert "mounts" in json.loads((tmp_path / "profile.json").read_text())


def test_what_cannot_be_understood_is_named(tmp_path):
    """A missing profile, a broken line and a missing source each get a sentence."""
    with pytest.raises(ProfileError, match="no profile 'kaggle-py399'.*kaggle-py312"):
        load_profile("kaggle-py399")
    with pytest.raises(
        ProfileError,
        match=r"freeze.txt:2: 'numpy 2.0' is no requirement. Write it like 'numpy==2.0.2'$",
    ):
        make_profile(tmp_path, "torch==2.0\nnumpy 2.0\n")
    with pytest.raises(
        ProfileError, match=r"profile.toml: python is '3'. Write it like '3.12.13'$"
    ):
        make_profile(tmp_path, python="3")
    with pytest.raises(ProfileError, match="no package at all"):
        make_profile(tmp_path, "")
    (tmp_path / "image" / "freeze.txt").unlink()
    with pytest.raises(ProfileError, match=r"its source freeze.txt is missing"):
        load_profile("image", tmp_path)


def test_a_profile_that_fails_leaves_nothing_behind(tmp_path, capsys):
    """A broken source ends the command with one line and 1, and the name stays free."""
    probe = tmp_path / "profile.json"
    probe.write_text("{}")
    assert command.main(["broken-for-a-test", "--probe", str(probe)]) == 1
    said = capsys.readouterr().err
    assert said.startswith("add_profile failed: ")
    assert "not what the probe prints" in said
    assert "broken-for-a-test" not in profile_names()
    freeze = tmp_path / "freeze.txt"
    freeze.write_text("numpy==2.0.2\n")
    with pytest.raises(ProfileError, match="Add --python"):
        add_profile("mine", freeze, folder=tmp_path)
    assert not (tmp_path / "mine").exists()
