"""A competition's folder as Kaggle mounts it: which rows it wants, and where the images lie."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from kernelkit.console import printable
from kernelkit.errors import CompetitionError
from kernelkit.recipe import Competition

__all__ = ["CompetitionFolder"]


@dataclass(frozen=True)
class CompetitionFolder:
    """The ids that a submission needs, in the sample's order, and the image file of each.

    Attributes
    ----------
    ids
        The ids of the sample submission. Without a sample, the stems of the image files.
    files
        Image file of each id that has one. An id is a file's stem, or its whole name.
    unlisted
        Image files that no id asks for, such as those whose name is no text. They are not
        predicted.
    ambiguous
        The files of each id that has several. It counts as an id without a file.
    """

    folder: Path
    ids: tuple[str, ...]
    files: dict[str, Path]
    unlisted: tuple[Path, ...] = ()
    ambiguous: dict[str, tuple[Path, ...]] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: str | Path, competition: Competition) -> "CompetitionFolder":
        """Read ids and files anew: the hidden rerun has others than the public run.

        Parameters
        ----------
        folder
            Where the competition is mounted.
        competition
            What the recipe says of it.

        Raises
        ------
        CompetitionError
            No such folder, no image in it, or a sample submission without the id column.
        """
        folder = Path(folder)
        if not folder.is_dir():
            raise CompetitionError(
                f"{folder}: there is no such competition folder. "
                f"Attach the competition {competition.slug!r}, or correct the path"
            )
        image_folder = folder / competition.images
        found = _image_files(image_folder, competition.suffixes)
        ids = _sample_ids(folder / competition.sample, competition) or _named_in_text(found)
        if not ids:
            raise CompetitionError(
                f"{image_folder}: no image with the suffix {' or '.join(competition.suffixes)} is "
                f"there, and {competition.sample} lists none. Check the recipe's 'competition'"
            )
        by_name = {path.name: [path] for paths in found.values() for path in paths}
        asked = {image_id: found.get(image_id) or by_name.get(image_id, []) for image_id in ids}
        taken = {path for paths in asked.values() for path in paths}
        return cls(
            folder=folder,
            ids=ids,
            files={image_id: paths[0] for image_id, paths in asked.items() if len(paths) == 1},
            unlisted=tuple(p for paths in found.values() for p in paths if p not in taken),
            ambiguous={i: tuple(paths) for i, paths in asked.items() if len(paths) > 1},
        )


def _image_files(folder: Path, suffixes: tuple[str, ...]) -> dict[str, list[Path]]:
    """The image files of a folder by their stems, in the order of their names.

    A suffix may be written without its dot, and may have several, as `.ome.tif` has.
    """
    endings = sorted({f".{suffix.lower().lstrip('.')}" for suffix in suffixes}, key=len)
    found: dict[str, list[Path]] = defaultdict(list)
    for path in sorted(folder.glob("*")):
        # the longest ending counts: a.ome.tif is no image called a.ome
        ending = next((e for e in reversed(endings) if path.name.lower().endswith(e)), None)
        if ending is not None and path.name.lower() != ending and path.is_file():
            found[path.name[: -len(ending)]].append(path)
    return dict(found)


def _named_in_text(stems: Iterable[str]) -> tuple[str, ...]:
    """The stems that a CSV file can hold. A name on disk may be bytes that are no UTF-8."""
    return tuple(stem for stem in stems if printable(stem) == stem)


def _sample_ids(sample: Path, competition: Competition) -> tuple[str, ...]:
    """The ids of the sample submission, or none if there is no sample."""
    if not sample.is_file():
        return ()
    try:
        table = pd.read_csv(sample, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except (ValueError, OSError) as error:
        reason = " ".join(str(error).split())
        raise CompetitionError(
            f"{sample}: this is no CSV file in UTF-8 ({reason}). Download it again"
        ) from error
    wanted = [competition.id_column, competition.rle_column]
    if list(table.columns) != wanted:
        raise CompetitionError(
            f"{sample}: the columns are {', '.join(table.columns)}, but the recipe writes "
            f"{', '.join(wanted)}. Correct id_column and rle_column in the recipe"
        )
    ids = table[competition.id_column]
    if not len(ids):
        raise CompetitionError(f"{sample}: it lists no id. Download it again")
    repeated = ids[ids.duplicated()]
    if len(repeated):
        raise CompetitionError(
            f"{sample}: the id {repeated.iloc[0]!r} stands in it twice. A recipe has one row per "
            "image"
        )
    return tuple(ids)
