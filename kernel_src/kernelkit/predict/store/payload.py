"""What an entry of the store holds, as bytes and back: masks as bits, or layers as uint8.

Small payloads are compressed and lie in the database. Large ones are files beside it.
"""

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import NonNegativeInt, PositiveInt, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as validated

from kernelkit.errors import MaskError
from kernelkit.files import file_sha256, replace_atomically
from kernelkit.mask import BitMask
from kernelkit.mask.bits import words_per_row
from kernelkit.predict.report import ImageReport
from kernelkit.predict.store.file import Row
from kernelkit.predict.store.packing import pack_layers, unpack_layers

__all__ = ["SUFFIXES", "Layers", "Stored", "decode", "encode"]

# of the files beside the database: large masks, and large layers
SUFFIXES = (".mask", ".npy")

# What is larger is a file of its own, which is mapped into memory and not read at once.
_MOST_BYTES_IN_DATABASE = 32 * 2**20
# Masks are small, so speed counts. To compress less than a page takes longer than to write it.
_LEVEL, _UNPACKED, _FEW_BYTES = 1, 0, 4096


@dataclass(frozen=True, slots=True, eq=False)
class Layers:
    """The probabilities of an image, layer by layer.

    Attributes
    ----------
    names
        One per layer: members, runs, or one empty name for the whole ensemble.
    values
        uint8 (L, K, h, w), 255 p rounded. It may be mapped from a file, and is not to be written.
    missing
        The pixels that hold no data, at the image's size. None if there are none.
    gate
        float32 (1,) or (K,), the probability that the picture is empty. None without a gate.
    is_gated
        Whether networks were not asked about what the gate found empty, so that values are 0 there.
    """

    names: tuple[str, ...]
    values: NDArray[np.uint8]
    missing: BitMask | None = None
    gate: NDArray[np.float32] | None = None
    is_gated: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Stored:
    """What was found in an image, as masks or as layers, and what happened on the way.

    Attributes
    ----------
    report
        What happened.
    masks
        One per class, of one size.
    layers
        Probabilities instead of masks.
    content
        The hash of the image's files. It is known once the entry was saved.
    missing
        The pixels without data, at the image's size, that are off in the masks. None if there are
        none. Layers have their own.
    """

    report: ImageReport
    masks: list[BitMask] | None = None
    layers: Layers | None = None
    content: str = ""
    missing: BitMask | None = None


@validated
class _Label:
    """What stands beside a payload.

    Attributes
    ----------
    kind, shape
        Masks (K, height, width) or layers (L, K, height, width).
    report
        Of the image.
    names, gate, is_gated
        Those of the layers.
    missing
        The size of the mask of pixels without data, or None.
    suffix, sha256
        Those of the file beside the database. Empty if the payload is in the row.
    """

    kind: Literal["masks", "layers"]
    shape: tuple[PositiveInt, ...]
    report: ImageReport
    names: tuple[str, ...] = ()
    gate: tuple[float, ...] | None = None
    is_gated: bool = False
    missing: tuple[NonNegativeInt, NonNegativeInt] | None = None
    suffix: Literal["", ".mask", ".npy"] = ""
    sha256: str = ""


_LABEL = TypeAdapter(_Label)


