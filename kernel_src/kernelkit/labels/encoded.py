"""Labels in a table of run-length encodings, as the submission has them."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from kernelkit.competition import Scene
from kernelkit.competition.fields import masks_of, read_fields
from kernelkit.competition.rows import Row, image_id, rows_of_ids, rows_of_images
from kernelkit.competition.tables import submission_rows
from kernelkit.errors import CompetitionError, LabelError, MaskError, TableError
from kernelkit.labels.labels import RecipeLabels, some
from kernelkit.labels.planes import EncodedPlanes
from kernelkit.mask import BitMask
from kernelkit.recipe import Competition
from kernelkit.recipe.labels import LabelsRecipe
from kernelkit.slide import Slide

__all__ = ["EncodedLabels"]

# What stands for an empty mask in some competition or other, in lower case.
_EMPTY_ELSEWHERE = frozenset(
    ("-1", "-", "0", "0 0", "1 0", "-1 0", "nan", "none", "null", "empty", "[]", "{}")
)


class EncodedLabels(RecipeLabels):
    """The rows of a table, by image and class. See `Labels`.

    Raises
    ------
    LabelError
        The table cannot be read, lacks a column, or has an id twice, or no row is about an image.
    """

    def _find(self, recipe: LabelsRecipe, folder: Path) -> None:
        self._size = recipe.size or self.competition.size
        # the fields of each image, by the number of the class among the rows
        self._fields: dict[str, dict[int, list[str]]] = {}
        self._read(_Table(folder / recipe.files, recipe, self.competition, self.scenes))
        self._say_what_is_missing()
        self._refuse_another_size(recipe)

    def fingerprint(self, image_id: str) -> str:
        """See `Labels`."""
        rle = self.competition.rle
        content = [image_id, str(self._size), rle.model_dump_json()]
        for number, fields in sorted(self._fields[image_id].items()):
            content += [str(number), *fields]
        return hashlib.sha256("\n".join(content).encode()).hexdigest()

    def _planes(self, image_id: str, slide: Slide) -> EncodedPlanes:
        shape = (slide.height, slide.width) if self._size in (None, "image") else self._size
        assert isinstance(shape, tuple)
        image = slide.height, slide.width
        remedy = (
            "" if shape == image else ". If they are of the image's own size, write size: image"
        )
        return EncodedPlanes(self._masks(image_id, shape, remedy))

    def _masks(self, image: str, shape: tuple[int, int], remedy: str) -> list[BitMask]:
        rle, number = self.competition.rle, len(self.classes)
        shares = self.competition.shares_fields
        masks = [BitMask.zeros(*shape) for _ in self.classes]
        for place, fields in self._fields[image].items():
            try:
                parts = read_fields(fields, rle, number if shares else 1, shape[0] * shape[1])
            except MaskError as error:
                name = self.classes[place]
                remedy = _remedy_of_empty(fields, rle.empty) or remedy
                raise LabelError(
                    f"{self.source}: the labels of {image}{name and f', class {name}'}, on"
                    f" {shape[0]} x {shape[1]} pixels: {error}{remedy}"
                ) from error
            found = masks_of(parts, rle, number if shares else 1, shape)
            if shares:
                return found
            masks[place] = found[0]
        return masks

    def _read(self, table: "_Table") -> None:
        """Sort the rows by image and class."""
        several = self.competition.rle.instances == "rows"
        by_name = {
            image_id(scene.paths[0].name, scene.group, self.competition): image
            for image, scene in self.scenes.items()
        }
        unknown: dict[str, None] = {}
        for line, row, field in table.rows():
            image = row.image if row.image in self.scenes else by_name.get(row.image)
            if image is None:
                unknown[row.image] = None
                continue
            fields = self._fields.setdefault(image, {}).setdefault(table.place(row), [])
            if fields and not several:
                raise LabelError(
                    f"{self.source}: line {line} is a second row of {row.id!r}, wanted one. If each"
                    " row is an object of its own, write rle: {instances: rows} in the recipe's"
                    " competition"
                )
            fields.append(field)
        if unknown:
            self.notes.append(
                f"{self.source}: rows of {some(list(unknown), 'image')} not among the images"
            )

    def _say_what_is_missing(self) -> None:
        self._keep(
            self._fields,
            "a row",
            "Compare 'images' with the ids of the table, and the competition's 'rows'",
        )
        if self.competition.shares_fields:
            return
        for place, name in enumerate(self.classes):
            without = [image for image in self.ids if place not in self._fields[image]]
            if without:
                self.notes.append(
                    f"{self.source}: {some(without, 'image')} without a row of the class {name},"
                    " taken as empty"
                )

    def _refuse_another_size(self, recipe: LabelsRecipe) -> None:
        """Refuse encodings of the submitted size that are said to be of the images' size."""
        wanted = self.competition.size
        if recipe.size != "image" or wanted is None or self.competition.rle.form != "text":
            return
        last = max(
            (
                _last_position(field)
                for image in self.ids
                for fields in self._fields[image].values()
                for field in fields
            ),
            default=0,
        )
        if 0 < last <= wanted[0] * wanted[1]:
            raise LabelError(
                f"{self.source}: no encoding goes beyond pixel {last}, so all fit the submitted"
                f" size of {wanted[0]} x {wanted[1]}, but size is 'image'. Leave out size"
            )


