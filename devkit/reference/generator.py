"""From sections to JSON schema: what the loaders take, in the terms of editors.

The schemas are of draft 7, which every editor knows. A number may stand in quotes, and a truth
value may be a word, because pydantic takes them too.
"""

from typing import Any

from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

from devkit.reference.docstrings import about, entries
from devkit.reference.examples import line_of, value_of
from kernelkit.recipe.section import Section

__all__ = ["QUOTED", "Schema", "any_case", "sections_schema"]

Schema = dict[str, Any]


def any_case(*words: str) -> str:
    """Return a pattern for words in letters of any case."""
    letters = ["".join(f"[{letter.upper()}{letter}]" for letter in word) for word in words]
    return f"^({'|'.join(letters)})$"


# What stands in quotes or in words, by the name under which a schema defines it.
QUOTED: dict[str, Schema] = {
    "WholeNumberInQuotes": {
        "type": "string",
        "pattern": r"^\s*[+-]?[0-9][0-9_]*(\.0*)?\s*$",
    },
    "NumberInQuotes": {
        "type": "string",
        "pattern": r"^\s*[+-]?([0-9][0-9_]*\.?[0-9_]*|\.[0-9][0-9_]*)([eE][+-]?[0-9_]+)?\s*$",
    },
    "TruthValueInWords": {
        "anyOf": [
            {
                "type": "string",
                "pattern": any_case(
                    "yes", "no", "on", "off", "true", "false", "y", "n", "t", "f", "0", "1"
                ),
            },
            {"enum": [0, 1]},
        ]
    },
}


def sections_schema(section: type[BaseModel]) -> Schema:
    """Return the schema of a section and of those in it, with what stands in quotes."""
    made = section.model_json_schema(
        ref_template="#/definitions/{model}", schema_generator=_SectionSchema
    )
    made = _with_shared(made)
    made["definitions"] = dict(sorted((made.pop("$defs", {}) | QUOTED).items()))
    return made


class _SectionSchema(GenerateJsonSchema):
    """pydantic's schema of a section, with its short forms and with the words of its docstring."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # the sections of which short forms are being made, in which they may stand again
        self._open: set[type[BaseModel]] = set()

    def int_schema(self, schema: Any) -> Schema:
        """A whole number, as such or in quotes."""
        return _or_quoted(super().int_schema(schema), "WholeNumberInQuotes")

    def float_schema(self, schema: Any) -> Schema:
        """A number, as such or in quotes, unless the section says that it is strict."""
        made = super().float_schema(schema)
        return made if schema.get("strict") else _or_quoted(made, "NumberInQuotes")

    def bool_schema(self, schema: Any) -> Schema:
        """True or false, as such or in words."""
        return _or_quoted(super().bool_schema(schema), "TruthValueInWords")

    def tuple_schema(self, schema: Any) -> Schema:
        """A list. Draft 7 has the kinds of a list of fixed length as `items`."""
        made = super().tuple_schema(schema)
        if "prefixItems" in made:
            made["items"] = made.pop("prefixItems")
        return made

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002
        """No key has a title beside its name."""
        return False

    def model_schema(self, schema: Any) -> Schema:
        """A section: its keys with what they do, or one of its short forms."""
        made = super().model_schema(schema)
        section: type[BaseModel] = schema["cls"]
        made.pop("title", None)
        made["description"] = "\n\n".join(about(section))
        for names, description in entries(section):
            for name in names:
                if name in made["properties"]:
                    key = _described(made["properties"][name], description)
                    example = (
                        {"examples": [value_of(section, name)]} if line_of(section, name) else {}
                    )
                    made["properties"][name] = key | example
        short = section.short_forms() if issubclass(section, Section) else None
        if short is None or section in self._open:
            return made
        self._open.add(section)
        forms = self.generate_inner(TypeAdapter(short).core_schema)
        self._open.remove(section)
        return {"description": made.pop("description"), "anyOf": [*_forms(forms), made]}


def _forms(schema: Schema) -> list[Schema]:
    """The parts of a choice, or the one that there is."""
    return schema["anyOf"] if set(schema) == {"anyOf"} else [schema]


def _or_quoted(made: Schema, quoted: str) -> Schema:
    return {"anyOf": [made, QUOTED[quoted]]}


def _described(key: Schema, description: str) -> Schema:
    """A key with its description. A reference has nothing beside it in draft 7."""
    described: Schema = {"description": description}
    if "$ref" in key:
        described["allOf"] = [{"$ref": key["$ref"]}]
    else:
        described |= {name: value for name, value in key.items() if name != "default"}
    if isinstance(key.get("default"), str | int | float | list):
        described["default"] = key["default"]
    return described


def _with_shared(part: Any) -> Any:
    """A part of a schema in which references stand for what numbers in quotes look like."""
    for name, quoted in QUOTED.items():
        if part == quoted:
            return {"$ref": f"#/definitions/{name}"}
    if isinstance(part, dict):
        return {key: _with_shared(value) for key, value in part.items()}
    return [_with_shared(value) for value in part] if isinstance(part, list) else part
