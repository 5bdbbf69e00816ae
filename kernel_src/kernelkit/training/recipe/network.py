"""The sections about the network: what it is, and where its weights begin."""

import difflib
from typing import Annotated, Any, ClassVar, Self

from pydantic import ConfigDict, Field, PositiveInt, model_validator

from kernelkit.checkpoints.descriptions import ARCHITECTURES
from kernelkit.recipe.section import Section
from kernelkit.recipe.words import Word

__all__ = ["Init", "NetworkRecipe"]

# What architectures of segmentation_models_pytorch take, beside the fields below.
_OF_SMP = frozenset(
    (
        "decoder_aspp_dropout",
        "decoder_aspp_separable",
        "decoder_atrous_rates",
        "decoder_attention_type",
        "decoder_channels",
        "decoder_dropout",
        "decoder_fusion_channels",
        "decoder_intermediate_channels",
        "decoder_interpolation",
        "decoder_merge_policy",
        "decoder_pab_channels",
        "decoder_pyramid_channels",
        "decoder_readout",
        "decoder_segmentation_channels",
        "decoder_use_norm",
        "encoder_output_indices",
        "encoder_output_stride",
        "psp_dropout",
        "psp_out_channels",
        "upsampling",
    )
)
# What classifiers of timm take, and what encoders of timm do.
_OF_TIMM = frozenset(("drop_block_rate", "drop_path_rate", "drop_rate", "global_pool", "img_size"))
_OF_TIMM_ENCODERS = _OF_TIMM - {"global_pool"}
_SMP_FIELDS = frozenset(("encoder_name", "encoder_depth", "encoder_weights", "aux_params"))
# Of these architectures the encoder has a stride of its own.
_DILATED = {"deeplabv3": 8, "deeplabv3plus": 16, "pan": 16}


class AuxParams(Section):
    """A classification head beside the masks.

    Attributes
    ----------
    classes
        Its outputs. One says whether there is any label. Two are a softmax of empty and not empty.
        Otherwise there is one per class of the masks.
    pooling
        How the encoder's features become one: "avg" or "max".
    dropout
        The share of the features that is left out in training.
    """

    classes: PositiveInt = 1
    pooling: str = Field("avg", pattern="^(avg|max)$")
    dropout: Annotated[float, Field(ge=0, lt=1)] | None = None


