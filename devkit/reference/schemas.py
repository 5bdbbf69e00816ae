"""The JSON schemas of recipe.yaml, train.yaml and kaggle.toml, by which editors complete them."""

import json
from collections.abc import Callable

from devkit.editor import Kind
from devkit.kaggle.settings import Settings
from devkit.reference.generator import Schema, sections_schema
from devkit.reference.training_schema import training_schema
from kernelkit.recipe import Recipe

__all__ = ["SCHEMAS", "schema_of", "text_of"]


def schema_of(kind: Kind) -> Schema:
    """Return one of the schemas."""
    return {"$schema": "http://json-schema.org/draft-07/schema#", **SCHEMAS[kind]()}


def text_of(kind: Kind) -> str:
    """Return one of the schemas as its file holds it."""
    return json.dumps(schema_of(kind), indent=2, ensure_ascii=False) + "\n"


def _recipe() -> Schema:
    return {"title": "A recipe of kernelkit", **sections_schema(Recipe)}


def _kaggle() -> Schema:
    return {"title": "The settings of kernelkit for Kaggle", **sections_schema(Settings)}


SCHEMAS: dict[Kind, Callable[[], Schema]] = {
    "recipe": _recipe,
    "train": training_schema,
    "kaggle": _kaggle,
}
