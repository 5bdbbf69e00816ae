"""The demo's training runs: which networks, on which images, for how long.

What a run says becomes the cfg.yaml of its folder. The MODEL section there holds the arguments of
`smp.create_model`. So everyone who finds the folder can build the network and load a checkpoint.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from devkit.demo.ids import CLOUDS_IDS, SALT_IDS

__all__ = ["CLOUDS_RUNS", "RUNS", "SALT_RUNS", "UNOSAT_RUNS", "Data", "Run", "Task"]

# The competitions that the demo makes.
Data = Literal["nuclei", "clouds", "salt", "unosat"]
# "sigmoid": each class by itself. "softmax": background or the one class.
# "empty": whether the mask is empty, of the whole picture. Class 0 means that it is.
Task = Literal["sigmoid", "softmax", "empty"]


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
    data
        Whose pictures it trains on.
    task
        What it learns.
    size
        The (height, width) that pictures are resized to, or None if they stay as they are.
    bands
        Which bands of a picture the network sees, counted from 1, or expressions of them. None if
        it sees all.
    divide
        What pixels are divided by, before mean and standard deviation.
    mean, std
        What is taken from a band then, and what it is divided by. None if the pictures say so.
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
    snapshots
        How many times the learning rate starts again. Each time the weights are saved. With 0 it
        never does, and those are saved that beat the best so far.
    keeps_last
        Whether to save the weights of the last epoch too.
    """

    name: str
    images: str
    model: Mapping[str, Any]
    validation: tuple[tuple[str, ...], ...]
    seed: int
    data: Data = "nuclei"
    task: Task = "sigmoid"
    size: tuple[int, int] | None = None
    bands: tuple[int | str, ...] | None = None
    divide: float = 255.0
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    tile: int = 192
    batch: int = 8
    epochs: int = 10
    steps: int = 16
    learning_rate: float = 3e-3
    weight_decay: float = 1e-3
    ema_decay: float = 0.9
    worth_saving: float = 0.65
    snapshots: int = 0
    keeps_last: bool = False

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
                "bands": list(self.bands or range(1, len(mean) + 1)),
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

# Clouds: two architectures, and one of them at two sizes. Each run's name ends with its size.
_IMAGENET: dict[str, Any] = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
_CLOUDS: dict[str, Any] = {
    "images": "",
    "data": "clouds",
    "validation": ((CLOUDS_IDS[2], CLOUDS_IDS[6]),),
    "worth_saving": 0.4,
    "keeps_last": True,
    **_IMAGENET,
}
_FPN = {
    "arch": "FPN",
    "encoder_name": "tu-regnety_002",
    "encoder_depth": 5,
    "decoder_pyramid_channels": 64,
    "decoder_segmentation_channels": 32,
}

CLOUDS_RUNS = (
    Run(
        name="fpn_regnety002_320x480",
        model={**_FPN, "in_channels": 3, "classes": 4},
        size=(320, 480),
        seed=11,
        **_CLOUDS,
    ),
    Run(
        name="unet_regnetx002_320x480",
        model={**_UNET, "in_channels": 3, "classes": 4},
        size=(320, 480),
        seed=12,
        **_CLOUDS,
    ),
    Run(
        name="unet_regnetx002_640x960",
        model={**_UNET, "in_channels": 3, "classes": 4},
        size=(640, 960),
        seed=13,
        **_CLOUDS,
    ),
)

# Salt: a gate and a segmenter of two classes, both with a snapshot at each restart.
_SALT: dict[str, Any] = {
    "images": "",
    "data": "salt",
    "validation": (SALT_IDS[::5],),
    "bands": (1, 1, 1),
    "divide": 1.0,
    "mean": (125.0, 125.0, 125.0),
    "std": (1.0, 1.0, 1.0),
    "tile": 128,
    "batch": 16,
    "steps": 12,
    "snapshots": 3,
}

SALT_RUNS = (
    Run(
        name="nmc-resnet18",
        model={"arch": "timm", "model_name": "resnet18", "in_chans": 3, "num_classes": 2},
        task="empty",
        epochs=9,
        seed=21,
        **_SALT,
    ),
    Run(
        name="seg-unet-regnetx002",
        model={**_UNET, "in_channels": 3, "classes": 2},
        task="softmax",
        epochs=12,
        seed=22,
        **_SALT,
    ),
)

# UNOSAT: one network of two classes, in decibels. The last training city validates.
UNOSAT_RUNS = (
    Run(
        name="fpn_regnety002",
        images="",
        data="unosat",
        model={**_FPN, "in_channels": 3, "classes": 2},
        task="softmax",
        validation=(("a03/20180713", "a03/20180813"),),
        bands=("b1", "b2", "(b1 + b2) / 2"),
        divide=1.0,
        mean=(-17.399, -10.020, -12.108),
        std=(6.290, 5.777, 5.795),
        tile=192,
        steps=12,
        seed=31,
    ),
)
