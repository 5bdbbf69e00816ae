"""Resolving for an image, from folders of made wheels: what is vendored, why, what is refused."""

import tomllib
import zipfile

import pytest
from packaging.pylock import Pylock

from devkit.errors import LockError, ResolveError, ToolError, WheelError
from devkit.wheels.downloads import WheelSource, fetch
from devkit.wheels.lock import read_lock
from devkit.wheels.resolve import lock_path, read_requirements
from devkit.wheels.wheelfile import check_wheel, read_wheel
from kernelkit.files import file_sha256
from tests.made.wheels import make_profile, make_resolver, make_sdist, make_wheel

FREEZE = "numpy==2.0.2\ntorch==2.10.0+cu128\ntimm==1.0.26\nopencv-python==4.13.0.92\n"


@pytest.fixture
def registry(tmp_path):
    """The folder that stands for the registry."""
    return tmp_path / "registry"


@pytest.fixture
def resolve(tmp_path):
    """A function that locks what is asked for on an image, from the registry's folder alone."""
    profile = make_profile(tmp_path / "profiles", FREEZE)

    def resolve(*asked, upgrade=False):
        return make_resolver(tmp_path, profile, *asked).lock(upgrade=upgrade)

    return resolve


def test_only_what_the_image_lacks_is_vendored_each_with_its_reason(resolve, registry):
    """What the image has is left out. The rest says who wanted it."""
    make_wheel(registry, "top", requires=["middle>=1", "numpy>=2", "torch==2.10.0"])
    make_wheel(registry, "middle", requires=["leaf; python_version >= '3.12'", "timm"])
    make_wheel(registry, "leaf", requires=["never; python_version < '3.12'", "no; extra == 'x'"])
    lock = resolve("top", "timm")
    assert {wheel.name: wheel.why for wheel in lock.wheels} == {
        "top": "asked for, not in the image",
        "middle": "wanted by top, not in the image",
        "leaf": "wanted by top > middle, not in the image",
    }


def test_the_lock_says_it_all_again(resolve, registry, tmp_path):
    """What is written is what is read: hashes, import names and reasons, but no address."""
    path = make_wheel(registry, "with-modules", files={"a/x.py": b"", "b.py": b"", "c.txt": b""})
    lock = resolve("with-modules")
    (wheel,) = lock.wheels
    assert wheel.modules == ("a", "b")
    assert wheel.sha256 == file_sha256(path)
    path = tmp_path / "profiles/image/pylock.toml"
    assert read_lock(path) == lock
    assert "://" not in path.read_text()


def test_the_lock_is_a_valid_pylock(resolve, registry, tmp_path):
    """Any tool that knows PEP 751 reads the lock, whatever its notes say."""
    make_wheel(registry, "moving", "2.0", requires=["numpy>=3"])
    make_wheel(registry, "moving", "1.0", files={"größe.py": b""})
    (wheel,) = resolve("moving").wheels
    pylock = Pylock.from_dict(tomllib.loads((tmp_path / "profiles/image/pylock.toml").read_text()))
    (package,) = pylock.packages
    assert (package.name, str(package.version)) == ("moving", "1.0")
    assert [found.hashes for found in package.wheels] == [{"sha256": wheel.sha256}]
    assert package.tool["kernelkit"]["imports"] == ["größe"]
    assert package.tool["kernelkit"]["note"] == wheel.note


def test_a_lock_answers_until_something_changes(registry, tmp_path):
    """A lock serves the same requirements, profile and own wheels, and no others."""
    make_wheel(registry, "one")
    profile = make_profile(tmp_path / "profiles", FREEZE)
    resolver = make_resolver(tmp_path, profile, "one")
    assert resolver.current_lock() is None
    lock = resolver.lock()
    assert resolver.current_lock() == lock
    other = make_profile(tmp_path / "profiles", FREEZE + "pillow==11.3.0\n")
    assert make_resolver(tmp_path, other, "one").current_lock() is None
    assert make_resolver(tmp_path, profile, "one>=1").current_lock() is None
    make_wheel(registry, "another")
    assert make_resolver(tmp_path, profile, "one").current_lock() is None


