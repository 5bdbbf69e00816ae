"""The sections about augmentation: steps by name, in their order."""

from typing import Annotated, Any, ClassVar, Self

from pydantic import AfterValidator, Field, NonNegativeFloat, PositiveInt, model_validator

from kernelkit.recipe.section import Section

__all__ = [
    "D4",
    "Affine",
    "AugmentStep",
    "Blur",
    "BrightnessContrast",
    "ChannelShuffle",
    "Clahe",
    "CropResize",
    "Cutout",
    "Flip",
    "Hsv",
    "Noise",
    "OneOf",
    "Recolour",
    "Rotate90",
    "Stain",
    "TwoGamma",
]

Probability = Annotated[float, Field(gt=0, le=1)]


def _pair_in_order(values: tuple[float, float]) -> tuple[float, float]:
    if values[0] > values[1]:
        raise ValueError(f"found {list(values)}, wanted the lower value first")
    return values


Range = Annotated[tuple[float, float], AfterValidator(_pair_in_order)]
Ratios = Annotated[
    tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]],
    AfterValidator(_pair_in_order),
]


class Step(Section):
    """What all steps have.

    Attributes
    ----------
    p
        The share of the crops that the step changes.
    """

    p: Probability = 1.0


class D4(Step):
    """One of the eight flips and quarter turns, each as often."""


class Flip(Step):
    """A flip along the width, the height or either.

    Attributes
    ----------
    horizontal, vertical
        Which flips are drawn, each with probability 0.5.
    """

    horizontal: bool = True
    vertical: bool = True


class Rotate90(Step):
    """0 to 3 quarter turns, each as often."""


class Affine(Step):
    """A shift, a change of size and a rotation in one interpolation.

    Attributes
    ----------
    shift
        The largest shift along each axis, as a share of the side.
    scale
        The largest change of size: 0.2 draws a factor from 0.8 to 1.2.
    rotate
        The largest rotation, in degrees.
    """

    shift: Annotated[float, Field(ge=0, lt=1)] = 0.0625
    scale: Annotated[float, Field(ge=0, lt=1)] = 0.1
    rotate: Annotated[float, Field(ge=0, le=180)] = 45.0


class CropResize(Step):
    """A smaller part of the crop, enlarged to its size.

    Attributes
    ----------
    least
        The smallest side of the part, as a share of the crop's.
    """

    least: Annotated[float, Field(gt=0, lt=1)] = 0.8


class TwoGamma(Step):
    """Two gamma curves, one for dark and one for bright values, the same in all bands.

    Attributes
    ----------
    gamma
        From where both exponents are drawn.
    """

    gamma: Ratios = (0.7, 1.4)


class Stain(Step):
    """How much haematoxylin and eosin there is, in optical density. It takes RGB.

    Attributes
    ----------
    gain
        The largest change of a density, as a share of it.
    shift
        What is added to it at most.
    """

    gain: Annotated[float, Field(ge=0, lt=1)] = 0.1
    shift: NonNegativeFloat = 0.05


class Recolour(Step):
    """Gain and shift of normalised values, partly alike in all bands and partly not.

    Attributes
    ----------
    gain, shift
        The standard deviation of what is alike. The gain is in natural logarithms, and the shift in
        standard deviations of the band.
    band_gain, band_shift
        That of what each band has of its own.
    """

    gain: NonNegativeFloat = 0.2
    shift: NonNegativeFloat = 0.2
    band_gain: NonNegativeFloat = 0.1
    band_shift: NonNegativeFloat = 0.1


class Hsv(Step):
    """Hue, saturation and value of an RGB picture.

    Attributes
    ----------
    hue
        The largest change, as a share of the circle.
    saturation, value
        The largest change, as a share.
    """

    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.05
    saturation: Annotated[float, Field(ge=0, lt=1)] = 0.2
    value: Annotated[float, Field(ge=0, lt=1)] = 0.1


class Clahe(Step):
    """Contrast-limited adaptive histogram equalisation of the brightness.

    Attributes
    ----------
    clip
        The largest limit of the contrast. It is drawn from 1 up to this.
    grid
        Into how many parts each side is divided.
    """

    clip: Annotated[float, Field(ge=1)] = 4.0
    grid: PositiveInt = 8


class BrightnessContrast(Step):
    """Brightness and contrast, the same in all bands.

    Attributes
    ----------
    brightness, contrast
        The largest change, as a share.
    """

    brightness: Annotated[float, Field(ge=0, lt=1)] = 0.2
    contrast: Annotated[float, Field(ge=0, lt=1)] = 0.2


class ChannelShuffle(Step):
    """The bands in another order."""


