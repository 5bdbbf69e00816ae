"""Real pictures, really trained networks: a small competition to try everything on.

`prepare` makes the competition, its held-out labels and the models. `prepare_shape` makes those of
another shape, clouds or salt. `prepare_large` makes slides of Kaggle's size. All keep what they
made until something that it depends on changes.
"""

from devkit.demo.prepare import Demo, Large, prepare, prepare_large, prepare_shape
from devkit.demo.shapes import SHAPES

__all__ = ["SHAPES", "Demo", "Large", "prepare", "prepare_large", "prepare_shape"]
