"""From a description of a network to a fresh module, and weights into it, without losing one.

A description is a mapping: `arch` and the keyword arguments of
`segmentation_models_pytorch.create_model` (a `MODEL` section of cfg.yaml, or the library's own
config.json), or for classifiers `arch: timm`, `model_name` and those of `timm.create_model`.
Pretrained weights that a description names are never fetched, and output activations are left out:
members, and their classification heads, answer in logits.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import segmentation_models_pytorch as smp
import timm
import torch
from segmentation_models_pytorch import MODEL_ARCHITECTURES_MAPPING
from torch import Tensor, nn

from kernelkit.errors import CheckpointError

__all__ = ["build", "describe", "fill", "from_folder_name", "weights_sha256"]

_SHOWN = 3


def from_folder_name(name: str) -> dict[str, Any] | None:
    """The description in a folder's name `{Arch}_{encoder}[_scse]`, or None if it has none.

    >>> from_folder_name("UnetPlusPlus_timm-regnety_016_scse")["encoder_name"]
    'timm-regnety_016'
    """
    arch, _, encoder = name.partition("_")
    if arch.lower() not in MODEL_ARCHITECTURES_MAPPING or not encoder:
        return None
    bare = encoder.removesuffix("_scse")
    attention = {"decoder_attention_type": "scse"} if bare != encoder else {}
    return {"arch": arch, "encoder_name": bare, "in_channels": 3, "classes": 1, **attention}


def build(description: Mapping[str, Any], source: str) -> nn.Module:
    """A fresh module in eval mode, with random weights; `source` is what errors call it.

    Raises
    ------
    CheckpointError
        An architecture, encoder or argument that the libraries do not know.
    """
    arguments = {k: v for k, v in description.items() if not k.startswith("_")}
    arch = arguments.pop("arch", None) or description.get("_model_class")
    try:
        if arch == "timm":
            arguments.update(pretrained=False)
            return timm.create_model(**arguments).eval()
        arguments.update(encoder_weights=None, activation=None)
        if arguments.get("aux_params"):
            arguments["aux_params"] = {**arguments["aux_params"], "activation": None}
        encoder = arguments.get("encoder_name", "resnet34")
        # timm's regnets and their like, as the library spelled them in 2021
        if encoder.startswith(("timm-regnet", "timm-res", "timm-gernet")):
            arguments["encoder_name"] = f"tu-{encoder.removeprefix('timm-')}"
        return smp.create_model(arch, **arguments).eval()
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        reason = str(error).strip("'\"").split("\n")[0][:300].rstrip(".")
        raise CheckpointError(
            f"{source}: no network can be built from {describe(description)} ({reason}); "
            "correct the description."
        ) from error


def describe(description: Mapping[str, Any]) -> str:
    """A network in a few words: `Unet, resnet18` or `Unet, resnet18, scse`."""
    arch = description.get("arch") or description.get("_model_class") or "no arch"
    encoder = description.get("model_name") or description.get("encoder_name")
    words = (arch, encoder, description.get("decoder_attention_type"))
    return ", ".join(str(word) for word in words if word)


def fill(module: nn.Module, state: Mapping[str, Tensor], what: str, source: str) -> None:
    """Copy `state` into `module`; every name and shape has to agree, or nothing is loaded.

    Raises
    ------
    CheckpointError
        With the names that are missing, unexpected or of another shape.
    """
    wanted = module.state_dict()
    state = {_current_name(name, wanted): tensor for name, tensor in state.items()}
    missing = [n for n in wanted if n not in state and not n.endswith("num_batches_tracked")]
    unexpected = [n for n in state if n not in wanted]
    mismatched = [
        f"{n} is {_shape(state[n])}, not {_shape(wanted[n])}"
        for n in wanted
        if n in state and state[n].shape != wanted[n].shape
    ]
    if missing or unexpected or mismatched:
        findings = (
            _listed("missing", missing),
            _listed("unexpected", unexpected),
            _listed("of another shape", mismatched),
        )
        raise CheckpointError(
            f"{source}: these weights do not fit {what}: {'; '.join(filter(None, findings))}; "
            "give the checkpoint of this network, or correct its description."
        )
    # the library's own load_state_dict drops what does not fit; the plain one does not
    nn.Module.load_state_dict(module, {**wanted, **state})


def _current_name(name: str, wanted: Mapping[str, Tensor]) -> str:
    """The name of today for a weight of an encoder that moved from the library to timm."""
    moved = name.replace("encoder.", "encoder.model.", 1)
    for candidate in (name, moved, moved.replace(".stages.", ".stages_")):
        if candidate in wanted:
            return candidate
    return name


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a scalar"


def _listed(what: str, names: list[str]) -> str:
    if not names:
        return ""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{len(names)} {what} ({', '.join(names[:_SHOWN])}{more})"


def weights_sha256(state: Mapping[str, Tensor]) -> str:
    """A hash of names, types, shapes and values: the same for one network in any file format."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(np.asarray(tensor.reshape(-1).view(torch.uint8)).data)
    return digest.hexdigest()