def test_locked_versions_stay_until_an_upgrade(resolve, registry):
    """A request for one more package moves no other. An upgrade does."""
    make_wheel(registry, "one", "1.0")
    make_wheel(registry, "two", "1.0")
    resolve("one")
    make_wheel(registry, "one", "1.1")
    assert [w.version for w in resolve("one", "two").wheels] == ["1.0", "1.0"]
    assert "1.1 is out" in resolve("one", "two").wheels[0].note
    assert [w.version for w in resolve("one", "two", upgrade=True).wheels] == ["1.1", "1.0"]


def test_a_version_held_back_by_the_image_is_told(resolve, registry):
    """If an older release is taken, the note names what disagrees."""
    make_wheel(registry, "moving", "2.0", requires=["numpy>=3"])
    make_wheel(registry, "moving", "1.0", requires=["numpy>=1"])
    (wheel,) = resolve("moving").wheels
    assert wheel.version == "1.0"
    assert wheel.note.startswith("not the newest: moving 2.0 cannot be met on image")
    assert "depends on numpy>=3 and the image has numpy 2.0.2" in wheel.note


def test_numpy_3_is_refused_with_the_chain_that_wants_it(resolve, registry):
    """A request that would replace numpy names every link down to it."""
    make_wheel(registry, "modern", requires=["between"])
    make_wheel(registry, "between", requires=["numpy>=3"])
    with pytest.raises(ResolveError) as error:
        resolve("modern")
    message = str(error.value)
    assert message.startswith("requirements.in cannot be met on image:")
    assert "between depend on numpy>=3" in message
    assert "the image has numpy 2.0.2" in message
    assert "modern depend on between" in message


def test_another_torch_is_refused_with_the_chain_that_wants_it(resolve, registry):
    """A request that would replace torch says who pins which."""
    make_wheel(registry, "pinned", requires=["torch==2.9.1"])
    with pytest.raises(
        ResolveError, match=r"pinned depend on torch==2\.9\.1 and the image has torch 2\.10\.0"
    ):
        resolve("pinned")


def test_an_image_package_cannot_be_asked_for_at_another_version(resolve):
    """What the image has stays as it is, even when it is asked for directly."""
    with pytest.raises(ResolveError, match=r"timm>=1\.0\.27 and the image has timm 1\.0\.26"):
        resolve("timm>=1.0.27")


def test_two_that_disagree_are_both_named(resolve, registry):
    """An unsatisfiable request names the two that cannot be had together."""
    make_wheel(registry, "left", requires=["shared>=2"])
    make_wheel(registry, "right", requires=["shared<2"])
    make_wheel(registry, "shared", "1.0")
    make_wheel(registry, "shared", "2.0")
    with pytest.raises(ResolveError, match=r"left.*shared>=2|right.*shared<2") as error:
        resolve("left", "right")
    assert "left" in str(error.value)
    assert "right" in str(error.value)


def test_sources_alone_are_refused(resolve, registry):
    """A package that has no wheel is refused, and the way out is told."""
    make_sdist(registry, "unbuilt")
    with pytest.raises(ResolveError, match=r"unbuilt.*no usable wheels.*wheels/local/"):
        resolve("unbuilt")


@pytest.mark.parametrize(
    ("tag", "reason"),
    [
        ("cp312-cp312-manylinux_2_39_x86_64", "manylinux_2_35"),
        ("cp311-cp311-manylinux_2_17_x86_64", "cp312"),
        ("cp312-cp312-win_amd64", "platform"),
    ],
)
def test_wheels_of_other_systems_are_refused(resolve, registry, tag, reason):
    """A newer glibc, another Python and another platform are each named."""
    make_wheel(registry, "foreign", tag=tag)
    with pytest.raises(ResolveError, match=f"foreign.*{reason}"):
        resolve("foreign")


