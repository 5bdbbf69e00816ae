"""A competition of slides with masks, and runs that see them at a scale or as whole pictures."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import rasterio
import yaml
from numpy.typing import NDArray

from kernelkit.training.cuts import Cuts, make_cuts
from kernelkit.training.recipe import RunRecipe, TrainingRecipe
from tests.made.layouts import picture

__all__ = ["CutCompetition", "blobs"]

PREDICTING: dict[str, Any] = {
    "name": "predicting",
    "competition": {"slug": "made"},
    "tiles": {"core": 96, "scale": 3},
    "ensembles": [{"name": "one", "input": {"bands": [1], "mean": [0.5], "std": [0.2]}}],
}
TRAINING: dict[str, Any] = {
    "name": "small",
    "predicts": "predicting.yaml",
    "images": "train/{image}.tif",
    "labels": {"masks": "masks/{image}.png"},
    "folds": {"lists": [["a"]]},
    "windows": {"grid": {"around": "grid", "size": 32}},
    "crop": {"size": 8},
    "model": {"arch": "Unet", "encoder_name": "tu-test_resnet", "encoder_weights": None},
    "loss": {"bce": 1},
    "epochs": 1,
}


def blobs(height: int, width: int, count: int = 6, seed: int = 0) -> NDArray[np.uint8]:
    """A mask of some discs, (height, width) of 0 and 255."""
    random = np.random.default_rng(seed)
    mask = np.zeros((height, width), np.uint8)
    for _ in range(count):
        centre = int(random.integers(width)), int(random.integers(height))
        cv2.circle(mask, centre, int(random.integers(6, 16)), 255, -1)
    return mask


class CutCompetition:
    """A competition's folder with TIFF slides and PNG masks.

    Parameters
    ----------
    folder
        Where to write it.
    sizes
        Height and width of each image.
    bands, dtype
        Of their pixels.
    """

    def __init__(
        self,
        folder: Path,
        sizes: Mapping[str, tuple[int, int]],
        bands: int = 3,
        dtype: str = "uint8",
    ) -> None:
        self.folder, self.cuts = folder / "competition", folder / "cuts"
        self.pixels: dict[str, np.ndarray] = {}
        self.masks: dict[str, NDArray[np.uint8]] = {}
        for number, (name, size) in enumerate(sizes.items()):
            self.write(name, picture(bands, *size, dtype=dtype, seed=number))
            self.write_mask(name, blobs(*size, seed=number))

    def write(self, name: str, pixels: np.ndarray, **options: Any) -> Path:
        """Write an image, LZW in tiles of 64."""
        path = self.folder / f"train/{name}.tif"
        path.parent.mkdir(parents=True, exist_ok=True)
        self.pixels[name] = pixels
        tiles = {"tiled": True, "blockxsize": 64, "blockysize": 64, "compress": "lzw"}
        bands, height, width = pixels.shape
        shape = {"count": bands, "height": height, "width": width, "dtype": pixels.dtype}
        with rasterio.open(path, "w", driver="GTiff", **shape, **(tiles | options)) as file:
            file.write(pixels)
        return path

    def write_mask(self, name: str, mask: NDArray[np.uint8]) -> Path:
        """Write the mask of an image."""
        path = self.folder / f"masks/{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        self.masks[name] = mask
        cv2.imwrite(str(path), mask)
        return path

    def run(
        self, tiles: Any = None, competition: Mapping[str, Any] | None = None, **keys: Any
    ) -> RunRecipe:
        """A run on its images. `keys` are those of train.yaml."""
        path = self.folder / "predicting.yaml"
        predicting = PREDICTING | ({} if tiles is None else {"tiles": tiles})
        predicting["competition"] = PREDICTING["competition"] | dict(competition or {})
        path.write_text(yaml.safe_dump(predicting))
        training = {key: value for key, value in (TRAINING | keys).items() if value is not None}
        text = yaml.safe_dump(training, sort_keys=False)
        return TrainingRecipe.parse(text, folder=self.folder).runs["small"]

    def make(self, workers: int = 0, **keys: Any) -> Cuts:
        """Make the cuts of a run."""
        return make_cuts(self.run(**keys), self.folder, self.cuts, workers)
