"""Rows: which image and which class each row of a submission is about.

>>> expected = Competition(slug="clouds", classes=("Fish", "Sugar"), rows="{image}.jpg_{class}")
>>> rows_of_ids(["b.jpg_Fish", "b.jpg_Sugar"], expected)[1]
Row(id='b.jpg_Sugar', image='b', label=1, group='')
>>> [row.id for row in rows_of_images(["b"], expected)]
['b.jpg_Fish', 'b.jpg_Sugar']
"""

import re
from collections.abc import Iterable
from typing import NamedTuple

from kernelkit.errors import CompetitionError
from kernelkit.recipe import Competition

__all__ = ["Row", "image_id", "rows_of_ids", "rows_of_images"]


class Row(NamedTuple):
    """One class of one image, and the row of the submission that it stands in.

    Attributes
    ----------
    id
        What stands in its id column.
    image
        The id of its image. If rows name a group, it is `group/image`.
    label
        The number of its class among those that the networks answer with.
    group
        The group of its image. Empty if rows name none.
    """

    id: str
    image: str
    label: int
    group: str = ""

    @property
    def name(self) -> str:
        """What `{image}` stands for."""
        return self.image.removeprefix(f"{self.group}/") if self.group else self.image


def image_id(name: str, group: str, competition: Competition) -> str:
    """The id of an image. If rows name the group, two groups may have an image of one name."""
    return f"{group}/{name}" if "{group}" in competition.rows else name


def rows_of_ids(
    ids: Iterable[str], competition: Competition, images: Iterable[str] = ()
) -> tuple[Row, ...]:
    """Tell image and class of each id of the sample submission, in its order.

    Parameters
    ----------
    images
        The ids of the images that are there. A row of one of them is told by its whole id. Others
        are told by the form of `rows`.

    Raises
    ------
    CompetitionError
        An id is not of the form that the recipe's `rows` says.
    """
    known: dict[str, list[Row]] = {}
    for row in rows_of_images(images, competition):
        known.setdefault(row.id, []).append(row)
    pattern = _pattern(competition)
    rows: list[Row] = []
    for row_id in ids:
        rows += known.get(row_id) or _rows_of_id(row_id, pattern, competition)
    return tuple(rows)


def _rows_of_id(row_id: str, pattern: re.Pattern[str], competition: Competition) -> Iterable[Row]:
    found = pattern.fullmatch(row_id)
    if found is None:
        raise CompetitionError(
            f"the sample's id {row_id!r} is not of the form {competition.rows!r} with a class "
            f"of {', '.join(competition.classes) or 'none'}. Correct 'rows' and 'classes' in "
            "the recipe"
        )
    places = found.groupdict()
    group = places.get("group", "")
    image = image_id(places["image"], group, competition)
    for name, label in _classes(competition):
        if name == places.get("class_", name):
            yield Row(row_id, image, label, group)


def rows_of_images(images: Iterable[str], competition: Competition) -> tuple[Row, ...]:
    """Write the rows of images that no sample lists: one per class."""
    rows = []
    for image in images:
        group, _, name = image.partition("/") if "{group}" in competition.rows else ("", "", image)
        for class_name, label in _classes(competition):
            places = {"image": name, "group": group, "class": class_name}
            rows.append(Row(competition.rows.format_map(places), image, label, group))
    return tuple(rows)


def _classes(competition: Competition) -> list[tuple[str, int]]:
    return list(zip(competition.classes or ("",), competition.labels, strict=True))


def _pattern(competition: Competition) -> re.Pattern[str]:
    names = "|".join(map(re.escape, competition.classes))
    places = {
        "{image}": "(?P<image>.+)",
        "{group}": "(?P<group>.+)",
        "{class}": f"(?P<class_>{names})",
    }
    seen: set[str] = set()
    parts = []
    for part in re.split(r"(\{image\}|\{group\}|\{class\})", competition.rows):
        again = f"(?P={part.strip('{}').replace('class', 'class_')})"
        parts.append(again if part in seen else places.get(part, re.escape(part)))
        seen.update({part} & places.keys())
    # an id of the sample may hold anything, a line end too
    return re.compile("".join(parts), re.DOTALL)
