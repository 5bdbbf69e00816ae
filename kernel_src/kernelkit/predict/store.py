"""The store: where the two halves of a run meet. Work puts masks in, hand in takes them out.

An interrupted run goes on where it was. An entry is found under a key of all that its bytes depend
on. That is the image's whole content, the recipe's part before the store, the weights, and the
versions. If one of them changes, the image is predicted again.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from pydantic import PositiveInt, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as validated

from kernelkit.errors import MaskError
from kernelkit.files import file_sha256, open_atomically
from kernelkit.mask import BitMask
from kernelkit.predict.report import ImageReport

__all__ = ["Entry", "Store", "Stored"]


@validated
class _Label:
    """What stands beside the masks: how their file is recognised, and the report of the image."""

    sha256: str
    classes: PositiveInt
    report: ImageReport


_LABEL = TypeAdapter(_Label)
_LONGEST_NAME = 80
_LABEL_NAME = re.compile(r"(.+)-[0-9a-f]{32}\.json")


@dataclass(frozen=True, slots=True)
class Stored:
    """The masks of an image, one per class, and what happened when they were made."""

    masks: list[BitMask]
    report: ImageReport


@dataclass(frozen=True, slots=True)
class Entry:
    """The files of one image in the store.

    Attributes
    ----------
    mask_path
        The masks of all classes, one below the other. A label lies beside it and is written last.
    """

    mask_path: Path

    @property
    def label_path(self) -> Path:
        """Where the masks' checksum and report stand."""
        return self.mask_path.with_suffix(".json")

    @property
    def picture_path(self) -> Path:
        """Where the picture of the members' disagreement lies, if there is one."""
        return self.mask_path.with_suffix(".png")

    def load(self) -> Stored | None:
        """The masks and their report, or None if there are none or a file is damaged."""
        try:
            label = _LABEL.validate_json(self.label_path.read_bytes())
            if file_sha256(self.mask_path) != label.sha256:
                return None
            height, width = label.report.height, label.report.width
            stacked = BitMask.load(self.mask_path, (height * label.classes, width))
        except (OSError, ValidationError, MaskError):
            return None
        tops = range(0, stacked.height, height)
        return Stored([stacked.rows(top, top + height) for top in tops], label.report)

    def save(self, masks: Sequence[BitMask], report: ImageReport) -> None:
        """Write the masks, then their label: an entry is there once its label is."""
        stacked = BitMask(np.concatenate([mask.words for mask in masks]), masks[0].width)
        stacked.save(self.mask_path)
        label = _Label(file_sha256(self.mask_path), len(masks), report)
        with open_atomically(self.label_path) as file:
            file.write(_LABEL.dump_json(label).decode())


class Store:
    """A folder of finished masks, one entry per image and key.

    Parameters
    ----------
    folder
        Made when the first mask is saved.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def entry(self, image_id: str, *parts: str) -> Entry:
        """The entry of an image made under `parts`: hashes of all that its mask depends on."""
        key = _sha256("\n".join(parts))[:32]
        return Entry(self.folder / f"{_file_name(image_id)}-{key}.mask")

    def entry_named(self, name: str) -> Entry:
        """The entry whose mask has this file name, as a report states it."""
        return Entry(self.folder / name)

    def has_any(self, image_id: str) -> bool:
        """Whether the folder had an entry of this image when it was first asked, under any key."""
        return _file_name(image_id) in self._names

    @cached_property
    def _names(self) -> frozenset[str]:
        """The images that have entries. Listing the folder once per image would be quadratic."""
        if not self.folder.is_dir():
            return frozenset()
        labels = (_LABEL_NAME.fullmatch(path.name) for path in self.folder.iterdir())
        return frozenset(label[1] for label in labels if label)


def _file_name(image_id: str) -> str:
    """A name of the image for files: an id may hold anything, a file name may not.

    Ids that lose a character, or are long, get a hash, so that no two share a name.
    """
    name = re.sub(r"[^A-Za-z0-9_.-]", "_", image_id)[:_LONGEST_NAME]
    if name == image_id:
        return name
    return f"{name}-{_sha256(image_id)[:8]}"


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
