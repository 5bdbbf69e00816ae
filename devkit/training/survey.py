"""What the images of a competition are, and how fast they are read, before there are models.

Headers are read of all images. Pixels are read of a sample of them, with the readers that predict
uses, as the recipe cuts them.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from devkit.bars import bar
from devkit.training.pixel_size import pixel_size
from devkit.training.seen import Seen, rule_in_words
from kernelkit.competition import Scene
from kernelkit.errors import KernelKitError, as_sentence
from kernelkit.grid import TileGrid, Window
from kernelkit.reader import PictureReader, Preparation, ReaderPool, TileReader
from kernelkit.recipe import ForegroundRule, Recipe
from kernelkit.slide import Slide

__all__ = ["KAGGLE_CORES", "ImageLook", "Survey", "survey"]

KAGGLE_CORES = 4
# Of so many images pixels are read, evenly spread over all. Of small ones it is more.
_SAMPLE = 40
_LARGEST_SAMPLE = 1000
# So many source pixels are read of each, and of all small ones together.
_PIXELS = 64_000_000
# Without a recipe, pictures whose longest side has at most so many pixels are read as a whole.
_WHOLE_SIDE = 2048
# Tiles of images that no recipe cuts.
_CORE = 1024
_BATCH = 8


@dataclass
class ImageLook:
    """What was seen of one image.

    Attributes
    ----------
    image
        Its id.
    height, width, bands, dtype, layout
        As its `Slide` has them.
    pixel_size
        The side of a pixel in words, empty if the file does not say.
    equal_bands
        Whether all its bands hold the same. None if it has one, or no pixel was read.
    blank
        The share of the pixels read that are blank. None if none was read.
    pixels_read, seconds
        How many pixels of the source were read, and how long that took.
    notes
        What is read otherwise than a viewer shows it.
    """

    image: str
    height: int
    width: int
    bands: int
    dtype: str
    layout: str
    pixel_size: str = ""
    equal_bands: bool | None = None
    blank: float | None = None
    pixels_read: int = 0
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)

    @property
    def megapixels(self) -> float:
        """The image's pixels, in millions."""
        return self.height * self.width / 1e6

    @property
    def speed(self) -> float | None:
        """Millions of source pixels read per second. None if none was read."""
        return self.pixels_read / 1e6 / self.seconds if self.seconds else None


@dataclass(frozen=True)
class Survey:
    """What was seen of all images.

    Attributes
    ----------
    images
        Those that can be read.
    problems
        Why others cannot, by their ids.
    workers
        How many processes read. 0 is this one.
    how
        How images were read, in words.
    blank_rule
        Which pixels count as blank, in words.
    """

    images: Sequence[ImageLook]
    problems: Mapping[str, str]
    workers: int
    how: str
    blank_rule: str

    @property
    def megapixels(self) -> float:
        """The pixels of all images, in millions."""
        return sum(image.megapixels for image in self.images)

    @property
    def speed(self) -> float | None:
        """Millions of source pixels per second over all images that were read."""
        seconds = sum(image.seconds for image in self.images)
        return sum(image.pixels_read for image in self.images) / 1e6 / seconds if seconds else None

    def seconds_of(self, images: Sequence[ImageLook], cores: int) -> float | None:
        """How long images take to be read with so many cores. None if none was read."""
        if self.speed is None:
            return None
        here = sum(image.megapixels / (image.speed or self.speed) for image in images)
        return here * max(1, self.workers) / cores


def survey(scenes: Mapping[str, Scene], recipe: Recipe | None, workers: int) -> Survey:
    """Open all images, and read a sample of them.

    Parameters
    ----------
    recipe
        How images are cut, and which pixels hold no data. None cuts them into tiles, or reads small
        pictures as a whole.
    workers
        How many processes read.
    """
    nodata = recipe.competition.nodata if recipe else None
    images: dict[str, ImageLook] = {}
    problems: dict[str, str] = {}
    for name, scene in bar(scenes.items(), description="open", unit="image"):
        try:
            images[name] = _opened(name, scene, nodata)
        except KernelKitError as error:
            problems[name] = as_sentence(error)
    longest = max((max(image.height, image.width) for image in images.values()), default=0)
    is_whole = recipe.tiles.whole if recipe else longest <= _WHOLE_SIDE
    rule = recipe.foreground if recipe else None
    if rule is not None and rule.rule == "polygons":
        rule = None
    with ReaderPool(workers) as pool:
        read = _read_pictures if is_whole else _read_tiles
        for name, reason in read(_sample(list(images.values())), scenes, recipe, rule, pool):
            problems[name] = reason
            del images[name]
    return Survey(
        list(images.values()),
        problems,
        workers,
        "as whole pictures" if is_whole else f"in tiles{_tiles_in_words(recipe)}",
        rule_in_words(rule),
    )


