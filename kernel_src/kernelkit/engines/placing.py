"""Finished run folders, and the recipe that reads them, take the place of those from before.

All of them are staged in one folder beside the output, and the two exchange their names. So what is
in the output is wholly old or wholly new, whenever a run is killed. Some outputs have to stay:
where a disk is mounted, as Kaggle's working folder is, or where other folders lie. There the runs
are staged inside, and exchanged one by one. Meanwhile no recipe names them.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence, Set
from contextlib import contextmanager, suppress
from pathlib import Path

from kernelkit.checkpoints.engine_record import ENGINE_SUFFIX
from kernelkit.checkpoints.run_folders import checkpoints_of, folds_of
from kernelkit.engines.export import SUFFIXES
from kernelkit.errors import EngineError, KernelKitError, OutputError
from kernelkit.files import open_atomically, replace_folder, take_back

__all__ = ["RECIPE_FILE", "place_runs", "refuse_runs", "staging"]

# Beside the run folders: the recipe that reads them.
RECIPE_FILE = "recipe.yaml"
# How the name of a folder begins that holds runs until they are checked.
_STAGED = ".engines-"


@contextmanager
def staging(output: Path) -> Iterator[Path]:
    """A folder for the runs until `place_runs` puts them into `output`. It vanishes afterwards.

    So does `output` if nothing is in it.

    Raises
    ------
    OutputError
        No folder can be written there.
    """
    try:
        take_back(output)
        output.mkdir(parents=True, exist_ok=True)
        around = output if _stays(output) else output.parent
        with tempfile.TemporaryDirectory(dir=around, prefix=_STAGED) as name:
            staged = Path(name, "runs")
            staged.mkdir()
            yield staged
    except OSError as error:
        if error.errno is None or isinstance(error, KernelKitError):
            raise
        raise OutputError(
            f"{output}: engines cannot be written here ({error.strerror}). Choose another OUTPUT"
        ) from error
    finally:
        with suppress(OSError):  # it is not empty, or not there
            output.rmdir()


def _stays(output: Path) -> bool:
    """Whether a folder cannot change its name, or holds folders that are no engines."""
    folders = [child for child in output.iterdir() if child.is_dir() and not _is_left(child.name)]
    return (
        output.is_symlink()
        or output.is_mount()
        or not os.access(output.parent, os.W_OK)
        or Path.cwd().is_relative_to(output.resolve())
        or not all(_has_engine(folder) for folder in folders)
    )


def _is_left(name: str) -> bool:
    """Whether a folder of such a name is one of `staging`, of a run that was killed."""
    return name.startswith(_STAGED)


def refuse_runs(output: Path, runs: Sequence[str]) -> None:
    """Refuse to put engines where runs of another kind lie.

    Raises
    ------
    EngineError
        A folder of such a name has no engine, or a checkpoint that is none. Or a recipe lies in
        `output`, and no engine beside it.
    """
    for run in runs:
        folder = output / run
        if not folder.exists():
            continue
        if not _has_engine(folder):
            raise EngineError(
                f"{folder}: found a folder without an engine, which would be replaced. Choose "
                "another OUTPUT"
            )
        for path in (path for fold in folds_of(folder) for path in checkpoints_of(fold)):
            if not path.with_name(path.name + ENGINE_SUFFIX).exists():
                raise EngineError(
                    f"{path}: found a checkpoint that is no engine, and its folder would be "
                    "replaced. Choose another OUTPUT"
                )
    recipe = output / RECIPE_FILE
    if recipe.exists() and not any(_has_engine(child) for child in output.iterdir()):
        raise EngineError(
            f"{recipe}: found a recipe without an engine beside it, which would be replaced. "
            "Choose another OUTPUT"
        )


def _has_engine(folder: Path) -> bool:
    """Whether the record of an engine lies in a folder or below it. Training writes JSON too."""
    return any(any(folder.rglob(f"*{suffix}{ENGINE_SUFFIX}")) for suffix in SUFFIXES.values())


def place_runs(staged: Path, recipe: str, output: Path) -> None:
    """Let finished run folders, and the recipe that reads them, replace those in `output`.

    If one of them cannot, all that were there come back. What is replaced lies in `staged` then.

    Parameters
    ----------
    staged
        The folder that `staging` gave, with the runs.
    recipe
        The text of the recipe.
    output
        The folder of the engines' runs. Other runs in it stay.
    """
    runs = sorted(path.name for path in staged.iterdir())
    with open_atomically(staged / RECIPE_FILE) as file:
        file.write(recipe)
    if staged.is_relative_to(output):
        _place_each(staged, runs, output)
    else:
        _place_all(staged, {*runs, RECIPE_FILE}, output)


def _place_all(staged: Path, names: Set[str], output: Path) -> None:
    """Carry over all but `names` from `output`, and exchange the two folders."""

    def left_out(folder: str, found: Sequence[str]) -> list[str]:
        if Path(folder) != output:
            return []
        return [name for name in found if name in names or _is_left(name)]

    shutil.copytree(
        output, staged, symlinks=True, ignore=left_out, copy_function=_linked, dirs_exist_ok=True
    )
    replace_folder(staged, output)


def _linked(source: str, target: str) -> None:
    """One file under a second name, or a copy of it if the disk gives none."""
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        shutil.copy2(source, target)


def _place_each(staged: Path, runs: Sequence[str], output: Path) -> None:
    """Exchange the runs one by one. The old recipe is taken away before, and the new one put last.

    So a kill midway leaves no recipe that reads old runs and new ones together.
    """
    before = {path.name for path in output.iterdir()}
    recipe, aside = output / RECIPE_FILE, staged / f"old-{RECIPE_FILE}"
    if recipe.is_file():
        recipe.rename(aside)
    placed: list[str] = []
    try:
        for run in runs:
            replace_folder(staged / run, output / run)
            placed.append(run)
        (staged / RECIPE_FILE).rename(recipe)
    except BaseException:
        for run in placed:
            if run in before:
                replace_folder(staged / run, output / run)
            else:
                (output / run).rename(staged / run)
        if aside.exists():
            aside.rename(recipe)
        raise
