"""The training images at the training scale, and the table of windows over them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pandas as pd

from kernelkit.errors import OutputError, as_sentence
from kernelkit.files import open_atomically, replace_atomically
from kernelkit.training.cuts.image import CutImage
from kernelkit.training.cuts.packs import Record, read_packs
from kernelkit.training.fold_folder import writing
from kernelkit.training.folds import Folds
from kernelkit.vocabulary import Fill

__all__ = ["Cuts", "CutsIndex", "packs_of"]

_INDEX, _WINDOWS, _FOLDS = "cuts.json", "windows.parquet", "folds.csv"


@dataclass(frozen=True)
class CutsIndex:
    """Which records are the images of a run's cuts. It is kept beside the table of windows.

    Attributes
    ----------
    images
        Of each id: its group, and the keys of its pixels and of its labels.
    classes
        The names of the labels' classes.
    fill
        What stands outside of images.
    polygons
        A hash of the files that windows lie around.
    left_out
        The images that cannot be read, and why.
    notes
        What went otherwise, a sentence each.
    """

    images: Mapping[str, tuple[str, str, str]]
    classes: tuple[str, ...]
    fill: Fill
    polygons: str
    left_out: Mapping[str, str]
    notes: tuple[str, ...]

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read it from a folder of cuts.

        Raises
        ------
        OutputError
            It is not there, or damaged.
        """
        path = folder / _INDEX
        try:
            content: dict[str, Any] = json.loads(path.read_bytes())
            images = {name: (entry[0], entry[1], entry[2]) for name, entry in content["images"]}
            return cls(
                images,
                tuple(content["classes"]),
                content["fill"],
                content["polygons"],
                content["left_out"],
                tuple(content["notes"]),
            )
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise OutputError(
                f"{path}: the cuts cannot be read ({as_sentence(error)}). Make the cuts again"
            ) from error

    @property
    def keys(self) -> set[str]:
        """The keys of all records."""
        return {key for _, *keys in self.images.values() for key in keys}

    def write(self, folder: Path) -> None:
        """Write it into a folder of cuts, so that it is whole or not there."""
        content = {
            "images": list(self.images.items()),
            "classes": self.classes,
            "fill": self.fill,
            "polygons": self.polygons,
            "left_out": self.left_out,
            "notes": self.notes,
        }
        with open_atomically(folder / _INDEX) as file:
            json.dump(content, file, indent=1)


@dataclass(frozen=True)
class Cuts:
    """The images of a run at its training scale, their labels, and the windows over them.

    It is what `make_cuts` gives, and what a process of a fold loads. Pixels stay in files that are
    mapped into memory, and all processes share that.

    Attributes
    ----------
    folder
        What `load` takes.
    images
        By their ids.
    windows
        One row per window: image, row, col, height and width in pixels of the training scale. Then
        its fold and its source, `target_share`, `held_share`, mean and std. With several classes
        there is a `share_` per class. `skip` says why a window is left out. It is empty if the
        window is kept.
    folds
        Which images validate in which fold.
    index
        Which files they are of.
    """

    folder: Path
    images: Mapping[str, CutImage]
    windows: pd.DataFrame
    folds: Folds
    index: CutsIndex

    @property
    def kept(self) -> pd.DataFrame:
        """The windows that are not left out."""
        return self.windows[self.windows["skip"] == ""]

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the labels' classes."""
        return self.index.classes

    @property
    def left_out(self) -> Mapping[str, str]:
        """The images that cannot be read, and why."""
        return self.index.left_out

    @property
    def notes(self) -> Sequence[str]:
        """What went otherwise, a sentence each."""
        return self.index.notes

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Load the cuts that `make_cuts` made.

        Raises
        ------
        OutputError
            There are none, or a file of them is gone or damaged.
        """
        index = CutsIndex.read(folder)
        records = {record.key: record for record in read_packs(packs_of(folder.parent))}
        try:
            windows = pd.read_parquet(folder / _WINDOWS)
        except (OSError, ValueError) as error:
            raise OutputError(
                f"{folder / _WINDOWS}: the table of windows cannot be read "
                f"({as_sentence(error)}). Make the cuts again"
            ) from error
        images = images_of(index, records, folder)
        return cls(folder, images, windows, Folds.read(folder / _FOLDS), index)


def save(index: CutsIndex, windows: pd.DataFrame, folds: Folds, folder: Path) -> None:
    """Write the table of windows and the folds, then the index. That makes the cuts complete.

    Raises
    ------
    OutputError
        They cannot be written.
    """
    with writing(folder):
        with replace_atomically(folder / _WINDOWS) as path:
            windows.to_parquet(path, index=False)
        folds.write(folder / _FOLDS)
        index.write(folder)


def packs_of(out: Path) -> Path:
    """Where the pixels of all runs lie."""
    return out / "packs"


def images_of(index: CutsIndex, records: Mapping[str, Record], folder: Path) -> dict[str, CutImage]:
    """Put the images together from their records.

    Raises
    ------
    OutputError
        A record is missing.
    """
    images = {}
    for name, (group, pixels, labels) in index.images.items():
        if pixels not in records or labels not in records:
            raise OutputError(
                f"{folder}: the pixels of {name} are not in {packs_of(folder.parent)}. Make the "
                "cuts again"
            )
        seen = records[pixels]
        images[name] = CutImage(
            name,
            group,
            index.fill,
            seen.facts,
            seen.arrays["pixels"],
            records[labels].arrays["labels"],
            seen.arrays.get("missing"),
        )
    return images


def remove_unused(out: Path, records: Mapping[str, Record], before: CutsIndex) -> None:
    """Remove files of which the cuts before used a part, and of which no cuts use any now.

    Parameters
    ----------
    records
        What lies there, by key.
    before
        The index of cuts that have been made anew.
    """
    used: set[str] = set()
    for path in out.glob(f"*/{_INDEX}"):
        used |= CutsIndex.read(path.parent).keys
    files: dict[Path, set[str]] = {}
    for key, record in records.items():
        for array in record.arrays.values():
            files.setdefault(array.path, set()).add(key)
    for path, keys in files.items():
        if keys & before.keys and not keys & used:
            path.unlink(missing_ok=True)
