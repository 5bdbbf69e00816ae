"""Rows: which image and which class each row of a submission is about.

>>> expected = Competition(slug="clouds", classes=("Fish", "Sugar"), rows="{image}.jpg_{class}")
>>> rows_of_ids(["b.jpg_Fish", "b.jpg_Sugar"], expected)[1]
Row(id='b.jpg_Sugar', image='b', label=1)
>>> [row.id for row in rows_of_images(["b"], expected)]
['b.jpg_Fish', 'b.jpg_Sugar']
"""

import re
from collections.abc import Iterable
from typing import NamedTuple

from kernelkit.errors import CompetitionError
from kernelkit.recipe import Competition

__all__ = ["Row", "rows_of_ids", "rows_of_images"]


class Row(NamedTuple):
    """One row of a submission.

    Attributes
    ----------
    id
        What stands in its id column.
    image
        The id of its image.
    label
        The number of its class among those that the networks answer with.
    """

    id: str
    image: str
    label: int


def rows_of_ids(ids: Iterable[str], competition: Competition) -> tuple[Row, ...]:
    """Tell image and class of each id of the sample submission, in its order.

    Raises
    ------
    CompetitionError
        An id is not of the form that the recipe's `rows` says.
    """
    labels = dict(zip(competition.classes or ("",), competition.labels, strict=True))
    pattern = _pattern(competition)
    rows = []
    for row_id in ids:
        found = pattern.fullmatch(row_id)
        if found is None:
            raise CompetitionError(
                f"the sample's id {row_id!r} is not of the form {competition.rows!r} with a class "
                f"of {', '.join(competition.classes) or 'none'}. Correct 'rows' and 'classes' in "
                "the recipe"
            )
        places = found.groupdict()
        rows.append(Row(row_id, places["image"], labels[places.get("class_", "")]))
    return tuple(rows)


def rows_of_images(images: Iterable[str], competition: Competition) -> tuple[Row, ...]:
    """Write the rows of images that no sample lists: one per class."""
    named = list(zip(competition.classes or ("",), competition.labels, strict=True))
    return tuple(
        Row(competition.rows.format_map({"image": image, "class": name}), image, label)
        for image in images
        for name, label in named
    )


def _pattern(competition: Competition) -> re.Pattern[str]:
    names = "|".join(map(re.escape, competition.classes))
    places = {"{image}": "(?P<image>.+)", "{class}": f"(?P<class_>{names})"}
    parts = re.split(r"(\{image\}|\{class\})", competition.rows)
    # an id of the sample may hold anything, a line end too
    return re.compile("".join(places.get(part, re.escape(part)) for part in parts), re.DOTALL)
