"""Progress of commands: a bar on stderr for people at a terminal, and nothing for programs."""

from typing import TYPE_CHECKING, Any

from kernelkit.console import progress

if TYPE_CHECKING:
    from tqdm import tqdm

__all__ = ["bar"]


def bar[T](items: Any = None, *, description: str, unit: str, **options: Any) -> "tqdm[T]":
    """Make a progress bar that vanishes at its end. Without a terminal there is none.

    Parameters
    ----------
    items
        What to iterate over. None makes a bar that is updated by hand.
    description, unit
        What is counted, and one of what.
    options
        As of `tqdm`.
    """
    chosen = {"leave": False, "disable": None, **options}
    return progress(items, description=description, unit=unit, **chosen)
