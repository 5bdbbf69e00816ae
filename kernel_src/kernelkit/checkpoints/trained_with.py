"""What a run folder says that its network was trained with.

Training codes write it under many keys, in many sections. Only what cannot mean anything else is
taken. A value that one file gives twice, and differently, counts as not said. kernelkit's own
training writes all that it knows into the DATA section of its cfg.yaml, so there nothing else is
read.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, get_args

from kernelkit.checkpoints.descriptions import DESCRIPTIONS, read_content
from kernelkit.vocabulary import Activation, Fill, Resample

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["SETTINGS", "TrainedWith", "read_trained_with"]

# Files that may say it.
SETTINGS = (*DESCRIPTIONS, "preprocessor_config.json")
# More values than an image has bands, and than a competition has classes.
_MOST_BANDS = 64
_MOST_CLASSES = 1000
# A larger side is no whole picture's.
_MOST_PIXELS = 100_000

# The keys under which training codes write each value, in lower case.
_KEYS = {
    "mean": ("mean", "pixel_mean", "img_mean", "image_mean", "norm_mean", "normalize_mean"),
    "std": ("std", "pixel_std", "img_std", "image_std", "norm_std", "normalize_std"),
    "divide": ("divide", "max_pixel_value"),
    "scale": ("scale", "downscale", "down_scale", "downscale_factor", "downsample", "reduce"),
    "bands": ("bands",),
    "size": ("size", "image_size", "img_size", "input_size"),
    "pad": ("pad",),
    "resample": ("resample", "interpolation"),
    "classes": ("classes", "class_names"),
}
# What only kernelkit's own training writes. Elsewhere these words mean too much.
_OWN_KEYS = {name: (name,) for name in ("activation", "decibel", "fill", "minmax")}
# The section that such a file has.
_OWN_MARK = "KERNELKIT"
# In these sections, these values are not those of the images.
_OTHER_SECTIONS = re.compile(r"aug|transform|loss|optim|sched|model|amp|train", re.IGNORECASE)
_OF_IMAGES = ("scale", "size", "pad", "resample")
# OpenCV's words for ways to resize, beside ours.
_OPENCVS = {"linear": "bilinear", "cubic": "bicubic"}

# The keys of a section with their values, sorted.
type Pairs = tuple[tuple[str, float | str | None], ...]


@dataclass(frozen=True)
class TrainedWith:
    """What a run folder says that its network was trained with. None is what it does not say.

    Attributes
    ----------
    mean, std
        One value per band of the input, or one for all.
    divide
        The value that became 1 before that.
    bands
        The bands of the images, counted from 1, or expressions of them.
    scale
        How many times smaller than the source the images were.
    size
        Height and width of whole pictures as the network saw them, with their pads.
    pad
        What was added to whole pictures before and after, on both axes.
    resample
        How pictures came to their size.
    classes
        The names of the classes, in the order of the network's answers.
    decibel, minmax
        What was done to pixels before their mean was taken: the keys of a recipe's section with
        their values. Empty if nothing was done.
    fill
        What stood outside of the image.
    activation
        How logits become probabilities.
    said_in
        The file that says each value, by its name here.
    """

    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    divide: float | None = None
    bands: tuple[int | str, ...] | None = None
    scale: float | None = None
    size: tuple[int, int] | None = None
    pad: tuple[int, int] | None = None
    resample: Resample | None = None
    classes: tuple[str, ...] | None = None
    decibel: Pairs | None = None
    minmax: Pairs | None = None
    fill: Fill | None = None
    activation: Activation | None = None
    said_in: Mapping[str, Path] = field(default_factory=dict, compare=False)

    def where(self, name: str) -> str:
        """The file that says a value, for a message."""
        return str(self.said_in[name]) if name in self.said_in else "its checkpoint"

    def with_buffers(self, tensors: "Mapping[str, Tensor]") -> Self:
        """The same with `mean` and `std` of buffers beside a network's weights, if not yet known.

        A Lightning module that normalises its input keeps them so.
        """
        names = {name.rsplit(".", 1)[-1]: tensor for name, tensor in tensors.items()}
        if self.mean is not None or self.std is not None or not {"mean", "std"} <= set(names):
            return self
        mean, std = (tuple(names[name].flatten().tolist()) for name in ("mean", "std"))
        if not 0 < len(mean) == len(std) <= _MOST_BANDS or min(std) <= 0:
            return self
        return replace(self, mean=mean, std=std)


def read_trained_with(folders: Sequence[Path]) -> TrainedWith:
    """What the settings in some folders say. The first folder that says a value decides."""
    said: dict[str, Any] = {}
    files: dict[str, Path] = {}
    for path in (folder / name for folder in dict.fromkeys(folders) for name in SETTINGS):
        if not path.is_file():
            continue
        found = _settings(read_content(path))
        if path.name == "preprocessor_config.json" and "rescale_factor" in found:
            found["divide"] = 1 / found["rescale_factor"]
        found.pop("rescale_factor", None)
        said = found | said
        files = dict.fromkeys(found, path) | files
    return TrainedWith(**said, said_in=files)


def _settings(content: Mapping[str, Any]) -> dict[str, Any]:
    """The settings in one file, each if it stands there once or always the same."""
    keys = _KEYS
    if _OWN_MARK in content:
        content, keys = {"DATA": content.get("DATA")}, _KEYS | _OWN_KEYS
    found: dict[str, set[Any]] = {}
    for name, value in _values(content, "", keys):
        found.setdefault(name, set()).add(value)
    return {name: values.pop() for name, values in found.items() if len(values) == 1}


def _values(
    content: Any, section: str, known: Mapping[str, Sequence[str]]
) -> Iterator[tuple[str, Any]]:
    if isinstance(content, list | tuple):
        for part in content:
            yield from _values(part, section, known)
    if not isinstance(content, Mapping):
        return
    for key, value in content.items():
        lower = str(key).lower()
        if lower == "pretrained_cfg":  # of the weights before the training
            continue
        if lower == "rescale_factor" and (factor := _number(value)):
            yield "rescale_factor", factor
        for name, keys in known.items():
            is_other = name in _OF_IMAGES and _OTHER_SECTIONS.search(section)
            if lower in keys and not is_other and (parsed := _PARSED[name](value)) is not None:
                yield name, parsed
        yield from _values(value, f"{section}.{key}", known)


def _finite(value: Any) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and abs(value) < 1e12 else None


def _number(value: Any) -> float | None:
    """A positive number, or None."""
    number = _finite(value)
    return number if number is not None and number > 0 else None


def _numbers(value: Any) -> tuple[float, ...] | None:
    """One number or several, or None."""
    values = value if isinstance(value, list | tuple) else [value]
    numbers = [_finite(v) for v in values]
    known = tuple(number for number in numbers if number is not None)
    return known if known and len(known) == len(numbers) else None


def _spreads(value: Any) -> tuple[float, ...] | None:
    numbers = _numbers(value)
    return numbers if numbers and min(numbers) > 0 else None


def _bands(value: Any) -> tuple[int | str, ...] | None:
    if not isinstance(value, list | tuple) or not 0 < len(value) <= _MOST_BANDS:
        return None
    are_bands = all(isinstance(band, str) or _is_whole(band, 1) for band in value)
    return tuple(value) if are_bands else None


def _size(value: Any) -> tuple[int, int] | None:
    return _pair(value, 1)


def _pad(value: Any) -> tuple[int, int] | None:
    return _pair(value, 0)


def _pair(value: Any, least: int) -> tuple[int, int] | None:
    """Two numbers of pixels. One stands for both."""
    values = value if isinstance(value, list | tuple) else [value, value]
    if len(values) != 2 or not all(_is_whole(v, least) for v in values):
        return None
    return values[0], values[1]


def _is_whole(value: Any, least: int) -> bool:
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return is_number and least <= value <= _MOST_PIXELS


def _resample(value: Any) -> str | None:
    """A way to resize, as OpenCV calls it (`cv2.INTER_AREA`) or as we do."""
    if not isinstance(value, str):
        return None
    word = value.lower().removeprefix("cv2.").removeprefix("inter_")
    word = _OPENCVS.get(word, word)
    return word if word in get_args(Resample) else None


def _classes(value: Any) -> tuple[str, ...] | None:
    is_list = isinstance(value, list | tuple) and 0 < len(value) <= _MOST_CLASSES
    return tuple(value) if is_list and all(isinstance(name, str) for name in value) else None


def _pairs(value: Any) -> Pairs | None:
    """A section of plain values. False and nothing are an empty one."""
    if value is False or value is None:
        return ()
    if not isinstance(value, Mapping):
        return None
    plain = all(isinstance(key, str) and _is_plain(part) for key, part in value.items())
    return tuple(sorted(value.items())) if plain else None


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, str) or _finite(value) is not None


def _one_of(words: Any) -> Callable[[Any], Any]:
    return lambda value: value if value in get_args(words) else None


_PARSED: Mapping[str, Callable[[Any], Any]] = {
    "mean": _numbers,
    "std": _spreads,
    "divide": _number,
    "scale": _number,
    "bands": _bands,
    "size": _size,
    "pad": _pad,
    "resample": _resample,
    "classes": _classes,
    "decibel": _pairs,
    "minmax": _pairs,
    "fill": _one_of(Fill),
    "activation": _one_of(Activation),
}
