"""The columns of a submission beside id and RLE, such as the width and height of each mask."""

import re
from functools import cache

from kernelkit.competition.rows import Row
from kernelkit.competition.sample import Sample
from kernelkit.errors import MaskError
from kernelkit.recipe import Competition

__all__ = ["ConstantColumns"]

_PLACES = re.compile(r"\{(\w+)\}")


class ConstantColumns:
    """What stands in the other columns of a row.

    Parameters
    ----------
    competition
        What the recipe says of it.
    sample
        The sample submission, if there is one.
    """

    def __init__(self, competition: Competition, sample: Sample | None = None) -> None:
        self._competition = competition
        self._sample = sample
        self._pattern = cache(self._pattern_of)

    def of(self, row: Row, size: tuple[int, int] | None) -> dict[str, str]:
        """The texts of a row's other columns, by column.

        If the mask's size is not known, a column with a size holds what the sample has, or 0.
        """
        known = size is not None
        height, width = size or (0, 0)
        competition = self._competition
        label = competition.labels.index(row.label)
        places = {"image": row.name, "group": row.group, "height": str(height)}
        places |= {"width": str(width), "class": (*competition.classes, "")[label]}
        texts = {}
        for name, template in competition.columns.items():
            texts[name] = _PLACES.sub(lambda found: places[found[1]], template)
            if not known and self._sample and ("{height}" in template or "{width}" in template):
                texts[name] = self._sample.columns[name].get(row.id, texts[name])
        return texts

    def refuse_others(self, texts: dict[str, str], size: tuple[int, int] | None) -> None:
        """Refuse texts of a row that the recipe would not have written.

        Raises
        ------
        MaskError
            The message names the column, what it holds and what was wanted.
        """
        for name, template in self._competition.columns.items():
            if self._pattern(template, size).fullmatch(texts[name]) is None:
                wanted = template
                if size is not None:
                    wanted = wanted.replace("{height}", str(size[0])).replace(
                        "{width}", str(size[1])
                    )
                raise MaskError(
                    f"its {name} is {texts[name][:40]!r}, wanted {wanted!r}. Correct 'columns' or "
                    "'size' in the recipe"
                )

    def _pattern_of(self, template: str, size: tuple[int, int] | None) -> re.Pattern[str]:
        height, width = map(str, size) if size else (r"\d+", r"\d+")
        names = "|".join(map(re.escape, self._competition.classes))
        places = {"height": height, "width": width, "class": f"(?:{names})"}
        parts = _PLACES.split(template)
        for number, part in enumerate(parts):
            parts[number] = places.get(part, ".*") if number % 2 else re.escape(part)
        return re.compile("".join(parts), re.DOTALL)
