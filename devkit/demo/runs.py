"""The demo's training runs: which networks, on which images, for how long.

A run's settings become its folder's cfg.yaml. Its MODEL section holds the arguments of
`smp.create_model`, so that whoever finds the folder can build the network and load a checkpoint.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["RUNS", "Run"]


@dataclass(frozen=True)
class Run:
    """The settings of one training run.

    Attributes
    ----------
    name
        Also the name of the run's folder.
    images
        How the ids of its images begin.
    model
        Arguments of `smp.create_model`.
    validation
        Ids of the images that validate, one tuple a fold; the fold trains on all others.
    divide
        What pixels are divided by, before mean and standard deviation.
    tile
        Side of a training crop in pixels.
    batch, epochs, steps
        Crops a step, epochs a fold, steps an epoch.
    worth_saving
        Checkpoints whose validation Dice is not above this are not kept.
    """

    name: str
    images: str
    model: Mapping[str, Any]
    validation: tuple[tuple[str, ...], ...]
    seed: int
    divide: float = 255.0
    tile: int = 192
    batch: int = 8
    epochs: int = 10
    steps: int = 16
    learning_rate: float = 3e-3
    weight_decay: float = 1e-3
    ema_decay: float = 0.9
    worth_saving: float = 0.65

    @property
    def total_steps(self) -> int:
        """How many optimiser steps all folds take together."""
        return len(self.validation) * self.epochs * self.steps

    def config(self, mean: list[float], std: list[float]) -> dict[str, Any]:
        """What the run's cfg.yaml holds; `mean` and `std` are those of the training pixels."""
        return {
            "MODEL": {key: _plain(value) for key, value in self.model.items()},
            "DATA": {
                "images": self.images,
                "bands": list(range(1, self.model["in_channels"] + 1)),
                "divide": self.divide,
                "mean": mean,
                "std": std,
                "tile": self.tile,
                "validation": _plain(self.validation),
            },
            "TRAIN": {
                "folds": len(self.validation),
                "epochs": self.epochs,
                "steps": self.steps,
                "batch": self.batch,
                "optimiser": "AdamW",
                "learning_rate": self.learning_rate,
                "weight_decay": self.weight_decay,
                "ema_decay": self.ema_decay,
                "seed": self.seed,
            },
        }


def _plain(value: Any) -> Any:
    """Lists for tuples, at every depth: YAML has no tuples."""
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


# Small regnets, of the family of the HuBMAP runs and four times as fast on a CPU as a resnet18.
# Nuclei are small, so the encoder's last stage, which sees far and holds most weights, is left out.
_HE_VALIDATION = (("he_train_1", "he_train_6"), ("he_train_3", "he_train_4"))
_UNET = {
    "arch": "Unet",
    "encoder_name": "tu-regnetx_002",
    "classes": 1,
    "encoder_depth": 4,
    "decoder_channels": (64, 32, 16, 16),
    "decoder_attention_type": None,
}

RUNS = (
    Run(
        name="he_unet_regnetx002",
        images="he_",
        model={**_UNET, "in_channels": 3},
        validation=_HE_VALIDATION,
        seed=1,
    ),
    Run(
        name="he_linknet_regnety002",
        images="he_",
        model={
            "arch": "Linknet",
            "encoder_name": "tu-regnety_002",
            "encoder_depth": 4,
            "in_channels": 3,
            "classes": 1,
        },
        validation=_HE_VALIDATION,
        seed=2,
    ),
    Run(
        name="fluo_unet_regnetx002",
        images="fluo_",
        model={**_UNET, "in_channels": 1},
        validation=(("fluo_train_2",), ("fluo_train_3",)),
        tile=128,
        epochs=8,
        seed=3,
    ),
)
