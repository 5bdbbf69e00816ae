"""Where the time went: a stopwatch by phase, a row an image, and what a larger set would take."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field

import pandas as pd

__all__ = ["ImageReport", "RunReport", "Stopwatch"]


class Stopwatch:
    """Seconds spent in each named phase; phases do not nest."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count the seconds of a `with` block towards the phase `name`."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start

    def each[T](self, name: str, items: Iterable[T]) -> Iterator[T]:
        """Pass on the items of an iterable, counting the time it takes to make each."""
        iterator = iter(items)
        while True:
            with self.phase(name):
                try:
                    item = next(iterator)
                except StopIteration:
                    return
            yield item


@dataclass
class ImageReport:
    """What happened to one image.

    Attributes
    ----------
    status
        `predicted`, `kept` (finished by an earlier run) or `fallback` (its row is the stated one).
    note
        One sentence where something went wrong, the fallback's reason included.
    tiles, skipped
        Tiles predicted, and tiles left out as background.
    seconds
        Wall time; `waited` of it passed waiting for tiles and `network` in the models.
    """

    image: str
    ensemble: str = ""
    layout: str = ""
    height: int = 0
    width: int = 0
    tiles: int = 0
    skipped: int = 0
    seconds: float = 0.0
    waited: float = 0.0
    network: float = 0.0
    area: int = 0
    status: str = "predicted"
    note: str = ""

    @property
    def megapixels(self) -> float:
        """The image's size in millions of pixels."""
        return self.height * self.width / 1e6

    @property
    def is_fallback(self) -> bool:
        """Whether the submission holds the fallback row for this image."""
        return self.status == "fallback"


@dataclass
class RunReport:
    """All images of a run, in the order of the submission."""

    images: list[ImageReport] = field(default_factory=list)

    @property
    def fallbacks(self) -> list[ImageReport]:
        """The images whose row is the fallback."""
        return [image for image in self.images if image.is_fallback]

    @property
    def megapixels_per_second(self) -> float:
        """The steady speed: source megapixels a second over the images predicted in this run."""
        predicted = [image for image in self.images if image.status == "predicted"]
        seconds = sum(image.seconds for image in predicted)
        return sum(image.megapixels for image in predicted) / seconds if seconds else 0.0

    def projected_hours(self, megapixels: float) -> float:
        """How many hours `megapixels` of such images would take at the steady speed."""
        speed = self.megapixels_per_second
        return megapixels / speed / 3600 if speed else float("nan")

    def table(self) -> pd.DataFrame:
        """One row an image, for people: size, tiles, seconds, Mpx/s, shares of the time, note."""
        rows = [
            {
                "image": image.image,
                "layout": image.layout,
                "size": f"{image.height} x {image.width}",
                "tiles": image.tiles,
                "skipped": image.skipped,
                "seconds": round(image.seconds, 2),
                "Mpx/s": round(image.megapixels / image.seconds, 2) if image.seconds else None,
                "waiting": _share(image.waited, image.seconds),
                "models": _share(image.network, image.seconds),
                "status": image.status,
                "note": image.note,
            }
            for image in self.images
        ]
        return pd.DataFrame(rows)

    def as_json(self) -> dict[str, object]:
        """The report as plain values."""
        return {
            "megapixels_per_second": self.megapixels_per_second,
            "images": [asdict(image) for image in self.images],
        }


def _share(part: float, whole: float) -> str:
    return f"{part / whole:.0%}" if whole else ""
