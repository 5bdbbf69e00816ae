"""The first thing that runs on Kaggle: check the kernel dataset, install it, prove that it works.

The notebook's first cell finds the dataset among the mounts and checks its manifest and this code.
Then it calls `start`. `mounted` undoes what the upload did to the files, if that can be proved. The
image's own pip installs copies of the wheels into a folder that nobody else can write to. So
nothing of the image changes, and nothing is imported from a mounted folder.

Standard library only: at this point nothing else can be relied upon.
"""

import glob
import importlib
import importlib.metadata
import importlib.util
import os
import platform
import re
import stat
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mounted import (
    WEIGHTS_MANIFEST,
    BootstrapError,
    check_manifest,
    copy_wheel,
    doubled,
    place,
    read_manifest,
    replaced,
    verified,
)

__all__ = ["Dataset", "start"]

_NEVER_REPLACED = ("torch", "numpy")
# Below the inputs, where Kaggle mounts datasets, outputs of notebooks and models. The older layout
# has none of these folders, nor that of the owner.
_DEPTHS = ("", "datasets/*/", "notebooks/*/", "models/*/")
# how the wheel of the user's own code begins
_OWN = "kernelkit_own-"


@dataclass(frozen=True)
class Dataset:
    """A kernel dataset that is installed and proved.

    Attributes
    ----------
    folder
        Where it is mounted.
    site_folder
        Where its packages are installed. `sys.path` and `PYTHONPATH` have it.
    fingerprint
        Of what it holds.
    work_folder
        Where this session keeps what it restored.
    """

    folder: Path
    site_folder: Path
    fingerprint: str
    work_folder: Path

    def mounted(self, path: str | Path) -> Path:
        """Return a mounted folder or file as an absolute path, in whichever layout it is mounted.

        It is `path` itself if that exists, or if no layout of Kaggle's mounts has it.
        """
        return _mounted_as(Path(path).absolute())

    def recipe(self, name_or_path: str) -> str:
        """Return a recipe's name as it is, and the path of its file as `mounted` has it."""
        is_file = name_or_path.endswith((".yaml", ".yml"))
        return str(self.mounted(name_or_path)) if is_file else name_or_path

    def models(self, folder: str | Path) -> Path:
        """Return the models folder to load from, as an absolute path.

        It is `folder` itself, unless a weights dataset is mounted there. Kaggle keeps no folders,
        so a weights dataset is flat. Its manifest says where each file belongs, and links put them
        there. If `folder` does not exist, Kaggle's other layouts of mounts are tried.

        Raises
        ------
        BootstrapError
            The weights are not those that the manifest lists.
        """
        folder = self.mounted(folder)
        mounted = doubled(folder, WEIGHTS_MANIFEST)
        if mounted is None:
            return folder
        manifest = read_manifest(mounted / WEIGHTS_MANIFEST)
        sources = verified(mounted, manifest["files"])
        models_folder = self.work_folder.absolute() / f"models-{manifest['fingerprint'][:12]}"
        with replaced(models_folder) as unfinished:
            for entry in manifest["files"]:
                place(sources[entry["name"]], unfinished / entry["name"])
            for name, text in manifest["target"]["configurations"].items():
                path = unfinished / name
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("x", encoding="utf-8") as file:
                    file.write(text)
        return models_folder


