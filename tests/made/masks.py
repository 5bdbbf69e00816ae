"""Binary images for property tests: small shapes, word borders, every kind of filling."""

import numpy as np
from hypothesis import strategies as st

# Sides at which words, blocks of 64 x 64 and stripes of 512 columns begin and end.
BORDERS = (1, 2, 63, 64, 65, 127, 128, 129, 511, 512, 513)

sides = st.one_of(st.integers(1, 70), st.sampled_from(BORDERS))
shapes = st.tuples(sides, sides)


@st.composite
def binary_images(draw: st.DrawFn, shapes: st.SearchStrategy = shapes) -> np.ndarray:
    """uint8 images of 0 and 1: empty, full, checkered, one pixel, noise, patches."""
    height, width = draw(shapes)
    kind = draw(st.sampled_from(["empty", "full", "checkers", "pixel", "noise", "patches"]))
    image = np.zeros((height, width), np.uint8)
    if kind == "full":
        image[:] = 1
    elif kind == "checkers":
        image[:] = np.add.outer(np.arange(height), np.arange(width)) % 2
    elif kind == "pixel":
        image[draw(st.sampled_from([0, height - 1])), draw(st.sampled_from([0, width - 1]))] = 1
    elif kind in ("noise", "patches"):
        rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
        share = draw(st.sampled_from([0.02, 0.2, 0.5, 0.6, 0.95]))
        grain = draw(st.integers(2, 9)) if kind == "patches" else 1
        coarse = rng.random((-(-height // grain), -(-width // grain))) < share
        image[:] = np.kron(coarse, np.ones((grain, grain)))[:height, :width]
    return image
