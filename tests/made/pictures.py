"""Small competitions of whole pictures, and what plain OpenCV and torch make of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import timm
import torch
import yaml
from numpy.typing import NDArray
from torch import Tensor, nn

from kernelkit.competition import CompetitionFolder
from kernelkit.predict import Prediction, load_models, predict
from kernelkit.recipe import Recipe
from tests.made.layouts import picture
from tests.made.networks import answer, checkpoint, network

# how near to its threshold a probability may be decided otherwise than by the reference
NEAR = 1e-4

__all__ = ["Clouds", "Salt", "write_pictures"]

SEGMENTER: dict[str, Any] = {
    "arch": "Unet",
    "encoder_name": "tu-test_resnet",
    "encoder_weights": None,
    "in_channels": 3,
    "decoder_channels": [16, 16, 8, 8, 8],
}
CLASSIFIER = {"arch": "timm", "model_name": "test_resnet", "num_classes": 2}


def write_pictures(folder: Path, count: int, size: tuple[int, int], bands: int = 3) -> list[Path]:
    """Write PNG files of smooth random pictures."""
    folder.mkdir(parents=True)
    paths = [folder / f"{number:04}.png" for number in range(count)]
    for number, path in enumerate(paths):
        pixels = picture(bands, *size, seed=number).transpose(1, 2, 0)
        cv2.imwrite(str(path), np.ascontiguousarray(pixels[..., ::-1]))
    return paths


def write_checkpoints(
    folder: Path, description: dict[str, Any], modules: Sequence[nn.Module]
) -> None:
    """Write one run with one fold of several checkpoints."""
    models = folder / "fold_0/models"
    models.mkdir(parents=True)
    (folder / "cfg.yaml").write_text(yaml.safe_dump({"MODEL": description}))
    for number, module in enumerate(modules):
        torch.save(checkpoint(module), models / f"e{number + 1}_t{number + 1}_cmax_val_0.9.pth")


class Clouds:
    """Pictures of 140 x 210, looked at in four sizes, with four classes and masks of 350 x 525.

    Attributes
    ----------
    recipe
        As the package's own, but for smaller sizes.
    """

    classes = ("Fish", "Flower", "Gravel", "Sugar")
    size = (350, 525)
    sizes = ((32, 64), (64, 96), (96, 128), (128, 192))

    def __init__(self, folder: Path, count: int = 5, threshold: float = 0.7) -> None:
        self.folder, self.models = folder / "in", folder / "models"
        self.paths = write_pictures(self.folder / "test_images", count, (140, 210))
        ids = [f"{path.stem}.jpg_{name}" for path in self.paths for name in self.classes]
        table = pd.DataFrame({"Image_Label": ids, "EncodedPixels": ""})
        table.to_csv(self.folder / "sample_submission.csv", index=False)
        description = SEGMENTER | {"classes": 4}
        self.networks = [network(description, seed) for seed in range(4)]
        for size, module in zip(self.sizes, self.networks, strict=True):
            write_checkpoints(self.models / f"unet_{size[0]}", description, [module])
        self.threshold = threshold
        self.recipe = Recipe.model_validate(
            {
                "name": "clouds",
                "competition": {
                    "slug": "clouds",
                    "images": "test_images/{image}.png",
                    "classes": self.classes,
                    "rows": "{image}.jpg_{class}",
                    "size": self.size,
                    "id_column": "Image_Label",
                    "rle_column": "EncodedPixels",
                },
                "tiles": "whole",
                "ensembles": [
                    {
                        "name": "clouds",
                        "views": {"identity": 2, "hflip": 1, "vflip": 1},
                        "pyramid": [
                            {"size": size, "runs": [f"unet_{size[0]}"]} for size in self.sizes
                        ],
                        "merge": {
                            "views": "mean of probabilities",
                            "members": "tsharpen(0.5) of probabilities",
                        },
                        "thresholds": threshold,
                    }
                ],
                "precision": "fp32",
                "batch": 4,
            }
        )

    def layers(self, path: Path) -> NDArray[np.float32]:
        """The probabilities (4, 4, 350, 525) of each network, and each class."""
        pixels = cv2.imread(str(path))[..., ::-1]
        mean, std = np.float32((0.485, 0.456, 0.406)), np.float32((0.229, 0.224, 0.225))
        return np.stack(
            [
                self._layer(module, (_resized(pixels, size) / np.float32(255) - mean) / std)
                for size, module in zip(self.sizes, self.networks, strict=True)
            ]
        )

    def merged(self, path: Path) -> NDArray[np.float32]:
        """The probabilities (4, 350, 525) of the ensemble."""
        return (self.layers(path) ** 0.5).mean(axis=0)

    def _layer(self, module: nn.Module, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        inputs = torch.from_numpy(pixels.transpose(2, 0, 1).copy())[None]
        views: list[tuple[float, Callable[[Tensor], Tensor]]] = [
            (2, lambda images: images),
            (1, lambda images: images.flip(-1)),
            (1, lambda images: images.flip(-2)),
        ]
        total = sum(w * turn(answer(module, turn(inputs)).sigmoid()) for w, turn in views) / 4
        height, width = self.size
        planes = [cv2.resize(plane, (width, height)) for plane in total[0].numpy()]
        return np.stack(planes)


def _resized(pixels: NDArray, size: tuple[int, int]) -> NDArray[np.float32]:
    small = cv2.resize(np.ascontiguousarray(pixels), size[::-1], interpolation=cv2.INTER_AREA)
    return small.astype(np.float32)


@dataclass(frozen=True)
class SaltAnswer:
    """What the networks say of a picture: (2, 101, 101), and the probability that it is empty."""

    probabilities: NDArray[np.float32]
    emptiness: float


class Salt:
    """Grey pictures of 101 x 101, padded to 128 x 128, with a gate of two snapshots.

    Attributes
    ----------
    recipe
        As the package's own.
    """

    size = (101, 101)

    def __init__(self, folder: Path, count: int = 12) -> None:
        self.folder, self.models = folder / "in", folder / "models"
        self.paths = write_pictures(self.folder / "test/images", count, self.size, bands=1)
        table = pd.DataFrame({"id": [path.stem for path in self.paths], "rle_mask": ""})
        table.to_csv(self.folder / "sample_submission.csv", index=False)
        description = SEGMENTER | {"classes": 2}
        self.networks = [network(description, seed) for seed in (1, 2)]
        write_checkpoints(self.models / "seg-1", description, self.networks)
        self.gates = [_classifier(seed) for seed in (3, 4)]
        self._balance()
        write_checkpoints(self.models / "nmc-1", CLASSIFIER, self.gates)
        self.recipe = Recipe.model_validate(
            {
                "name": "salt",
                "competition": {
                    "slug": "salt",
                    "images": "test/images/{image}.png",
                    "id_column": "id",
                    "rle_column": "rle_mask",
                    "submitted": [1],
                },
                "tiles": {"whole": True, "pad": [14, 13], "fill": "reflect"},
                "ensembles": [
                    {
                        "name": "salt",
                        "runs": ["seg-*"],
                        "checkpoints": "all",
                        "input": {
                            "bands": [1, 1, 1],
                            "divide": 1,
                            "mean": [125, 125, 125],
                            "std": [1, 1, 1],
                        },
                        "activation": "softmax",
                        "merge": {"views": "mean of logits", "members": "mean of logits"},
                        "gate": {
                            "runs": ["nmc-*"],
                            "checkpoints": "all",
                            "empty_class": 0,
                            "merge": "mean of logits",
                        },
                    }
                ],
                "precision": "fp32",
                "batch": 5,
            }
        )

    def answer(self, path: Path) -> SaltAnswer:
        """What plain torch says of a picture."""
        inputs = self._inputs(path)
        logits = sum(answer(module, inputs) for module in self.networks) / 2
        probabilities = logits.softmax(1)[0, :, 14:115, 14:115].numpy()
        labels = sum(answer(module, inputs) for module in self.gates) / 2
        return SaltAnswer(probabilities, float(labels.softmax(1)[0, 0]))

    def mask(self, path: Path) -> NDArray[np.bool_]:
        """The mask (101, 101) that is submitted."""
        found = self.answer(path)
        return (found.probabilities[1] > found.probabilities[0]) & (found.emptiness <= 0.5)

    def _inputs(self, path: Path) -> Tensor:
        grey = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE).astype(np.float32)
        padded = np.pad(grey, (14, 13), mode="reflect") - 125
        return torch.from_numpy(np.stack([padded] * 3))[None]

    def _balance(self) -> None:
        """Have the gate find one half of the pictures empty."""
        margins = [
            float((answer(module, self._inputs(path))[0] * torch.tensor([1.0, -1.0])).sum())
            for module in self.gates
            for path in self.paths
        ]
        both = np.reshape(margins, (2, -1)).mean(axis=0)
        for module in self.gates:
            with torch.no_grad():
                module.get_classifier().bias[0] -= float(np.median(both))  # type: ignore[operator]


def _classifier(seed: int) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        module = timm.create_model("test_resnet", num_classes=2)
        nn.init.normal_(module.get_classifier().weight, std=1.0)
    return module.eval()


def run(
    made: Clouds | Salt, output: Path, recipe: Recipe | None = None, **options: Any
) -> Prediction:
    """Predict a competition with its own recipe, or with another one."""
    recipe = recipe or made.recipe
    models = options.pop("models", None) or load_models(recipe, made.models)
    competition = CompetitionFolder.read(made.folder, recipe.competition)
    return predict(competition, recipe, models, output, **options)


def submitted(done: Prediction) -> dict[str, str]:
    """The text of each row of a submission, as pandas reads it."""
    table = pd.read_csv(done.submission, dtype=str, keep_default_na=False)
    return dict(zip(table.iloc[:, 0], table.iloc[:, 1], strict=True))


def statuses(done: Prediction) -> dict[str, int]:
    """How many images there are of each status."""
    return {status: count for status, count in done.report.counts.items() if count}
