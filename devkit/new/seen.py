"""What a competition's folder says of itself: its images, its labels and its sample submission.

Headers are read of a sample of the images. What is found is a first guess, which the user checks.
"""

import csv
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from devkit.predict.images import SUFFIXES
from kernelkit.errors import KernelKitError
from kernelkit.maps import geojson
from kernelkit.slide import Slide

__all__ = ["Kind", "Seen", "look_at"]

# Headers are read of so many images of each part, evenly spread.
_SAMPLE = 200
# Rows of a table that are looked at.
_ROWS = 2000
_MOST_CLASSES = 50
_ENCODED = re.compile(r"rle|encod|predict|mask|segment|annotation", re.I)
_MASKS = re.compile(r"mask|label|annotation", re.I)
_MAPS = (".shp", ".gpkg")


@dataclass(frozen=True)
class Kind:
    """Images of one number of bands and one dtype.

    Attributes
    ----------
    bands, dtype
        As a `Slide` has them.
    images
        The ids of the training images that were looked at. Without these, those of the test images.
    sizes
        Height and width of all of them.
    """

    bands: int
    dtype: str
    images: tuple[str, ...]
    sizes: tuple[tuple[int, int], ...]

    @property
    def longest(self) -> int:
        """The longest side of all, in pixels."""
        return max(max(size) for size in self.sizes)


@dataclass(frozen=True)
class Seen:
    """What was found. An attribute is None, or empty, if nothing was.

    Attributes
    ----------
    test_images, train_images
        Where images lie, as recipes say it: a pattern.
    sample
        The sample submission, below the folder.
    id_column, rle_column
        Its columns.
    classes
        The names of the classes, if its ids end in them.
    rows
        How its ids are made.
    label_table
        The table of run lengths, with the names of its two columns.
    has_objects
        Whether each row of that table is an object, so that images have several.
    label_masks
        A pattern of files of pixels.
    label_polygons
        A pattern of files of polygons.
    kinds
        The kinds of images, the most frequent first.
    """

    test_images: str | None = None
    train_images: str | None = None
    sample: str | None = None
    id_column: str | None = None
    rle_column: str | None = None
    classes: tuple[str, ...] = ()
    rows: str = "{image}"
    label_table: tuple[str, str, str] | None = None
    has_objects: bool = False
    label_masks: str | None = None
    label_polygons: str | None = None
    kinds: tuple[Kind, ...] = ()


def look_at(folder: Path) -> Seen:
    """Look at the folder of a competition, as Kaggle mounts it."""
    parts = {part: _images_of(folder, part) for part in ("test", "train")}
    sample, header, ids = _sample(folder)
    stems = [path.stem for path in parts["test"]]
    classes, rows = _rows(ids, stems)
    labelled = [path.stem for path in parts["train"]]
    table, has_objects = _label_table(folder, labelled)
    masks = None if table else _masks(folder, labelled)
    return Seen(
        _pattern(folder, parts["test"]),
        _pattern(folder, parts["train"]),
        sample,
        header[0] if header else None,
        _encoded(header[1:]) if len(header) > 1 else None,
        classes,
        rows,
        table,
        has_objects,
        masks,
        None if table or masks else _polygons(folder, labelled),
        _kinds(parts["train"] or parts["test"], parts["test"]),
    )


def _images_of(folder: Path, part: str) -> list[Path]:
    """The images of a part: in the folder whose name begins so that holds most of them."""
    found: dict[Path, list[Path]] = {}
    for top in sorted(child for child in folder.iterdir() if child.is_dir()):
        if top.name.lower().startswith(part):
            for path in _files(top):
                if path.suffix.lower() in SUFFIXES and not _MASKS.search(path.parent.name):
                    found.setdefault(path.parent, []).append(path)
    return max(found.values(), key=len, default=[])


def _files(folder: Path) -> Iterator[Path]:
    """The files below a folder, and behind links to folders, in the order of their names."""
    for place, folders, names in os.walk(folder, followlinks=True):
        here = Path(place).resolve()
        # a link that leads back up would be walked for ever
        folders[:] = sorted(n for n in folders if not here.is_relative_to((here / n).resolve()))
        yield from (Path(place) / name for name in sorted(names))


def _pattern(folder: Path, images: Sequence[Path]) -> str | None:
    """Where images lie, with the suffix that most of them have."""
    if not images:
        return None
    suffix = Counter(path.suffix for path in images).most_common(1)[0][0]
    return f"{images[0].parent.relative_to(folder).as_posix()}/{{image}}{suffix}"


