"""What may be written as a value, in words that a user of YAML knows.

>>> in_words({"type": "integer", "exclusiveMinimum": 0}, {}, str)
'a whole number above 0'
>>> in_words({"enum": ["pad", "shift"]}, {}, str)
'`pad` or `shift`'
>>> in_words({"type": "array", "items": {"type": "string"}}, {}, str)
'a list of texts'
"""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from devkit.reference.generator import QUOTED, Schema

__all__ = ["in_words", "value_in_words"]

_PLURALS = {
    "a whole number": "whole numbers",
    "a number": "numbers",
    "text": "texts",
    "a section": "sections",
    "[a section]": "[sections]",
    "a list": "lists",
}
# Text that needs no quotes in YAML, at least where these values stand.
_PLAIN = re.compile(r"[A-Za-z_.][\w ./-]*")
# A value of so many forms or more may be nearly anything.
_MOST_FORMS = 3
_NUMBERS = {2: "two", 3: "three"}


def in_words(
    schema: Schema, definitions: Mapping[str, Schema], section_called: Callable[[str], str]
) -> str:
    """Return what a schema takes, with the allowed words in code.

    Parameters
    ----------
    definitions
        What the schema refers to.
    section_called
        What a section is called, by its name in the definitions.
    """
    return _Words(definitions, section_called).of(schema)


def value_in_words(value: Any) -> str:
    """Return a value as YAML has it."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(value_in_words, value))}]"
    if isinstance(value, str):
        return value if _PLAIN.fullmatch(value) else json.dumps(value)
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


class _Words:
    def __init__(
        self, definitions: Mapping[str, Schema], section_called: Callable[[str], str]
    ) -> None:
        self._definitions = definitions
        self._called = section_called

    def of(self, schema: Schema) -> str:
        """What a schema takes."""
        return _joined(self._forms(schema))

    def _forms(self, schema: Schema) -> list[str]:
        """Each form by itself. Nothing, and what stands in quotes or in words, has none."""
        if "anyOf" in schema or "oneOf" in schema:
            choices = schema.get("anyOf") or schema["oneOf"]
            return [form for choice in choices for form in self._forms(choice)]
        if "allOf" in schema:
            return self._forms(schema["allOf"][0])
        if "$ref" in schema:
            name = _name(schema)
            return [] if name in QUOTED else [*self._short_forms(name), self._called(name)]
        if "enum" in schema or "const" in schema:
            words = schema["enum"] if "enum" in schema else [schema["const"]]
            return [f"`{value_in_words(word)}`" for word in words]
        match schema.get("type"):
            case "boolean":
                return ["`true`", "`false`"]
            case "integer":
                return [_limited("a whole number", schema)]
            case "number":
                return [_limited("a number", schema)]
            case "string":
                return ["text"]
            case "array":
                return [self._list(schema)]
            case "object":
                return [self._names(schema)]
        return [] if schema.get("type") == "null" else ["any value"]

    def _short_forms(self, name: str) -> list[str]:
        """What may stand instead of a section. What only a pattern describes is left out."""
        forms = [
            form
            for form in self._definitions.get(name, {}).get("anyOf", ())
            if "properties" not in form and "pattern" not in form
        ]
        return [words for form in forms for words in self._forms(form)]

    def _list(self, schema: Schema) -> str:
        items = schema["items"]
        if isinstance(items, list):
            return f"a list of {_NUMBERS[len(items)]} {self._plural(items[0])}"
        count = schema.get("minItems") if schema.get("minItems") == schema.get("maxItems") else None
        what = self._plural(items)
        return f"a list of {_NUMBERS[count]} {what}" if count else f"a list of {what}"

    def _plural(self, schema: Schema) -> str:
        """Several of what a schema takes. Of sections only the long form is named."""
        forms = [self._called(_name(schema))] if "$ref" in schema else self._forms(schema)
        plurals = []
        for form in dict.fromkeys(forms):
            one = next((each for each in _PLURALS if form.startswith(each)), "")
            plurals.append(_PLURALS.get(one, "") + form[len(one) :])
        return _joined(plurals)

    def _names(self, schema: Schema) -> str:
        others = schema.get("additionalProperties")
        words = schema.get("propertyNames", {}).get("enum")
        if not isinstance(others, dict) or len(self._forms(others)) > _MOST_FORMS:
            return "keys with values"
        called = "names" if words is None else _joined([f"`{word}`" for word in words])
        return f"{called} with {self.of(others) or 'nothing'} each"


def _limited(what: str, schema: Schema) -> str:
    least, above = schema.get("minimum"), schema.get("exclusiveMinimum")
    most, below = schema.get("maximum"), schema.get("exclusiveMaximum")
    if least is not None:
        lower = f"from {least:g}"
    elif above is not None:
        lower = f"above {above:g}"
    else:
        lower = ""
    if most is not None:
        upper = f"to {most:g}" if least is not None else f"up to {most:g}"
    elif below is not None:
        upper = f"below {below:g}"
    else:
        upper = "" if least is None else "on"
    join = " and " if lower and upper.startswith(("below", "up")) else " "
    return f"{what} {lower}{join if lower and upper else ''}{upper}".strip()


def _name(reference: Schema) -> str:
    return str(reference["$ref"]).rpartition("/")[2]


def _joined(parts: list[str]) -> str:
    *others, last = parts or [""]
    return f"{', '.join(others)} or {last}" if others else last