def encode(stored: Stored, place: Row, path: Path, values_file: Path | None = None) -> Row:
    """The row of an entry. A large payload is written to a file first.

    Parameters
    ----------
    place
        Names the entry and its image.
    path
        Of the file, but for its suffix.
    values_file
        The file that the layers lie in already. It is moved there.
    """
    masks, layers = stored.masks, stored.layers
    lacking = stored.missing if layers is None else layers.missing
    if masks is not None:
        label = _Label("masks", (len(masks), *masks[0].shape), stored.report)
        words = masks[0].words
        if len(masks) > 1:
            words = np.concatenate([mask.words for mask in masks])
        if words.nbytes > _MOST_BYTES_IN_DATABASE:
            label.suffix = ".mask"
            BitMask(words, masks[0].width).save(path.with_name(f"{path.name}.mask"))
        payload = None if label.suffix else _packed(words)
    elif layers is not None:
        label = _Label("layers", layers.values.shape, stored.report, layers.names)
        if layers.gate is not None:
            label.gate = tuple(np.atleast_1d(layers.gate).tolist())
            label.is_gated = layers.is_gated
        if values_file is not None or layers.values.nbytes > _MOST_BYTES_IN_DATABASE:
            label.suffix = ".npy"
            _write_layers(layers.values, values_file, path.with_name(f"{path.name}.npy"))
        payload = None if label.suffix else pack_layers(layers.values)
    else:
        raise ValueError("an entry holds masks or layers")
    if lacking is not None:
        label.missing = lacking.shape
    if label.suffix:
        label.sha256 = file_sha256(path.with_name(path.name + label.suffix))
    missing = None if lacking is None else _packed(lacking.words)
    text = _LABEL.dump_json(label)
    return Row(place.name, place.image, place.content, text, payload, missing)


def decode(row: Row, sha256: bytes, path: Path) -> Stored | str:
    """What a row and its file hold, or what is wrong with them, in words.

    Parameters
    ----------
    sha256
        The checksum that the row should have.
    path
        Of its file, but for the suffix.
    """
    if row.sha256 != sha256:
        return "its checksum differs"
    try:
        label = _LABEL.validate_json(row.label)
        if label.suffix:
            path = path.with_name(path.name + label.suffix)
            if file_sha256(path) != label.sha256:
                return f"the checksum of {path.name} differs"
        return _masks(label, row, path) if label.kind == "masks" else _layers(label, row, path)
    except FileNotFoundError:
        return f"{path.name} is gone"
    except (OSError, ValidationError, MaskError, ValueError, zlib.error, EOFError) as error:
        return f"{type(error).__name__}: {error}".splitlines()[0]


def _masks(label: _Label, row: Row, path: Path) -> Stored:
    classes, height, width = label.shape
    size = classes * height, width
    stacked = BitMask.load(path, size) if label.suffix else _mask(row.payload, size)
    missing = None if label.missing is None else _mask(row.missing, label.missing)
    return Stored(label.report, stacked.split(classes), content=row.content, missing=missing)


def _layers(label: _Label, row: Row, path: Path) -> Stored:
    count, classes, height, width = label.shape
    if label.suffix:
        values = np.load(path, mmap_mode="r", allow_pickle=False)
        if values.dtype != np.uint8:
            raise ValueError(f"{path.name} holds {values.dtype}")
    else:
        values = unpack_layers(row.payload or b"", label.shape)
    return Stored(
        label.report,
        layers=Layers(
            label.names,
            values.reshape(count, classes, height, width),
            None if label.missing is None else _mask(row.missing, label.missing),
            None if label.gate is None else np.array(label.gate, np.float32),
            label.is_gated,
        ),
        content=row.content,
    )


def _packed(array: NDArray) -> bytes:
    level = _UNPACKED if array.nbytes < _FEW_BYTES else _LEVEL
    return zlib.compress(np.ascontiguousarray(array).data, level)


def _mask(packed: bytes | None, size: tuple[int, int]) -> BitMask:
    # a mask may be changed by its owner, and bytes may not
    content = bytearray(zlib.decompress(packed or b""))
    words = np.frombuffer(content, np.uint64).reshape(size[0], words_per_row(size[1]))
    return BitMask(words, size[1])


def _write_layers(values: NDArray[np.uint8], there: Path | None, path: Path) -> None:
    """Write the layers to `path`, or move the file that holds them `there`."""
    if there is not None:
        there.replace(path)
        return
    with replace_atomically(path) as unfinished:
        file = np.lib.format.open_memmap(unfinished, "w+", np.uint8, values.shape)
        file[...] = values
        file.flush()
