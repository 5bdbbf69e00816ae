"""What the notebook shows below its submission: best effort, since a failed notebook has no score.

Each function gives something to show, and never raises. What cannot be shown is one line that says
why.
"""

import base64
import glob
import html
import io
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from kernelkit.competition import preview, submission_rows
from kernelkit.console import printable
from kernelkit.errors import as_sentence
from kernelkit.predict.pictures import show_disagreement, show_overlays
from kernelkit.predict.run import Prediction

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Shown", "disagreement", "maps", "overlays", "report", "submission", "submissions"]

# of a table, half of them from its end
_MOST_ROWS = 60


@dataclass(frozen=True, slots=True)
class Shown:
    """What a notebook shows at the end of a cell. It is drawn already, so to show it cannot fail.

    Attributes
    ----------
    text
        What a terminal shows.
    forms
        The other forms of it, by MIME type.
    """

    text: str
    forms: dict[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        return self.text

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        return {"text/plain": self.text, **self.forms}


def overlays(done: Prediction) -> Shown:
    """The first images, with their masks drawn over them, in a colour per class."""

    def make() -> Shown:
        wanted = done.recipe.competition
        return _figure(
            show_overlays(done.images, done.masks, size=wanted.size, classes=wanted.classes)
        )

    return _shown("pictures", make)


def disagreement(done: Prediction) -> Shown:
    """Where the members differ in the first images, if the recipe asks for that."""
    if not done.disagreement:
        return Shown("no disagreement was asked for")
    pictures = done.disagreement
    return _shown("pictures of the disagreement", lambda: _figure(show_disagreement(pictures)))


def report(done: Prediction) -> Shown:
    """The speed of the run, how many images have each status, and a table of them."""

    def make() -> Shown:
        speed = done.report.megapixels_per_second
        counts = ", ".join(f"{n} {status}" for status, n in done.report.counts.items() if n)
        return _table(
            f"{speed:.2f} Mpx/s over the images predicted in this run ({counts})",
            done.report.table(),
        )

    return _shown("table of the images", make)


def submissions(done: Prediction) -> Shown:
    """The files that the recipe's submissions became, if it lists several."""

    def make() -> Shown:
        table = pd.DataFrame([_counts(path, done) for path in done.submissions])
        first, folder = done.submissions[0], done.submissions[0].parent
        return _table(f"{folder}: {done.submission.name} is {first.name}", table)

    if not done.submissions:
        return Shown("one submission, since the recipe lists no others")
    return _shown("table of the submissions", make)


def submission(done: Prediction) -> Shown:
    """The first rows of the submission."""

    def make() -> Shown:
        fallbacks = f"{len(done.report.fallbacks)} of its rows are fallbacks"
        return _table(f"{done.submission}, {fallbacks}", preview(done.submission))

    return _shown("preview of the submission", make)


def maps(done: Prediction) -> Shown:
    """The polygons and GeoTIFFs that the recipe's output asks for, and which are missing."""

    def make() -> Shown:
        rows = [
            {"file": path.name, "folder": str(path.parent), "MB": round(_bytes_of(path) / 1e6, 2)}
            for path in done.maps.files
        ]
        title = f"{len(rows)} files of maps"
        if missing := done.maps.missing:
            title += f". {len(missing)} map(s) are missing: {', '.join(missing)}"
        return _table(title, pd.DataFrame(rows))

    if not done.maps.files and not done.maps.missing:
        return Shown("no maps were asked for")
    return _shown("table of the maps", make)


def _bytes_of(path: Path) -> int:
    """The bytes of a map. A Shapefile is several files."""
    parts = path.parent.glob(f"{glob.escape(path.stem)}.*") if path.suffix == ".shp" else [path]
    return sum(part.stat().st_size for part in parts)


def _counts(path: Path, done: Prediction) -> dict[str, object]:
    """How many rows a submission has, and how many of them say that something is there."""
    wanted = done.recipe.competition
    rows = submission_rows(path)
    place = next(rows).index(wanted.rle_column)
    fields = [row[place] for row in rows]
    return {
        "file": path.name,
        "rows": len(fields),
        "with a mask": sum(field != wanted.rle.empty for field in fields),
        "MB": round(path.stat().st_size / 1e6, 2),
    }


def _shown(what: str, make: Callable[[], Shown]) -> Shown:
    """What `make` gives, in characters that any output takes, or the reason why it cannot."""
    try:
        shown = make()
    except Exception as error:  # whatever it is, the submission is written already
        shown = Shown(f"no {what}, because: {as_sentence(error)}")
    return Shown(
        printable(shown.text), {kind: printable(form) for kind, form in shown.forms.items()}
    )


def _figure(figure: "Figure") -> Shown:
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    encoded = base64.b64encode(picture.getvalue()).decode()
    reasons = [" ".join(text.get_text().split()) for axes in figure.axes for text in axes.texts]
    return Shown("\n".join(reasons) or "a figure", {"image/png": encoded})


def _table(title: str, table: pd.DataFrame) -> Shown:
    text = table.to_string(max_rows=_MOST_ROWS)
    page = table.to_html(max_rows=_MOST_ROWS)
    return Shown(f"{title}\n{text}", {"text/html": f"<p>{html.escape(title)}</p>\n{page}"})
