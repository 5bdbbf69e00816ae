"""Real tiles of a competition, or whole pictures, and what each member sees of them."""

from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kernelkit.competition import CompetitionFolder
from kernelkit.ensemble import MegaModel
from kernelkit.errors import CompetitionError, KernelKitError, RecipeError, as_sentence
from kernelkit.predict.work.image_tiles import ImageTiles
from kernelkit.reader import ReaderPool, TileReader
from kernelkit.reader.pictures import PictureReader, Preparation
from kernelkit.recipe import Recipe
from kernelkit.slide import Slide

__all__ = ["Sample", "read_samples"]

# Images that are opened in search of tiles, at most.
_MOST_IMAGES = 32


@dataclass(frozen=True)
class Sample:
    """What the members of an ensemble see of some tiles or pictures.

    Attributes
    ----------
    names
        Where each tile is from.
    seen
        float32 (N, C, h, w) on the device, by the member's name.
    """

    names: list[str]
    seen: dict[str, Tensor]


def read_samples(recipe: Recipe, images: CompetitionFolder, model: MegaModel, count: int) -> Sample:
    """Read some tiles of the images that an ensemble is for, from as many images as there are.

    Raises
    ------
    CompetitionError
        No image could be read that the ensemble is for.
    RecipeError
        A member looks at several scales.
    """
    whole = recipe.tiles.whole
    reading = _pictures(recipe, images, model) if whole else _tiles(recipe, images, model, count)
    names: list[str] = []
    parts: dict[str, list[Tensor]] = {}
    shapes: dict[str, torch.Size] = {}
    problems: list[str] = []
    with closing(reading):
        for name, seen in reading:
            if isinstance(seen, str):
                problems.append(f"{name}: {seen}")
                continue
            single = {member: _only(recipe, member, inputs) for member, inputs in seen.items()}
            if any(shapes.setdefault(m, one.shape) != one.shape for m, one in single.items()):
                continue  # an engine takes one size, and the first image decides
            names.append(name)
            for member, one in single.items():
                parts.setdefault(member, []).append(one)
            if len(names) == count:
                break
    if not names:
        reason = f" ({problems[0]})" if problems else ""
        raise CompetitionError(
            f"{images.folder}: found no image for {model.recipe.name} to check an engine "
            f"on{reason}. Name a folder with images of this kind"
        )
    return Sample(names, {member: torch.cat(inputs) for member, inputs in parts.items()})


def _only(recipe: Recipe, member: str, inputs: list[Tensor]) -> Tensor:
    if len({one.shape for one in inputs}) > 1:
        raise RecipeError(
            f"{recipe.name}: {member} looks at several scales, and an engine takes one size. Leave "
            "it out of 'runs', or name one scale for it"
        )
    return inputs[0]


# Where tiles are from, and what members see of them, or why they cannot be read.
type _Seen = Generator[tuple[str, dict[str, list[Tensor]] | str]]


def _tiles(recipe: Recipe, images: CompetitionFolder, model: MegaModel, count: int) -> _Seen:
    """Iterate over some tiles of each image, from all over what is worth reading of it."""
    scenes = list(images.scenes.items())[:_MOST_IMAGES]
    each = -(-count // max(1, len(scenes)))
    for image, scene in scenes:
        try:
            with Slide(scene.paths, nodata=recipe.competition.nodata) as slide:
                if recipe.ensemble_for(slide.bands, str(slide.dtype)).name != model.recipe.name:
                    continue
                tiles = ImageTiles(slide, recipe)
                step = max(1, len(tiles.wanted) // each)
                chosen = list(tiles.wanted)[step // 2 :: step][:each]
                reader = TileReader(slide, tiles.grid, indices=chosen, fill=recipe.tiles.fill)
                for tile, pixels in reader:
                    yield f"{image}, tile {tile.index}", model.seen_tiles(pixels[None])
        except KernelKitError as error:
            yield image, as_sentence(error)


def _pictures(recipe: Recipe, images: CompetitionFolder, model: MegaModel) -> _Seen:
    """Iterate over whole pictures."""
    scenes = list(images.scenes.items())[:_MOST_IMAGES]
    pads = recipe.tiles.pads
    sizes: list[tuple[int, int] | float] = [
        scale.zoom if scale.size is None else (scale.size[0], scale.size[1])
        for scale in model.recipe.pyramid
    ]
    sizes += model.sizes(1, 1)[len(sizes) :]
    prepare = Preparation(
        pads=pads,
        fill=recipe.tiles.fill,
        sizes=tuple(sizes),
        resample=model.recipe.input.resample,
        bands=model.recipe.input.highest_band,
        nodata=recipe.competition.nodata,
    )
    with ReaderPool(0) as readers:
        reader = PictureReader([scene.paths for _, scene in scenes], prepare, readers, 1)
        for batch in reader:
            yield from ((scenes[number][0], reason) for number, reason in batch.failed)
            for place, number in enumerate(batch.numbers):
                info = batch.pictures[place]
                if recipe.ensemble_for(info.bands, str(info.dtype)).name != model.recipe.name:
                    continue
                inputs: list[NDArray] = [
                    np.asarray(part[place : place + 1]) for part in batch.inputs
                ]
                own = info.height, info.width
                yield scenes[number][0], model.seen_pictures(inputs, pads, own)
