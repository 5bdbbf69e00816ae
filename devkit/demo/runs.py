"""The demo's training runs: which networks, on which images, for how long.

What a run says becomes the cfg.yaml of its folder. The MODEL section there holds the arguments of
`smp.create_model`. So everyone who finds the folder can build the network and load a checkpoint.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["RUNS", "Run"]


@dataclass(frozen=True)
class Run:
    """What one training run does.

    Attributes
    ----------
    name
        Also the name of the run's folder.
    images
        How the ids of its images begin.
    model
        Arguments of `smp.create_model`.
    validation
        Ids of the images that validate, one tuple per fold. The fold trains on all others.
    seed
        Where the randomness of its folds begins.
    divide
        What pixels are divided by, before mean and standard deviation.
    tile
        Side of a training crop in pixels.
    batch, epochs, steps
        Crops per step, epochs per fold, steps per epoch.
    learning_rate, weight_decay
        For AdamW. The learning rate is the highest one of the schedule.
    ema_decay
        Decay of the averaged weights per step.
    worth_saving
        A checkpoint is kept only if its validation Dice is above this.
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
        """The content of the run's cfg.yaml, given mean and std of the training pixels."""
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


# Small regnets: the family of the HuBMAP runs, and four times as fast on a CPU as a resnet18.
# The encoder's last stage sees far and holds most weights. Nuclei are small, so it is left out.
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
