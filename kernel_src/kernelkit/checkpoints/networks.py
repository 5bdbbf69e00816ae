"""From a description of a network to a fresh module, and all weights into it.

A description is a mapping. It has `arch` and the keyword arguments of
`segmentation_models_pytorch.create_model`, from a `MODEL` section of cfg.yaml or the library's own
config.json. A classifier has `arch: timm`, `model_name` and the arguments of `timm.create_model`.
A description may name pretrained weights, but they are never fetched. Output activations are left
out, so that networks and their classification heads answer in logits.
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

__all__ = ["build", "describe", "from_folder_name", "load_state", "weights_sha256"]

# How many names an error lists.
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
    """A fresh module in eval mode, with random weights.

    Parameters
    ----------
    source
        Where the description was found, for errors.

    Raises
    ------
    CheckpointError
        The libraries do not know the architecture, the encoder or an argument.
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
        # the library spelled encoders of timm differently in 2021
        if encoder.startswith(("timm-regnet", "timm-res", "timm-gernet")):
            arguments["encoder_name"] = f"tu-{encoder.removeprefix('timm-')}"
        return smp.create_model(arch, **arguments).eval()
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        reason = str(error).strip("'\"").split("\n")[0][:300].rstrip(".")
        raise CheckpointError(
            f"{source}: no network can be built from {describe(description)} ({reason}). "
            "Correct the description"
        ) from error


def describe(description: Mapping[str, Any]) -> str:
    """A network in a few words, such as `Unet, resnet18, scse`."""
    arch = description.get("arch") or description.get("_model_class") or "no arch"
    encoder = description.get("model_name") or description.get("encoder_name")
    words = (arch, encoder, description.get("decoder_attention_type"))
    return ", ".join(str(word) for word in words if word)


def load_state(module: nn.Module, state: Mapping[str, Tensor], what: str, source: str) -> None:
    """Copy `state` into `module`, if every name and shape agrees.

    Parameters
    ----------
    what, source
        The network in words and the file of the weights, for errors.

    Raises
    ------
    CheckpointError
        Names are missing, unexpected or of another shape. The error lists some of each.
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
            f"{source}: these weights do not fit {what}: {', '.join(filter(None, findings))}. "
            "Give the checkpoint of this network, or correct its description"
        )
    # unlike the plain one, the library's own load_state_dict drops what does not fit
    nn.Module.load_state_dict(module, {**wanted, **state})


def _current_name(name: str, wanted: Mapping[str, Tensor]) -> str:
    """Today's name for a weight of an encoder that moved from the library to timm."""
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
    """A hash of names, types, shapes and values. It does not depend on the file's format."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(np.asarray(tensor.reshape(-1).view(torch.uint8)).data)
    return digest.hexdigest()
