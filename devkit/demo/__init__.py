"""Real pictures, really trained networks: a small competition to try everything on.

In the module `prepare`, the function of this name makes the competition, its held-out labels and
the models. `prepare_shape` makes those of another shape, clouds, salt or unosat. `prepare_large`
makes slides of Kaggle's size. All keep what they made until something that it depends on changes.
"""
