"""The JSON schemas of recipe.yaml, train.yaml and kaggle.toml, by which editors complete them."""

import inspect
import json
from collections.abc import Callable

from devkit.editor import Kind
from devkit.kaggle.settings import SettingsKeys
from devkit.reference.generator import Schema, sections_schema
from devkit.reference.training_schema import training_schema
from kernelkit.ensemble.tta import SETS, VIEWS
from kernelkit.predict.hand_in.postprocess import STEPS
from kernelkit.predict.hand_in.seen import asked_of
from kernelkit.recipe import Recipe

__all__ = ["SCHEMAS", "schema_of", "text_of"]


def schema_of(kind: Kind) -> Schema:
    """Return one of the schemas."""
    return {"$schema": "http://json-schema.org/draft-07/schema#", **SCHEMAS[kind]()}


def text_of(kind: Kind) -> str:
    """Return one of the schemas as its file holds it."""
    return json.dumps(schema_of(kind), indent=2, ensure_ascii=False) + "\n"


def _recipe() -> Schema:
    made = {"title": "A recipe of kernelkit", **sections_schema(Recipe)}
    _offer_names(made["definitions"])
    return made


def _offer_names(definitions: dict[str, Schema]) -> None:
    """Put known views and steps before the texts that may be names of others.

    Recipes do not know them, so that they can be loaded without what does.
    """
    views = definitions["EnsembleRecipe"]["properties"]["views"]
    views["anyOf"] = [
        {"enum": [*SETS, *(name for name in VIEWS if name not in SETS)]},
        *views["anyOf"],
    ]
    steps = definitions["PostprocessStep"]["anyOf"]
    named = next(form for form in steps if "propertyNames" in form)
    named["properties"] = {name: _of_step(step) for name, step in STEPS.items()}
    steps.insert(0, {"enum": list(STEPS)})


def _of_step(step: Callable[..., object]) -> Schema:
    """A step with the names of its arguments. The run itself checks their values."""
    _, *names = inspect.signature(step).parameters
    arguments = [name for name in names if name not in asked_of(step)]
    return {
        "description": " ".join((inspect.getdoc(step) or "").split("\n\n")[0].split()),
        "type": ["object", "null"],
        "properties": {key: {} for key in arguments},
    }


def _kaggle() -> Schema:
    return {"title": "The settings of kernelkit for Kaggle", **sections_schema(SettingsKeys)}


SCHEMAS: dict[Kind, Callable[[], Schema]] = {
    "recipe": _recipe,
    "train": training_schema,
    "kaggle": _kaggle,
}
