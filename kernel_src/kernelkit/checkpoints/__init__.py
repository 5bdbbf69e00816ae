"""Folders of training runs become networks, one fresh module per checkpoint.

`members` finds the folds, and `snapshots` their best checkpoints. `weights` reads files without
trusting them. `descriptions` reads what the folders say, and `networks` builds what they describe.
`programs` loads networks that come as programs.
"""

from kernelkit.checkpoints.descriptions import TrainedWith
from kernelkit.checkpoints.members import Member, load_members

__all__ = ["Member", "TrainedWith", "load_members"]
