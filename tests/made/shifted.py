"""A competition of small pictures, whose test images have other colours if that is wanted."""

from pathlib import Path

import cv2
import numpy as np

__all__ = ["write_shifted"]


def write_shifted(folder: Path, shift: int = 0, count: int = 16, groups: int = 0) -> Path:
    """Write pictures of smooth noise into train and test.

    Parameters
    ----------
    shift
        How much brighter the first band of test images is.
    count
        How many images each set has.
    groups
        How many folders they lie in. 0 puts them into none.
    """
    rng = np.random.default_rng(5)
    for part in ("train", "test"):
        for number in range(count):
            noise = rng.integers(0, 200, (40, 60, 3)).astype(np.uint8)
            picture = cv2.GaussianBlur(noise, (5, 5), 0).astype(int) + rng.integers(0, 30, 3)
            if part == "test":
                picture[..., 2] += shift
            place = folder / part / (f"{part}{number % groups}" if groups else "")
            place.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(
                str(place / f"{part[:2]}{number}.png"), picture.clip(0, 255).astype(np.uint8)
            )
    return folder