def _sample(images: Sequence[ImageLook]) -> list[ImageLook]:
    """Images that lie evenly among all."""
    pixels = sum(image.height * image.width for image in images) / max(1, len(images))
    wanted = max(_SAMPLE, min(_LARGEST_SAMPLE, round(_PIXELS / max(1, pixels))))
    return [images[i] for i in range(0, len(images), max(1, -(-len(images) // wanted)))]


def _opened(name: str, scene: Scene, nodata: float | None) -> ImageLook:
    with Slide(scene.paths, nodata=nodata) as slide:
        return ImageLook(
            name,
            slide.height,
            slide.width,
            slide.bands,
            str(slide.dtype),
            slide.layout,
            pixel_size(slide),
            notes=list(slide.notes),
        )


def _read_tiles(
    images: Sequence[ImageLook],
    scenes: Mapping[str, Scene],
    recipe: Recipe | None,
    rule: ForegroundRule | None,
    pool: ReaderPool,
) -> Iterator[tuple[str, str]]:
    """Read rows of tiles of each image. Yield the images that fail, and why."""
    fill = recipe.tiles.fill if recipe else "zero"
    nodata = recipe.competition.nodata if recipe else None
    is_warm = False
    for image in bar(images, description="read", unit="image"):
        try:
            slide = Slide(scenes[image.image].paths, nodata=nodata)
            grid = _grid(image, recipe)
            slide.close()
            seen = Seen(rule)
            reader = TileReader(slide, grid, pool, indices=_indices(grid, slide), fill=fill)
            if not is_warm:  # to start the workers is no reading
                is_warm = True
                next(iter(TileReader(slide, grid, pool, indices=[0], fill=fill)))
            started = time.perf_counter()
            for tile, pixels in reader:
                inner = tile.inner
                rows, columns = inner.shrunk(grid.scale).slices
                seen.add(pixels[:, rows, columns])
            image.seconds = time.perf_counter() - started
            image.pixels_read = _decoded(grid, reader.indices, slide)
        except KernelKitError as error:
            yield image.image, as_sentence(error)
            continue
        if reader.bad_tiles:
            image.notes.append(f"{len(reader.bad_tiles)} of its tiles hold damaged blocks")
        image.equal_bands, image.blank = seen.are_equal, seen.blank


def _read_pictures(
    images: Sequence[ImageLook],
    scenes: Mapping[str, Scene],
    recipe: Recipe | None,
    rule: ForegroundRule | None,
    pool: ReaderPool,
) -> Iterator[tuple[str, str]]:
    """Read whole pictures. Yield those that fail, and why."""
    preparation = Preparation(nodata=recipe.competition.nodata if recipe else None)
    paths = [scenes[image.image].paths for image in images]
    batch = recipe.batch if recipe else _BATCH
    next(iter(PictureReader(paths[:1], preparation, pool, batch)), None)
    started = time.perf_counter()
    for found in PictureReader(paths, preparation, pool, batch):
        for place, number in enumerate(found.numbers):
            image, seen = images[number], Seen(rule)
            image.pixels_read = image.height * image.width
            seen.add(found.inputs[0][place])
            image.equal_bands, image.blank = seen.are_equal, seen.blank
        for number, reason in found.failed:
            yield images[number].image, reason
    taken = time.perf_counter() - started
    # they are read side by side, so no time is of one picture
    pixels = sum(image.pixels_read for image in images)
    for image in images:
        image.seconds = taken * image.pixels_read / max(1, pixels)


def _grid(image: ImageLook, recipe: Recipe | None) -> TileGrid:
    if recipe is None or recipe.tiles.whole:
        return TileGrid(image.height, image.width, core=_CORE)
    tiles = recipe.tiles
    return TileGrid(
        image.height,
        image.width,
        core=tiles.core,
        pad=tiles.pads[0],
        scale=tiles.scale,
        edges=tiles.edges,
    )


def _indices(grid: TileGrid, slide: Slide) -> list[int]:
    """Which tiles to read: whole rows of them, since many files hold strips."""
    wanted = max(1, round(grid.rows * _PIXELS / (slide.height * slide.width)))
    if wanted >= grid.rows or slide.in_order:
        return list(range(len(grid)))
    rows = np.linspace(0, grid.rows - 1, wanted).round().astype(int)
    return [int(row) * grid.columns + column for row in rows for column in range(grid.columns)]


def _decoded(grid: TileGrid, indices: Sequence[int], slide: Slide) -> int:
    """How many pixels lie in rows of tiles. What two rows share is decoded once."""
    rows = {row for i in indices[:: grid.columns] for row in _rows_of(grid[i].read, slide.bounds)}
    return len(rows) * slide.width


def _rows_of(window: Window, bounds: Window) -> range:
    inside = window.intersection(bounds)
    return range(inside.row, inside.bottom)


def _tiles_in_words(recipe: Recipe | None) -> str:
    if recipe is None:
        return f" of {_CORE} px"
    return f" of {recipe.tiles.tile} px at scale {recipe.tiles.scale}"
