"""The sections about networks: what they are given, and how they run."""

from typing import Annotated, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from kernelkit.recipe.section import Section
from kernelkit.vocabulary import Resample

__all__ = ["Execution", "NetworkInput"]


class NetworkInput(Section):
    """How source pixels become the network's input.

    The value is `(x / divide - mean) / std`. With `decibel` it is `(10 log10(x) - mean) / std`.

    Attributes
    ----------
    bands
        Which bands of the image to take, counted from 1, in the network's order.
    decibel
        Whether pixels are turned into decibels, as of radar images.
    divide
        The value that becomes 1. It is not used with `decibel`.
    mean, std
        One value per band of the input.
    resample
        How a whole picture comes to a `size` of the pyramid: "area", "bilinear", "bicubic" or
        "nearest", as OpenCV means them. Name the one that the training used.
    """

    bands: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (1, 2, 3)
    decibel: bool = False
    divide: PositiveFloat = 255.0
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[PositiveFloat, ...] = (0.229, 0.224, 0.225)
    resample: Resample = "area"

    @model_validator(mode="after")
    def _one_value_per_band(self) -> Self:
        if not len(self.bands) == len(self.mean) == len(self.std):
            raise ValueError(
                f"found {len(self.bands)} bands, {len(self.mean)} values of mean and "
                f"{len(self.std)} of std, wanted one mean and one std per band"
            )
        return self


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
        Use torch.compile. It takes a warm-up.
    cuda_graph
        Record a whole batch once and replay it. It takes a warm-up.
    """

    channels_last: bool = True
    half_weights: bool = True
    fuse_norms: bool = True
    compile: bool = False
    cuda_graph: bool = False
