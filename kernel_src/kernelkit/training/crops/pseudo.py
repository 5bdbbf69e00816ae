"""Pseudo-labels: what networks found in images without labels, as labels of these.

They come from a store of kernelkit, or from a folder of 8-bit pictures. Their images are cut as all
others are, with what was found as labels. So windows lie around objects that were found, too.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from kernelkit.competition import Scene
from kernelkit.errors import LabelError, TrainingError
from kernelkit.grid import Window
from kernelkit.labels import Labels, open_labels
from kernelkit.labels.planes import Planes
from kernelkit.predict.store.file import database_paths
from kernelkit.predict.store.store import Layers, Store
from kernelkit.recipe.labels import LabelsRecipe
from kernelkit.slide import Slide
from kernelkit.slide.content import content_of
from kernelkit.training.cuts import Cuts, make_cuts

if TYPE_CHECKING:
    from kernelkit.training.recipe import RunRecipe, Source

__all__ = ["make_pseudo_cuts"]


def make_pseudo_cuts(
    run: "RunRecipe", folder: Path, out: Path, workers: int = 0, *, progress: bool = False
) -> dict[str, Cuts]:
    """Cut the images of a run's pseudo-labels, as `make_cuts` does those with labels.

    Parameters
    ----------
    run, folder, out, workers, progress
        As for `make_cuts`.

    Returns
    -------
    The cuts of each source that has `pseudo`, by its name.

    Raises
    ------
    TrainingError
        The pseudo-labels are not there, or are of other classes.
    LabelError
        They are of none of the images, or of other sizes.
    """
    return {
        name: _cuts(run, name, source, folder, out, workers, progress)
        for name, source in run.sources.items()
        if source.pseudo is not None
    }


def _cuts(
    run: "RunRecipe",
    name: str,
    source: "Source",
    folder: Path,
    out: Path,
    workers: int,
    progress: bool,
) -> Cuts:
    assert source.pseudo is not None
    found = folder / source.pseudo
    if not found.is_dir():
        raise TrainingError(
            f"sources.{name}.pseudo: found no folder {found}, wanted a store of kernelkit or 8-bit "
            "pictures. Correct the path, which begins at the competition's folder"
        )
    images = source.files or run.images
    windows = source.windows or name
    competition = run.competition.model_copy(update={"images": images})
    changes = {
        "competition": competition,
        "images": images,
        "only": source.images or ("*",),
        "windows": {windows: run.windows[windows]},
    }

    def opened(scenes: Mapping[str, Scene]) -> Labels:
        if database_paths(found):
            return StoredLabels(found, run, scenes)
        return open_labels(LabelsRecipe(soft="{image}.*"), found, competition, scenes)

    return make_cuts(
        run.model_copy(update=changes), folder, out, workers, progress=progress, labels=opened
    )


class StoredLabels(Labels):
    """The probabilities that a store holds of images. Of several layers it is their mean.

    Raises
    ------
    TrainingError
        They are of other classes than the run.
    LabelError
        The store holds none of these images.
    """

    def __init__(self, folder: Path, run: "RunRecipe", scenes: Mapping[str, Scene]) -> None:
        super().__init__(str(folder), run.competition, scenes)
        self._store = Store(folder, read_only=True)
        self._outputs = run.outputs
        self._content = {
            image: content_of(scene.paths)
            for image, scene in self.scenes.items()
            if self._store.has_any(image)
        }
        self._refuse_other_classes()
        self._keep(
            [image for image in self._content if self._found(image) is not None],
            "probabilities in the store",
            "Store probabilities, not masks, and of the files that lie here",
        )
        self.notes += self._store.notes

    def fingerprint(self, image_id: str) -> str:
        """See `Labels`."""
        return hashlib.sha256(np.ascontiguousarray(self._layers(image_id).values)).hexdigest()

    def _planes(self, image_id: str, slide: Slide) -> Planes:  # noqa: ARG002
        return _StoredPlanes(self._layers(image_id), self.competition.labels)

    def _layers(self, image_id: str) -> Layers:
        layers = self._found(image_id)
        if layers is None:
            raise LabelError(
                f"{self.source}: the probabilities of {image_id} are gone. Predict it again"
            )
        return layers

    def _found(self, image_id: str) -> Layers | None:
        stored = self._store.find(image_id, self._content[image_id])
        return None if stored is None else stored.layers

    def _refuse_other_classes(self) -> None:
        stored = self._store.any_layers()
        if stored is None or stored.layers is None:
            return
        count = stored.layers.values.shape[1]
        if count != self._outputs:
            raise TrainingError(
                f"{self.source}: found probabilities of {count} classes, wanted {self._outputs} as "
                "the network of the run has. Take a store of the same recipe"
            )


class _StoredPlanes(Planes):
    """The layers of one image."""

    is_soft = True

    def __init__(self, layers: Layers, numbers: tuple[int, ...]) -> None:
        height, width = layers.values.shape[2:]
        super().__init__((height, width), len(numbers))
        self._values, self._numbers = layers.values, list(numbers)

    def read(self, window: Window) -> NDArray[np.uint8]:
        """See `Planes`."""
        part = self._values[(slice(None), self._numbers, *window.slices)]
        return part[0] if len(part) == 1 else np.rint(part.mean(0, dtype=np.float32)).astype("u1")
