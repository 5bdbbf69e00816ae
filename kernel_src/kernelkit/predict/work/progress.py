"""One progress bar per run. It says which image the work has come to."""

from collections.abc import Mapping

from kernelkit import console
from kernelkit.console import printable

__all__ = ["RunProgress"]

# characters of an image's name that are shown
_LONGEST_NAME = 40


class RunProgress:
    """A progress bar over all images of a run.

    Parameters
    ----------
    amounts
        How much work each image is, by its id: its tiles, or 1 for a whole picture. It may be an
        estimate until the image is begun.
    unit
        What the work is counted in.
    """

    def __init__(self, amounts: Mapping[str, int], unit: str) -> None:
        self._amounts = dict(amounts)
        self._left = 0
        total = sum(self._amounts.values())
        self._bar = console.progress(description="predict", unit=unit, total=total, mininterval=2)

    def expect(self, amounts: Mapping[str, int]) -> None:
        """Replace how much work the images are that were not begun."""
        self._amounts = dict(amounts)

    def move_to(self, done: int) -> None:
        """Show that so much is done in all. The bar goes neither back nor beyond its end."""
        self._bar.update(max(0, min(done, self._bar.total) - self._bar.n))

    def move_to_end(self) -> None:
        """Show that all is done."""
        self.move_to(self._bar.total)

    def begin(self, image_id: str, amount: int | None = None) -> None:
        """Show the name of an image. Its `amount` replaces the estimate, if it is given."""
        expected = self._amounts.pop(image_id, 0)
        self._left = expected if amount is None else amount
        self._bar.total += self._left - expected
        self._bar.set_description_str(printable(" ".join(image_id.split()))[:_LONGEST_NAME], False)

    def advance(self, amount: int) -> None:
        """Count work on the image that was begun last."""
        self._left -= amount
        self._bar.update(amount)

    def end(self) -> None:
        """Count what is left of the image, however it ended."""
        self.advance(self._left)

    def close(self) -> None:
        """Leave the bar as it is."""
        self._bar.close()
