"""What the tests of a GPU share: the device, trained networks, real tiles, and plain answers.

Networks and tiles are those of the demo: two networks that were trained on real sections of tissue.
With `KERNELKIT_GPU_CHECK_DEVICE=cpu` the tests are rehearsed on the processor. What only a GPU can
show is skipped then.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from kernelkit.checkpoints import load_members
from kernelkit.ensemble import MegaModel
from kernelkit.ensemble.tta import VIEWS, view_set
from kernelkit.grid import Window
from kernelkit.recipe import EnsembleRecipe, Execution
from kernelkit.slide import Slide

__all__ = [
    "DEVICE",
    "HALF",
    "IS_GPU",
    "MODELS",
    "NO_GPU",
    "PICTURE",
    "THRESHOLD",
    "differing",
    "expected_masks",
    "expected_probabilities",
    "model_of",
    "needs_gpu",
    "needs_two_gpus",
    "real_tiles",
    "recipe_of",
    "settled",
    "with_little_memory",
]

_REHEARSED_ON = os.environ.get("KERNELKIT_GPU_CHECK_DEVICE", "")
DEVICE = torch.device(_REHEARSED_ON or ("cuda:0" if torch.cuda.is_available() else "cpu"))
IS_GPU = DEVICE.type == "cuda"
# Why all tests of a GPU are skipped, or nothing.
NO_GPU = (
    ""
    if IS_GPU or _REHEARSED_ON
    else "torch finds no GPU here (KERNELKIT_GPU_CHECK_DEVICE=cpu rehearses the test)"
)
# What `auto` is on a GPU. A processor computes float16 very slowly.
HALF = "fp16" if IS_GPU else "fp32"
needs_gpu = pytest.mark.skipif(not IS_GPU, reason="only a GPU can show it")
needs_two_gpus = pytest.mark.skipif(
    not IS_GPU or torch.cuda.device_count() < 2, reason="there are no two GPUs"
)

_DEMO = Path(__file__).parents[2] / "build" / "demo"
MODELS = _DEMO / "large_models"
PICTURE = _DEMO / "competition" / "test" / "he_test_tiled.tiff"
# The input of the demo's recipe, `nuclei`.
_MEAN, _STD = (0.6042, 0.4064, 0.7058), (0.2168, 0.2458, 0.1503)
THRESHOLD = 0.5
_SIDE = 256


def recipe_of(**section: Any) -> EnsembleRecipe:
    """A recipe of the demo's networks."""
    network_input = {"divide": 255, "mean": _MEAN, "std": _STD}
    defaults = {"name": "demo", "input": network_input, "thresholds": THRESHOLD}
    return EnsembleRecipe.model_validate({**defaults, **section})


def model_of(
    recipe: EnsembleRecipe | None = None,
    precision: Any = HALF,
    batch: int = 4,
    folder: Path = MODELS,
    device: torch.device = DEVICE,
    **execution: bool,
) -> MegaModel:
    """The demo's networks on the device."""
    if not folder.is_dir():
        pytest.fail(f"{folder}: the demo's networks are missing. Make them by `make dry-run`")
    return MegaModel(
        folder,
        recipe=recipe or recipe_of(),
        precision=precision,
        batch=batch,
        device=str(device),
        execution=Execution(**execution),
    )


@cache
def real_tiles(count: int = 6) -> NDArray[np.uint8]:
    """Tiles (count, 3, 256, 256) of a section of tissue, which overlap."""
    with Slide(PICTURE) as slide:
        rows = np.linspace(0, slide.height - _SIDE, count, dtype=int)
        columns = np.linspace(slide.width - _SIDE, 0, count, dtype=int)
        windows = [Window(int(r), int(c), _SIDE, _SIDE) for r, c in zip(rows, columns, strict=True)]
        return np.stack([slide.read(window) for window in windows])


@cache
def _networks() -> list[Any]:
    return [member.module.eval() for member in load_members(MODELS)]


@cache
@torch.no_grad()
def expected_probabilities(views: str = "identity") -> Tensor:
    """The plain answer for the real tiles (N, 1, h, w): one network after the other, in float32.

    The logits of views are averaged, and the probabilities of networks.
    """
    mean, std = (torch.tensor(numbers)[:, None, None] for numbers in (_MEAN, _STD))
    tiles = (torch.from_numpy(real_tiles()).float() / 255 - mean) / std
    answers = []
    for network in _networks():
        if views == "rotating":
            turns = list(VIEWS.values())
            logits = torch.cat(
                [
                    turns[i % 8].undo(network(turns[i % 8].apply(tile[None])))
                    for i, tile in enumerate(tiles)
                ]
            )
        else:
            seen = [v.undo(network(v.apply(tiles))) for v in view_set(views).views]
            logits = torch.stack(seen).mean(0)
        answers.append(logits.sigmoid())
    return torch.stack(answers).mean(0)


def expected_masks(views: str = "identity") -> NDArray[np.bool_]:
    """The plain masks of the real tiles."""
    return (expected_probabilities(views) > THRESHOLD).numpy()


def differing(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """The share of pixels in which masks differ."""
    return float((first != second).mean())


def settled() -> None:
    """Wait for the device, and raise what failed on it meanwhile."""
    if IS_GPU:
        torch.cuda.synchronize(DEVICE)


@contextmanager
def with_little_memory(left: int) -> Iterator[None]:
    """Take the device's memory away but for `left` bytes. On a processor nothing is taken."""
    taken: list[Tensor] = []
    try:
        if IS_GPU:
            torch.cuda.empty_cache()
            while (free := torch.cuda.mem_get_info(DEVICE)[0]) - left > 1 << 21:
                size = free - left
                while size > 1 << 20:
                    with suppress(torch.OutOfMemoryError):
                        taken.append(torch.empty(size, dtype=torch.uint8, device=DEVICE))
                        break
                    size //= 2
                else:
                    break
        yield
    finally:
        taken.clear()
        if IS_GPU:
            torch.cuda.empty_cache()