class NetworkRecipe(Section):
    """The network, as a run folder describes it. Channels and classes follow from the rest.

    Attributes
    ----------
    arch
        An architecture of segmentation_models_pytorch, or `timm` for a classifier.
    network
        A class of your own code, `package.module:Class`. All other keys are its arguments.
    encoder_name, encoder_depth
        The encoder of an architecture, and how many times it halves the picture.
    encoder_weights
        Pretrained weights of the encoder, such as `imagenet`.
    model_name
        A classifier of timm.
    pretrained
        Whether a classifier begins with timm's own weights.
    in_channels
        The network's bands. Left out, it is the number of the input's.
    classes
        Its answers. Left out, it is one per class, and with softmax one more for the background.
    aux_params
        A classification head beside the masks.
    """

    model_config = ConfigDict(extra="allow", protected_namespaces=())

    arch: Word | None = None
    network: Word | None = None
    encoder_name: Word | None = None
    encoder_depth: PositiveInt | None = None
    encoder_weights: Word | None = None
    model_name: Word | None = None
    pretrained: bool = False
    in_channels: PositiveInt | None = None
    classes: PositiveInt | None = None
    aux_params: AuxParams | None = None

    ARCHITECTURES: ClassVar[tuple[str, ...]] = ARCHITECTURES
    # What else the networks of both libraries take.
    ARGUMENTS: ClassVar[tuple[str, ...]] = tuple(sorted(_OF_SMP | _OF_TIMM))

    @model_validator(mode="after")
    def _arch_or_network(self) -> Self:
        given = [name for name in ("arch", "network") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                f"found {' and '.join(given) or 'neither arch nor network'}, wanted one of them"
            )
        if self.network is None and self.kind not in (*ARCHITECTURES, "timm"):
            close = difflib.get_close_matches(self.kind, (*ARCHITECTURES, "timm"), n=1)
            raise ValueError(
                f"found the arch {self.arch!r:.60}, which does not exist. "
                + (f"Did you mean {close[0]}?" if close else _known(("timm", *ARCHITECTURES)))
            )
        if self.kind == "timm" and self.model_name is None:
            raise ValueError("found arch timm without model_name, wanted the name of a classifier")
        return self

    @model_validator(mode="after")
    def _keys_exist(self) -> Self:
        if self.network is not None:
            return self
        known = {"arch", "in_channels", "classes"}
        if self.kind == "timm":
            known |= {"model_name", "pretrained"} | _OF_TIMM
        else:
            known |= _SMP_FIELDS | _OF_SMP
        if (self.encoder_name or "").startswith(("tu-", "timm-")):
            known |= _OF_TIMM_ENCODERS
        given = self.model_fields_set | set(self.model_extra or {})
        for key in sorted(given - known):
            if getattr(self, key, None) is None:
                continue
            close = difflib.get_close_matches(key, known, n=1)
            hint = f"Did you mean {close[0]}?" if close else _known(sorted(known))
            raise ValueError(f"the key {key:.60} does not exist with arch {self.arch}. {hint}")
        return self

    @property
    def kind(self) -> str:
        """The architecture in lower case. "network" for a class of your own code."""
        return "network" if self.arch is None else self.arch.lower()

    @property
    def parts(self) -> tuple[str, ...] | None:
        """The parts that can be frozen by name. None if only the network itself can say them."""
        if self.kind in ("network", "timm"):
            return None
        head = ("classification_head",) if self.aux_params else ()
        return ("encoder", "decoder", "segmentation_head", *head)

    @property
    def stride(self) -> int:
        """What height and width of the input have to be a multiple of."""
        if self.kind in ("network", "timm", "unet"):  # these take any, or say it themselves
            return 1
        if self.kind in _DILATED:
            stride = (self.model_extra or {}).get("encoder_output_stride")
            return int(stride) if stride else _DILATED[self.kind]
        return int(2 ** (self.encoder_depth or (3 if self.kind == "pspnet" else 5)))

    @property
    def encoder_arguments(self) -> dict[str, Any]:
        """What the encoder of an architecture is made with, beside its name and depth."""
        given = self.model_extra or {}
        return {key: given[key] for key in sorted(_OF_TIMM_ENCODERS & set(given))}

    def description(self, channels: int, classes: int) -> dict[str, Any]:
        """The content of the section MODEL of a cfg.yaml, with its channels and classes."""
        content: dict[str, Any] = self.model_dump(mode="json", exclude_unset=True)
        names = ("in_chans", "num_classes") if self.kind == "timm" else ("in_channels", "classes")
        for name in ("in_channels", "classes", "pretrained", "encoder_weights"):
            content.pop(name, None)
        if self.network is None:  # a run takes back with null what all share
            content = {key: value for key, value in content.items() if value is not None}
        return {**content, names[0]: self.in_channels or channels, names[1]: classes}

    def __str__(self) -> str:
        if self.network is not None:
            return self.network
        attention = (self.model_extra or {}).get("decoder_attention_type")
        words = (self.arch, self.model_name or self.encoder_name, attention)
        return ", ".join(str(word) for word in words if word)


def _known(names: tuple[str, ...] | list[str]) -> str:
    return f"Known here are {', '.join(names)}"


class Init(Section):
    """Where the weights come from before the first step. A bare path is a whole model.

    Paths are absolute, or begin at the working directory.

    Attributes
    ----------
    model
        A checkpoint, or a run folder. Of a run folder it is the best checkpoint of the same fold,
        or of the first one. Layers of other shapes keep their random weights, and are named.
    encoder
        A checkpoint or a run folder of which only the encoder is taken. It may be a file of timm's
        weights too.
    """

    model: Word | None = None
    encoder: Word | None = None

    @classmethod
    def short_forms(cls) -> Any:
        """Return the type of a path."""
        return Word

    @model_validator(mode="before")
    @classmethod
    def _from_path(cls, value: Any) -> Any:
        return {"model": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.model is None) == (self.encoder is None):
            raise ValueError("found neither or both of model and encoder, wanted one of them")
        return self
