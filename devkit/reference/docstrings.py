"""What the docstring of a section says: about itself, and about each of its keys."""

import inspect
import re

from pydantic import BaseModel
from pydantic.fields import FieldInfo

__all__ = ["about", "entries", "keys_of"]

# The heading of the attributes, and an entry: names, then the lines that say what they are.
_ATTRIBUTES = re.compile(r"^Attributes\n-+\n", re.MULTILINE)
_ENTRY = re.compile(r"^(\S.*)\n((?:    .*\n?|\n)+)", re.MULTILINE)


def keys_of(section: type[BaseModel]) -> dict[str, FieldInfo]:
    """Return the fields of a section, by their keys in the file."""
    return {field.alias or name: field for name, field in section.model_fields.items()}


def about(section: type[BaseModel]) -> list[str]:
    """Return the paragraphs before the attributes."""
    text = _ATTRIBUTES.split(inspect.cleandoc(section.__doc__ or ""))[0]
    return [" ".join(part.split()) for part in text.split("\n\n") if part.strip()]


def entries(section: type[BaseModel]) -> list[tuple[list[str], str]]:
    """Return names and what they are, of the section and before it of those that it extends."""
    found = []
    for kind in reversed(section.__mro__):
        if not issubclass(kind, BaseModel):
            continue
        attributes = _ATTRIBUTES.split(inspect.cleandoc(kind.__doc__ or ""))[1:]
        for names, description in _ENTRY.findall("".join(attributes)):
            known = [name.strip() for name in names.split(",")]
            found.append((known, " ".join(description.split())))
    return found