def test_a_wheel_that_lies_about_its_glibc_is_refused(resolve, registry):
    """The compiled members of a wheel are read, not only its name."""
    elf = b"\x7fELF" + bytes(60) + b"\0GLIBC_2.17\0GLIBC_2.38\0"
    tag = "cp312-cp312-linux_x86_64"
    make_wheel(registry, "built-at-home", tag=tag, files={"built/core.so": elf})
    with pytest.raises(WheelError, match=r"built_at_home.*needs glibc 2\.38.*image has 2\.35"):
        resolve("built-at-home")


def test_a_module_that_would_hide_the_images_own_is_refused(resolve, registry):
    """Another build of opencv would come before the image's."""
    make_wheel(registry, "opencv-contrib-python-headless", "4.14", files={"cv2/__init__.py": b""})
    make_wheel(registry, "wants-cv", requires=["opencv-contrib-python-headless"])
    with pytest.raises(
        ResolveError,
        match=r"requirements.in > wants-cv > opencv-contrib.*would hide the cv2 of opencv-python",
    ):
        resolve("wants-cv")


def test_cuda_packages_are_refused_with_their_chain(resolve, registry):
    """A dataset never ships CUDA, even if the image has no such package."""
    make_wheel(registry, "fast", requires=["nvidia-something-cu13"])
    make_wheel(registry, "nvidia-something-cu13")
    with pytest.raises(
        ResolveError, match=r"nvidia-something-cu13 1.0 \(requirements.in > fast > nvidia-some"
    ):
        resolve("fast")


def test_the_google_namespace_is_refused(resolve, registry):
    """Kaggle imports `google` before the notebook starts, so nothing can be added to it."""
    make_wheel(registry, "google-thing", files={"google/thing/__init__.py": b""})
    with pytest.raises(ResolveError, match="namespace google"):
        resolve("google-thing")


def test_extras_of_an_image_package_bring_what_they_add(resolve, registry):
    """`timm[extra]` vendors what the extra adds, and not timm."""
    requires = ["numpy", "added; extra == 'more'", "torch>=99; extra == 'other'"]
    make_wheel(registry, "timm", "1.0.26", requires=requires, extras=["more", "other"])
    make_wheel(registry, "added")
    make_wheel(registry, "user", requires=["timm[more]>=1"])
    lock = resolve("user")
    assert {wheel.name for wheel in lock.wheels} == {"user", "added"}
    assert {wheel.name for wheel in resolve("timm[more]").wheels} == {"added"}


def test_the_images_own_inconsistencies_do_not_matter(resolve, registry):
    """The image's packages count as installed, whatever the registry says that they want."""
    make_wheel(registry, "torch", "2.10.0", requires=["nvidia-nccl-cu13==1"])
    make_wheel(registry, "segmenter", "0.6.0", requires=["torch>=2"])
    make_wheel(registry, "segmenter", "0.0.2")
    (wheel,) = resolve("segmenter").wheels
    assert wheel.version == "0.6.0"


def test_a_package_at_an_unknown_version_is_shipped_when_wanted(registry, tmp_path):
    """If no list tells the image's version, a wheel goes along, and the reason says so."""
    profile = make_profile(tmp_path / "profiles", "numpy==2.0.2\nkornia\n")
    make_wheel(registry, "kornia", "0.8")
    (wheel,) = make_resolver(tmp_path, profile, "kornia").lock().wheels
    assert wheel.why == "asked for, in the image at an unknown version"


def test_nothing_asked_for_is_a_lock_of_nothing(resolve):
    """An empty list of requirements is an answer, not an error."""
    assert resolve().wheels == ()


@pytest.mark.parametrize(
    "line", ["--index-url https://example.org", "./local.whl", "x @ https://example.org/x.whl"]
)
def test_requirements_are_names_only(tmp_path, line):
    """Options, paths and addresses are refused with their line."""
    path = tmp_path / "requirements.in"
    path.write_text(f"numpy\n{line}\n")
    with pytest.raises(ResolveError, match=r"requirements.in:2: .*is not the name of a package"):
        read_requirements(path)


