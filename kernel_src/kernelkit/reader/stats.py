"""What a reader has delivered, and who waited for whom."""

from dataclasses import dataclass, field

from kernelkit.grid import Window

__all__ = ["ReaderStats"]


@dataclass
class ReaderStats:
    """What a reader has delivered, and who waited for whom: is the disk, CPU or GPU the limit?

    Attributes
    ----------
    workers
        How many decode. 0 is the calling thread.
    tiles, skipped
        How many tiles were delivered, and how many of the grid were not wanted.
    source_pixels
        Pixels of the delivered windows, in the source.
    seconds
        Time since the first tile was asked for.
    waited
        The part of `seconds` in which the caller waited for tiles.
    waited_for_first
        The part of `waited` before the first tile came.
    decoding
        Time spent decoding, summed over the workers.
    bad_windows
        Windows of the image that could not be decoded.
    bad_tiles
        Indices of the tiles that see one of them.
    """

    workers: int = 0
    tiles: int = 0
    skipped: int = 0
    source_pixels: int = 0
    seconds: float = 0.0
    waited: float = 0.0
    waited_for_first: float = 0.0
    decoding: float = 0.0
    bad_windows: list[Window] = field(default_factory=list)
    bad_tiles: list[int] = field(default_factory=list)

    @property
    def mpx_per_second(self) -> float:
        """Source pixels of the delivered windows, in millions per second."""
        return self.source_pixels / 1e6 / self.seconds if self.seconds else 0.0

    @property
    def waited_share(self) -> float:
        """The share of the time in which the caller waited for tiles."""
        return self.waited / self.seconds if self.seconds else 0.0

    @property
    def idle_share(self) -> float:
        """The share of the workers' time in which they waited for the caller."""
        available = self.seconds * max(1, self.workers)
        return max(0.0, 1 - self.decoding / available) if available else 0.0

    def __str__(self) -> str:
        return (
            f"{self.tiles} tiles at {self.mpx_per_second:.0f} Mpx/s, {self.skipped} skipped, "
            f"{len(self.bad_tiles)} bad. The caller waited {self.waited_share:.0%} of the time, "
            f"the readers {self.idle_share:.0%}"
        )
