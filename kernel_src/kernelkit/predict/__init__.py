"""The two halves of a run: work puts each image's mask into the store, hand in makes the rows.

`run` is imported late, since it needs torch. What only reads a store, or makes other submissions
of it, begins three seconds sooner.
"""

from typing import TYPE_CHECKING

from kernelkit.lazy import lazily

if TYPE_CHECKING:
    from kernelkit.predict.run import Prediction, load_models, predict

__all__ = ["Prediction", "load_models", "predict"]

__getattr__ = lazily(__name__, {"run": ("Prediction", "load_models", "predict")})
