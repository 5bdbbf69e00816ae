"""The memory of a process and of all below it. Pages that they share count once (PSS)."""

import psutil

__all__ = ["process_tree", "tree_bytes"]


def process_tree(pid: int) -> list[psutil.Process]:
    """List the process of this number and all below it, or nothing if it is gone."""
    try:
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def tree_bytes(tree: list[psutil.Process]) -> int:
    """What the processes of a tree hold together, PSS in bytes. One that is gone holds nothing."""
    return sum(map(_pss, tree))


def _pss(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().pss)
    except (psutil.NoSuchProcess, psutil.AccessDenied, FileNotFoundError):
        return 0
