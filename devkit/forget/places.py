"""What kernelkit may have left on this machine, by short names, and what is only looked at."""

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from devkit.competitions import OwnCompetition, all_names, competitions_folder
from devkit.forget.usage import measure
from devkit.kaggle.settings import Settings, load_settings
from devkit.make import make_command
from devkit.tools import REPOSITORY
from kernelkit.errors import KernelKitError
from kernelkit.files import expanded

__all__ = ["LOCK", "Place", "kept_places", "token_files"]

# What lies in build/, by names that say what it is, and the targets of make that make it again. A
# star stands for any name.
_BUILT: Mapping[str, tuple[tuple[str, ...], str, tuple[str, ...]]] = {
    "demo": (
        ("demo", "clouds", "salt", "unosat", "large", "large-speed.json"),
        "small competitions and their networks",
        ("dry-run",),
    ),
    "twins": (("twins",), "environments like Kaggle's image", ("dry-run",)),
    "dry-runs": (("dry-run", "shell"), "notebooks that ran at home", ("dry-run",)),
    "datasets": (
        ("kernel-*", "kernel", "weights", "weights-cache"),
        "what is uploaded to Kaggle",
        ("kernel-dataset", "weights-dataset"),
    ),
    "cuts": (("cuts", "cut_files"), "training images, shrunk", ("cuts",)),
    "predictions": (
        ("predictions", "evaluation", "shift"),
        "masks, probabilities and scores",
        ("predict", "validate"),
    ),
    "fetched": (("kaggle-output",), "what notebooks on Kaggle wrote", ("logs",)),
    "site": (("site",), "the documentation's site", ("docs",)),
    "engines": (("engines",), "networks made for one kind of device", ("engine",)),
    "gpu": (("gpu",), "reports of a GPU, and their wheels", ("gpu-wheels", "gpu-check")),
    "models": (("models",), "networks that were trained for hours", ("train",)),
}
# What has to be filled in. Without it, the only competition of the user's own would be meant.
_TO_FILL_IN = {
    "download-data": "COMPETITION",
    "weights-dataset": "MODELS",
    **dict.fromkeys(("cuts", "predict", "validate", "engine", "train"), "RECIPE"),
}
_COMPETITIONS = "competitions"
# Seconds. What was used since then may belong to a run that goes on.
_LONGEST_RUN = 86400
# The lock of `make dry-run` in build/.
LOCK = ".dry-run.lock"


@dataclass(frozen=True, slots=True)
class Place:
    """Files and folders that are kept for one purpose.

    Attributes
    ----------
    name
        What `make forget` calls it.
    paths
        The files and folders that there are.
    what
        What they hold, in words.
    again
        What makes them again.
    is_shared
        Whether other programs use them too. Then they are never removed.
    """

    name: str
    paths: tuple[Path, ...]
    what: str
    again: str = ""
    is_shared: bool = False


def kept_places(repository: Path = REPOSITORY) -> list[Place]:
    """List what there is, the environment first.

    Parameters
    ----------
    repository
        The folder of this project.
    """
    settings = _settings()
    again = partial(_again, settings)
    places = [*_environments(repository, again), *_built(repository, again)]
    if repository == REPOSITORY:
        state = settings.state if settings else expanded(Settings.model_fields["state"].default)
        places += [*_own_competitions(), Place("uploads", (state,), "uploads that can go on")]
    places += [
        Place("data", (repository / "data",), "competitions' files", again("download-data")),
        Place("wheels", (repository / "wheels/downloads",), "fetched wheels", again("dry-run")),
        Place("checks", _caches(repository), "caches of the checks", again("lint", "test")),
        Place("temporary", _temporary(), "leftovers of runs that were killed"),
        *_shared(),
    ]
    found = []
    for place in places:
        paths = tuple(path for path in place.paths if path.is_symlink() or path.exists())
        if paths:
            found.append(Place(place.name, paths, place.what, place.again, place.is_shared))
    return found


def token_files() -> list[Path]:
    """The files that hold Kaggle's credentials. They are named, and never touched."""
    folders = [Path("~/.kaggle"), Path("~/.config/kaggle")]
    if os.environ.get("KAGGLE_CONFIG_DIR"):
        folders.append(Path(os.environ["KAGGLE_CONFIG_DIR"]))
    names = ("access_token", "kaggle.json", "credentials.json")
    paths = (expanded(folder) / name for folder in folders for name in names)
    return [path for path in dict.fromkeys(paths) if path.is_file()]


def _environments(repository: Path, again: Callable[..., str]) -> Iterator[Place]:
    made_again = f"{again('lint')}, which fetches 3 GB"
    yield Place(
        "environment", (repository / ".venv", repository / ".tools"), "Python and uv", made_again
    )
    others = tuple(sorted(repository.glob(".venv-*")))
    yield Place("environments", others, "those of single commands", "the command that needs it")


def _built(repository: Path, again: Callable[..., str]) -> Iterator[Place]:
    build = repository / "build"
    taken = {build / _COMPETITIONS}
    for name, (patterns, what, targets) in _BUILT.items():
        paths = tuple(path for pattern in patterns for path in sorted(build.glob(pattern)))
        taken.update(paths)
        yield Place(name, paths, what, again(*targets))
    rest = sorted(path for path in build.glob("*") if path not in taken | {build / LOCK})
    yield Place("others", tuple(rest), "what else lies in build/")


def _own_competitions() -> Iterator[Place]:
    for own in (OwnCompetition(competitions_folder() / name) for name in all_names()):
        for part, folder, what, target in (
            ("made", own.build_folder, "cuts, scores and datasets", "cuts"),
            ("data", own.data_folder, "the competition's files", "download-data"),
            ("models", own.models_folder, "trained networks", "train"),
        ):
            again = make_command(target, NAME=own.name)
            yield Place(f"{own.name}/{part}", (folder,), what, again)


def _again(settings: Settings | None, *targets: str) -> str:
    """The commands that make something again that belongs to no competition of the user's own."""
    command = settings.command if settings else make_command
    given = ({_TO_FILL_IN[name]: "..."} if name in _TO_FILL_IN else {} for name in targets)
    return ", ".join(command(name, **more) for name, more in zip(targets, given, strict=True))


def _settings() -> Settings | None:
    """The repository's settings, if they can be read."""
    try:
        return load_settings()
    except KernelKitError:
        return None


def _caches(repository: Path) -> tuple[Path, ...]:
    names = (".pytest_cache", ".mypy_cache", ".ruff_cache", ".import_linter_cache", ".hypothesis")
    return tuple(repository / name for name in names)


def _temporary() -> tuple[Path, ...]:
    """The user's own folders of kernelkit among the temporary ones that no run can still use."""
    found = []
    for path in sorted(Path(tempfile.gettempdir()).glob("kernelkit-*")):
        try:
            is_own = path.lstat().st_uid == os.getuid() and not path.is_symlink()
        except OSError:  # it is gone
            continue
        if is_own and measure([path]).last_used < time.time() - _LONGEST_RUN:
            found.append(path)
    return tuple(found)


def _shared() -> Iterator[Place]:
    """Caches of libraries, which other projects use too."""
    cache = expanded(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    for name, variable, default, what in (
        ("torch", "TORCH_HOME", "torch", "pretrained weights of torch"),
        ("huggingface", "HF_HOME", "huggingface", "pretrained weights of timm"),
        ("uv", "UV_CACHE_DIR", "uv", "wheels that uv fetched"),
    ):
        folder = expanded(os.environ.get(variable) or cache / default)
        yield Place(name, (folder,), what, is_shared=True)
