"""Folders of training runs become networks, one fresh module per checkpoint.

`members` finds the folds and their best checkpoints. `weights` reads files without trusting them.
`networks` builds what the folders describe. `programs` loads networks that come as programs.
"""

from kernelkit.checkpoints.members import Member, load_members

__all__ = ["Member", "load_members"]
