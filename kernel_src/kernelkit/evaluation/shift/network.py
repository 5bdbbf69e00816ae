"""Features of a network: its last feature map, averaged over the picture."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Self

import cv2
import numpy as np
import timm
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from kernelkit.checkpoints import Member, load_members
from kernelkit.checkpoints.run_folders import checkpoints_of, folds_of
from kernelkit.checkpoints.weights import read_weights
from kernelkit.errors import CheckpointError, EvaluationError

__all__ = ["NetworkFeatures"]

# The side of the square that a network sees.
_SIDE = 224
_SEED = 0
# From a checkpoint up to the folder of its run: models/, fold_0/, the run.
_LEVELS = 3


class NetworkFeatures:
    """The features of a network that sees the whole picture at once.

    A band's pixels are normalised by the mean and the deviation of the pictures that `prepare` was
    given. These are of both sets, so what differs between the sets stays.

    Parameters
    ----------
    name
        What the features are, for people.
    network
        Takes (1, channels, h, w) and gives (1, features).
    channels
        How many bands it takes. An image with fewer repeats its last one. Others are left out.
    """

    def __init__(self, name: str, network: Callable[[Tensor], Tensor], channels: int) -> None:
        self.name = name
        self._network = network
        self._channels = channels
        self._mean = self._deviation = torch.zeros(0)

    @classmethod
    def of_timm(cls, model: str, bands: int, weights: Path | None = None) -> Self:
        """The features of a timm network.

        Its weights come from a file, or from the cache of this machine. Without either they are
        random, and the name says so. Random filters see colours and edges too.

        Raises
        ------
        EvaluationError
            timm has no such network, or the weights do not fit it.
        """
        if model.split(".")[0] not in timm.list_models():
            near = timm.list_models(f"*{model[:6]}*")[:3]
            hint = f"Known are {', '.join(near)}" if near else "See timm.list_models()"
            raise EvaluationError(f"found no network {model!r:.60} in timm. {hint}")
        torch.manual_seed(_SEED)
        if weights is not None:
            network, source = _filled(model, bands, weights), f"the weights of {weights.name}"
        else:
            try:
                network = timm.create_model(model, True, num_classes=0, in_chans=bands)
                source = "pretrained weights"
            except Exception:  # a hub fails in many ways
                torch.manual_seed(_SEED)
                network = timm.create_model(model, num_classes=0, in_chans=bands)
                source = "random weights, since no others are on this machine"
        return cls(f"{model} with {source}", network.eval(), bands)

    @classmethod
    def of_run(cls, path: Path) -> Self:
        """The features of the encoder of a trained run.

        Parameters
        ----------
        path
            A run folder, or a checkpoint in one.

        Raises
        ------
        EvaluationError
            The network has no encoder.
        CheckpointError
            There is no such run, or it cannot be loaded.
        """
        member = _member(path)
        pooled = _pooled(member.module)
        if pooled is None:
            raise EvaluationError(
                f"{path}: found {member.architecture}, wanted a network with an encoder. Name "
                "another run, or a network of timm"
            )
        return cls(f"the encoder of {member.name}", pooled, member.channels)

    def prepare(self, pictures: Iterable[NDArray[np.float32]]) -> None:
        """Learn the mean and the deviation of each band, of some pictures of both sets."""
        pixels = torch.cat([self._input(picture).flatten(2) for picture in pictures], dim=2)[0]
        self._mean = pixels.mean(1)[:, None, None]
        self._deviation = pixels.std(1)[:, None, None].clamp_min(1e-6)

    @torch.inference_mode()
    def of(self, picture: NDArray[np.float32]) -> NDArray[np.float64]:
        """The features of a picture, float64 (features,).

        Parameters
        ----------
        picture
            float32 (bands, h, w).
        """
        values = (self._input(picture) - self._mean) / self._deviation
        return self._network(values)[0].double().numpy()

    def names(self, bands: int) -> list[str]:
        """Nothing: a feature of a network has no name."""
        del bands
        return []

    def _input(self, picture: NDArray[np.float32]) -> Tensor:
        chosen = [min(number, len(picture) - 1) for number in range(self._channels)]
        size = (_SIDE, _SIDE)
        bands = [cv2.resize(picture[n], size, interpolation=cv2.INTER_AREA) for n in chosen]
        return torch.from_numpy(np.stack(bands))[None]


def _filled(model: str, bands: int, weights: Path) -> nn.Module:
    """A timm network with the weights of a file, its first layer fitted to the bands."""
    [stored, *_] = read_weights(weights)
    wanted = timm.create_model(model, num_classes=0, in_chans=bands).state_dict().keys()
    misfit = EvaluationError(
        f"{weights}: its weights do not fit {model}. Name the network that they are of"
    )
    if len(wanted & stored.state.keys()) < len(wanted) / 2:  # timm would only warn
        raise misfit
    try:
        overlay = {"state_dict": dict(stored.state)}
        return timm.create_model(
            model, True, num_classes=0, in_chans=bands, pretrained_cfg_overlay=overlay
        )
    except Exception as error:  # as of shapes that differ
        raise misfit from error


def _member(path: Path) -> Member:
    if path.is_dir():
        return load_members(path)[0]
    wanted = path.absolute()
    for run in reversed(list(wanted.parents)[:_LEVELS]):
        if any(wanted in checkpoints_of(fold) for fold in folds_of(run)):
            members = load_members(run, checkpoints="all")
            return next(member for member in members if member.path.absolute() == wanted)
    raise CheckpointError(
        f"{path}: it lies in no run folder that can be loaded. Name a run folder with a cfg.yaml, "
        "or a network of timm and the file as its weights"
    )


def _pooled(module: nn.Module) -> Callable[[Tensor], Tensor] | None:
    """The mean of the last feature map of a network. None if it has none that can be seen."""
    encoder = getattr(module, "encoder", None)
    features = encoder if encoder is not None else getattr(module, "forward_features", None)
    if features is None:
        return None

    def pooled(values: Tensor) -> Tensor:
        found = features(values)
        last = found[-1] if isinstance(found, list | tuple) else found
        return last.flatten(2).mean(2) if last.ndim == 4 else last.flatten(1, -2).mean(1)

    return pooled
