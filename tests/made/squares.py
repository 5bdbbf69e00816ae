"""A competition of bright squares, with training images and labels, that is learnt in seconds."""

from pathlib import Path

import pandas as pd
import rasterio

from kernelkit.mask import BitMask
from tests.made.small_fold import Squares

# What predicts: two tiles per image, at half the size.
RECIPE = """
name: squares
competition:
  slug: squares
  images: test
  id_column: id
  rle_column: rle
tiles: {core: 128, pad: 32, scale: 2, fill: reflect}
ensembles:
  - name: squares
    thresholds: 0.5
precision: fp32
execution: {fuse_norms: false}
"""
# What trains: two folds, on windows and crops of 64 pixels at that size.
TRAINING = """
name: squares
predicts: squares.yaml
images: "train/{image}.tif"
labels: {rle: train.csv, id_column: id, rle_column: rle}
folds: {lists: [[t0, t1], [t2]]}
input: {bands: [1, 2, 3], divide: 255, mean: auto, std: auto}
windows: {grid: {around: grid, size: 64, step: 32}}
crop: 64
augment: [d4]
model: {arch: Unet, encoder_name: tu-test_resnet, encoder_depth: 3, decoder_channels: [16, 8, 8]}
loss: {bce: 1, dice: 1}
optimiser: {name: adamw, lr: 3.0e-3}
schedule: {name: cosine, warmup: 0.2}
epochs: 2
steps: 12
batch: 4
ema: 0.8
precision: fp32
validate: {floor: 0.3}
keep: [best, last]
"""


def write_squares(folder: Path) -> Path:
    """Write `competition/`, `squares.yaml` and `train.yaml`. Return the competition's folder."""
    competition = folder / "competition"
    rows = []
    for kind, count in (("train", 4), ("test", 1)):
        (competition / kind).mkdir(parents=True)
        for number in range(count):
            name = f"{kind[0]}{number}" if kind == "train" else "unknown"
            made = Squares.made(140 + 20 * number, 180, 50 + number, count=24)
            with rasterio.open(
                competition / kind / f"{name}.tif",
                "w",
                driver="GTiff",
                height=made.height,
                width=made.width,
                count=3,
                dtype="uint8",
            ) as file:
                file.write(made.pixels)
            if kind == "train":
                rows.append({"id": name, "rle": BitMask.from_array(made.labels[0]).to_rle()})
    pd.DataFrame(rows).to_csv(competition / "train.csv", index=False)
    sample = pd.DataFrame({"id": ["unknown"], "rle": [""]})
    sample.to_csv(competition / "sample_submission.csv", index=False)
    (folder / "squares.yaml").write_text(RECIPE)
    (folder / "train.yaml").write_text(TRAINING)
    return competition
