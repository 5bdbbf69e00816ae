"""The images that a run is asked about: a competition's folder, or a plain folder of images."""

from pathlib import Path
from typing import TYPE_CHECKING

from kernelkit.errors import CompetitionError

if TYPE_CHECKING:
    from kernelkit.competition import CompetitionFolder
    from kernelkit.recipe import Recipe

__all__ = ["SUFFIXES", "read_images"]

# The names of image files end so, if no recipe says otherwise.
SUFFIXES = (
    *(".tif", ".tiff", ".svs", ".png", ".jpg", ".jpeg"),
    *(".jp2", ".webp", ".bmp", ".npy"),
)


def read_images(folder: Path, recipe: "Recipe") -> "tuple[Recipe, CompetitionFolder]":
    """Find the images of a folder, whether it is a competition's or holds images alone.

    It is a competition's if it has the sample submission, or images where the recipe looks for
    them. Of a plain folder, files are images that are named as those of the competition are. If
    there are none, all image files are.

    Returns
    -------
    The recipe and the images. Over a plain folder, the recipe has no groups that vote, and writes
    no maps of them.

    Raises
    ------
    CompetitionError
        There is no such folder, it has no image, or its sample submission has another form.
    """
    from kernelkit.competition import CompetitionFolder
    from kernelkit.competition.rows import rows_of_images
    from kernelkit.competition.scenes import find_scenes

    wanted = recipe.competition
    is_competition = (folder / wanted.sample).is_file() or any(find_scenes(folder, wanted))
    if is_competition or not folder.is_dir():
        return recipe, CompetitionFolder.read(folder, wanted)
    folder = folder.absolute()
    for place, images in _plain_places(folder, recipe):
        plain = _plain(recipe, images)
        scenes, problems = find_scenes(place, plain.competition)
        if scenes or problems:
            rows = rows_of_images([*scenes, *problems], plain.competition)
            return plain, CompetitionFolder(place, rows, scenes, problems)
    raise CompetitionError(
        f"{folder}: found neither {wanted.sample}, nor images at {wanted.images} as the recipe "
        f"{recipe.name} says, nor files that end in {', '.join(SUFFIXES)}. Name another folder"
    )


def _plain_places(folder: Path, recipe: "Recipe") -> list[tuple[Path, dict[str, object]]]:
    """Where the images of a plain folder may lie, as a recipe would say it."""
    wanted = recipe.competition
    places: list[tuple[Path, dict[str, object]]] = []
    name = wanted.images.rsplit("/", 1)[-1]
    if "{image}" in name:
        places.append((folder, {"images": name}))
    # a folder of files is named below another
    files: dict[str, object] = {"images": folder.name, "suffixes": SUFFIXES}
    return places if wanted.bands else [*places, (folder.parent, files)]


def _plain(recipe: "Recipe", images: dict[str, object]) -> "Recipe":
    """The recipe for images that belong to no competition."""
    wanted = recipe.competition
    has_classes = bool(wanted.classes) and not wanted.shares_fields
    changes = {
        **images,
        "rows": "{image}_{class}" if has_classes else "{image}",
        "output": None,
    }
    columns = {name: text for name, text in wanted.columns.items() if "{group}" not in text}
    competition = {**wanted.model_dump(exclude_unset=True), **changes, "columns": columns}
    content = recipe.model_dump(exclude_unset=True) | {"competition": competition, "groups": None}
    return recipe.model_validate(content)
