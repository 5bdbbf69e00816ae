"""The images of a run at its training scale: what is there stays, and what lacks is made."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from itertools import batched
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernelkit.competition import Scene
from kernelkit.errors import TrainingError, as_sentence
from kernelkit.labels import ImageLabel, Labels
from kernelkit.labels.labels import some
from kernelkit.reader import ReaderPool
from kernelkit.slide import Slide
from kernelkit.slide.content import state_of
from kernelkit.training.cuts.contents import Contents
from kernelkit.training.cuts.handing_out import hand_out
from kernelkit.training.cuts.packs import PackSeries, Record
from kernelkit.training.cuts.pictures import label_of_picture, write_whole
from kernelkit.training.cuts.pixels import Made, Source, make
from kernelkit.training.cuts.shrink import write_labels
from kernelkit.training.cuts.sight import Sight

__all__ = ["ShrunkImages"]

# So many labels of small pictures are read at once, per thread.
_TOGETHER = 8


class ShrunkImages:
    """The images of a run, and the records of their pixels and labels.

    Parameters
    ----------
    sight
        How networks see them.
    scenes, labels
        The images, and what is labelled in them.
    contents
        Hashes their files.
    records
        What is there, by key. What is made is added.
    packs
        The folder for what is made.
    advance
        Called after each image, and after its labels.

    Attributes
    ----------
    keys
        Of each image: the keys of its pixels and of its labels.
    left_out
        The images that cannot be read, and why.
    """

    def __init__(
        self,
        sight: Sight,
        scenes: Mapping[str, Scene],
        labels: Labels,
        contents: Contents,
        records: dict[str, Record],
        packs: Path,
        advance: Callable[[], object],
    ) -> None:
        self.keys: dict[str, tuple[str, str]] = {}
        self.left_out: dict[str, str] = {}
        self._sight, self._scenes, self._labels = sight, scenes, labels
        self._states = {image: state_of(scene.paths) for image, scene in scenes.items()}
        self._hashes = {image: contents.of(scene.paths) for image, scene in scenes.items()}
        self._records, self._packs, self._advance = records, packs, advance

    @property
    def notes(self) -> list[str]:
        """What went otherwise, a sentence each."""
        found: dict[str, list[str]] = {}
        for image, keys in self.keys.items():
            if image not in self.left_out:
                for note in (note for key in keys for note in self._records[key].facts["notes"]):
                    found.setdefault(note, []).append(image)
        return [f"{some(images, 'image')}: {note}" for note, images in found.items()]

    @property
    def shares(self) -> dict[str, list[float]]:
        """The share of each image that each class has, of the images that can be used."""
        return {
            image: self._records[labels].facts["shares"]
            for image, (_, labels) in self.keys.items()
            if image not in self.left_out
        }

    def make(self, readers: ReaderPool, workers: int, executor: Executor | None = None) -> None:
        """Make what is not there yet, with these readers and so many threads for labels.

        Parameters
        ----------
        executor
            Who makes the pixels. None is this process.

        Raises
        ------
        LabelError
            The labels do not fit an image.
        OutputError
            The cuts cannot be written.
        ReaderError
            The executor is broken, or its processes died of an image each time.
        TrainingError
            No image can be read.
        """
        for image, error in self._made(readers, executor):
            if error is None:
                self._advance()
            else:
                self._leave_out(image, error)
        images = [image for image in self.keys if image not in self.left_out]
        if not images:
            raise TrainingError(
                f"none of the {len(self._scenes)} images can be read. "
                f"{next(iter(self.left_out.values()))}"
            )
        unlabelled = [image for image in images if self.keys[image][1] not in self._records]
        for _ in range(len(self._scenes) - len(unlabelled)):
            self._advance()
        if self._sight.whole:
            self._label_pictures(unlabelled, workers)
        else:
            self._label_slides(unlabelled)

    def _made(self, readers: ReaderPool, executor: Executor | None) -> Iterator[Made]:
        """Make the pixels that are not there, and say what became of each image."""
        lacking = self._lacking()
        if executor is not None:
            yield from hand_out(lacking, self._sight, self._packs, executor, self._records)
            return
        with PackSeries(self._packs, self._records) as packs:
            yield from make(lacking, self._sight, readers, packs)

    def _lacking(self) -> Iterator[Source]:
        """Find the keys of each image. Iterate over those whose pixels are not there."""
        for image, hashed in self._hashes.items():
            try:
                content = hashed.result()
            except OSError as error:
                self._leave_out(image, error)
                continue
            pixels = self._sight.key("pixels", content)
            labels = self._sight.key("labels", content, self._labels.fingerprint(image))
            self.keys[image] = pixels, labels
            if pixels in self._records:
                self._advance()
            else:
                yield Source(image, self._scenes[image].paths, self._states[image], pixels)

    def _label_slides(self, images: Sequence[str]) -> None:
        with PackSeries(self._packs, self._records) as packs:
            for image in images:
                with (
                    self._opened(image) as slide,
                    self._labels.of(image, slide) as label,
                    packs.adding() as writer,
                ):
                    array = write_labels(label, slide, self._sight, writer)
                    facts = {"shares": _shares(label), "notes": label.notes}
                    writer.add(Record(self.keys[image][1], {"labels": array}, facts))
                self._advance()

    def _label_pictures(self, images: Sequence[str], workers: int) -> None:
        """Write the labels in the order of the images. Threads read some ahead."""
        with (
            ThreadPoolExecutor(max(1, workers)) as threads,
            PackSeries(self._packs, self._records) as packs,
        ):
            for together in batched(images, _TOGETHER * max(1, workers)):
                read = threads.map(self._label, together)
                for image, (label, facts) in zip(together, read, strict=True):
                    with packs.adding() as writer:
                        array = write_whole(label, writer)
                        writer.add(Record(self.keys[image][1], {"labels": array}, facts))
                    self._advance()

    def _label(self, image: str) -> tuple[NDArray[np.uint8], dict[str, Any]]:
        """The labels of a whole picture as it is seen, and what is known of them."""
        with self._opened(image) as slide, self._labels.of(image, slide) as label:
            seen = label_of_picture(label, slide, self._sight)
            return seen, {"shares": _shares(label), "notes": label.notes}

    def _opened(self, image: str) -> Slide:
        return Slide(self._scenes[image].paths, nodata=self._sight.nodata_value)

    def _leave_out(self, image: str, error: Exception) -> None:
        self.left_out[image] = as_sentence(error)
        self._advance()


def _shares(label: ImageLabel) -> list[float]:
    """The share of an image that each class has."""
    return [mask.area / (mask.height * mask.width) for mask in label.masks()]
