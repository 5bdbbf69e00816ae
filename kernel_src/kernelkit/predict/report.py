"""What happened to each image of a run, where the time went, and what a larger set would take."""

import json
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import field
from pathlib import Path
from typing import Literal, Self, cast, get_args

import pandas as pd
from pydantic import TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass
from pydantic_core import PydanticSerializationError, to_json

from kernelkit.console import printable
from kernelkit.errors import OutputError
from kernelkit.files import open_atomically

__all__ = ["ImageReport", "Report", "Stopwatch"]

Status = Literal["predicted", "kept", "fallback"]


class Stopwatch:
    """Seconds spent in each named phase. Phases do not nest."""

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
        """Pass on the items of an iterable. Count the time it takes to make each."""
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
    image
        Its id.
    ensemble
        The ensemble of the recipe that predicts such images.
    layout, height, width
        How the file is laid out, and its size in pixels.
    tiles, skipped
        Tiles that were predicted, and tiles that were left out as background.
    seconds, waited, network
        Wall time. Of it, the time spent waiting for tiles, and in the networks.
    area
        Pixels that are on in the submitted mask.
    asked
        The share of the networks' passes that the recipe wants and that were asked for, 0 to 1.
    unfinished
        Whether tiles were left out because the time was over.
    stored
        The file name of its mask in the store. Empty if it has none.
    device
        The device that predicted it. Empty if none did in this run.
    status
        `predicted` by this run, `kept` from an earlier one, or `fallback`: its row is the stated
        one.
    notes
        What went otherwise, one sentence each. The reason of a fallback is the last one.
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
    asked: float = 1.0
    unfinished: bool = False
    stored: str = ""
    device: str = ""
    status: Status = "predicted"
    notes: list[str] = field(default_factory=list)

    @property
    def megapixels(self) -> float:
        """The image's size in millions of pixels."""
        return self.height * self.width / 1e6

    @property
    def is_fallback(self) -> bool:
        """Whether the submission holds the fallback row for this image."""
        return self.status == "fallback"

    @property
    def note(self) -> str:
        """The notes as one text."""
        return ". ".join(self.notes)

    def fall_back(self, reason: str) -> None:
        """Give the image up. Its row in the submission is the fallback."""
        self.status = "fallback"
        self.notes.append(reason)