def test_a_lock_edited_by_hand_is_refused(resolve, registry, tmp_path):
    """An edited lock is refused, with what is wrong and what to do."""
    make_wheel(registry, "one")
    resolve("one")
    path = tmp_path / "profiles/image/pylock.toml"
    written = path.read_text()
    for edited, problem in [
        (f'{written}\n[[packages]]\nname = "two"\n', "Exactly one of vcs, directory, archive"),
        (written.replace("sha256", "md5"), "'sha256'"),
        (written.replace('name = "one"', 'name = "two"'), "not consistent with package name 'two'"),
        (written.replace("inputs", "outputs"), "'inputs'"),
        (f"{written}two==1.0\n", "Invalid value"),
    ]:
        path.write_text(edited)
        with pytest.raises(
            LockError, match=rf"pylock.toml is not a lock .*{problem}.*build again$"
        ):
            read_lock(path)


def test_downloads_are_cached_and_checked(registry, tmp_path):
    """A fetched wheel is not fetched again, and one that was changed since is."""
    make_wheel(registry, "one")
    profile = make_profile(tmp_path / "profiles", FREEZE)
    resolver = make_resolver(tmp_path, profile, "one")
    lock = resolver.lock()
    nowhere = WheelSource((), no_index=True)
    (wheel,) = fetch(lock.wheels, profile, nowhere, resolver.downloads_folder)
    before = wheel.path.read_bytes()
    wheel.path.write_bytes(before + b"x")
    with pytest.raises(ToolError, match="pip download"):
        fetch(lock.wheels, profile, nowhere, resolver.downloads_folder)
    (wheel,) = fetch(lock.wheels, profile, resolver.source, resolver.downloads_folder)
    assert wheel.path.read_bytes() == before


def test_a_wheel_changed_at_its_source_is_refused(registry, tmp_path):
    """What is fetched must have the locked hash."""
    path = make_wheel(registry, "one")
    profile = make_profile(tmp_path / "profiles", FREEZE)
    resolver = make_resolver(tmp_path, profile, "one")
    lock = resolver.lock()
    (resolver.downloads_folder / path.name).unlink()
    make_wheel(registry, "one", files={"one/__init__.py": b"changed = True\n"})
    with pytest.raises(ToolError, match=r"(?is)hash|do not match"):
        fetch(lock.wheels, profile, resolver.source, resolver.downloads_folder)


def test_a_file_that_is_no_wheel_is_named(tmp_path):
    """A source archive, a cut file and a wheel without metadata get one sentence each."""
    profile = make_profile(tmp_path / "profiles", FREEZE)
    with pytest.raises(WheelError, match=r"is not a wheel. Kaggle unpacks source archives"):
        read_wheel(make_sdist(tmp_path, "unbuilt"))
    broken = tmp_path / "broken-1.0-py3-none-any.whl"
    broken.write_bytes(make_wheel(tmp_path, "whole").read_bytes()[:40])
    with pytest.raises(WheelError, match="broken-1.0.*not a wheel that can be read"):
        read_wheel(broken)
    with zipfile.ZipFile(tmp_path / "empty-1.0-py3-none-any.whl", "w") as archive:
        archive.writestr("empty.py", "")
    with pytest.raises(WheelError, match=r"has 0 .dist-info folders, but a wheel has one"):
        read_wheel(tmp_path / "empty-1.0-py3-none-any.whl")
    foreign = make_wheel(tmp_path, "foreign", tag="cp311-cp311-manylinux_2_17_x86_64")
    with pytest.raises(WheelError, match=r"foreign.*is for cp311.*CPython 3\.12\.13"):
        check_wheel(read_wheel(foreign), profile)


def test_the_lock_lies_beside_its_profile(tmp_path):
    """A profile's lock is committed with it."""
    profile = make_profile(tmp_path, FREEZE)
    assert lock_path(profile) == tmp_path / "image/pylock.toml"
