"""The polygons that say where to look in each image, such as HuBMAP's anatomical regions."""

from collections.abc import Iterator
from pathlib import Path

from kernelkit.competition import CompetitionFolder
from kernelkit.errors import CompetitionError, listed
from kernelkit.grid import TileGrid
from kernelkit.predict.findings import Finding
from kernelkit.reader.foreground import tiles_in_mask
from kernelkit.recipe import ForegroundRule, Recipe
from kernelkit.slide import Slide

__all__ = ["drawn_regions", "missing_regions", "tiles_in_regions"]

_SHOWN = 5


def drawn_regions(competition: CompetitionFolder, recipe: Recipe, image_id: str) -> Path | None:
    """The file of polygons that the recipe's foreground names for an image, None without one."""
    scene = competition.scenes.get(image_id)
    if scene is None or recipe.foreground is None or recipe.foreground.files is None:
        return None
    path = competition.folder / recipe.foreground.files.format_map(scene.places)
    return path if path.is_file() else None


def tiles_in_regions(
    slide: Slide, grid: TileGrid, rule: ForegroundRule, drawn: Path | None
) -> list[int]:
    """Return the indices of the tiles whose core the polygons touch, ascending.

    Parameters
    ----------
    drawn
        The file of polygons, None if there is none.

    Raises
    ------
    CompetitionError
        There is no such file, or no polygon of the rule's names is in it.
    """
    if drawn is None:
        raise CompetitionError(f"there is no file of polygons, wanted {rule.files}")
    from kernelkit.maps import DrawnLabels  # few recipes name polygons, and its libraries are slow

    regions = DrawnLabels(drawn, slide.transform, slide.crs, rule.names)
    mask = regions.mask(slide.bounds, scale=rule.scale)
    return tiles_in_mask(mask.to_array() > 0, grid, rule.fraction)


def missing_regions(
    competition: CompetitionFolder, recipe: Recipe, limit: int | None = None
) -> Iterator[Finding]:
    """Which images lack their file of polygons, and whether the first file can be used.

    All tiles of an image without such a file are read. If no image has one, it is an error.
    """
    rule = recipe.foreground
    if rule is None or rule.files is None:
        return
    from kernelkit.maps import DrawnLabels

    images = [image for image in competition.images[:limit] if image in competition.scenes]
    found = {image: drawn_regions(competition, recipe, image) for image in images}
    missing = [image for image, path in found.items() if path is None]
    subject = str(competition.folder)
    if missing and len(missing) == len(images):
        example = rule.files.format_map(competition.scenes[missing[0]].places)
        message = (
            f"the foreground's files {rule.files} are there for no image. Of {missing[0]} it would"
            f" be {example}. Correct 'files' in the recipe"
        )
        yield Finding(subject, message, True)
        return
    if missing:
        message = (
            f"{len(missing)} of {len(images)} images have no file of polygons"
            f" ({listed(missing, _SHOWN)}). All their tiles are read"
        )
        yield Finding(subject, message)
    first = next((path for path in found.values() if path is not None), None)
    if first is None:
        return
    try:
        DrawnLabels(first, names=rule.names)
    except CompetitionError as error:
        yield Finding(first.name, f"{error}. All tiles of its image are read")
