"""The labelled pictures that a run trains on, read from the competition's folder."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from devkit.demo.clouds import read_clouds
from devkit.demo.crops import LabelledImage, read_labelled
from devkit.demo.runs import Run
from devkit.demo.salt import read_salt

__all__ = ["read_training"]


def read_training(run: Run, competition: Path) -> list[LabelledImage]:
    """Read the training pictures of a run, as its network is to see them."""
    images = _READERS[run.data](competition, run)
    if run.bands is None:
        return images
    chosen = [band - 1 for band in run.bands]
    return [replace(image, pixels=image.pixels[chosen]) for image in images]


def _read_nuclei(competition: Path, run: Run) -> list[LabelledImage]:
    return read_labelled(competition / "train", competition / "train.csv", run.images)


_READERS: Mapping[str, Callable[[Path, Run], list[LabelledImage]]] = {
    "nuclei": _read_nuclei,
    "clouds": read_clouds,
    "salt": read_salt,
}
