"""`pretrained_state`: weights that the libraries offer, from the cache of this machine.

The environment variable HF_HUB_OFFLINE decides whether they may be fetched. kernelkit sets it to 1,
unless the user's environment says otherwise. In a notebook without internet there is no cache, so
the recipe names a file.
"""

import os
import warnings
from typing import Any

import segmentation_models_pytorch as smp
import timm
from torch import Tensor

from kernelkit.errors import TrainingError
from kernelkit.training.recipe import RunRecipe

__all__ = ["pretrained_state"]


def pretrained_state(run: RunRecipe) -> dict[str, Tensor]:
    """Return the weights of a run's encoder, or of its whole classifier.

    The first layer is fitted to the bands of the input, as the libraries do it.

    Raises
    ------
    TrainingError
        They are not on this machine, or the library offers none.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of names that the library spells otherwise now
            return _state(run)
    except KeyError as error:
        reason = str(error).strip("'\"").split("\n")[0][:300].rstrip(".")
        raise TrainingError(f"{run.name}: {reason}. Correct model.encoder_weights") from error
    except Exception as error:  # a hub fails in many ways
        raise TrainingError(_not_here(run)) from error


def _state(run: RunRecipe) -> dict[str, Tensor]:
    description = run.description
    if run.model.kind == "timm":
        # without a network only those that this machine has already
        arguments: dict[str, Any] = {**description, "pretrained": True}
        arguments.pop("arch")
        return timm.create_model(**arguments).state_dict()
    encoder = smp.encoders.get_encoder(
        run.model.encoder_name or "resnet34",
        in_channels=description["in_channels"],
        depth=run.model.encoder_depth or (3 if run.model.kind == "pspnet" else 5),
        weights=run.model.encoder_weights,
        **run.model.encoder_arguments,
    )
    return dict(encoder.state_dict())


def _not_here(run: RunRecipe) -> str:
    is_timm = run.model.kind == "timm"
    what = run.model.model_name if is_timm else f"the encoder {run.model.encoder_name}"
    key = "model.pretrained=false" if is_timm else "model.encoder_weights=null"
    path = "init.model" if is_timm else "init.encoder"
    offline = os.environ.get("HF_HUB_OFFLINE", "1") not in ("0", "")
    fetch = "Set HF_HUB_OFFLINE=0 to fetch them once, n" if offline else "N"
    return (
        f"{run.name}: the pretrained weights of {what} are not on this machine. {fetch}ame their "
        f"file as {path}, or begin with random weights by {key}"
    )
