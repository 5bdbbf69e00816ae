"""Small competitions whose labels come in any form, written by other libraries than ours."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import tifffile
from numpy.typing import NDArray

from kernelkit.competition.scenes import find_scenes
from kernelkit.labels import ImageLabel, Labels, open_labels
from kernelkit.recipe import Competition, LabelsRecipe
from kernelkit.slide import Slide

__all__ = ["Labelled", "column_rle", "truth"]

Truth = NDArray[np.bool_]


def truth(classes: int, height: int, width: int, seed: int = 0) -> Truth:
    """Blobs of pixels, (K, H, W). No pixel is of two classes."""
    random = np.random.default_rng(seed)
    noise = cv2.GaussianBlur(random.random((height, width)).astype(np.float32), (0, 0), 3)
    ranks = noise.argsort(axis=None).argsort().reshape(height, width) * (classes + 1)
    return np.stack([ranks // (height * width) == number + 1 for number in range(classes)])


def column_rle(mask: NDArray[Any]) -> str:
    """The encoding that Kaggle's notebooks share: pixels down the columns, counted from 1."""
    pixels = np.concatenate([[0], mask.T.flatten(), [0]])
    runs = np.where(pixels[1:] != pixels[:-1])[0] + 1
    runs[1::2] -= runs[::2]
    return " ".join(map(str, runs))


class Labelled:
    """A competition's folder with random images, and labels of them in any form.

    Parameters
    ----------
    folder
        Where to write it.
    truths
        The labels of each image, (K, H, W) bool.
    competition
        Keys of the competition's section.
    """

    def __init__(self, folder: Path, truths: Mapping[str, Truth], **competition: Any) -> None:
        self.folder, self.truths = folder, dict(truths)
        (folder / "train").mkdir(parents=True)
        for image, masks in truths.items():
            tifffile.imwrite(folder / f"train/{image}.tiff", np.zeros(masks.shape[1:], np.uint8))
        self.competition = Competition.model_validate(
            {"slug": "made", "images": "train/{image}.tiff", **competition}
        )

    def open(self, **labels: Any) -> Labels:
        """Open its labels by the keys of their section."""
        scenes, _ = find_scenes(self.folder, self.competition)
        return open_labels(
            LabelsRecipe.model_validate(labels), self.folder, self.competition, scenes
        )

    def label(self, image: str, **labels: Any) -> ImageLabel:
        """Open the labels of one image."""
        opened = self.open(**labels)
        return opened.of(image, Slide(opened.scenes[image].paths))

    def rows(self) -> list[tuple[str, str]]:
        """The id and the encoding of each image and class."""
        names = self.competition.classes or ("",)
        return [
            (self.competition.rows.format_map({"image": image, "class": name}), column_rle(mask))
            for image, masks in self.truths.items()
            for name, mask in zip(names, masks, strict=True)
        ]

    def write_rle(self, rows: Sequence[tuple[str, str]] | None = None) -> dict[str, Any]:
        """A table of encodings. Returns the keys that open it."""
        columns = [self.competition.id_column, self.competition.rle_column]
        table = pd.DataFrame(self.rows() if rows is None else rows, columns=columns)
        table.to_csv(self.folder / "train.csv", index=False)
        return {"rle": "train.csv"}

    def write_bands(self) -> dict[str, Any]:
        """A TIFF per image with a band per class."""
        return self._write("bands/{image}.tif", lambda masks: masks.astype(np.uint8) * 255)

    def write_values(self, values: Sequence[int] | None = None) -> dict[str, Any]:
        """A PNG per image with a value per class."""
        known = values or range(1, 100)

        def pixels(masks: Truth) -> NDArray[Any]:
            return sum(
                (m * np.uint8(v) for m, v in zip(masks, known, strict=False)),
                np.zeros(masks.shape[1:], np.uint8),
            )

        keys = {"values": list(values)} if values else {}
        return self._write("values/{image}.png", pixels) | keys

    def write_files(self) -> dict[str, Any]:
        """A PNG per image and class."""
        for number, name in enumerate(self.competition.classes or ("",)):
            self._write(
                f"files/{name}/{{image}}.png", lambda masks, n=number: masks[n] * np.uint8(1)
            )
        return {"masks": "files/{class}/{image}.png"}

    def write_soft(self) -> dict[str, Any]:
        """A TIFF per image with shares of 0 to 255."""
        keys = self._write("soft/{image}.tif", lambda masks: masks.astype(np.uint8) * 200)
        return {"soft": keys["masks"]}

    def write_geojson(self) -> dict[str, Any]:
        """A bare list of features per image, in pixels: a polygon per run of a row."""
        (self.folder / "drawn").mkdir()
        names = self.competition.classes or ("",)
        for image, masks in self.truths.items():
            features = [
                feature(name, row, int(start), int(stop))
                for name, mask in zip(names, masks, strict=True)
                for row, line in enumerate(mask)
                for start, stop in np.flatnonzero(np.diff(line, prepend=0, append=0)).reshape(-1, 2)
            ]
            (self.folder / f"drawn/{image}.json").write_text(json.dumps(features))
        return {"polygons": "drawn/{image}.json"}

    def _write(self, pattern: str, pixels: Any) -> dict[str, Any]:
        for image, masks in self.truths.items():
            path = self.folder / pattern.format(image=image)
            path.parent.mkdir(parents=True, exist_ok=True)
            values = pixels(masks)
            if path.suffix == ".png":
                cv2.imwrite(str(path), values)
            else:
                tifffile.imwrite(path, values, photometric="minisblack", **_arranged(len(values)))
        return {"masks": pattern}


def _arranged(bands: int) -> dict[str, Any]:
    return {"planarconfig": "separate"} if bands > 1 else {}


def feature(name: str, row: int, start: int, stop: int) -> dict[str, Any]:
    """A feature of GeoJSON: a rectangle of one row."""
    ring = [[start, row], [stop, row], [stop, row + 1], [start, row + 1], [start, row]]
    return {
        "type": "Feature",
        "properties": {"classification": {"name": name}},
        "geometry": {"type": "Polygon", "coordinates": [ring]},
    }
