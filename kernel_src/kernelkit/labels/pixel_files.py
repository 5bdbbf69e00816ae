"""Labels in files of pixels: a band per class, a value per class, a file per class, or shares."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kernelkit.errors import LabelError, SlideError
from kernelkit.files import file_sha256
from kernelkit.grid import Window
from kernelkit.labels.files import FileLabels
from kernelkit.labels.labels import some
from kernelkit.labels.planes import Planes
from kernelkit.recipe.labels import LabelsRecipe
from kernelkit.slide import Slide
from kernelkit.slide.ground import is_same_place

__all__ = ["PixelLabels"]

_ON = np.uint8(255)
# Above it a pixel of a JPEG is labelled, since that keeps no exact values.
_HALF = 127
# So many pixels may labels lie beside their image, since places are often rounded.
_NEAR = 1.0
# In a table of values: a value that no class has.
_STRANGE = 255
_OF_VALUES = (np.dtype(np.uint8), np.dtype(np.uint16))


class PixelLabels(FileLabels):
    """A file of pixels per image, or per image and class. See `Labels`.

    Raises
    ------
    LabelError
        No image has a file, or two files are of one image.
    """

    def _find(self, recipe: LabelsRecipe, folder: Path) -> None:
        super()._find(recipe, folder)
        self.is_soft = recipe.soft is not None
        self._values = recipe.values
        if self._values is not None and len(self._values) != len(self.classes):
            raise LabelError(
                f"{self.source}: found {len(self._values)} values for {len(self.classes)} classes,"
                " wanted one per class"
            )
        self._keep_those_with_files("a file")
        self._say_strange_files()

    def fingerprint(self, image_id: str) -> str:
        """See `Labels`."""
        files = self._files.of(self.scenes[image_id])
        content = [str(self._values), str(self.is_soft), str(self.classes)]
        for name, path in files.items():
            content += [name, file_sha256(path)]
        return hashlib.sha256("\n".join(content).encode()).hexdigest()

    def _say_strange_files(self) -> None:
        """Name files of unknown classes, and the images that lack a class."""
        if unknown := [path.name for path in self._files.unknown]:
            self.notes.append(f"{self.source}: {some(unknown, 'file')} not of a class")
        for name in self.classes if "" not in self._files.of(self.scenes[self.ids[0]]) else ():
            without = [i for i in self.ids if name not in self._files.of(self.scenes[i])]
            if without:
                self.notes.append(
                    f"{self.source}: {some(without, 'image')} without a file of the class {name},"
                    " taken as empty"
                )

    def _planes(self, image_id: str, slide: Slide) -> "PixelPlanes":
        files = self._files.of(self.scenes[image_id])
        allowed = dict.fromkeys(
            size for size in ((slide.height, slide.width), self.competition.size) if size
        )
        slides: dict[str, Slide] = {}
        for name, path in files.items():
            try:
                slides[name] = Slide(path, palette=False)
            except SlideError as error:
                raise LabelError(f"the labels cannot be read. {error}") from error
            found = slides[name].height, slides[name].width
            if found not in allowed or found != _size(next(iter(slides.values()))):
                wanted = " or ".join(f"{height} x {width}" for height, width in allowed)
                raise LabelError(
                    f"{path}: found labels of {found[0]} x {found[1]} pixels, wanted {wanted} as"
                    f" {slide.paths[0].name} has. Save the labels at the size of their image"
                )
            _refuse_elsewhere(slides[name], slide)
        if "" not in slides:
            return PixelPlanes([slides.get(name) for name in self.classes], self.is_soft)
        whole = slides[""]
        if self.is_soft or whole.bands == len(self.classes) > 1:
            return PixelPlanes([whole], self.is_soft, len(self.classes))
        return PixelPlanes([whole], False, len(self.classes), self._table(whole))

    def _table(self, slide: Slide) -> NDArray[np.uint8] | None:
        """Which class each value of a band is, counted from 1. None if all but 0 are the class."""
        if len(self.classes) == 1 and self._values is None:
            return None
        path = slide.paths[0]
        if slide.bands != 1 or slide.dtype not in _OF_VALUES:
            raise LabelError(
                f"{path}: found {slide.bands} band(s) of {slide.dtype} for {len(self.classes)}"
                " classes, wanted a band per class, or one band of uint8 or uint16 with a value per"
                " class"
            )
        table = np.full(65536, 0 if self._values else _STRANGE, np.uint8)
        table[0] = 0
        for number, value in enumerate(self._values or range(1, len(self.classes) + 1), 1):
            table[value] = number
            if value == slide.nodata:
                raise LabelError(
                    f"{path}: found {value} as the value of pixels without data, and as that of a"
                    " class. Save the labels without a nodata value"
                )
        return table


class PixelPlanes(Planes):
    """Planes in files of pixels.

    Parameters
    ----------
    slides
        The file of each class, None for an empty class. Or one file of all classes.
    is_soft
        Whether values are shares.
    classes
        How many there are, if one file has all.
    table
        Which class each value is. Without it, a file has a band per class.

    Raises
    ------
    LabelError
        A file has another type or number of bands.
    """

    def __init__(
        self,
        slides: Sequence[Slide | None],
        is_soft: bool,
        classes: int | None = None,
        table: NDArray[np.uint8] | None = None,
    ) -> None:
        held = [slide for slide in slides if slide is not None]
        super().__init__(_size(held[0]), len(slides) if classes is None else classes)
        self.is_soft = is_soft
        self._slides, self._table = slides, table
        self._bands = self.classes if len(slides) == 1 and table is None else 1
        for slide in held:
            self._check(slide)
            self.notes += [f"{slide.paths[0].name}: {note}" for note in slide.notes]
            if (slide.nodata or 0) > 0:
                self.notes.append(
                    f"{slide.paths[0].name}: pixels of its nodata value {slide.nodata:g} are taken"
                    " as not labelled"
                )

    def read(self, window: Window) -> NDArray[np.uint8]:
        """See `Planes`."""
        if self._table is not None:
            return self._by_value(window)
        if len(self._slides) == 1 and self._slides[0] is not None:
            return self._of(self._slides[0], window)
        out = np.zeros((self.classes, window.height, window.width), np.uint8)
        for plane, slide in zip(out, self._slides, strict=True):
            if slide is not None:
                plane[...] = self._of(slide, window)[0]
        return out

    def close(self) -> None:
        """See `Planes`."""
        for slide in self._slides:
            if slide is not None:
                slide.close()

    def _of(self, slide: Slide, window: Window) -> NDArray[np.uint8]:
        """The planes in a file with a band per class."""
        pixels = _read(slide, window)
        if slide.bands != self._bands:
            _refuse_colours(slide, pixels)
            pixels = pixels[:1]
        if self.is_soft:
            return pixels
        least = _HALF if _is_lossy(slide) else 0
        return np.where(pixels > least, _ON, np.uint8(0))

    def _by_value(self, window: Window) -> NDArray[np.uint8]:
        """The planes in a file with a value per class."""
        slide = self._slides[0]
        assert slide is not None
        assert self._table is not None
        values = _read(slide, window)[0]
        numbers = self._table[values]
        if (numbers == _STRANGE).any():
            strange = values[numbers == _STRANGE][0]
            raise LabelError(
                f"{slide.paths[0]}: found the value {strange} in {window}, wanted 0, or 1 to"
                f" {self.classes} for the classes. Name the value of each class by 'values'. Others"
                " are background then"
            )
        wanted = np.arange(1, self.classes + 1, dtype=np.uint8)[:, np.newaxis, np.newaxis]
        return (numbers == wanted) * _ON

    def _check(self, slide: Slide) -> None:
        path = slide.paths[0]
        if self.is_soft and slide.dtype != np.uint8:
            raise LabelError(
                f"{path}: found soft labels of {slide.dtype}, wanted uint8, where 255 is all of a"
                " pixel"
            )
        if self._table is not None and _is_lossy(slide):
            raise LabelError(
                f"{path}: found values of classes in a JPEG, which does not keep them. Save the"
                " labels as PNG"
            )
        if slide.bands != self._bands and not (self._bands == 1 and slide.bands in (3, 4)):
            raise LabelError(
                f"{path}: found {slide.bands} band(s), wanted {self._bands}, one per class. Save"
                " the labels without others, such as alpha"
            )


def _read(slide: Slide, window: Window) -> NDArray:
    try:
        return slide.read(window)
    except SlideError as error:
        raise LabelError(f"the labels cannot be read. {error}") from error


def _refuse_colours(slide: Slide, pixels: NDArray) -> None:
    """Refuse a picture in colours where one band was meant."""
    if (pixels[0] != pixels[1]).any() or (pixels[0] != pixels[2]).any():
        raise LabelError(
            f"{slide.paths[0]}: found a picture in colours as labels of one class, wanted one band,"
            " or bands that are equal. Save the labels in grey"
        )


def _refuse_elsewhere(labels: Slide, image: Slide) -> None:
    """Refuse labels of their image's size that lie elsewhere on the map, such as upside down."""
    if labels.bounds != image.bounds or labels.crs is None or image.crs is None:
        return
    place = image.transform, labels.transform, image.height, image.width
    if labels.crs != image.crs or not is_same_place(*place, within=_NEAR):
        raise LabelError(
            f"{labels.paths[0]}: found labels that lie elsewhere on the map than"
            f" {image.paths[0].name}, or the other way up. Save them on the grid of their image"
        )


def _is_lossy(slide: Slide) -> bool:
    return "JPEG" in slide.layout.split(",")[0].split()


def _size(slide: Slide) -> tuple[int, int]:
    return slide.height, slide.width
