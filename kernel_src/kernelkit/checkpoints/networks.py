"""From a description of a network to a fresh module.

A description is a mapping. It has `arch` and the keyword arguments of
`segmentation_models_pytorch.create_model`, from a `MODEL` section of cfg.yaml or the library's own
config.json. A classifier has `arch: timm`, `model_name` and the arguments of `timm.create_model`.
Code of the user's own has `network` and the arguments of its class (see `own_network`).
A description may name pretrained weights, but they are never fetched. Nothing else in it may name a
hub, a path or an address. Output activations are left out, so that networks and their
classification heads answer in logits.
"""

import re
from collections.abc import Mapping
from typing import Any

import segmentation_models_pytorch as smp
import timm
import torch
from torch import Tensor, nn

from kernelkit.checkpoints.descriptions import check_names
from kernelkit.checkpoints.own_network import build_own
from kernelkit.errors import CheckpointError

__all__ = ["build", "build_empty", "describe"]


def build(description: Mapping[str, Any], source: str) -> nn.Module:
    """A fresh module in eval mode, with random weights.

    Parameters
    ----------
    source
        Where the description was found, for errors.

    Raises
    ------
    CheckpointError
        The libraries do not know the architecture, the encoder or an argument, or `build_own`
        raises it.
    """
    check_names(description, source)
    if "network" in description:
        return build_own(description, source)
    arguments = {k: v for k, v in description.items() if not k.startswith("_")}
    arch = arguments.pop("arch", None) or description.get("_model_class")
    try:
        if arch == "timm":
            arguments.update(pretrained=False)
            return timm.create_model(**arguments).eval()
        arguments.update(encoder_weights=None, activation=None)
        if arguments.get("aux_params"):
            arguments["aux_params"] = {**arguments["aux_params"], "activation": None}
        encoder = str(arguments.get("encoder_name", "resnet34"))
        # the library spelled encoders of timm differently in 2021
        if encoder.startswith(("timm-regnet", "timm-res", "timm-gernet")):
            arguments["encoder_name"] = f"tu-{encoder.removeprefix('timm-')}"
        return smp.create_model(arch, **arguments).eval()
    except Exception as error:  # the libraries check little, so a wrong value fails anywhere
        raise CheckpointError(
            f"{source}: no network can be built from {describe(description)}{_reason(error)}. "
            "Correct the description"
        ) from error


def build_empty(description: Mapping[str, Any], source: str) -> nn.Module:
    """A fresh module whose state has no values yet, if all that it has is in its state.

    Nothing is drawn at random for it, and it takes no memory. But buffers that are not saved need
    values, and so do tensors beside them, and weights that two layers share. If there is any, or if
    it is code of the user's own, the module is that of `build`.

    Raises
    ------
    CheckpointError
        As `build`.
    """
    if "network" not in description:
        try:
            with torch.device("meta"):  # torch keeps this for each thread
                module = build(description, source)
        except CheckpointError:  # some networks read values while they are built
            return build(description, source)
        if _is_all_in_state(module):
            return module
    return build(description, source)


def _is_all_in_state(module: nn.Module) -> bool:
    state = module.state_dict(keep_vars=True)
    tensors = list(state.values())
    if len({id(tensor) for tensor in tensors}) < len(tensors):  # shared by two layers
        return False
    buffers = {name for name, _ in module.named_buffers(remove_duplicate=False)}
    has_plain = any(
        isinstance(value, Tensor) for layer in module.modules() for value in vars(layer).values()
    )
    return not has_plain and buffers <= set(state)


def _reason(error: Exception) -> str:
    """Why a network cannot be built, if the library says it in words about networks."""
    text = str(error).strip("'\"").split("\n")[0][:300].rstrip(".")
    if isinstance(error, TypeError):
        unknown = re.search(r"unexpected keyword argument '(\w+)'", text)
        return f" (it takes no {unknown[1]})" if unknown else ""
    is_about_networks = isinstance(error, ValueError | RuntimeError | KeyError) and " " in text
    return f" ({text})" if is_about_networks else ""


def describe(description: Mapping[str, Any]) -> str:
    """A network in a few words, such as `Unet, resnet18, scse`."""
    if "network" in description:
        return str(description["network"])
    arch = description.get("arch") or description.get("_model_class") or "no arch"
    encoder = description.get("model_name") or description.get("encoder_name")
    words = (arch, encoder, description.get("decoder_attention_type"))
    return ", ".join(str(word) for word in words if word)
