"""A competition's folder as Kaggle mounts it: which rows it wants, and where the images lie."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from kernelkit.errors import CompetitionError
from kernelkit.recipe import Competition

__all__ = ["CompetitionFolder"]


@dataclass(frozen=True)
class CompetitionFolder:
    """The ids that a submission needs, in the sample's order, and the image file of each.

    Attributes
    ----------
    ids
        The ids of `sample_submission.csv`, or, without one, the stems of the image files.
    files
        Image file of each id that has one.
    unlisted
        Image files that no id asks for. They are not predicted.
    """

    folder: Path
    ids: tuple[str, ...]
    files: dict[str, Path]
    unlisted: tuple[Path, ...]

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
        suffixes = {suffix.lower() for suffix in competition.suffixes}
        found = {
            path.stem: path
            for path in sorted(image_folder.glob("*"))
            if path.suffix.lower() in suffixes
        }
        ids = _sample_ids(folder / competition.sample, competition) or tuple(found)
        if not ids:
            raise CompetitionError(
                f"{image_folder}: no image with the suffix {' or '.join(competition.suffixes)} is "
                f"there, and {competition.sample} lists none. Check the recipe's 'competition'"
            )
        wanted = set(ids)
        return cls(
            folder=folder,
            ids=ids,
            files={stem: path for stem, path in found.items() if stem in wanted},
            unlisted=tuple(path for stem, path in found.items() if stem not in wanted),
        )


def _sample_ids(sample: Path, competition: Competition) -> tuple[str, ...]:
    if not sample.is_file():
        return ()
    try:
        table = pd.read_csv(sample, dtype=str, keep_default_na=False)
    except (ValueError, UnicodeDecodeError) as error:
        raise CompetitionError(
            f"{sample}: this is no CSV file ({error}). Download it again"
        ) from error
    for column in (competition.id_column, competition.rle_column):
        if column not in table.columns:
            raise CompetitionError(
                f"{sample}: the column {column!r} is missing, found {', '.join(table.columns)}. "
                "Correct id_column and rle_column in the recipe"
            )
    repeated = table[competition.id_column][table[competition.id_column].duplicated()]
    if len(repeated):
        raise CompetitionError(f"{sample}: the id {repeated.iloc[0]!r} stands in it twice")
    return tuple(table[competition.id_column])
