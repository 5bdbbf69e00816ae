"""A small competition whose test images have pseudo-labels: in a store, or as pictures."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from kernelkit.predict.report import ImageReport
from kernelkit.predict.store.store import Layers, Store, Stored
from kernelkit.slide.content import content_of
from kernelkit.training.crops import CropData, make_pseudo_cuts
from kernelkit.training.cuts import Cuts, make_cuts
from kernelkit.training.recipe import RunRecipe
from tests.made.crops import small_run

SIDE = 96


def write_competition(folder: Path) -> None:
    """Write four RGB training images with masks, and two test images."""
    random = np.random.default_rng(3)
    for name in ("train", "masks", "test"):
        (folder / name).mkdir(parents=True)
    for number in range(6):
        pixels = random.integers(1, 255, (SIDE, SIDE, 3), np.uint8)
        part, name = ("train", f"a{number}") if number < 4 else ("test", f"t{number}")
        cv2.imwrite(str(folder / part / f"{name}.png"), pixels)
        if number < 4:
            mask = np.zeros((SIDE, SIDE), np.uint8)
            mask[20:50, 30 : 50 + number] = 255
            cv2.imwrite(str(folder / "masks" / f"{name}.png"), mask)


def probabilities(name: str, layer: int = 0) -> NDArray[np.uint8]:
    """What networks found in a test image: a ramp from 0 to 255 that starts at its number."""
    ramp = np.linspace(0, 255, SIDE).round().astype(np.uint8)
    return np.roll(np.tile(ramp, (SIDE, 1)), 5 * int(name[1:]) + layer, axis=1)


def write_store(folder: Path, stored: Path, classes: int = 1) -> None:
    """Store two layers of each test image."""
    store = Store(stored)
    for path in sorted((folder / "test").glob("*.png")):
        layers = [[probabilities(path.stem, layer)] * classes for layer in (0, 2)]
        values = Layers(("one", "two"), np.array(layers, np.uint8))
        entry = store.entry(path.stem, content_of([path]), "some weights")
        entry.save(Stored(ImageReport(path.stem, height=SIDE, width=SIDE), layers=values))
    store.close()


def pseudo_sources(pseudo: Path, **values: Any) -> dict[str, Any]:
    """A source of pseudo-labels beside the grid."""
    source = {"pseudo": str(pseudo), "windows": "grid", "files": "test/{image}.png"}
    return {"grid": 1, "found": source | values}


def pseudo_run(folder: Path, pseudo: Path, **values: Any) -> RunRecipe:
    """A run with such sources."""
    return small_run(folder, sources=pseudo_sources(pseudo, **values), batch=1)


def cut(run: RunRecipe, folder: Path) -> tuple[Cuts, dict[str, Cuts]]:
    """The cuts of a run, and those of its pseudo-labels."""
    out = folder / "cuts"
    return make_cuts(run, folder, out), make_pseudo_cuts(run, folder, out)


def crops_of(run: RunRecipe, folder: Path) -> CropData:
    """The crops of fold 0."""
    made, pseudo = cut(run, folder)
    return CropData(run, made, made.folds, 0, pseudo)
