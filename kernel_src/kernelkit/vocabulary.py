"""The words that recipes and functions share. Each list of choices is written down here, once.

`typing.get_args(Edges)` gives the choices as a tuple, for checks. `choices(Edges)` gives them as
text, for messages.
"""

import json
from typing import Any, Literal, get_args

__all__ = [
    "Activation",
    "Blend",
    "Connectivity",
    "Domain",
    "Edges",
    "Fill",
    "GiveUp",
    "Instances",
    "Keep",
    "Level",
    "MemberKind",
    "MergeMethod",
    "Nodata",
    "Order",
    "Precision",
    "Prefer",
    "Provider",
    "RLEForm",
    "Resample",
    "Score",
    "Sharing",
    "StoredAt",
    "StoredWhat",
    "Upsample",
    "choices",
]

# Where tiles at the image's border lie: reaching outside of it, or moved inward.
Edges = Literal["pad", "shift"]
# What stands outside of the image.
Fill = Literal["zero", "reflect", "edge"]
# What pixels are that the file declares to be no data: background, or pixels like all others.
Nodata = Literal["background", "keep"]
# How overlapping tiles become one picture.
Blend = Literal["crop", "mean", "linear", "hann", "gaussian"]
# How a picture gets another size. The words mean what they mean to OpenCV.
Resample = Literal["area", "bilinear", "bicubic", "nearest"]
# When answers are enlarged to the source's resolution: tile by tile, or band by band once blended.
Upsample = Literal["tile", "band"]

# How answers become one, and what the networks' numbers are.
MergeMethod = Literal["mean", "gmean", "max", "vote", "tsharpen"]
Domain = Literal["logits", "probabilities"]
Activation = Literal["sigmoid", "softmax"]
# The arithmetic of the networks. "auto" is the fastest that is safe on the device.
Precision = Literal["auto", "fp32", "bf16", "fp16"]
# What onnxruntime computes by.
Provider = Literal["tensorrt", "cuda", "cpu"]
# What a member of an ensemble answers with: masks, labels of whole tiles, or masks of a program.
MemberKind = Literal["segmenter", "classifier", "program"]
# Which of a fold's checkpoints are taken: the best, the best averaged or plain one, that of the
# highest epoch, or each.
Prefer = Literal["best", "ema", "raw", "last", "all"]
# Whose answers are kept apart: each member's, each run's at one scale, or none.
Level = Literal["member", "model", "ensemble"]
# What work puts into the store: decided bits, or probabilities, and at which size these are.
StoredWhat = Literal["masks", "probabilities"]
StoredAt = Literal["network", "size"]
# What is left out if the time runs short, half of it at a time: the last views, the last folds of
# each run, the scales of the pyramid with the least weight.
GiveUp = Literal["views", "folds", "scales"]

# The order of an RLE's pixels: down the columns, or along the rows.
Order = Literal["column", "row"]
# How an RLE is written: as numbers between spaces, as a JSON list, or as COCO's counts, compressed.
RLEForm = Literal["text", "json", "coco"]
# Where a component of its own goes: into a row, or into a part of the image's field.
Instances = Literal["rows", "field"]
# Which neighbours of a pixel belong to its component.
Connectivity = Literal[4, 8]
# Whether a component of exactly the minimum area stays (">=") or goes (">").
Keep = Literal[">", ">="]

# What a search makes large: the mean of the images' Dice or IoU, the salt competition's mean
# precision of images, or the Dice of all images' pixels together.
Score = Literal["dice", "iou", "precision", "set"]
# For what a threshold and a minimum size are chosen: all at once, each class, or each group.
Sharing = Literal["common", "class", "group"]


def choices(words: Any) -> str:
    """Return one of the lists above as text for a message.

    >>> choices(Edges)
    '"pad" or "shift"'
    >>> choices(Connectivity)
    '4 or 8'
    """
    *others, last = (json.dumps(word) for word in get_args(words))
    return f"{', '.join(others)} or {last}"
