"""Maps: finished masks as polygons and GeoTIFFs, of each image or of each group by vote."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from affine import Affine

from kernelkit.competition import CompetitionFolder
from kernelkit.errors import MaskError, as_sentence
from kernelkit.mask import BitMask
from kernelkit.mask.votes import Ballot
from kernelkit.predict.hand_in.finished_masks import FinishedMasks
from kernelkit.recipe import Recipe
from kernelkit.slide import Slide
from kernelkit.slide.ground import is_same_place

__all__ = ["Maps", "write_maps"]

_log = logging.getLogger(__name__)

_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Maps:
    """What was written.

    Attributes
    ----------
    files
        All maps, in the order of images or groups.
    missing
        The groups or images that have no map, although one was asked for. An image without a mask
        counts only within its group.
    notes
        What could not be written, or was left out of a vote, one sentence each.
    """

    files: list[Path]
    missing: list[str]
    notes: list[str]


@dataclass(frozen=True, slots=True)
class _Ground:
    """Where an image lies: its size, transform and CRS."""

    shape: tuple[int, int]
    transform: Affine
    crs: Any

    @classmethod
    def of(cls, slide: Slide) -> "_Ground":
        return cls((slide.height, slide.width), slide.transform, slide.crs)

    def difference(self, other: "_Ground") -> str:
        """In what another ground is not the same. Empty if it is."""
        if self.shape != other.shape:
            return f"found the size {other.shape}, wanted {self.shape}"
        if self.crs != other.crs:
            return f"found the CRS {other.crs}, wanted {self.crs}"
        if not is_same_place(self.transform, other.transform, *self.shape):
            return f"found the transform {tuple(other.transform)}, wanted {tuple(self.transform)}"
        return ""


def write_maps(
    masks: FinishedMasks,
    competition: CompetitionFolder,
    recipe: Recipe,
    folder: Path,
) -> Maps:
    """Write the files that the recipe's output asks for. What cannot be written costs no other.

    Parameters
    ----------
    masks
        The submitted masks of each image, one per class.
    folder
        Where the files go. What lies there stays until a new file is complete.
    """
    done = Maps([], [], [])
    output = recipe.competition.output
    if output is None:
        return done
    # most runs write no map, and its libraries take most of a second to be imported
    from kernelkit.maps import polygons, write_geotiff, write_polygons

    for name, places, images in _parties(competition, recipe):
        voters = [image for image in images if image in masks]
        _say_who_is_left_out(name, images, voters, recipe, done)
        if not voters:
            continue
        try:
            ground, voted = _voted(voters, masks, competition, recipe, done.notes)
            for class_name, mask in zip(recipe.competition.classes or ("",), voted, strict=True):
                where = places | {"class": class_name}
                if output.geotiff:
                    path = folder / output.geotiff.format_map(where)
                    write_geotiff(path, mask, ground.transform, ground.crs, where)
                    done.files.append(path)
                if output.polygons:
                    path = folder / output.polygons.format_map(where)
                    shapes = polygons(mask, ground.transform)
                    write_polygons(path, shapes, ground.crs, field=output.field)
                    done.files.append(path)
        except Exception as error:  # whatever it is, it costs no other map
            _say_missing(name, as_sentence(error), done)
    return done


def _say_missing(name: str, reason: str, done: Maps) -> None:
    done.missing.append(name)
    done.notes.append(f"{name}: no map, because: {reason}")
    _log.warning("%s", done.notes[-1])


def _say_who_is_left_out(
    name: str, images: Sequence[str], voters: Sequence[str], recipe: Recipe, done: Maps
) -> None:
    """Say which images of a group have no mask, so that less are asked than there are."""
    if recipe.groups is None or len(voters) == len(images):
        return
    if not voters:
        _say_missing(name, f"not one of its {len(images)} image(s) has a mask", done)
        return
    away = [image for image in images if image not in voters]
    shown = ", ".join(away[:_SHOWN]) + (" and more" if len(away) > _SHOWN else "")
    done.notes.append(
        f"{name}: {len(voters)} of {len(images)} images vote, since the others have no mask"
        f" ({shown})"
    )


def _parties(
    competition: CompetitionFolder, recipe: Recipe
) -> Iterator[tuple[str, dict[str, str], list[str]]]:
    """Each map: what it is of, what stands in its files' names, and its images.

    Files that are not one image have no scene. Then the image's row may say its group.
    """
    groups = {row.image: row.group for row in competition.rows}
    groups |= {image: scene.group for image, scene in competition.scenes.items()}
    if recipe.groups is None:
        for image in competition.images:
            if image in competition.scenes:
                yield image, competition.scenes[image].places, [image]
        return
    images_of: dict[str, list[str]] = {}
    for image in competition.images:
        images_of.setdefault(groups[image], []).append(image)
    images_of.pop("", None)  # files that are not one image, in a competition of plain ids
    for group, images in images_of.items():
        yield group, {"image": "", "group": group}, images


def _voted(
    images: Sequence[str],
    masks: FinishedMasks,
    competition: CompetitionFolder,
    recipe: Recipe,
    notes: list[str],
) -> tuple[_Ground, list[BitMask]]:
    """Where the images lie, and the masks on which enough of them agree, one per class.

    An image on another grid than most of them has no vote, which is a note. One image at a time is
    in memory.
    """
    grounds = {image: _ground_of(competition, recipe, image) for image in images}
    first = _first_of_most(grounds)
    ground = grounds[first]
    ballots: list[Ballot] = []
    for image in images:
        if difference := ground.difference(grounds[image]):
            notes.append(f"{image}: it has no vote ({difference} as in {first})")
            continue
        found, missing = masks.with_missing(image)
        if found[0].shape != ground.shape:
            raise MaskError(
                f"{image}: a map needs masks of the image's size {ground.shape}, but found "
                f"{found[0].shape}. Leave out the competition's 'size'"
            )
        if len(images) == 1:
            return ground, found
        ballots = ballots or [Ballot(*ground.shape) for _ in found]
        for ballot, mask in zip(ballots, found, strict=True):
            ballot.add(mask, missing)
    if recipe.groups is None:
        raise MaskError("several images were to make one map. Give one, or write 'groups'")
    return ground, [ballot.result(recipe.groups.needed) for ballot in ballots]


def _ground_of(competition: CompetitionFolder, recipe: Recipe, image: str) -> _Ground:
    with Slide(competition.scenes[image].paths, nodata=recipe.competition.nodata) as slide:
        return _Ground.of(slide)


def _first_of_most(grounds: Mapping[str, _Ground]) -> str:
    """The first image of those that most share their ground with. Of equally many, the first."""
    shared = {
        image: sum(not ground.difference(other) for other in grounds.values())
        for image, ground in grounds.items()
    }
    return max(shared, key=lambda image: shared[image])