def _sample(folder: Path) -> tuple[str | None, list[str], list[str]]:
    """The sample submission: its name, its columns and the ids of its rows."""
    named = [path for path in sorted(folder.glob("*.csv")) if "sample" in path.name.lower()]
    for path in named:
        header, rows = _table(path)
        if header:
            return path.name, header, [row[0] for row in rows if row]
    return None, [], []


def _table(path: Path) -> tuple[list[str], list[list[str]]]:
    """The columns of a CSV file, and its first rows. Nothing if it is none."""
    csv.field_size_limit(1 << 30)  # a slide's run lengths are one field
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = csv.reader(file)
            header = next(lines, [])
            return header, [row for row, _ in zip(lines, range(_ROWS), strict=False)]
    except (OSError, ValueError, csv.Error):
        return [], []


def _encoded(columns: Sequence[str]) -> str | None:
    """The column of run lengths: the one whose name says so, or the only one."""
    named = [column for column in columns if _ENCODED.search(column)]
    if named:
        return named[0]
    return columns[0] if len(columns) == 1 else None


def _rows(ids: Sequence[str], stems: Sequence[str]) -> tuple[tuple[str, ...], str]:
    """The classes that ids of a sample end in, and how these ids are made."""
    known, classes, forms = set(stems), dict[str, None](), set()
    for row in ids:
        image, bar, name = row.rpartition("_")
        suffix = Path(image).suffix
        stem = image.removesuffix(suffix)
        if row in known or not bar or stem not in known:
            continue
        classes[name] = None
        forms.add(f"{{image}}{suffix}_{{class}}")
    if len(forms) != 1 or not 1 < len(classes) <= _MOST_CLASSES:
        return (), "{image}"
    return tuple(classes), forms.pop()


def _label_table(folder: Path, stems: Sequence[str]) -> tuple[tuple[str, str, str] | None, bool]:
    """A table of run lengths by ids of training images, and whether a row is an object."""
    for path in sorted(folder.glob("*.csv")):
        if "sample" in path.name.lower():
            continue
        header, rows = _table(path)
        column = _encoded(header[1:])
        ids = {row[0] for row in rows if row}
        if column and any(row.startswith(stem) for row in ids for stem in stems[:_SAMPLE]):
            return (path.name, header[0], column), _has_objects(rows, header.index(column))
    return None, False


def _has_objects(rows: Sequence[Sequence[str]], encoded: int) -> bool:
    """Whether rows differ in nothing but their run lengths."""
    named = [(*row[:encoded], *row[encoded + 1 :]) for row in rows if row]
    return len(set(named)) < len(named)


def _masks(folder: Path, stems: Sequence[str]) -> str | None:
    """Where files of pixels lie that are named as training images are."""
    known = set(stems)
    for path in _files(folder):
        place = path.parent.relative_to(folder)
        is_mask = path.suffix.lower() in SUFFIXES and _MASKS.search(place.as_posix())
        if is_mask and path.stem in known:
            return f"{place.as_posix()}/{{image}}{path.suffix}"
    return None


def _polygons(folder: Path, stems: Sequence[str]) -> str | None:
    """Where files of polygons lie that are named as training images are."""
    known = set(stems)
    for path in _files(folder):
        if path.stem in known and _has_polygons(path):
            return path.with_name(f"{{image}}{path.suffix}").relative_to(folder).as_posix()
    return None


def _has_polygons(path: Path) -> bool:
    if path.suffix.lower() not in geojson.SUFFIXES:
        return path.suffix.lower() in _MAPS
    try:
        return bool(geojson.read_geojson(path).polygons)
    except (OSError, ValueError):
        return False  # a file of settings, or the like


def _kinds(images: Sequence[Path], test: Sequence[Path]) -> tuple[Kind, ...]:
    """The kinds of images, of those that can be opened."""
    own, sizes = _opened(images), _opened(test)
    found = [
        Kind(
            bands,
            dtype,
            tuple(name for name, _ in opened),
            tuple(dict.fromkeys(size for _, size in [*opened, *sizes.get((bands, dtype), [])])),
        )
        for (bands, dtype), opened in own.items()
    ]
    return tuple(sorted(found, key=lambda kind: -len(kind.images)))


def _opened(
    images: Sequence[Path],
) -> Mapping[tuple[int, str], list[tuple[str, tuple[int, int]]]]:
    """The ids and sizes of images, by their bands and dtype."""
    found: dict[tuple[int, str], list[tuple[str, tuple[int, int]]]] = {}
    for path in images[:: max(1, -(-len(images) // _SAMPLE))]:
        try:
            with Slide(path) as slide:
                kind = slide.bands, str(slide.dtype)
                size = slide.height, slide.width
        except KernelKitError:
            continue  # make look says why
        found.setdefault(kind, []).append((path.stem, size))
    return found
