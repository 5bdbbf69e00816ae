"""The schema of train.yaml: keys that all runs share, and runs that say what differs.

What a run says is merged into what all share, section by section. So a section may be in two parts,
and a key that a section needs may stand in either. The schema looks for such a key in both places.

A value that every run replaces is checked too, although no run reads it.
"""

from devkit.reference.docstrings import entries
from devkit.reference.examples import value_of
from devkit.reference.generator import Schema, any_case, sections_schema
from kernelkit.training.recipe import NetworkRecipe, TrainingRecipe
from kernelkit.training.recipe.settings import RunSettings

__all__ = ["training_schema"]

_HEAD: dict[str, Schema] = {
    "name": {"type": "string", "minLength": 1},
    "summary": {},
    "predicts": {"type": "string", "minLength": 1},
}


def training_schema() -> Schema:
    """Return the schema of train.yaml."""
    run = sections_schema(RunSettings)
    definitions = run.pop("definitions")
    needs = _needs(run, definitions)
    _open_sections(run, definitions)
    _name_networks(definitions["NetworkRecipe"]["properties"])
    definitions["Run"] = run | {"type": ["object", "null"]}
    head = _head()
    runs = {
        **head.pop("runs"),
        "anyOf": [
            {
                "type": "object",
                "minProperties": 1,
                "propertyNames": {"pattern": r"^(?!\.{1,2}$)[^/]+$"},
                "additionalProperties": {"$ref": "#/definitions/Run"},
            },
            {"type": "null"},
        ],
    }
    return {
        "title": "A training recipe of kernelkit",
        "description": run["description"],
        "type": "object",
        "properties": {**head, "runs": runs, **run["properties"]},
        "required": ["name", "predicts"],
        "additionalProperties": False,
        "allOf": [_if_runs(needs), _closed_networks()],
        "definitions": dict(sorted(definitions.items())),
    }


def _head() -> dict[str, Schema]:
    """The keys about all runs, with what they are."""
    found = dict.fromkeys((*_HEAD, "runs"), "")
    for names, description in entries(TrainingRecipe):
        found |= dict.fromkeys(set(names) & set(found), description)
    return {
        key: {
            "description": text,
            **_HEAD.get(key, {}),
            "examples": [value_of(TrainingRecipe, key)],
        }
        for key, text in found.items()
    }


def _needs(part: Schema, definitions: dict[str, Schema]) -> Schema:
    """The needed keys of a section and of those in it, without anything else of its schema."""
    section = _resolved(part, definitions)
    needs: Schema = {"required": section["required"]} if "required" in section else {}
    below = {
        key: _needs(value, definitions) for key, value in section.get("properties", {}).items()
    }
    if below := {key: value for key, value in below.items() if value}:
        needs["properties"] = below
    others = section.get("additionalProperties")
    if isinstance(others, dict) and (of_others := _needs(others, definitions)):
        needs["additionalProperties"] = of_others
    return needs


def _resolved(part: Schema, definitions: dict[str, Schema]) -> Schema:
    """The form of a key that has keys itself, behind references and beside its other forms."""
    if "$ref" in part:
        return _resolved(definitions[part["$ref"].rpartition("/")[2]], definitions)
    for form in (*part.get("allOf", ()), *part.get("anyOf", ())):
        if found := _resolved(form, definitions):
            return found
    return part if part.get("type") == "object" else {}


def _open_sections(part: Schema, definitions: dict[str, Schema]) -> None:
    """Let no section need a key that may stand in another part of the file. Lists are one part."""
    section = _resolved(part, definitions)
    section.pop("required", None)
    others = section.get("additionalProperties")
    for below in (*section.get("properties", {}).values(), others):
        if isinstance(below, dict):
            _open_sections(below, definitions)


def _if_runs(needs: Schema) -> Schema:
    """What is needed: at the top without runs, and there or in each run with them."""
    anywhere = [
        {
            "anyOf": [
                {"required": [key]},
                {
                    "properties": {
                        "runs": {"additionalProperties": {"type": "object", "required": [key]}}
                    }
                },
            ]
        }
        for key in needs["required"]
    ]
    with_runs = {"required": ["runs"], "properties": {"runs": {"type": "object"}}}
    return {"if": with_runs, "then": {"allOf": anywhere}, "else": needs}


def _closed_networks() -> Schema:
    """What keys a network has, unless it is a class of the user's own somewhere in the file."""
    own = {
        "required": ["model"],
        "properties": {"model": {"type": "object", "required": ["network"]}},
    }
    in_a_run = {"runs": {"type": "object", "not": {"additionalProperties": {"not": own}}}}
    known = [*NetworkRecipe.model_fields, *NetworkRecipe.ARGUMENTS]
    closed = {"properties": dict.fromkeys(known, True), "additionalProperties": {"type": "null"}}
    return {
        "if": {"anyOf": [own, {"required": ["runs"], "properties": in_a_run}]},
        "else": {
            "properties": {
                "model": closed,
                "runs": {"additionalProperties": {"properties": {"model": closed}}},
            }
        },
    }


def _name_networks(keys: dict[str, Schema]) -> None:
    """Put the names of architectures and of their arguments into the keys of `model`."""
    names = [*NetworkRecipe.ARCHITECTURES, "timm"]
    keys["arch"]["anyOf"] = [
        {"enum": names},
        {"type": "string", "pattern": any_case(*names)},
        {"type": "null"},
    ]
    for name in NetworkRecipe.ARGUMENTS:
        keys[name] = {"description": "An argument of the network, as its library has it."}
