"""The section about how a mask becomes text."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from kernelkit.recipe.section import Section
from kernelkit.vocabulary import Instances, Order, RLEForm

__all__ = ["RLEConvention"]


class RLEConvention(Section):
    """How a mask becomes text.

    Attributes
    ----------
    form
        "text" is `start length start length`. "json" is the same as a JSON list, `[start, length]`.
        "coco" is `class confidence counts`, where `counts` is COCO's compressed RLE, compressed by
        zlib and written in base64.
    instances
        Connected components that are written one by one: "rows" writes a row per component, all
        with the image's id. "field" writes a part of the field per component. A space separates the
        parts of "coco", a semicolon those of others. Left out, a class is one mask.
    order
        The order of the mask's pixels: down the columns, or along the rows. "coco" has columns.
    base
        The number of the first pixel. "coco" has no such numbers.
    empty
        What is written for a mask without pixels.
    confidence
        The confidence of each part of "coco" if only masks are stored. If probabilities are stored,
        it is the mean probability of the part's pixels.
    """

    form: RLEForm = "text"
    instances: Instances | None = None
    order: Order = "column"
    base: Literal[0, 1] = 1
    empty: str = ""
    confidence: Annotated[float, Field(ge=0, le=1)] = 1.0

    @property
    def separator(self) -> str:
        """What stands between the parts of a field."""
        return " " if self.form == "coco" else ";"

    @model_validator(mode="after")
    def _needs_no_quotes(self) -> Self:
        if any(mark in self.empty for mark in ',"\r\n'):
            raise ValueError(
                f"found {self.empty!r} as empty, wanted a text without comma, quote and line end"
            )
        return self

    @model_validator(mode="after")
    def _fits_its_form(self) -> Self:
        if self.form == "coco":
            given = self.model_fields_set & {"order", "base"}
            wanted = "wanted neither with form coco, which has columns and no positions"
        else:
            given = self.model_fields_set & {"confidence"}
            wanted = f"wanted none with form {self.form}, which has no place for it"
        if given:
            raise ValueError(f"found {' and '.join(sorted(given))}, {wanted}")
        return self
