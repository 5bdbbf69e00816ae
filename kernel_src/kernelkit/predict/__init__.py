"""The two halves of a run: work puts each image's mask into the store, hand in makes the rows."""

from kernelkit.predict.run import Prediction, load_models, predict

__all__ = ["Prediction", "load_models", "predict"]
