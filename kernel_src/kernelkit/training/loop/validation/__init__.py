"""Validation on whole images: how good networks are at what the notebook will ask them.

The images come from the cuts, at the scale that the networks train at. Each is looked at in the
product's own grid (`look`). Its tiles are stitched on the product's own canvas (`judged_image`),
and become counts (`judgement`). Networks that compete see the same tiles, so that each is read once
(`judge`).
"""

from kernelkit.training.loop.validation.judge import judge
from kernelkit.training.loop.validation.judged_image import Seen
from kernelkit.training.loop.validation.judgement import Judgement
from kernelkit.training.loop.validation.look import Look, Picture

__all__ = ["Judgement", "Look", "Picture", "Seen", "judge"]
