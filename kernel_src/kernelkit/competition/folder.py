"""A competition's folder as Kaggle mounts it: which rows it wants, and where the images lie."""

from dataclasses import dataclass, field
from pathlib import Path

from kernelkit.competition.rows import Row, image_id, rows_of_ids, rows_of_images
from kernelkit.competition.sample import Sample, read_sample
from kernelkit.competition.scenes import Scene, find_scenes
from kernelkit.console import printable
from kernelkit.errors import CompetitionError
from kernelkit.recipe import Competition

__all__ = ["CompetitionFolder", "mounted_folder"]


@dataclass(frozen=True)
class CompetitionFolder:
    """The rows that a submission needs, in the sample's order, and the files of each image.

    Attributes
    ----------
    folder
        Where the competition is mounted.
    rows
        The rows of the sample submission. Without a sample, those of all images.
    scenes
        The files of each image id that has them.
    problems
        Why the files of an image id are not one image, for each such id.
    unlisted
        Image files that no row asks for, such as those whose name is no text. They are not
        predicted.
    sample
        The sample submission, if there is one.
    """

    folder: Path
    rows: tuple[Row, ...]
    scenes: dict[str, Scene]
    problems: dict[str, str] = field(default_factory=dict)
    unlisted: tuple[Path, ...] = ()
    sample: Sample | None = None

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of the rows, in their order, each once."""
        return tuple(dict.fromkeys(row.id for row in self.rows))

    @property
    def images(self) -> tuple[str, ...]:
        """The ids of the images that the rows are about, each once."""
        return tuple(dict.fromkeys(row.image for row in self.rows))

    @classmethod
    def read(cls, folder: str | Path, competition: Competition) -> "CompetitionFolder":
        """Read ids and files anew: the hidden rerun has others than the public run.

        Parameters
        ----------
        folder
            Where the competition is mounted. If it is not there, Kaggle's other layout of mounts
            is tried.
        competition
            What the recipe says of it.

        Raises
        ------
        CompetitionError
            No such folder, no image in it, or a sample submission of another form.
        """
        folder = mounted_folder(Path(folder))
        if not folder.is_dir():
            raise CompetitionError(
                f"{folder}: there is no such competition folder. "
                f"Attach the competition {competition.slug!r}, or correct the path"
            )
        found, problems = find_scenes(folder, competition)
        sample = read_sample(folder, competition)
        # a name on disk may be bytes that are no text, and no row can hold them
        named = [image for image in (*found, *problems) if printable(image) == image]
        rows = (
            rows_of_ids(sample.ids, competition, named)
            if sample
            else rows_of_images(named, competition)
        )
        if not rows:
            raise CompetitionError(
                f"{folder}: {_wanted(competition)} finds no image, and there is no "
                f"{competition.sample}. Check the recipe's 'competition'"
            )
        # a sample may list whole file names
        by_name = {
            image_id(scene.paths[0].name, scene.group, competition): scene
            for scene in found.values()
        }
        asked = {row.image: found.get(row.image) or by_name.get(row.image) for row in rows}
        scenes = {image: scene for image, scene in asked.items() if scene is not None}
        taken = {path for scene in scenes.values() for path in scene.paths}
        return cls(
            folder=folder,
            rows=rows,
            scenes=scenes,
            problems={image: problems[image] for image in asked if image in problems},
            unlisted=tuple(p for s in found.values() for p in s.paths if p not in taken),
            sample=sample,
        )


def mounted_folder(folder: Path) -> Path:
    """The competition's folder in either of Kaggle's layouts of mounts. If in none, as it is."""
    above = folder.parent
    above = above.parent if above.name == "competitions" else above / "competitions"
    other = above / folder.name
    return other if other.is_dir() and not folder.is_dir() else folder


def _wanted(competition: Competition) -> str:
    """What the recipe looks for, in words."""
    if "{" in competition.images:
        return f"the pattern {competition.images}"
    return f"the suffix {' or '.join(competition.suffixes)} in the folder {competition.images}"
