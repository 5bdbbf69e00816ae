"""What a run folder says about its network.

A network is described in a `MODEL` section of cfg.yaml, or in a config.json. These files come from
outside. So their sizes are bounded, and their values are typed. The names in them may only be
architectures, encoders and classes of the user's own code. A hub, a path or an address in them is
an error.
"""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from kernelkit.errors import CheckpointError
from kernelkit.yamlfile import read_yaml

__all__ = [
    "ARCHITECTURES",
    "DESCRIPTIONS",
    "NetworkDescription",
    "check_names",
    "from_folder_name",
    "read_content",
    "read_description",
]

# The files of a run folder that describe its network.
DESCRIPTIONS = ("config.json", "cfg.yaml")
# The architectures of segmentation_models_pytorch, in lower case. Its import takes seconds.
ARCHITECTURES = (
    *("unet", "unetplusplus", "manet", "linknet", "fpn", "pspnet", "deeplabv3", "deeplabv3plus"),
    *("pan", "upernet", "segformer", "dpt"),
)
# Bytes. A long config.json has 10 kB.
_MOST_BYTES = 1 << 20
# Sections in each other.
_MOST_LEVELS = 50
# Larger numbers in a description would only waste memory.
_MOST_CHANNELS = 4096
_MOST_CLASSES = 32_768

# What names of architectures and encoders consist of. A hub, a path or an address has ":" or "/".
_NAME = re.compile(r"[A-Za-z0-9_.+-]{1,100}")
# Arguments of timm that would fetch or open a file.
_FETCHES = re.compile(r"checkpoint_path|pretrained_cfg|cache_dir|url|file|hub|local")
# Pretrained weights that a description may name. They are never fetched.
_IGNORED = ("encoder_weights", "pretrained")


class NetworkDescription(BaseModel):
    """The arguments that a network is built with. Others are passed on as they are.

    Attributes
    ----------
    arch
        The architecture, or `timm` for a classifier.
    network
        A class of the user's own code, instead of an architecture.
    encoder_name, model_name
        The encoder of a segmenter, or the name of a classifier.
    in_channels, in_chans
        The channels of the input.
    classes, num_classes
        The channels of the output.
    """

    model_config = ConfigDict(extra="allow", protected_namespaces=())

    arch: str | None = None
    network: str | None = None
    encoder_name: str | None = None
    model_name: str | None = None
    in_channels: int | None = Field(None, ge=1, le=_MOST_CHANNELS)
    in_chans: int | None = Field(None, ge=1, le=_MOST_CHANNELS)
    classes: int | None = Field(None, ge=1, le=_MOST_CLASSES)
    num_classes: int | None = Field(None, ge=1, le=_MOST_CLASSES)


def from_folder_name(name: str) -> dict[str, Any] | None:
    """The description in a folder's name `{Arch}_{encoder}[_scse]`, or None if it has none.

    >>> from_folder_name("UnetPlusPlus_timm-regnety_016_scse")["encoder_name"]
    'timm-regnety_016'
    """
    arch, _, encoder = name.partition("_")
    if arch.lower() not in ARCHITECTURES or not encoder:
        return None
    bare = encoder.removesuffix("_scse")
    attention = {"decoder_attention_type": "scse"} if bare != encoder else {}
    return {"arch": arch, "encoder_name": bare, "in_channels": 3, "classes": 1, **attention}


def read_description(path: Path) -> Mapping[str, Any] | None:
    """What a configuration file says about the network, or None if it says nothing.

    Raises
    ------
    CheckpointError
        The file cannot be read, or its values are not what a network is built with.
    """
    content = read_content(path)
    if path.suffix == ".yaml":
        found = content.get("MODEL")
        if found is None:
            return None
    elif "architecture" in content:  # as timm saves a classifier
        arguments = {k: content[k] for k in ("num_classes", "in_chans") if k in content}
        found = {"arch": "timm", "model_name": content["architecture"], **arguments}
    elif "_model_class" in content:
        found = content
    else:
        return None
    where = f"{path}: MODEL" if path.suffix == ".yaml" else f"{path}: its content"
    if not isinstance(found, Mapping):
        raise CheckpointError(
            f"{where} is {_shown(found)}, wanted keys with values. Write arch, encoder_name, "
            "in_channels and classes there"
        )
    _check_types(found, where)
    return {key: value for key, value in found.items() if key not in _IGNORED}


