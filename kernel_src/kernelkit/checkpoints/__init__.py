"""Folders of training runs become networks, one fresh module per checkpoint.

`run_folders` finds the folds, and `snapshots` chooses among their checkpoints. `members` loads all
that a recipe names, and `loader` one `member` of them. `weights` reads files without trusting them.
`descriptions` and `trained_with` read what the folders say. `networks` builds what they describe,
or `own_network` if that is code of the user's own. `states` fills it with its weights, and
`network_loader` does all of that. `programs` loads networks that come as programs (`program`,
`onnx_session`). `program_loader` takes the weights instead if one does not load. `answers` says
what a network answers with.
"""

from typing import TYPE_CHECKING

from kernelkit.lazy import lazily

if TYPE_CHECKING:
    from kernelkit.checkpoints.member import Member
    from kernelkit.checkpoints.members import load_groups, load_members
    from kernelkit.checkpoints.runtime import Runtime
    from kernelkit.checkpoints.trained_with import TrainedWith

__all__ = ["Member", "Runtime", "TrainedWith", "load_groups", "load_members"]

# What only reads folders does not wait for torch to load.
__getattr__ = lazily(
    __name__,
    {
        "member": ("Member",),
        "members": ("load_groups", "load_members"),
        "runtime": ("Runtime",),
        "trained_with": ("TrainedWith",),
    },
)