@dataclass
class Report:
    """What happened in a run: `report.json`.

    Attributes
    ----------
    recipe, fingerprint
        The recipe's name and fingerprint.
    device
        What the networks ran on, in words.
    weights
        The SHA-256 of each member's weights, by the member's name.
    first_tile
        Seconds from the loading of models to the first answers, by the device.
    images
        One report per image, in the submission's order.
    notes
        What went otherwise in the run as a whole, one sentence each.
    """

    recipe: str = ""
    fingerprint: str = ""
    device: str = ""
    weights: dict[str, str] = field(default_factory=dict)
    images: list[ImageReport] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    first_tile: dict[str, float] = field(default_factory=dict)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a report that `save` wrote.

        Raises
        ------
        OutputError
            There is no such file, or it is no report.
        """
        try:
            return TypeAdapter(cls).validate_json(Path(path).read_bytes())
        except OSError as error:
            raise OutputError(
                f"{path}: there is no report to read ({error.strerror}). Run the notebook first"
            ) from error
        except ValidationError as error:
            place = ".".join(map(str, error.errors()[0]["loc"])) or "its form"
            raise OutputError(
                f"{path}: this is no report of a run ({place} is wrong). Run the notebook again"
            ) from error

    def save(self, path: Path) -> None:
        """Write the report as JSON. It also states the steady speed."""
        content = TypeAdapter(Report).dump_python(self)
        content["megapixels_per_second"] = self.megapixels_per_second
        try:
            text = to_json(content, indent=2, inf_nan_mode="constants").decode()
        except PydanticSerializationError:  # an id or a reason is no text
            text = json.dumps(_in_text(content), indent=2)
        with open_atomically(path) as file:
            file.write(text)

    @property
    def fallbacks(self) -> list[ImageReport]:
        """The images whose row is the fallback."""
        return [image for image in self.images if image.is_fallback]

    @property
    def predicted(self) -> list[ImageReport]:
        """The images that this run predicted."""
        return [image for image in self.images if image.status == "predicted"]

    @property
    def megapixels_per_second(self) -> float:
        """The steady speed: source megapixels per second over the images of `predicted`.

        Devices work side by side, so the busiest one counts.
        """
        busy: defaultdict[str, float] = defaultdict(float)
        for image in self.predicted:
            busy[image.device] += image.seconds
        seconds = max(busy.values(), default=0.0)
        return sum(image.megapixels for image in self.predicted) / seconds if seconds else 0.0

    @property
    def waiting(self) -> float:
        """The share of the time that was spent waiting for tiles, 0 to 1."""
        seconds = sum(image.seconds for image in self.predicted)
        return sum(image.waited for image in self.predicted) / seconds if seconds else 0.0

    def projected_hours(self, megapixels: float) -> float:
        """How many hours `megapixels` of such images would take at the steady speed."""
        speed = self.megapixels_per_second
        return megapixels / speed / 3600 if speed else float("nan")

    @property
    def counts(self) -> dict[Status, int]:
        """How many images have each status."""
        return {
            status: sum(image.status == status for image in self.images)
            for status in get_args(Status)
        }

    def table(self, most: int = 50) -> pd.DataFrame:
        """Size, tiles, seconds, Mpx/s, shares of the time and notes of the images, for people.

        Up to `most` images have a row each, in the submission's order. Of more images, those that
        need attention come first: fallbacks, then unfinished ones, then those with a note. As many
        of them have rows. All others are counted in one row per status.
        """
        if len(self.images) <= most:
            return _with_devices([_row(image) for image in self.images])
        urgent = sorted((image for image in self.images if _urgency(image)), key=_urgency)[:most]
        named = {image.image for image in urgent}
        others = [image for image in self.images if image.image not in named]
        summed = [
            _sum([image for image in others if image.status == status])
            for status in dict.fromkeys(image.status for image in others)
        ]
        return _with_devices([*map(_row, urgent), *summed])


def _with_devices(rows: list[dict[str, object]]) -> pd.DataFrame:
    """A table of rows. It has a column of devices if there are several."""
    table = pd.DataFrame(rows)
    several = len({row["device"] for row in rows if row["device"]}) > 1
    return table if several or table.empty else table.drop(columns="device")


def _in_text[T](value: T) -> T:
    """The same lists and dictionaries, and no text that a reader of JSON would refuse."""
    copy: object = value
    if isinstance(value, str):
        copy = printable(value)
    elif isinstance(value, list):
        copy = [_in_text(item) for item in value]
    elif isinstance(value, dict):
        copy = {key: _in_text(item) for key, item in value.items()}
    return cast(T, copy)


def _row(image: ImageReport) -> dict[str, object]:
    """What the table says of an image."""
    return {
        "image": image.image,
        "layout": image.layout,
        "size": f"{image.height} x {image.width}",
        "tiles": image.tiles,
        "skipped": image.skipped,
        "seconds": round(image.seconds, 2),
        "Mpx/s": round(image.megapixels / image.seconds, 2) if image.seconds else None,
        "waiting": _share(image.waited, image.seconds),
        "models": _share(image.network, image.seconds),
        "device": image.device,
        "status": image.status,
        "notes": image.note,
    }


def _sum(images: list[ImageReport]) -> dict[str, object]:
    """What the table says of many images of one status."""
    seconds = sum(image.seconds for image in images)
    megapixels = sum(image.megapixels for image in images)
    noted = sum(bool(image.notes) for image in images)
    return {
        "image": f"{len(images)} more",
        "layout": "",
        "size": "",
        "tiles": sum(image.tiles for image in images),
        "skipped": sum(image.skipped for image in images),
        "seconds": round(seconds, 2),
        "Mpx/s": round(megapixels / seconds, 2) if seconds else None,
        "waiting": _share(sum(image.waited for image in images), seconds),
        "models": _share(sum(image.network for image in images), seconds),
        "device": "",
        "status": images[0].status,
        "notes": f"{noted} of them have notes" if noted else "",
    }


def _urgency(image: ImageReport) -> int:
    """How early an image stands in a table, from 1. An image without a problem has 0."""
    if image.is_fallback:
        return 1
    return 2 if image.unfinished else 3 * bool(image.notes)


def _share(part: float, whole: float) -> str:
    return f"{part / whole:.0%}" if whole else ""