def start(path: str | Path, manifest: Mapping[str, Any]) -> Dataset:
    """Check, install and import the dataset. Print what was done.

    Parameters
    ----------
    path
        Where the manifest lies among the mounts.
    manifest
        What it says. The first cell has compared that with the fingerprint that is wanted.

    Raises
    ------
    BootstrapError
        The Python or the image is not the one wanted, or a file of the dataset was changed.
    """
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # it waits a minute for the network
    path = Path(path).absolute()
    manifest = check_manifest(manifest, path)
    target, fingerprint = manifest["target"], manifest["fingerprint"]
    image = _check_target(target)
    before = {name: _origin(name) for name in _NEVER_REPLACED}
    work_folder = _work_folder(fingerprint)
    sources = verified(path.parent, manifest["files"])
    wheels = [entry for entry in manifest["files"] if entry["kind"] == "wheel"]
    _refuse_shadows(wheels, work_folder)
    site_folder = _install(sources, wheels, work_folder)
    _put_on_path(site_folder, path.parent)
    for entry in wheels:
        for module in entry["modules"]:
            _import_from(site_folder, module, entry["name"])
    for name, origin in before.items():
        if _origin(name) != origin:
            raise BootstrapError(
                f"{name} now comes from {_origin(name)} instead of the image's {origin}. "
                "Build the dataset without it"
            )
    rows = [(entry["name"], _how(sources[entry["name"]], entry)) for entry in wheels]
    _print_table(path.parent, fingerprint, target, [*rows, *image])
    return Dataset(path.parent, site_folder, fingerprint, work_folder)


def _mounted_as(path: Path) -> Path:
    """`path`, or the same place of a dataset as another layout of Kaggle's mounts has it."""
    inputs = next((parent for parent in path.parents if parent.name == "input"), None)
    if path.exists() or inputs is None:
        return path
    parts = path.relative_to(inputs).parts
    kind, *below = parts
    # what follows the folder of the kind and that of the owner
    name = "/".join(below[1:] if f"{kind}/*/" in _DEPTHS else parts)
    if not name:
        return path
    found = (match for depth in _DEPTHS for match in inputs.glob(depth + glob.escape(name)))
    return next(found, path)


