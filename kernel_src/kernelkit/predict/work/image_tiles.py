"""The tiles of one image that are worth reading, whoever reads them."""

import logging
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from kernelkit.ensemble import MegaModel
from kernelkit.errors import CompetitionError, ReaderDiedError, ReaderError, SlideError, as_sentence
from kernelkit.grid import TileGrid, Window
from kernelkit.predict.work.regions import tiles_in_regions
from kernelkit.reader import Batch, ReaderPool, TileReader
from kernelkit.reader.foreground import foreground_tiles
from kernelkit.recipe import Recipe
from kernelkit.slide import Slide

__all__ = ["ImageTiles"]

_log = logging.getLogger(__name__)


class ImageTiles:
    """The tiles of one image that are worth reading, in batches.

    Reader processes read them, or this process if there are none. What a dead reader process owed
    is read by one new process. If that dies too, the image is given up.

    Batches are cut from the list of tiles, never by what happens to be ready. So they do not depend
    on the number of workers, and neither does the submission.

    Parameters
    ----------
    slide
        The image. It is closed with the tiles.
    recipe
        Its tiles, foreground rule and batch size.
    readers
        Who reads the tiles. With None, this process does.
    model
        Says whether its networks take the smaller tiles that a narrow image needs. With None, tiles
        are squares.
    drawn
        The file of polygons that say where to look, if the foreground rule wants one.

    Attributes
    ----------
    grid
        All tiles of the image.
    wanted
        The indices of the tiles that the foreground rule keeps.
    notes
        What went otherwise, one sentence each.
    undecodable
        Windows of the image that could not be decoded.
    """

    def __init__(
        self,
        slide: Slide,
        recipe: Recipe,
        readers: ReaderPool | None = None,
        model: MegaModel | None = None,
        drawn: Path | None = None,
    ) -> None:
        tiles = recipe.tiles
        self.slide = slide
        self.grid = _grid(slide, recipe, model)
        self.notes: list[str] = []
        self.wanted: Sequence[int] = self._foreground(recipe, drawn)
        self.undecodable: list[Window] = []
        self._fill = tiles.fill
        self._size = recipe.batch
        self._readers = readers or ReaderPool(0)
        # readers of this image alone, after those of the run failed
        self._own_readers: ReaderPool | None = None
        self._reader = self._new_reader()

    def _foreground(self, recipe: Recipe, drawn: Path | None) -> Sequence[int]:
        """The tiles that the foreground rule keeps. A damaged image has no thumbnail to judge."""
        try:
            rule = recipe.foreground
            if rule is not None and rule.files is not None:
                return tiles_in_regions(self.slide, self.grid, rule, drawn)
            return foreground_tiles(self.slide, self.grid, rule)
        except (SlideError, CompetitionError) as error:
            self.notes.append(
                "every tile is predicted, since the foreground rule could not be applied. The "
                f"reason: {as_sentence(error)}"
            )
            return range(len(self.grid))

    @property
    def skipped(self) -> list[int]:
        """The indices of the tiles that the foreground rule leaves out."""
        return sorted(set(range(len(self.grid))) - set(self.wanted))

    def then(self, following: "ImageTiles") -> None:
        """Have the readers begin with the `following` image as soon as they are done with this."""
        self._reader.then(following._reader)

    def batches(self) -> Generator[Batch]:
        """Iterate over the batches of the wanted tiles, in the grid's order."""
        delivered = 0
        while delivered < len(self.wanted):
            reader = self._reader
            try:
                with reader, closing(reader.batches(self._size)) as batches:
                    for batch in batches:
                        yield batch
                        delivered += len(batch.tiles)
            except ReaderDiedError as error:
                if self._own_readers is not None:
                    raise  # it is the file: this process would die over it too
                self._read_by(ReaderPool(1, kind="process"), "one new reader process", error)
                self._reader = self._new_reader(delivered)
            except ReaderError as error:
                if self._readers.workers == 0:
                    raise
                self._read_by(ReaderPool(0), "the notebook's own process", error)
                self._reader = self._new_reader(delivered)
            finally:
                new = reader.stats.bad_windows
                self.undecodable += [window for window in new if window not in self.undecodable]

    def close(self) -> None:
        """Give up the file, and what was read ahead of it."""
        self._reader.close()
        self.slide.close()
        if self._own_readers is not None:
            self._own_readers.close()

    def _read_by(self, readers: ReaderPool, whom: str, error: ReaderError) -> None:
        """Have the rest of the image read by others, and say why."""
        note = f"the rest was read by {whom}, because: {as_sentence(error)}"
        _log.warning("%s: %s", self.slide.name, note)
        self.notes.append(note)
        self._readers = self._own_readers = readers

    def _new_reader(self, delivered: int = 0) -> TileReader:
        remaining = self.wanted[delivered:]
        return TileReader(self.slide, self.grid, self._readers, indices=remaining, fill=self._fill)


def _grid(slide: Slide, recipe: Recipe, model: MegaModel | None) -> TileGrid:
    """The tiles of an image. A narrow one has narrow tiles, if all networks take them."""
    tiles = recipe.tiles
    square = TileGrid(
        slide.height,
        slide.width,
        core=tiles.core,
        pad=tiles.pads[0],
        scale=tiles.scale,
        edges=tiles.edges,
    )
    clipped = replace(square, clipped=True)
    if model is None or clipped.net_shape == square.net_shape:
        return square
    takes = model.takes((slide.bands, *clipped.net_shape), slide.dtype)
    return clipped if takes else square
