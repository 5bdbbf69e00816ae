"""A run that was worked without models: images, and layers of random smooth fields in a store."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from kernelkit.competition import CompetitionFolder
from kernelkit.mask import BitMask
from kernelkit.predict import Prediction, predict
from kernelkit.predict.hand_in.finished_masks import FinishedMasks
from kernelkit.predict.hand_in.hand_in import hand_in
from kernelkit.predict.report import ImageReport, Report
from kernelkit.predict.store.other_stores import OtherStores
from kernelkit.predict.store.store import Layers, Store, Stored
from kernelkit.recipe import Recipe
from kernelkit.slide.content import content_of

# Two submissions of what stores hold of whole pictures.
RECIPE_OF_STORES = """
name: merged
competition: {slug: merged, suffixes: [.png]}
tiles: whole
ensembles:
  - name: one
    input: {bands: [1], mean: [0], std: [1]}
    merge: {members: mean of probabilities}
submissions: {all: {}, unet: {runs: ["unet*"]}}
"""


def smooth_bytes(shape: tuple[int, int, int, int], seed: int, detail: int = 8) -> NDArray[np.uint8]:
    """Layers (L, K, h, w) that look like probabilities: smooth, and near 0 and 1 for the most."""
    count, classes, height, width = shape
    random = np.random.default_rng(seed)
    coarse = random.normal(size=(count * classes, height // detail + 2, width // detail + 2))
    planes = [
        cv2.resize(field.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
        for field in coarse
    ]
    values = 255 / (1 + np.exp(-4 * np.stack(planes)))
    return values.round().astype(np.uint8).reshape(shape)


@dataclass
class Handed:
    """A folder with a competition, and a run over it that is worked but not handed in.

    Attributes
    ----------
    folder
        Where all of it lies.
    recipe
        Of the run.
    sizes
        Height and width of each image. They are grey PNG pictures.
    ensemble
        The name of the ensemble that all images belong to.
    """

    folder: Path
    recipe: Recipe
    sizes: Mapping[str, tuple[int, int]]
    ensemble: str = "one"
    report: Report = field(default_factory=Report)

    def __post_init__(self) -> None:
        images = self.folder / "competition/test"
        images.mkdir(parents=True)
        for number, (name, (height, width)) in enumerate(self.sizes.items()):
            pixels = np.random.default_rng(number).integers(0, 255, (height, width), np.uint8)
            cv2.imwrite(str(images / f"{name}.png"), pixels)
        self.store = Store(self.folder / "out/masks")
        self.competition = CompetitionFolder.read(images.parent, self.recipe.competition)

    def content(self, name: str) -> str:
        """The hash of an image's file."""
        return content_of(self.competition.scenes[name].paths)

    def put(
        self,
        name: str,
        names: Sequence[str],
        values: NDArray[np.uint8],
        missing: BitMask | None = None,
        gate: NDArray[np.float32] | None = None,
        store: Store | None = None,
    ) -> None:
        """Store the layers of an image, in the run's store or in another."""
        height, width = self.sizes[name]
        entry = (store or self.store).entry(name, self.content(name), "key")
        image = ImageReport(name, self.ensemble, height=height, width=width, stored=entry.name)
        entry.save(Stored(image, layers=Layers(tuple(names), values, missing, gate)))
        if store is None:
            self.report.images.append(image)

    def put_masks(self, name: str, masks: list[BitMask]) -> None:
        """Store the masks of an image."""
        height, width = self.sizes[name]
        entry = self.store.entry(name, self.content(name), "key")
        image = ImageReport(name, self.ensemble, height=height, width=width, stored=entry.name)
        entry.save(Stored(image, masks))
        self.report.images.append(image)

    def other(
        self, folder: Path, names: Sequence[str], values: NDArray[np.uint8] | None = None
    ) -> Path:
        """Make the store of another run over the same images, with the same layers for each."""
        store = Store(folder / "masks")
        for name, size in self.sizes.items():
            made = smooth_bytes((len(names), 1, *size), 1) if values is None else values
            self.put(name, names, made, store=store)
        store.close()
        return folder

    def merge(self, *stores: Path) -> Prediction:
        """Merge stores in a run that asks no model."""
        output = self.folder / "merged"
        return predict(self.competition, self.recipe, {}, output, stores=stores)

    def hand_in(self, others: OtherStores | None = None) -> Path:
        """Make all submissions. Return the path of the first."""
        path = self.folder / "out" / self.recipe.competition.submission_name
        self.store.flush()
        hand_in(self.report, self.competition, self.recipe, self.masks(others), path)
        return path

    def masks(self, others: OtherStores | None = None) -> FinishedMasks:
        """The masks of the first submission."""
        paths = {name: scene.paths for name, scene in self.competition.scenes.items()}
        return FinishedMasks(self.report, paths, self.recipe, self.store, others)