def _check_target(target: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Stop if it is another image. Return the table's rows on what is the image's own."""
    profile = target["profile"]
    advice = (
        f"Attach the dataset made for this image, or pin the notebook to the image of {profile}"
    )
    python = platform.python_version()
    if python.rsplit(".", 1)[0] != target["python"]:
        raise BootstrapError(
            f"the dataset was made for {profile} with Python {target['python']}, but this session "
            f"has Python {python}. {advice}"
        )
    if platform.machine() != target["machine"]:
        raise BootstrapError(
            f"the dataset was made for {target['machine']}, but this is {platform.machine()}. "
            f"{advice}"
        )
    glibc = platform.libc_ver()[1]
    if _numbers(glibc) < _numbers(target["glibc"]):
        raise BootstrapError(
            f"the dataset was made for {profile} with glibc {target['glibc']}, but this session "
            f"has glibc {glibc}. {advice}"
        )
    rows = [("Python", python)]
    for name, expected in target["image"].items():
        try:
            found = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found = "none"
        if _numbers(found)[:2] != _numbers(expected)[:2]:
            raise BootstrapError(
                f"the dataset was made for {profile} with {name} {expected}, but this session has "
                f"{found}. {advice}"
            )
        remark = "" if found == expected else f" ({profile} has {expected})"
        rows.append((name, f"{found}, the image's{remark}"))
    return rows


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version.split("+")[0])]


def _origin(module: str) -> str | None:
    """Where a module would be imported from now: its file, or the folder of a bare namespace."""
    spec = importlib.util.find_spec(module)
    places = spec.submodule_search_locations if spec and not spec.origin else None
    return next(iter(places), None) if places else spec.origin if spec else None


def _work_folder(fingerprint: str) -> Path:
    """A folder of this session's own, on Kaggle's scratch disk if there is one.

    Nobody else can write to it. What an earlier session left there is not trusted.
    """
    scratch = "/kaggle/tmp" if Path("/kaggle").is_dir() else None
    parent = Path(os.environ.get("KERNELKIT_WORK") or scratch or tempfile.gettempdir()).absolute()
    name = f"kernelkit-{fingerprint[:12]}"
    for folder in (Path(entry).parent for entry in sys.path if Path(entry).name == "site"):
        if folder.name.startswith(name) and _is_own(folder):
            return folder  # this session made it, when the cell ran before
    work_folder = parent / name
    try:
        parent.mkdir(parents=True, exist_ok=True)
        if not os.path.lexists(work_folder):
            work_folder.mkdir(0o700)
        if not _is_own(work_folder):
            work_folder = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=parent))
        work_folder.chmod(0o700)
    except OSError as error:
        raise BootstrapError(
            f"{work_folder} cannot be made: {error.strerror}. "
            "Set KERNELKIT_WORK to a folder that can be written"
        ) from None
    return work_folder


def _is_own(folder: Path) -> bool:
    """Whether it is a folder, no link, and belongs to this user."""
    try:
        found = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()


def _how(source: Path, entry: Mapping[str, Any]) -> str:
    if source.is_dir():
        return "installed, though the upload had unpacked it"
    return "installed" if source.name == entry["name"] else f"installed, it came as {source.name}"


def _install(
    sources: Mapping[str, Path], wheels: Sequence[Mapping[str, Any]], work_folder: Path
) -> Path:
    """Install the wheels into a folder of their own, unless this session did so before."""
    site_folder = work_folder / "site"
    if str(site_folder) in sys.path:
        return site_folder
    with replaced(work_folder / "wheels") as copies, replaced(site_folder) as unfinished:
        restored = [copies / entry["name"] for entry in wheels]
        for entry, copy in zip(wheels, restored, strict=True):
            copy_wheel(sources[entry["name"]], copy, entry)
        # -I: no module of the present folder is taken for pip or for what it imports
        command = [sys.executable, "-I", "-m", "pip", "--isolated", "--disable-pip-version-check"]
        command += ["install", "--no-index", "--no-deps", "--no-compile", "--no-cache-dir"]
        command += ["--quiet", "--target", str(unfinished), *map(str, restored)]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode:
            raise BootstrapError(
                "the image's pip refused the wheels. Build the dataset for this image, and upload "
                f"it. pip said:\n{result.stderr.strip()}"
            )
    return site_folder


def _refuse_shadows(wheels: Sequence[Mapping[str, Any]], work_folder: Path) -> None:
    """Refuse what would hide the standard library, and the user's own code if it hides anything."""
    for entry in wheels:
        for module in entry["modules"]:
            if module in sys.stdlib_module_names:
                raise BootstrapError(
                    f"{entry['name']} would hide the standard library's {module}. "
                    "Build the dataset without it"
                )
            origin = _origin(module) if entry["name"].startswith(_OWN) else None
            if origin and not Path(origin).is_relative_to(work_folder):
                raise BootstrapError(
                    f"{entry['name']} would hide the {module} at {origin}. Rename yours, and build "
                    "the dataset again"
                )


def _put_on_path(site_folder: Path, folder: Path) -> None:
    """Let this process and those that it starts import from `site_folder`."""
    first = str(site_folder)
    sys.path[:] = [first, *(path for path in sys.path if path not in (first, str(folder)))]
    others = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    paths = [first, *(path for path in others if path not in ("", first))]
    os.environ["PYTHONPATH"] = os.pathsep.join(paths)
    importlib.invalidate_caches()


def _import_from(site_folder: Path, module: str, wheel: str) -> None:
    try:
        imported = importlib.import_module(module)
    except Exception as error:
        raise BootstrapError(f"{module} of {wheel} cannot be imported: {error!r}") from error
    origins = [imported.__file__] if imported.__file__ else list(imported.__path__)
    if not any(Path(origin).is_relative_to(site_folder) for origin in origins if origin):
        raise BootstrapError(
            f"{module} was imported from {origins[0]} instead of the dataset's {wheel}. Restart "
            "the session, and import nothing before the first cell"
        )


def _print_table(
    folder: Path, fingerprint: str, target: Mapping[str, Any], rows: Sequence[tuple[str, str]]
) -> None:
    print(f"kernel dataset {fingerprint[:12]} for {target['profile']}, from {folder}")
    width = max(len(name) for name, _ in rows)
    for name, text in rows:
        print(f"  {name:<{width}}  {text}")
