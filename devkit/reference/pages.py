"""The pages with all keys: what they take, what they do, and an example of each.

What stands above the mark in a page is written by hand.
"""

import inspect
import re
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from devkit.reference.docstrings import about, entries, keys_of
from devkit.reference.examples import line_of
from devkit.reference.generator import Schema, sections_schema
from devkit.reference.sections import Part, Sections
from devkit.reference.words import in_words, value_in_words
from devkit.tools import REPOSITORY
from kernelkit.ensemble.tta import SETS, VIEWS
from kernelkit.predict.hand_in.postprocess import STEPS

__all__ = ["MARK", "TOP", "page_path", "text_of_page"]

# The heading of what stands in no section.
TOP = "At the top"
MARK = "<!-- The rest is made from docstrings by make schema -->\n"


def page_path(page: Sections) -> Path:
    """Return where a page lies."""
    return REPOSITORY / "docs" / page.page


def text_of_page(page: Sections) -> str:
    """Return the whole page: what is written by hand, and the keys."""
    written = page_path(page).read_text(encoding="utf-8").partition(MARK)[0]
    return written + MARK + "\n" + "\n".join(_Keys(page).lines()).rstrip() + "\n"


class _Keys:
    """The lines about the keys of one page."""

    def __init__(self, page: Sections) -> None:
        self._page = page
        schema = sections_schema(page.top)
        self._definitions: dict[str, Schema] = schema.pop("definitions")
        self._definitions[page.top.__name__] = schema
        self._anchors = {section.__name__: name for name, section in page.headings.items()}
        self._anchors |= {part.section.__name__: name for name, part in page.parts.items()}

    def lines(self) -> Iterator[str]:
        """Iterate over the paragraphs and the items of the list."""
        page = self._page
        yield f"## {page.title}\n"
        yield from self._contents()
        yield f"### {TOP}\n"
        yield from self._section(page.top)
        for heading, section in page.headings.items():
            yield f"### {heading}\n"
            yield from self._section(section)
            yield from _more(section)
        for heading, part in page.parts.items():
            yield f"### {heading}\n"
            yield from self._parts(part)

    def _contents(self) -> Iterator[str]:
        names = [*self._page.headings, *self._page.parts]
        links = ", ".join(f"[{name}](#{_anchor(name)})" for name in names)
        yield _wrapped(f"The sections: {links}.", 0) + "\n"

    def _section(self, section: type[BaseModel]) -> Iterator[str]:
        for paragraph in about(section):
            yield _wrapped(paragraph, 0) + "\n"
        yield from self._entries(section)
        yield ""

    def _entries(
        self, section: type[BaseModel], indent: int = 0, without: str = ""
    ) -> Iterator[str]:
        """An item per entry of the docstring, which may be about several keys."""
        fields, keys = keys_of(section), self._keys(section)
        for names, description in entries(section):
            known = [name for name in names if name in fields and name != without]
            if known:
                shown = " ".join(
                    f"`{name}`: {self._value(fields[name], keys[name])}." for name in known
                )
                yield _wrapped(f"{' ' * indent}- {shown} {description}", indent + 2)
                yield from filter(None, (_example(section, name, indent + 4) for name in known))

    def _parts(self, part: Part) -> Iterator[str]:
        for paragraph in about(part.section):
            yield _wrapped(paragraph, 0) + "\n"
        key, what = part.shared
        yield _wrapped(f"All have `{key}`. {what}", 0) + "\n"
        for name, field in keys_of(part.section).items():
            kind = _section_of(field)
            yield _wrapped(f"- **{name}**: {' '.join(about(kind))}", 2)
            yield _example(part.section, name, 4)
            yield from self._entries(kind, 4, without=key)
        yield ""

    def _keys(self, section: type[BaseModel]) -> dict[str, Schema]:
        schema = self._definitions[section.__name__]
        keys: dict[str, Schema] = next(
            form["properties"]
            for form in (schema, *schema.get("anyOf", ()))
            if "properties" in form
        )
        return keys

    def _value(self, field: FieldInfo, schema: Schema) -> str:
        words = in_words(schema, self._definitions, self._anchors_of)
        if field.is_required():
            return f"{words}, needed"
        value: Any = field.default if field.default_factory is None else None
        if isinstance(value, BaseModel) or value in (None, (), {}) or _is_sections(value):
            return words
        return f"{words}, default `{value_in_words(value)}`"

    def _anchors_of(self, section: str) -> str:
        heading = self._anchors.get(section)
        return f"[a section](#{_anchor(heading)})" if heading else "a section"


def _is_sections(value: Any) -> bool:
    return isinstance(value, tuple) and isinstance(value[0], BaseModel)


def _section_of(field: FieldInfo) -> type[BaseModel]:
    kinds = [kind for kind in getattr(field.annotation, "__args__", ()) if inspect.isclass(kind)]
    return next(kind for kind in kinds if issubclass(kind, BaseModel))


def _example(section: type[BaseModel], key: str, indent: int) -> str:
    """An example, as an item below what it shows. Parts by name have one for all their keys."""
    line = line_of(section, key)
    return f"{' ' * indent}- `{line}`" if line else ""


def _more(section: type[BaseModel]) -> Iterator[str]:
    """What a section's values can name that is defined elsewhere."""
    if section.__name__ == "EnsembleRecipe":
        yield "Sets of views, and the views in them:\n"
        yield from (_wrapped(f"- `{name}`: {', '.join(SETS[name])}", 2) for name in SETS)
        yield "\n" + _wrapped(f"Views by themselves are {', '.join(f'`{v}`' for v in VIEWS)}.", 0)
        yield ""
    if section.__name__ == "PostprocessStep":
        yield "The steps that there are:\n"
        yield from _steps(STEPS)
        yield ""


def _steps(steps: Mapping[str, Any]) -> Iterator[str]:
    for name, step in steps.items():
        keys = [
            each.name if each.default is each.empty else f"{each.name}={each.default!r}"
            for each in inspect.signature(step).parameters.values()
            if each.kind is each.KEYWORD_ONLY
        ]
        text = " ".join((inspect.getdoc(step) or "").split("\n\n")[0].split())
        yield _wrapped(f"- `{name}` (`{', '.join(keys)}`): {text}", 2)


def _anchor(heading: str) -> str:
    return re.sub(r"[^\w -]", "", heading).lower()


def _wrapped(text: str, indent: int) -> str:
    """Text in lines. Code is not parted, since a line may not begin with a plus sign of it."""
    kept = re.sub(r"`[^`]+`|\[[^]]+\]\([^)]+\)", lambda code: code[0].replace(" ", "\0"), text)
    lines = textwrap.fill(
        kept, 100, subsequent_indent=" " * indent, break_on_hyphens=False, break_long_words=False
    )
    return lines.replace("\0", " ")
