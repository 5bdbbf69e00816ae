"""All that needs the package registry, or uv's cache of it.

The other tests of the builder resolve from folders of made wheels, without a network.
"""

import shutil

import pytest

from devkit.dataset.builder import Builder
from devkit.dataset.listing import default_listing
from devkit.dataset.pack import pack
from devkit.image.profiles import PROFILES, load_profile
from devkit.tools import find_uv, run_tool
from devkit.wheels.resolve import Resolver
from tests.made.dataset import LISTING, make_source, run_first_cell
from tests.made.wheels import make_profile

pytestmark = pytest.mark.network


@pytest.fixture
def profiles(tmp_path):
    """A copy of the committed profiles, whose locks may be written."""
    return shutil.copytree(PROFILES, tmp_path / "profiles")


def make_resolver(tmp_path, profile, *asked):
    """Make a resolver that asks the registry."""
    requirements = tmp_path / "requirements.in"
    requirements.write_text("".join(f"{line}\n" for line in asked))
    return Resolver(profile, requirements, downloads_folder=tmp_path / "downloads")


@pytest.mark.parametrize(
    ("name", "tag"), [("kaggle-py312", "cp312-cp312"), ("kaggle-py313", "cp313-cp313")]
)
def test_a_compiled_package_is_vendored_for_the_image_not_for_this_python(
    profiles, tmp_path, name, tag
):
    """One Python locks, fetches and checks the wheels of both images."""
    asked = ("segmentation-models-pytorch", "connected-components-3d")
    lock = make_resolver(tmp_path, load_profile(name, profiles), *asked).lock(upgrade=True)
    wheels = {wheel.name: wheel for wheel in lock.wheels}
    assert set(wheels) == set(asked)
    assert f"-{tag}-manylinux" in wheels["connected-components-3d"].file
    assert wheels["connected-components-3d"].modules == ("cc3d",)
    assert wheels["segmentation-models-pytorch"].file.endswith("py3-none-any.whl")
    assert not wheels["segmentation-models-pytorch"].version.startswith("0.0")


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_dataset_for_3_13_installs_into_a_real_3_13(tmp_path):
    """This Python builds it. The cp313 wheels install and work in the other, by its own pip."""
    python = run_tool([find_uv(), "python", "find", "3.13"]).strip()
    environment = tmp_path / "environment"
    run_tool([find_uv(), "venv", "--quiet", "--no-project", "--python", python, environment])
    interpreter = environment / "bin" / "python"
    packages = ("numpy==2.1.3", "pip==24.1.2")
    run_tool([find_uv(), "pip", "install", "--quiet", "--python", interpreter, *packages])
    version = run_tool([interpreter, "-c", "import platform; print(platform.python_version())"])
    freeze = "numpy==2.1.3\npip==24.1.2\n"
    profile = make_profile(tmp_path / "profiles", freeze, python=version.strip(), glibc="2.31")
    resolver = make_resolver(tmp_path, profile, "connected-components-3d")
    source = make_source(tmp_path / "source")
    (source / "kernelkit" / "grid.py").write_text("import cc3d\n")
    wheels = Builder(resolver, LISTING, [], source).wheels(resolver.lock())
    packed = pack(profile, wheels, {}, LISTING, tmp_path / "input" / "a-kernel", source)
    then = "import cc3d, kernelkit.grid, numpy\n"
    then += "print(cc3d.connected_components(numpy.ones((2, 2, 2)) > 0).max())"
    inputs = tmp_path / "input"
    result = run_first_cell(inputs, tmp_path, packed.fingerprint, then, python=interpreter)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip().endswith("1")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_real_dataset_installs_in_the_images_twin(profiles, tmp_path):
    """kernelkit's own dataset for Kaggle's image imports in an environment like that image."""
    profile = load_profile("kaggle-py312", profiles)
    builder = Builder(Resolver(profile), default_listing(profile), say=str)
    packed = builder.build(tmp_path / "dataset")
    said = []
    builder.say = said.append
    builder.prove(packed)
    twin = builder.twin()
    assert not builder.current_lock().names & twin.versions.keys()
    assert twin.versions["numpy"] == "2.0.2"
    assert any("torch 2.10.0" in text for text in twin.differences)
    assert said[-1].startswith("proved   installs and imports in the twin")
