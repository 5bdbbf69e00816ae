"""A small competition of random images, and a recipe and random models for it."""

from pathlib import Path
from typing import Any

import numpy as np
import segmentation_models_pytorch as smp
import torch
import yaml

from devkit.demo.layouts import write

NETWORK: dict[str, Any] = {
    "arch": "Unet",
    "encoder_name": "tu-regnetx_002",
    "in_channels": 3,
    "classes": 1,
    "decoder_channels": [16, 16, 8, 8, 8],
}

RECIPE = """
name: test
competition: {slug: a-test-competition}
tiles: {core: 64, pad: 32, fill: reflect}
ensembles: [{name: one, when: {bands: 3}, views: [identity, hflip]}]
batch: 4
"""

IMAGES = {"a": ("tiled", 150, 201), "b": ("subdatasets", 97, 130), "c": ("strips", 40, 50)}


def write_models(folder: Path, network: dict[str, Any] = NETWORK) -> Path:
    """Two folds of one run, with random weights."""
    run = folder / "run"
    for fold in (0, 1):
        torch.manual_seed(fold)
        weights = smp.create_model(**network, encoder_weights=None).state_dict()
        checkpoint = run / f"fold_{fold}" / "models" / "e1_t2_cmax_val_0.9.pth"
        checkpoint.parent.mkdir(parents=True)
        torch.save({"epoch": 1, "model_state": weights}, checkpoint)
    (run / "cfg.yaml").write_text(yaml.safe_dump({"MODEL": network}))
    return folder


def write_competition(
    folder: Path, images: dict[str, tuple[str, int, int]] = IMAGES, seed: int = 0
) -> Path:
    """A competition's folder with images of random pixels: their layout, height and width."""
    random = np.random.default_rng(seed)
    (folder / "test").mkdir(parents=True)
    for name, (layout, height, width) in images.items():
        pixels = random.integers(0, 255, (3, height, width), dtype=np.uint8)
        write(folder / "test" / f"{name}.tiff", pixels, layout)
    sample = "id,predicted\n" + "".join(f"{name},\n" for name in images)
    (folder / "sample_submission.csv").write_text(sample)
    return folder
