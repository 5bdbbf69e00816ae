"""What counts of training images that are predicted out of fold."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from devkit.demo.layouts import write
from kernelkit.evaluation.scored import score_images
from kernelkit.evaluation.tuning import Asked, tune
from kernelkit.mask import BitMask
from kernelkit.training.recipe import TrainingRecipe
from kernelkit.training.validated import predict_held_out
from tests.made.competition import write_models

SIDE = 80
PREDICTS = """\
name: test
competition: {slug: a-test-competition, images: test, id_column: id, nodata: 0}
tiles: {core: 64, pad: 32, fill: reflect}
ensembles: [{name: one, when: {bands: 3}, runs: ["run*"], thresholds: 0.1}]
"""
TRAINING = """\
name: test
predicts: recipe.yaml
images: test/{image}.tiff
labels: {rle: train.csv, id_column: id, rle_column: encoding}
folds: {lists: [[a], [b]]}
windows: {grid: {around: grid, size: 64, step: 64}}
sources: {grid: 1}
crop: {size: 64}
augment: []
task: segment
model: {arch: Unet, encoder_name: tu-test_resnet, encoder_weights: null}
loss: {bce: 1}
optimiser: {name: adamw, lr: 1.0e-3}
schedule: {name: cosine}
epochs: 1
batch: 2
runs: {run: {}}
"""


@pytest.mark.parametrize("nodata", ["background", "keep"])
def test_pixels_without_data_count_only_if_they_are_kept(tmp_path: Path, nodata: str) -> None:
    """In scores and in the search alike, as in the validation of a training."""
    random = np.random.default_rng(0)
    (tmp_path / "test").mkdir()
    for name in "ab":
        pixels = random.integers(1, 255, (3, SIDE, SIDE), dtype=np.uint8)
        pixels[:, :, SIDE // 2 :] = 0
        write(tmp_path / "test" / f"{name}.tiff", pixels, "tiled")
    full = ~BitMask.zeros(SIDE, SIDE)
    rows = [(name, full.to_rle()) for name in "ab"]
    pd.DataFrame(rows, columns=["id", "encoding"]).to_csv(tmp_path / "train.csv", index=False)
    run = write_models(tmp_path / "models") / "run"
    (run / "folds.csv").write_text("image,fold\na,0\nb,1\n")
    (tmp_path / "recipe.yaml").write_text(PREDICTS + f"nodata: {nodata}\n")
    (tmp_path / "train.yaml").write_text(TRAINING)
    training = TrainingRecipe.load(str(tmp_path / "train.yaml"))
    done = predict_held_out(training, tmp_path, tmp_path / "models", tmp_path / "out", device="cpu")
    masks = done.found.masks
    table = score_images(list(masks), done.classes, masks.__getitem__, done.truth, masks.held)
    wanted = SIDE**2 if nodata == "keep" else SIDE**2 // 2
    assert table.areas.truth.tolist() == [[wanted], [wanted]]
    tuned = tune(done.found, done.truth, "one", Asked(0.1, 0.2, 0.1, sizes=(0,)))
    assert tuned.table.truth.tolist() == [[wanted], [wanted]]
    assert tuned.before == pytest.approx(np.mean(list(table.per_class("dice").values())))
