"""Maps: finished masks as polygons and GeoTIFFs, of each image or of each group by vote."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from affine import Affine

from kernelkit.competition import CompetitionFolder
from kernelkit.errors import MaskError, as_sentence
from kernelkit.maps import polygons, write_geotiff, write_polygons
from kernelkit.mask import BitMask
from kernelkit.mask.votes import vote
from kernelkit.predict.work.nodata import empty_pixels
from kernelkit.recipe import Recipe
from kernelkit.slide import Slide
from kernelkit.slide.ground import is_same_place

__all__ = ["Maps", "write_maps"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Maps:
    """What was written.

    Attributes
    ----------
    files
        All maps, in the order of images or groups.
    notes
        What could not be written, or was left out of a vote, one sentence each.
    """

    files: list[Path]
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
    masks: Mapping[str, Sequence[BitMask]],
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
    done = Maps([], [])
    output = recipe.competition.output
    if output is None:
        return done
    for places, images in _parties(masks, competition, recipe):
        name = places["group"] or places["image"]
        try:
            ground, voted = _voted(images, masks, competition, recipe, done.notes)
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
            done.notes.append(f"{name}: no map, because: {as_sentence(error)}")
            _log.warning("%s", done.notes[-1])
    return done


def _parties(
    masks: Mapping[str, Sequence[BitMask]], competition: CompetitionFolder, recipe: Recipe
) -> Iterator[tuple[dict[str, str], list[str]]]:
    """What stands in the names of a map, and the images that it is made of."""
    groups: dict[str, list[str]] = {}
    for image in masks:
        scene = competition.scenes[image]
        if recipe.groups is None:
            name = scene.image.removeprefix(f"{scene.group}/")
            yield {"image": name, "group": scene.group}, [image]
        else:
            groups.setdefault(scene.group, []).append(image)
    for group, images in groups.items():
        yield {"image": "", "group": group}, images


def _voted(
    images: Sequence[str],
    masks: Mapping[str, Sequence[BitMask]],
    competition: CompetitionFolder,
    recipe: Recipe,
    notes: list[str],
) -> tuple[_Ground, list[BitMask]]:
    """Where the images lie, and the masks on which enough of them agree, one per class.

    An image on another grid than the first one has no vote, which is a note.
    """
    ground: _Ground | None = None
    votes: list[Sequence[BitMask]] = []
    missing: list[BitMask | None] = []
    for image in images:
        with Slide(competition.scenes[image].paths, nodata=recipe.competition.nodata) as slide:
            here = _Ground.of(slide)
            ground = ground or here
            if difference := ground.difference(here):
                notes.append(f"{image}: it has no vote ({difference} as in {images[0]})")
                continue
            found = masks[image]
            if found[0].shape != ground.shape:
                raise MaskError(
                    f"{image}: a map needs masks of the image's size {ground.shape}, but found "
                    f"{found[0].shape}. Leave out the competition's 'size'"
                )
            votes.append(found)
            missing.append(empty_pixels(slide) if len(images) > 1 else None)
    if ground is None:
        raise MaskError("no image was to vote. Give at least one")
    if recipe.groups is None or len(votes) == 1:
        return ground, list(votes[0])
    needed = recipe.groups.needed
    return ground, [vote(of_class, needed, missing) for of_class in zip(*votes, strict=True)]
