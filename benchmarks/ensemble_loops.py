"""What the benchmark of ensembles is made of: members, tiles, a slide, and the plain loops."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import rasterio
import segmentation_models_pytorch as smp
import torch
import yaml
from matplotlib import cbook
from rasterio.windows import Window
from torch import Tensor, nn

from kernelkit.checkpoints import load_members
from kernelkit.ensemble import MegaModel
from kernelkit.ensemble.normalise import normalise
from kernelkit.ensemble.tta import view_set
from kernelkit.grid import Tile, TileGrid
from kernelkit.recipe import EnsembleRecipe

__all__ = ["SCALE", "Batch", "Case", "EagerLoop", "in_bits", "write_members", "write_slide"]

SCALE = 3


@dataclass(frozen=True)
class Case:
    """An ensemble, and the tiles that it gets."""

    title: str
    encoder: str
    members: int
    views: str
    core: int
    pad: int
    batch: int

    @property
    def source_mpx(self) -> float:
        """Source pixels per batch, in millions."""
        return self.batch * self.core**2 / 1e6


@dataclass(frozen=True)
class Batch:
    pixels: np.ndarray
    tiles: list[Tile]

    @classmethod
    def make(cls, case: Case) -> "Batch":
        """A batch of tiles inside a slide. Their pixels are parts of a photograph."""
        side = 3 * case.core * case.batch
        grid = TileGrid(side, side, core=case.core, pad=case.pad, scale=SCALE)
        part = grid.net_size // 2
        photograph = _photograph()
        offsets = np.linspace(
            (0, 0), np.subtract(photograph.shape[:2], part), case.batch, dtype=int
        )
        tiles = [
            cv2.resize(photograph[row : row + part, column : column + part], (grid.net_size,) * 2)
            for row, column in offsets
        ]
        pixels = np.stack(tiles).transpose(0, 3, 1, 2).copy()
        return cls(pixels, [grid[grid.columns + 1 + i] for i in range(case.batch)])


class EagerLoop:
    """The plain way: every member after the other, view by view.

    Parameters
    ----------
    half
        The dtype of autocast. None multiplies in float32.
    """

    def __init__(
        self, folder: Path, recipe: EnsembleRecipe, device: str, half: torch.dtype | None = None
    ) -> None:
        self._networks: list[nn.Module] = [m.module.to(device) for m in load_members(folder)]
        self._recipe = recipe
        self._device = device
        self.half = half

    @torch.no_grad()
    def __call__(self, pixels: np.ndarray) -> Tensor:
        tiles = normalise(torch.from_numpy(pixels).to(self._device), self._recipe.input)
        views = view_set(self._recipe.views).views
        with torch.autocast(self._device, self.half, enabled=self.half is not None):
            answers = [
                torch.stack([v.undo(network(v.apply(tiles)).float()) for v in views]).mean(0)
                for network in self._networks
            ]
        return torch.stack([answer.sigmoid() for answer in answers]).mean(0)


def write_members(folder: Path, case: Case) -> None:
    """One run of as many folds as the case has members, of random weights."""
    (folder / "unet").mkdir(parents=True)
    description: dict[str, Any] = {
        "arch": "Unet",
        "encoder_name": case.encoder,
        "in_channels": 3,
        "classes": 1,
    }
    (folder / "unet/cfg.yaml").write_text(yaml.safe_dump({"MODEL": description}))
    for fold in range(case.members):
        torch.manual_seed(fold)
        network = smp.create_model(**description, encoder_weights=None)
        (folder / f"unet/fold_{fold}").mkdir()
        torch.save(network.state_dict(), folder / f"unet/fold_{fold}/e1.pth")


def write_slide(path: Path, side: int) -> None:
    """A square slide of tiles in LZW, made of a photograph in ever other shifts."""
    brick = cv2.resize(_photograph(), (1152, 1152)).transpose(2, 0, 1)
    random = np.random.default_rng(0)
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        height=side,
        width=side,
        count=3,
        dtype="uint8",
        photometric="RGB",
        tiled=True,
        blockxsize=256,
        blockysize=256,
        interleave="pixel",
        compress="LZW",
        num_threads="ALL_CPUS",
        bigtiff="YES",
    ) as slide:
        for row in range(0, side, brick.shape[1]):
            height = min(brick.shape[1], side - row)
            shifts = random.integers(0, brick.shape[1], (-(-side // brick.shape[2]), 2))
            wall = [np.roll(brick, tuple(shift), (1, 2)) for shift in shifts]
            band = np.concatenate(wall, axis=2)[:, :height, :side]
            slide.write(band, window=Window(0, row, side, height))


def in_bits(model: MegaModel) -> Callable[[Batch], object]:
    """Ask for packed bits, and wait only for those of the batch before."""
    before = None

    def step(batch: Batch) -> object:
        nonlocal before
        answers = model.predict(batch.pixels, [tile.index for tile in batch.tiles])
        now = answers.bits(batch.tiles, SCALE, model.recipe.thresholds)
        arrived = before.result() if before is not None else None
        before = now
        return arrived

    return step


def _photograph() -> np.ndarray:
    return cv2.imread(str(cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)))
