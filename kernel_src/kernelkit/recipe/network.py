"""The sections about networks: what they are given, and how they run."""

import math
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, PositiveFloat, model_validator

from kernelkit.recipe.bands import BandExpression, checked_band
from kernelkit.recipe.section import Section
from kernelkit.recipe.words import no_doubles
from kernelkit.vocabulary import Provider, Resample

__all__ = ["Decibel", "Execution", "MinMax", "NetworkInput"]

Band = Annotated[int | str, BeforeValidator(checked_band)]


class Decibel(Section):
    """How powers become decibels: `10 log10(x)`.

    Attributes
    ----------
    floor
        A power below it is no data. So is 0, which has no logarithm.
    nodata
        The decibels of a pixel without data, before it is normalised. Left out, it is the mean.
    of
        With "bands", decibels are taken of the results of `bands`. With "image", they are taken of
        the image's own bands, and expressions calculate with decibels.
    """

    floor: Annotated[float, Field(ge=0)] = 0.0
    nodata: float | None = None
    of: Literal["bands", "image"] = "bands"


class MinMax(Section):
    """Each band of each tile is brought to 0 to 1 by its own least and greatest value.

    Attributes
    ----------
    power
        The exponent to which the result is raised.
    """

    power: PositiveFloat = 1.0


def _usual_decibel(value: Any) -> Any:
    return Decibel() if value is True else value


class NetworkInput(Section):
    """How source pixels become the network's input.

    The value is `(x / divide - mean) / std`. With `decibel` it is `(10 log10(x) - mean) / std`.

    Attributes
    ----------
    bands
        The network's bands, in its order. Each is the number of a band of the image, counted from
        1, or an expression such as `(b1 + b2) / 2`. An expression holds numbers, + - * /, brackets,
        `abs`, `log` and `sqrt`.
    decibel
        How pixels are turned into decibels, as of radar images. `true` is the usual way.
    minmax
        How each tile is brought to 0 to 1 by its own values. Left out, it is not.
    divide
        The value that becomes 1. It is not used with `decibel` and `minmax`.
    mean, std
        What is subtracted from each band of the input, and what it is divided by then.
    resample
        How a whole picture comes to a `size` of the pyramid: "area", "bilinear", "bicubic" or
        "nearest", as OpenCV means them. Name the one that the training used.
    """

    bands: Annotated[tuple[Band, ...], Field(min_length=1)] = (1, 2, 3)
    decibel: Annotated[Decibel | bool, BeforeValidator(_usual_decibel)] = False
    minmax: MinMax | None = None
    divide: PositiveFloat = 255.0
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[PositiveFloat, ...] = (0.229, 0.224, 0.225)
    resample: Resample = "area"

    @property
    def image_bands(self) -> frozenset[int]:
        """The numbers of the image's bands that are needed, counted from 1."""
        needed: set[int] = set()
        for band in self.bands:
            needed |= BandExpression.parse(band).bands if isinstance(band, str) else {band}
        return frozenset(needed)

    @property
    def highest_band(self) -> int:
        """How many bands an image must have."""
        return max(self.image_bands)

    @model_validator(mode="after")
    def _one_value_per_band(self) -> Self:
        if not len(self.bands) == len(self.mean) == len(self.std):
            raise ValueError(
                f"found {len(self.bands)} bands, {len(self.mean)} values of mean and "
                f"{len(self.std)} of std, wanted one mean and one std per band"
            )
        return self


def _named_providers(value: Any) -> Any:
    # `[tensorrt, cuda]` stands for providers without options, in this order
    if isinstance(value, str):
        return {value: {}}
    if isinstance(value, list | tuple) and all(isinstance(name, str) for name in value):
        return {name: {} for name in no_doubles(tuple(value))}
    if isinstance(value, dict):
        return {name: options or {} for name, options in value.items()}
    return value


def _plain(value: Any) -> Any:
    is_number = isinstance(value, int | float) and math.isfinite(value)
    if not is_number and not isinstance(value, str):
        raise ValueError(f"found {value!r:.60}, wanted text, a number, true or false")
    return value


Option = Annotated[bool | int | float | str, BeforeValidator(_plain)]
_WithOptions = Annotated[dict[Provider, dict[str, Option] | None], Field(min_length=1)]
_Several = Annotated[tuple[Provider, ...], Field(min_length=1)]
Providers = Annotated[
    dict[Provider, dict[str, Option]],
    BeforeValidator(_named_providers, json_schema_input_type=Provider | _Several | _WithOptions),
    Field(min_length=1),
]


class Execution(Section):
    """How networks run on the device. What does not work is left out, with a note.

    Attributes
    ----------
    channels_last
        Keep the channels of a pixel together in memory. Convolutions are faster then.
    half_weights
        Keep weights in the precision that they are used in, at half the memory.
    fuse_norms
        Fuse batch norms into the convolutions before them.
    compile
        Use torch.compile. It takes a warm-up per shape of tiles or pictures. Beyond eight shapes
        networks run as they are, and a note says so.
    cuda_graph
        Record a whole batch once and replay it. It takes a warm-up. It is not done if
        `disagreement` is asked for.
    providers
        What onnxruntime may compute members by that are ONNX files: "tensorrt", "cuda" or "cpu".
        The first that works is taken. `{tensorrt: {trt_engine_cache_enable: true}, cuda: {}}` gives
        each its own options, as onnxruntime names them. Left out, it is "cuda" on a GPU. A GPU's
        members never go to the CPU, unless "cpu" stands here.
    """

    channels_last: bool = True
    half_weights: bool = True
    fuse_norms: bool = True
    compile: bool = False
    cuda_graph: bool = False
    providers: Providers | None = None