class Cutout(Step):
    """Rectangles that are set to the mean, while labels stay.

    Attributes
    ----------
    holes
        The largest number of rectangles.
    size
        The largest side of a rectangle, as a share of the crop's.
    """

    holes: PositiveInt = 8
    size: Annotated[float, Field(gt=0, le=1)] = 0.1


def _odd(values: tuple[int, int]) -> tuple[int, int]:
    if values[0] > values[1] or any(value % 2 == 0 for value in values):
        raise ValueError(f"found {list(values)}, wanted two odd numbers, the lower first")
    return values


class Blur(Step):
    """A Gaussian blur.

    Attributes
    ----------
    kernel
        The least and the greatest side of the kernel, in pixels. Both are odd.
    """

    kernel: Annotated[tuple[PositiveInt, PositiveInt], AfterValidator(_odd)] = (3, 7)


class Noise(Step):
    """Gaussian noise of its own in each pixel and band.

    Attributes
    ----------
    std
        The greatest standard deviation, in standard deviations of the band.
    """

    std: Annotated[float, Field(gt=0)] = 0.1


class OneOf(Step):
    """One of several steps, each as often, written `{one_of: [hsv, clahe], p: 0.4}`.

    The steps' own `p` says how often one of them does nothing.

    Attributes
    ----------
    of
        The steps, in the long form `{one_of: {of: [hsv, clahe]}}`.
    """

    of: Annotated[tuple["AugmentStep", ...], Field(min_length=2)]


class _Choice(Section):
    """`one_of` as it is written: a list of steps, and beside it how often one is taken."""

    one_of: Annotated[tuple["AugmentStep", ...], Field(min_length=2)]
    p: Probability = 1.0


class AugmentStep(Section):
    """One step of augmentation, by its name: `d4`, or `{affine: {rotate: 45}}`.

    Attributes
    ----------
    d4, flip, rotate90, affine, crop_resize
        Steps that move pixels and labels alike.
    two_gamma, stain, hsv, clahe, brightness_contrast, channel_shuffle
        Steps that change the values of the source alone.
    recolour, cutout, blur, noise
        Steps that change normalised values alone.
    one_of
        One of several steps, written `{one_of: [hsv, clahe], p: 0.4}`.
    """

    d4: D4 | None = None
    flip: Flip | None = None
    rotate90: Rotate90 | None = None
    affine: Affine | None = None
    crop_resize: CropResize | None = None
    two_gamma: TwoGamma | None = None
    stain: Stain | None = None
    hsv: Hsv | None = None
    clahe: Clahe | None = None
    brightness_contrast: BrightnessContrast | None = None
    channel_shuffle: ChannelShuffle | None = None
    recolour: Recolour | None = None
    cutout: Cutout | None = None
    blur: Blur | None = None
    noise: Noise | None = None
    one_of: OneOf | None = None

    MOVES: ClassVar[tuple[str, ...]] = ("d4", "flip", "rotate90", "affine", "crop_resize")

    @classmethod
    def short_forms(cls) -> Any:
        """Return the type of a step's name, or of a choice with its share beside it."""
        names = [name for name in cls.model_fields if name != "one_of"]
        known: dict[str, Any] = {"enum": names}
        return Annotated[str, Field(json_schema_extra=known)] | _Choice

    @model_validator(mode="before")
    @classmethod
    def _from_short_form(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {value: {}}
        if isinstance(value, dict):
            if isinstance(value.get("one_of"), list | tuple):
                rest = {key: part for key, part in value.items() if key == "p"}
                others = {key: part for key, part in value.items() if key not in ("p", "one_of")}
                return {**others, "one_of": {"of": value["one_of"], **rest}}
            return {key: {} if part is None else part for key, part in value.items()}
        return value

    @model_validator(mode="after")
    def _is_one_step(self) -> Self:
        given = [name for name in type(self).model_fields if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                f"found {' and '.join(given) or 'no step'} in one step, wanted one name per step."
                " Write each as an item of the list"
            )
        return self

    @property
    def name(self) -> str:
        """The step's name."""
        return next(name for name in type(self).model_fields if getattr(self, name) is not None)

    @property
    def step(self) -> Any:
        """What the step does, such as an `Affine`."""
        return getattr(self, self.name)

    @property
    def moves(self) -> bool:
        """Whether the step moves pixels, so that labels have to be moved alike."""
        return self.name in self.MOVES

    @property
    def flat(self) -> tuple["AugmentStep", ...]:
        """The step, or those that it chooses from."""
        return self.one_of.of if self.one_of else (self,)


OneOf.model_rebuild()
_Choice.model_rebuild()