class _Table:
    """A table of encodings: which columns it has, and what its rows are about."""

    def __init__(
        self,
        path: Path,
        recipe: LabelsRecipe,
        competition: Competition,
        images: Mapping[str, Scene],
    ) -> None:
        self._path, self._competition = path, competition
        self._id = recipe.id_column or competition.id_column
        self._rle = recipe.rle_column or competition.rle_column
        self._class = recipe.class_column
        self._number = {name: number for number, name in enumerate(competition.classes)}
        self._label = {label: place for place, label in enumerate(competition.labels)}
        # an image may have a name that `rows` alone would part wrongly
        self._known: dict[str, list[Row]] = {}
        for row in rows_of_images(images, competition):
            self._known.setdefault(row.id, []).append(row)

    def place(self, row: Row) -> int:
        """The number of a row's class, counted from 0 among the classes of the rows."""
        return self._label[row.label]

    def rows(self) -> Iterator[tuple[int, Row, str]]:
        """Each row's line in the file, what it is about, and its encoding."""
        for line, row_id, name, field in self._lines():
            for row in self._about(row_id, name, line):
                yield line, row, field
                if self._competition.shares_fields:
                    break  # one field has all classes

    def _lines(self) -> Iterator[tuple[int, str, str, str]]:
        try:
            rows = submission_rows(self._path, "utf-8-sig")
            header = next(rows, [])
            wanted = [self._id, self._rle, *([self._class] if self._class else [])]
            if not header:
                raise LabelError(
                    f"{self._path}: it is empty, wanted the columns {' and '.join(wanted)}."
                    " Download the labels again"
                )
            if missing := [name for name in wanted if name not in header]:
                raise LabelError(
                    f"{self._path}: found the columns {', '.join(header)[:200]}, wanted"
                    f" {missing[0]}. Name the columns by id_column and rle_column of the labels"
                )
            at_id, at_rle = header.index(self._id), header.index(self._rle)
            at_class = header.index(self._class) if self._class else -1
            for line, row in enumerate(rows, 2):
                if not row:
                    continue  # an empty line at the end
                if len(row) != len(header):
                    raise LabelError(
                        f"{self._path}: line {line} has {len(row)} fields, wanted {len(header)}"
                    )
                yield line, row[at_id], row[at_class] if self._class else "", row[at_rle]
        except TableError as error:
            raise LabelError(
                f"{error.found}. Download the labels again, or correct 'rle'"
            ) from error

    def _about(self, row_id: str, name: str, line: int) -> Sequence[Row]:
        wanted = self._competition
        if self._class is not None:
            if name not in self._number:
                raise LabelError(
                    f"{self._path}: line {line} is of the class {name!r:.60}, wanted one of"
                    f" {', '.join(self._number) or 'no class'}"
                )
            return (Row(row_id, row_id, wanted.labels[self._number[name]]),)
        try:
            return self._known.get(row_id) or rows_of_ids([row_id], wanted)
        except CompetitionError:
            raise LabelError(
                f"{self._path}: line {line} has the id {row_id!r:.60}, wanted the form"
                f" {wanted.rows!r} with a class of {', '.join(wanted.classes) or 'none'}. Correct"
                " 'rows' and 'classes', or name a class_column"
            ) from None


def _remedy_of_empty(fields: Sequence[str], empty: str) -> str:
    """What to write if one of the fields stands for an empty mask elsewhere."""
    texts = (field.strip() for field in fields)
    word = next((t for t in texts if t.lower() in _EMPTY_ELSEWHERE and t != empty), None)
    if word is None:
        return ""
    return (
        f". If {word!r} stands for an empty mask, leave its field empty in the table. If the"
        f" submission has it too, write rle: {{empty: {word!r}}} in the recipe's competition"
    )


def _last_position(field: str) -> int:
    """The last pixel of an encoding, as far as it can be read."""
    words = field.rsplit(None, 2)[-2:]
    try:
        start, length = map(int, words)
    except ValueError:
        return 0
    return start + length - 1
