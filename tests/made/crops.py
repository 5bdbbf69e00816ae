"""Cuts of images that are arrays, and runs that are trained on them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from numpy.typing import NDArray

from kernelkit.training.cuts import CutImage, Cuts
from kernelkit.training.cuts.blocks import BlockArray
from kernelkit.training.cuts.cuts import CutsIndex
from kernelkit.training.folds import Folds
from kernelkit.training.recipe import RunRecipe, TrainingRecipe
from kernelkit.vocabulary import Fill

RGB = {"bands": [1, 2, 3], "divide": 255, "mean": [0.6, 0.5, 0.7], "std": [0.2, 0.2, 0.1]}
RECIPE: dict[str, Any] = {
    "name": "small",
    "competition": {"slug": "small", "images": "train/{image}.png"},
    "tiles": {"core": 64},
    "ensembles": [{"name": "one", "input": RGB}],
}
TRAINING: dict[str, Any] = {
    "name": "small",
    "predicts": "small.yaml",
    "images": "train/{image}.png",
    "labels": {"masks": "masks/{image}.png"},
    "folds": {"count": 2},
    "windows": {"grid": {"around": "grid", "size": 64}},
    "crop": {"size": 64, "random": 1.0},
    "model": {"arch": "Unet", "encoder_name": "resnet18", "encoder_weights": None},
    "loss": {"bce": 1},
    "epochs": 2,
    "batch": 4,
}


def small_training(
    folder: Path, recipe: Mapping[str, Any] | None = None, **keys: Any
) -> TrainingRecipe:
    """A training on small RGB images. `recipe` and `keys` change what predicts and what trains."""
    (folder / "small.yaml").write_text(yaml.safe_dump(RECIPE | dict(recipe or {})))
    text = yaml.safe_dump({key: v for key, v in (TRAINING | keys).items() if v is not None})
    return TrainingRecipe.parse(text, folder=folder)


def small_run(folder: Path, recipe: Mapping[str, Any] | None = None, **keys: Any) -> RunRecipe:
    """The one run of such a training."""
    return small_training(folder, recipe, **keys).runs["small"]


def cut_image(
    folder: Path,
    name: str,
    pixels: NDArray,
    labels: NDArray[np.uint8],
    held: NDArray[np.bool_] | None = None,
    fill: Fill = "zero",
) -> CutImage:
    """An image of cuts, each array in a file of its own and in one block."""
    arrays = [pixels, labels] + ([] if held is None else [(~held)[np.newaxis].astype(np.uint8)])
    places = []
    for number, array in enumerate(arrays):
        path = folder / f"{name}-{number}-{len(list(folder.iterdir()))}.raw"
        path.write_bytes(np.ascontiguousarray(array).data)
        places.append(BlockArray(path, 0, array.shape, str(array.dtype), array.shape[1:]))
    return CutImage(name, "", fill, {}, *places)


def cuts_of(
    folder: Path,
    images: Sequence[CutImage],
    windows: Sequence[Mapping[str, Any]],
    folds: Mapping[str, int],
) -> Cuts:
    """Cuts with these windows. What a window does not say is usual."""
    usual = {"source": "grid", "target_share": 0.0, "mean": 0.0, "std": 1.0, "skip": ""}
    keys = {image.id: ("", f"pixels of {image.id}", f"labels of {image.id}") for image in images}
    index = CutsIndex(keys, ("",), "zero", "", {}, ())
    table = pd.DataFrame([usual | dict(window) for window in windows])
    by_id = {image.id: image for image in images}
    return Cuts(folder, by_id, table, Folds(folds, dict.fromkeys(folds, "")), index)


def small_cuts(folder: Path, dtype: str = "uint8", count: int = 4, side: int = 160) -> Cuts:
    """Images of noise with labels, each with four windows. The last image validates in fold 0."""
    random = np.random.default_rng(5)
    images = [
        cut_image(
            folder,
            f"image{number}",
            random.integers(0, 200, (3, side, side)).astype(dtype),
            (random.random((1, side, side)) > 0.7).astype(np.uint8) * np.uint8(255),
        )
        for number in range(count)
    ]
    windows = [
        {"image": image.id, "row": row, "col": col, "height": 96, "width": 96}
        | {"target_share": 0.1 * (row == 0)}
        for image in images
        for row in (0, 64)
        for col in (0, 64)
    ]
    folds = {image.id: (0 if image is images[-1] else -1) for image in images}
    return cuts_of(folder, images, windows, folds)