def check_names(description: Mapping[str, Any], source: str) -> None:
    """Refuse a description that names more than architectures and encoders.

    Raises
    ------
    CheckpointError
        A value is a hub, a path or an address, or a key asks for a file. `network` is checked
        where it is loaded.
    """
    for key, value in _leaves({k: v for k, v in description.items() if k != "network"}):
        if _FETCHES.search(key):
            raise CheckpointError(
                f"{source}: the key {key} would open or fetch a file. A description may only say "
                "how the network is built, so remove it"
            )
        if isinstance(value, str) and not _NAME.fullmatch(value):
            raise CheckpointError(
                f'{source}: found "{_shown(value)}" for {key}, wanted the name of an architecture '
                "or of an encoder. Nothing is fetched from a hub, a path or an address"
            )
        if isinstance(value, int) and "channels" in key and abs(value) > _MOST_CHANNELS:
            raise CheckpointError(
                f"{source}: found {value} for {key}, wanted at most {_MOST_CHANNELS}. Correct it"
            )


def _check_types(found: Mapping[Any, Any], where: str) -> None:
    odd = [key for key in found if not isinstance(key, str)]
    if odd:
        raise CheckpointError(
            f"{where}: found {_shown(odd[0])} as a key, wanted a word. Correct it"
        )
    try:
        NetworkDescription.model_validate(found)
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(str(part) for part in problem["loc"])
        raise CheckpointError(
            f"{where}: {place} is {_shown(problem['input'])}, which cannot be "
            f"({problem['msg'][0].lower()}{problem['msg'][1:]}). Correct it"
        ) from error


def _leaves(content: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Iterate over the keys and plain values of a description, at every depth."""
    if isinstance(content, Mapping):
        for name, value in content.items():
            yield from _leaves(value, str(name))
        if key:
            yield key, None
    elif isinstance(content, list | tuple):
        for value in content:
            yield from _leaves(value, key)
    else:
        yield key, content


def read_content(path: Path) -> Mapping[str, Any]:
    """The keys and values of a configuration file, within bounds.

    Raises
    ------
    CheckpointError
        It cannot be read, or holds something else.
    """
    if path.suffix == ".yaml":
        return read_yaml(path, CheckpointError)
    if path.is_dir():
        raise CheckpointError(f"{path}: found a folder, wanted a JSON file. Copy the file again")
    try:
        size = path.stat().st_size
        text = path.read_bytes() if size <= _MOST_BYTES else b""
    except OSError as error:
        raise CheckpointError(
            f"{path}: cannot be read ({error.strerror}). Copy it again"
        ) from error
    if size > _MOST_BYTES:
        raise CheckpointError(
            f"{path}: found {size} bytes, wanted at most {_MOST_BYTES} of JSON. Check that it is "
            "the file that was meant"
        )
    try:
        content = json.loads(text.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: this is not valid JSON. Correct it") from error
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{path}: found {_shown(content)}, wanted keys with values")
    if _depth(content) > _MOST_LEVELS:
        raise CheckpointError(
            f"{path}: found more than {_MOST_LEVELS} lists or sections inside each other. Write it "
            "flatter"
        )
    return content


def _depth(content: Any) -> int:
    """How many lists and sections lie inside each other."""
    level, depth = [content], 0
    while level:
        depth += 1
        parts = [v.values() if isinstance(v, dict) else v for v in level]
        level = [child for part in parts for child in part if isinstance(child, dict | list)]
    return depth


def _shown(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:60]}..."
