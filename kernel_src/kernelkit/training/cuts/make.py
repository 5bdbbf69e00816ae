"""Make the cuts of a run: shrink what is not there yet, then lay windows over it.

cuts = make_cuts(run, Path("competition"), Path("cuts"), workers=2)
pixels, labels, held = cuts.images["0486052bb"].read(Window(0, 0, 512, 512))

cuts/packs/*.pack       pixels and labels of all runs, each image once per scale and content
cuts/<hash>/            the index and the table of windows of runs with these settings
cuts/contents.json      the hashes of the images' files
"""

from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from kernelkit.competition import Scene
from kernelkit.console import progress as progress_bar
from kernelkit.errors import OutputError, TrainingError
from kernelkit.labels import Labels, open_labels
from kernelkit.reader import ReaderPool
from kernelkit.training.cuts.contents import Contents
from kernelkit.training.cuts.cuts import (
    Cuts,
    CutsIndex,
    images_of,
    packs_of,
    remove_unused,
    save,
)
from kernelkit.training.cuts.packs import read_packs, remove_unfinished
from kernelkit.training.cuts.scenes import training_scenes
from kernelkit.training.cuts.shrunk import ShrunkImages
from kernelkit.training.cuts.sight import Sight
from kernelkit.training.cuts.sources import Polygons
from kernelkit.training.cuts.table import table_of
from kernelkit.training.divided_folds import divided_folds
from kernelkit.training.fold_folder import writing
from kernelkit.training.folds import ALWAYS, Folds

if TYPE_CHECKING:
    from kernelkit.training.recipe import RunRecipe

__all__ = ["make_cuts"]

# The keys of a run that decide on its images, its labels and its windows.
_SETTINGS = ("competition", "images", "only", "labels", "folds", "windows", "blank", "seed")


def make_cuts(
    run: "RunRecipe",
    folder: Path,
    out: Path,
    workers: int = 0,
    *,
    progress: bool = False,
    executor: Executor | None = None,
    labels: Callable[[Mapping[str, Scene]], Labels] | None = None,
) -> Cuts:
    """Shrink a run's images to its training scale, and lay its windows over them.

    What is there already is taken as it is, if the images and their labels have not changed. A
    killed call goes on where it was. Runs that see their images alike share the pixels.

    Parameters
    ----------
    run
        What is to be trained.
    folder
        The competition's folder.
    out
        Where cuts lie, those of other runs too.
    workers
        How many processes decode. 0 decodes in this one.
    progress
        Whether to show a bar.
    executor
        Who shrinks the images: any that takes functions of modules. Its processes see the images
        and `out` under the same paths. None is this process, with its `workers`.
    labels
        Opens other labels of the images than the run's own. Then all images train in all folds.

    Raises
    ------
    LabelError
        The labels do not fit the images.
    TrainingError
        There is no image, none can be read, or a source gives no window.
    OutputError
        The cuts cannot be written.
    ReaderError
        The executor is broken, or its processes died of an image each time. What was made stays.
    """
    sight = Sight.of(run)
    scenes, notes = training_scenes(run, folder)
    found = labels(scenes) if labels else open_labels(run.labels, folder, run.competition, scenes)
    scenes = {image: scenes[image] for image in found.ids}
    polygons = Polygons(run, folder, scenes)
    mine = out / _settings_key(run, sight, found.source if labels else "")
    _make_folder(out)
    bar = progress_bar(description="cuts", unit="step", total=3 * len(scenes), disable=not progress)
    with bar, FileLock(out / ".lock"), Contents(out) as contents, ReaderPool(workers) as readers:
        remove_unfinished(packs_of(out))
        records = {record.key: record for record in read_packs(packs_of(out))}
        shrunk = ShrunkImages(sight, scenes, found, contents, records, packs_of(out), bar.update)
        shrunk.make(readers, workers, executor)
        contents.keep()
        shares = shrunk.shares
        used = {image: scenes[image] for image in shares}
        folds = (
            Folds(dict.fromkeys(used, ALWAYS), dict.fromkeys(used, ""))
            if labels
            else divided_folds(run.folds, folder, run.competition, used, shares, shrunk.left_out)
        )
        notes += [*found.notes, *found.occurrence(shares), *polygons.notes, *shrunk.notes]
        notes += [f"{image} is left out: {why}" for image, why in shrunk.left_out.items()]
        notes += _copies(folds, {image: shrunk.keys[image][0] for image in used})
        keys = {image: (scene.group, *shrunk.keys[image]) for image, scene in used.items()}
        index = CutsIndex(
            keys, found.classes, sight.fill, polygons.fingerprint, shrunk.left_out, tuple(notes)
        )
        before = _loaded(mine)
        if before is not None and (before.index, before.folds) == (index, folds):
            bar.update(bar.total - bar.n)
            return before
        images = images_of(index, records, mine)
        table = table_of(run, images, found.classes, polygons, folds, workers, bar.update)
        polygons.refuse_nothing(table)
        save(index, table, folds, mine)
        if before is not None:
            remove_unused(out, records, before.index)
    return Cuts.load(mine)


def _copies(folds: Folds, contents: Mapping[str, str]) -> list[str]:
    """A sentence, if an image validates that trains under another id. Blank images may be alike."""
    first: dict[str, str] = {}
    pairs = [
        (first[content], image)
        for image, content in contents.items()
        if folds.fold_of(first.setdefault(content, image)) != folds.fold_of(image)
    ]
    if not pairs:
        return []
    return [
        f"{len(pairs)} image(s) of one fold are the same file as an image of another, such as "
        f"{' and '.join(pairs[0])}. What validates is trained on. Give them one group or fold"
    ]


def _loaded(folder: Path) -> Cuts | None:
    """The cuts that lie in a folder, if they are whole."""
    try:
        return Cuts.load(folder)
    except (OutputError, TrainingError):
        return None


def _settings_key(run: "RunRecipe", sight: Sight, other_labels: str) -> str:
    """A hash of what of a run decides on its cuts. Other labels than its own have their name."""
    settings = run.plain()
    return sight.key({name: settings[name] for name in _SETTINGS}, other_labels)


def _make_folder(out: Path) -> None:
    """Make the folder of cuts, and try to write to it."""
    with writing(out):
        packs_of(out).mkdir(parents=True, exist_ok=True)
        (out / ".lock").touch()
