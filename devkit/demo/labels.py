"""The labelled pictures that a run trains on, read from the competition's folder."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from devkit.demo import clouds, salt, unosat
from devkit.demo.crops import LabelledImage, read_labelled
from devkit.demo.runs import Run
from kernelkit.maps import DrawnLabels
from kernelkit.mask import rle_decode
from kernelkit.slide import Slide

__all__ = ["read_training"]


def read_training(run: Run, competition: Path) -> list[LabelledImage]:
    """Read the training pictures of a run, as its network is to see them."""
    images = _READERS[run.data](competition, run)
    chosen = [band - 1 for band in run.bands or () if isinstance(band, int)]
    if not chosen:
        return images
    return [replace(image, pixels=image.pixels[chosen]) for image in images]


def _read_nuclei(competition: Path, run: Run) -> list[LabelledImage]:
    return read_labelled(competition / "train", competition / "train.csv", run.images)


def _read_clouds(competition: Path, run: Run) -> list[LabelledImage]:
    """Read the training pictures and their four masks at the size that a run trains at."""
    if run.size is None:
        raise ValueError(f"the run {run.name} has no size. Give it the (height, width) of one")
    rows = pd.read_csv(competition / "train.csv", keep_default_na=False)
    encodings = dict(zip(rows[clouds.COLUMNS[0]], rows[clouds.COLUMNS[1]], strict=True))
    labelled = []
    for path in sorted((competition / "train_images").iterdir()):
        with Slide(path) as slide:
            pixels = slide.read(slide.bounds)
        masks = [
            rle_decode(encodings[f"{path.name}_{name}"], clouds.SIZE) for name in clouds.CLASSES
        ]
        labelled.append(
            LabelledImage(
                path.stem,
                np.stack([_resized(band, run.size) for band in pixels]),
                np.stack([_resized(mask.astype(np.float32), run.size) > 0.5 for mask in masks]),
            )
        )
    return labelled


def _read_salt(competition: Path, run: Run) -> list[LabelledImage]:
    """Read the training pictures, padded by reflection to 128 x 128.

    A segmenter learns only from pictures with salt, as the gate keeps only those.
    """
    rows = pd.read_csv(competition / "train.csv", keep_default_na=False)
    labelled = []
    for name, encoding in zip(rows[salt.COLUMNS[0]], rows[salt.COLUMNS[1]], strict=True):
        if not encoding and run.task != "empty":
            continue
        with Slide(competition / "train" / "images" / f"{name}.png") as slide:
            pixels = slide.read(slide.bounds)
        mask = rle_decode(encoding, (salt.SIDE, salt.SIDE)).astype(bool)[np.newaxis]
        pads = ((0, 0), salt.PADS, salt.PADS)
        labelled.append(
            LabelledImage(name, np.pad(pixels, pads, "reflect"), np.pad(mask, pads, "reflect"))
        )
    return labelled


def _read_unosat(competition: Path, _: Run) -> list[LabelledImage]:
    """Read the training scenes in decibels, and the polygons of their cities."""
    labelled = []
    for scene in unosat.scenes_of(competition / "train"):
        with Slide([scene.files[band] for band in unosat.BANDS], nodata=0) as slide:
            held = slide.read_valid(slide.bounds)
            vh, vv = slide.read(slide.bounds)
            shapes = competition / "train" / f"{scene.city}.shp"
            drawn = DrawnLabels(shapes, slide.transform, slide.crs)
            mask = drawn.mask(slide.bounds, all_touched=False).to_array().astype(bool)
        labelled.append(LabelledImage(scene.id, unosat.in_decibels(vh, vv), mask[np.newaxis], held))
    return labelled


def _resized(array: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.asarray(cv2.resize(array, size[::-1], interpolation=cv2.INTER_AREA))


_READERS: Mapping[str, Callable[[Path, Run], list[LabelledImage]]] = {
    "nuclei": _read_nuclei,
    "clouds": _read_clouds,
    "salt": _read_salt,
    "unosat": _read_unosat,
}
