"""Windows as PNG or GeoTIFF files, for tools that read nothing else, as HuBMAP's code lays them.

    <out>/CUTS/<source>_x<scale>_<size>/imgs/<image>/0000001.png
    <out>/CUTS/<source>_x<scale>_<size>/masks/<image>/0000001.png
    <out>/SPLITS/<source>_split/<fold>/train/imgs/<image>       a link to the folder above
    <out>/SPLITS/<source>_split/<fold>/val/imgs/<image>
    <out>/windows.csv                                           each file's window, fold and numbers

With several classes there is a folder of masks per class, `masks_<class>`. A mask holds the share
of each pixel, from 0 to 255. A GeoTIFF has its window's transform and the image's CRS.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import cv2
import numpy as np
import pandas as pd

from kernelkit.errors import OutputError
from kernelkit.files import open_atomically
from kernelkit.grid import Window, placed
from kernelkit.maps.geotiff import new_tiff
from kernelkit.maps.polygonise import PIXELS

if TYPE_CHECKING:
    from kernelkit.training.cuts import CutImage, Cuts

__all__ = ["Form", "write_cut_files"]

Form = Literal["png", "geotiff"]

_SUFFIXES = {"png": ".png", "geotiff": ".tif"}
# What a PNG can hold.
_PNG_BANDS = (1, 3, 4)
_PNG_DTYPES = (np.dtype(np.uint8), np.dtype(np.uint16))
# Fast, since nobody keeps these files.
_PNG_OPTIONS = (cv2.IMWRITE_PNG_COMPRESSION, 1)


def write_cut_files(
    cuts: "Cuts",
    out: Path,
    form: Form,
    workers: int = 0,
    advance: Callable[[], object] = lambda: None,
) -> pd.DataFrame:
    """Write a file of pixels and a file of masks per window that is kept.

    Parameters
    ----------
    workers
        How many threads write.
    advance
        Called after each window.

    Returns
    -------
    The windows, with the path of each file below `out`.

    Raises
    ------
    OutputError
        They cannot be written, or a PNG cannot hold them.
    """
    if form == "png":
        for image in cuts.images.values():
            _refuse_for_png(image)
    table = cuts.kept.copy()
    numbers = table.groupby(["source", "image"]).cumcount() + 1
    table["file"] = [
        f"{_folder(cuts.images[str(row.image)], row)}/imgs/{row.image}/{number:07}{_SUFFIXES[form]}"
        for row, number in zip(table.itertuples(index=False), numbers, strict=True)
    ]

    def write(row: Any) -> None:
        image = cuts.images[row.image]
        window = Window(int(row.row), int(row.col), int(row.height), int(row.width))
        for path, pixels in _files(image, cuts.classes, window, out / row.file):
            _write(path, pixels, form, image, window)
        advance()

    try:
        with ThreadPoolExecutor(max(1, workers)) as threads:
            for _ in threads.map(write, table.itertuples(index=False)):
                pass
        _link_splits(cuts, table, out)
        with open_atomically(out / "windows.csv") as file:
            table.to_csv(file, index=False)
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(
            f"{out}: the files of the windows cannot be written there ({error.strerror or error}). "
            "Make room there, or choose another folder"
        ) from error
    return table


def _folder(image: "CutImage", row: Any) -> str:
    """The folder of a source, which also says the scale and the size of windows."""
    scale = round(image.source_step[0])
    size = row.height if row.height == row.width else f"{row.height}x{row.width}"
    return f"CUTS/{row.source}_x{scale}_{size}"


def _files(
    image: "CutImage", classes: Sequence[str], window: Window, path: Path
) -> Iterator[tuple[Path, np.ndarray]]:
    """The files of a window: its pixels, and its masks."""
    yield path, image.read_pixels(window)
    folder, name = path.parents[2], Path(*path.parts[-2:])
    labels = image.read_labels(window)
    for plane, word in zip(labels, classes, strict=True):
        masks = "masks" if len(classes) == 1 else f"masks_{word}"
        yield folder / masks / name, plane[np.newaxis]


def _write(path: Path, pixels: np.ndarray, form: Form, image: "CutImage", window: Window) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if form == "png":
        turned = pixels.transpose(1, 2, 0)
        order = {3: cv2.COLOR_RGB2BGR, 4: cv2.COLOR_RGBA2BGRA}.get(len(pixels))
        found = np.ascontiguousarray(turned) if order is None else cv2.cvtColor(turned, order)
        if not cv2.imwrite(str(path), found, _PNG_OPTIONS):
            raise OutputError(f"{path}: the file cannot be written. Make room there")
        return
    moved = placed(window, image.transform)
    has_gaps = image.lacks_data and path.parents[1].name == "imgs"
    with new_tiff(
        path,
        height=window.height,
        width=window.width,
        count=len(pixels),
        dtype=pixels.dtype,
        crs=image.crs,
        transform=None if image.source_transform == PIXELS else moved,
        nodata=0 if has_gaps else None,  # cuts hold 0 where there is no data
        compress="deflate",
    ) as file:
        file.write(pixels)


def _refuse_for_png(image: "CutImage") -> None:
    if image.bands not in _PNG_BANDS or image.dtype not in _PNG_DTYPES:
        raise OutputError(
            f"{image.id}: found {image.bands} band(s) of {image.dtype}, wanted 1, 3 or 4 of uint8 "
            "or uint16 for a PNG. Write GeoTIFFs instead, with --files geotiff"
        )


def _link_splits(cuts: "Cuts", table: pd.DataFrame, out: Path) -> None:
    """Link the images that train and those that validate, per source and fold."""
    for (source, image), rows in table.groupby(["source", "image"]):
        files = out / rows["file"].iloc[0]
        for fold in range(cuts.folds.count):
            part = "val" if cuts.folds.fold_of(image) == fold else "train"
            split = out / "SPLITS" / f"{source}_split" / str(fold) / part
            for folder in sorted(files.parents[2].iterdir()):
                target = folder / image
                link = split / folder.name / image
                link.parent.mkdir(parents=True, exist_ok=True)
                new = link.with_name(f".new-{image}")
                new.unlink(missing_ok=True)
                new.symlink_to(os.path.relpath(target, link.parent))
                new.replace(link)
