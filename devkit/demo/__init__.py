"""Real pictures, really trained networks: a small competition to try everything on.

`prepare` makes the competition, its held-out labels and the models. `prepare_large` makes slides of
Kaggle's size. Both keep what they made until something that it depends on changes.
"""

from devkit.demo.prepare import Demo, Large, prepare, prepare_large

__all__ = ["Demo", "Large", "prepare", "prepare_large"]
