"""Folders of training runs become networks, one fresh module per checkpoint.

`run_folders` finds the folds, and `snapshots` chooses among their checkpoints. `members` loads all
that a recipe names, and `member` one of them. `weights` reads files without trusting them.
`descriptions` reads what the folders say. `networks` builds what they describe, and `states` fills
it with its weights. `programs` loads networks that come as programs (`program`, `onnx_session`).
`answers` says what a network answers with.
"""

from kernelkit.checkpoints.descriptions import TrainedWith
from kernelkit.checkpoints.member import Member
from kernelkit.checkpoints.members import load_groups, load_members

__all__ = ["Member", "TrainedWith", "load_groups", "load_members"]
