"""What the loaders take, the schemas take. What has a wrong shape, both refuse."""

from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
from jsonschema import Draft7Validator
from pydantic import BaseModel, ValidationError

from devkit.editor import Kind
from devkit.kaggle.settings import EngineSettings, Settings, TrainSettings, ValidationSettings
from devkit.reference.docstrings import keys_of
from devkit.reference.examples import line_of, value_of
from devkit.reference.schemas import schema_of
from devkit.reference.sections import PAGES
from kernelkit.errors import RecipeError
from kernelkit.recipe import Recipe
from kernelkit.training.recipe import NetworkRecipe, TrainingRecipe
from kernelkit.training.recipe.settings import RunSettings
from kernelkit.yamlfile import parse_yaml

Content = dict[str, Any]


def kinds_in(section: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """The sections that the keys of a section are."""
    for field in section.model_fields.values():
        for kind in getattr(field.annotation, "__args__", ()):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield kind


PARTS = [part.section for part in PAGES[1].parts.values()]
OF: dict[Kind, list[type[BaseModel]]] = {
    "recipe": [PAGES[0].top, *PAGES[0].headings.values()],
    "train": [
        *(PAGES[1].top, *PAGES[1].headings.values()),
        *PARTS,
        *dict.fromkeys(kind for section in PARTS for kind in kinds_in(section)),
    ],
    "kaggle": [Settings, TrainSettings, ValidationSettings, EngineSettings],
}
SECTIONS = [(kind, section) for kind, sections in OF.items() for section in sections]
each_section = pytest.mark.parametrize(
    ("kind", "section"), SECTIONS, ids=lambda value: getattr(value, "__name__", value)
)

# What people write, on purpose or not.
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, 2, 3, -1, 0.5, 1.0, 1.5, 1e3, 1e12),
    *("", "1", "0.5", "1_000", "1e3", "nan", "yes", "Off", "on", "no", "a", "A b", "../a", "a/b"),
    *(
        "whole",
        "best",
        "all",
        "auto",
        "off",
        "gate",
        "cosine",
        "d4",
        "one_of",
        "hann",
        "b1",
        "a/b/c/d/1",
    ),
    *("mean of logits", " mean of logits ", "vote of logits", "tsharpen(0.5) of probabilities"),
    *(
        "{image}",
        "{group}/{image}.shp",
        "a.geojson",
        "x.tif",
        "majority",
        "at least 3",
        "Unet",
        "unet",
    ),
    *([], [1], [1, 2], [2, 1], [1, 2, 3], [0.5], [0.7, 1.4], [3, 9], [3, 4], ["1", "2"], [True, 2]),
    *(["a"], ["a", "a"], ["a", "b"], ["best", "last"], ["best", "all"], ["b1", "(b1 + b2) / 2"]),
    *(["a/b"], ["cuda", "cpu"], ["views", "views"], ["d4", "flip"], [["a"], ["b"]], [{}], [None]),
    *(
        {},
        {"a": 1},
        {"a": 0.5},
        {"a": None},
        {"a": True},
        {"a": "1"},
        {"a": {}},
        {"": 1},
        {"weight": 2},
    ),
    *({"size": 64}, {"image": 1}, {"identity": 2, "hflip": 1}, {"cuda": {"x": 1}, "cpu": None}),
    *(
        [{"remove_small": {"min_area": 1}}, "fill_holes"],
        [{"step": "a"}],
        [{"a": None}],
        [{"a": 1}],
    ),
    *([{"one_of": ["d4", "flip"], "p": 0.4}], [{"one_of": ["d4"]}], [{"d4": None}], [{"d4": 1}]),
    *([{"zoom": 1}], [{"size": [64, 64]}], [{"name": "a"}], [{"mean_above": 5}]),
)
# What keys of a section may need beside them. Each is tried.
BESIDE: dict[str, list[Content]] = {
    "RLEConvention": [{"form": "json"}, {"form": "coco"}],
    "Output": [{"polygons": "{image}.shp"}],
    "Tiles": [{"core": 96}, {"whole": True}],
    "ForegroundRule": [{"rule": "grey"}, {"rule": "polygons", "files": "{image}.json"}],
    "MergeStep": [{"of": "logits"}, {"how": "tsharpen", "of": "probabilities", "temperature": 0.5}],
    "LabelsRecipe": [{"rle": "train.csv"}, {"masks": "{image}.png"}, {"polygons": "{image}.json"}],
    "FoldsRecipe": [{"count": 5}, {"lists": [["a"]]}],
    "WindowSource": [
        {"around": "grid", "size": 8},
        {"around": "background", "size": 8, "count": 1},
        {"around": "polygons", "size": 8, "polygons": "{image}.json"},
    ],
    "BlankRule": [{"mean_below": 5}, {"dark": 1, "share_above": 0.1}],
    "Source": [{"pseudo": "store"}],
    "NetworkRecipe": [{"arch": "Unet"}, {"arch": "timm", "model_name": "a"}, {"network": "a:B"}],
    "Optimiser": [{"name": "momentum"}, {"name": "adamw"}],
    "Schedule": [{"name": "cosine"}, {"name": "poly"}, {"name": "step", "every": 1}],
    "Loss": [{"bce": 1}],
    "OneOf": [{"of": ["d4", "flip"]}],
    "Settings": [{"pinning": "latest"}],
}
# Not a matter of shape, as pydantic calls it: what our own validators find, and what is missing.
BY_MEANING = ("value_error", "missing")
# To editors 1.0 is a whole number, and they do not know the range of a number in quotes.
QUOTED = ("0.5", "1", "1_000", "1e3", ["1", "2"], {"a": "1"})


@cache
def validator_of(kind: Kind, section: type[BaseModel]) -> Draft7Validator:
    """The part of a schema that is about a section."""
    schema = schema_of(kind)
    if section in (Recipe, Settings):
        return Draft7Validator(schema)
    name = "Run" if section is RunSettings else section.__name__
    return Draft7Validator({**schema["definitions"][name], "definitions": schema["definitions"]})


def contents(section: type[BaseModel], key: str, value: Any) -> Iterator[Content]:
    """The section with a key of this value, with what it may need beside it."""
    needed = {
        name: value_of(section, name)
        for name, field in keys_of(section).items()
        if field.is_required() and line_of(section, name)
    }
    for beside in ({}, *BESIDE.get(section.__name__, [])):
        yield needed | beside | {key: value}


def problems_of(section: type[BaseModel], content: Any) -> list[str]:
    """How pydantic calls what the loader refuses in a section."""
    try:
        section.model_validate(content)
    except ValidationError as error:
        return [problem["type"] for problem in error.errors()]
    return []


@each_section
def test_what_the_loader_takes_is_no_error_in_an_editor(
    kind: Kind, section: type[BaseModel]
) -> None:
    """Each key with many values: those that the loader takes are valid, and some are taken."""
    validator = validator_of(kind, section)
    for key in keys_of(section):
        own = [value_of(section, key)] if line_of(section, key) else []
        taken = 0
        for content in (c for value in (*own, *VALUES) for c in contents(section, key, value)):
            if not problems_of(section, content):
                taken += 1
                found = [error.message for error in validator.iter_errors(content)]
                assert not found, (content, found[0])
        assert taken, f"no value of {section.__name__}.{key} was taken"


@each_section
def test_a_wrong_shape_is_an_error_in_an_editor(kind: Kind, section: type[BaseModel]) -> None:
    """Each key with many values: those that the loader refuses by their shape are not valid."""
    validator = validator_of(kind, section)
    for key in keys_of(section):
        for value in VALUES:
            is_whole = isinstance(value, float) and value.is_integer()
            if is_whole or value in QUOTED:
                continue
            for content in contents(section, key, value):
                problems = problems_of(section, content)
                if problems and not set(problems) & set(BY_MEANING):
                    assert not validator.is_valid(content), (content, problems)


@each_section
def test_a_misspelt_key_is_an_error_for_both(kind: Kind, section: type[BaseModel]) -> None:
    """Each key with a letter too many is refused by the loader, and not valid."""
    validator = validator_of(kind, section)
    for key in keys_of(section):
        for content in contents(section, f"{key}x", value_of(section, key)):
            if section is not NetworkRecipe:
                assert "extra_forbidden" in problems_of(section, content), content
                assert not validator.is_valid(content), content


TRAINING = """
name: try
predicts: hubmap
images: "train/{image}.tiff"
labels: {rle: train.csv, id_column: id, rle_column: encoding}
folds: {count: 4}
windows: {grid: {around: grid, size: 1024}}
model: {arch: Unet, encoder_name: resnet34}
loss: {bce: 1}
epochs: 3
"""
# Changes of the text above, by what they show. Each is a piece of text and what stands instead.
TAKEN = {
    "nothing": ("", ""),
    "a run": ("epochs: 3", "epochs: 3\nruns: {a: {epochs: 4}, b: , c: {}}"),
    "no runs": ("epochs: 3", "epochs: 3\nruns: null"),
    "a needed key in each run": ("epochs: 3", "runs: {a: {epochs: 4}, b: {epochs: 5}}"),
    "a section in two parts": ("{bce: 1}", "{bce: {weight: 1}}\nruns: {a: {loss: {bce: 2}}}"),
    "windows in two parts": (
        "{around: grid, size: 1024}}",
        "{size: 1024}}\nruns: {a: {windows: {grid: {around: grid}}}}",
    ),
    "a term taken back": ("{bce: 1}", "{bce: 1, dice: 1}\nruns: {a: {loss: {dice: null}}}"),
    "a bare size": ("epochs: 3", "epochs: 3\ncrop: 512"),
    "a size in two parts": ("epochs: 3", "epochs: 3\ncrop: {random: 0.5}\nruns: {a: {crop: 512}}"),
    "no validation": ("epochs: 3", "epochs: 3\nvalidate: null\nkeep: [last]"),
    "a name of any case": ("arch: Unet", "arch: unetPLUSPLUS"),
    "an argument": ("arch: Unet", "arch: Unet, decoder_attention_type: scse"),
    "an argument taken back": (
        "encoder_name: resnet34}",
        "encoder_name: resnet34}\nruns: {a: {model: {anything: null}}}",
    ),
    "a network of one's own": ("arch: Unet, encoder_name: resnet34", "network: 'a:B', width: 32"),
    "its arguments in a run": (
        "{arch: Unet, encoder_name: resnet34}",
        "{network: 'a:B'}\nruns: {a: {model: {width: 32}}}",
    ),
    "a network in each run": (
        "{arch: Unet, encoder_name: resnet34}",
        "{width: 32}\nruns: {a: {model: {network: 'a:B'}}, b: {model: {network: 'a:C'}}}",
    ),
    "a number as a run": ("epochs: 3", "epochs: 3\nruns: {1: {}}"),
}
REFUSED = {
    "a misspelt key": ("epochs: 3", "epoch: 3"),
    "one in a run": ("epochs: 3", "epochs: 3\nruns: {a: {epoch: 4}}"),
    "one in a section": ("count: 4", "count: 4, stratefy: true"),
    "one in a section of a run": ("epochs: 3", "epochs: 3\nruns: {a: {folds: {stratefy: true}}}"),
    "one of a network": ("encoder_name", "encoder_nam"),
    "one of a run's network": ("epochs: 3", "epochs: 3\nruns: {a: {model: {encoder_nam: a}}}"),
    "a key about all runs in a run": ("epochs: 3", "epochs: 3\nruns: {a: {predicts: hubmap}}"),
    "a needed key in no place": ("epochs: 3", ""),
    "a needed key in one of two runs": ("epochs: 3", "runs: {a: {epochs: 3}, b: {}}"),
    "a needed key of a section": ("epochs: 3", "epochs: 3\ncrop: {random: 0.5}"),
    "a needed key of windows": ("around: grid, ", ""),
    "no name": ("name: try", ""),
    "a recipe that predicts": ("predicts: hubmap", "competition: {slug: a}"),
    "no run": ("epochs: 3", "epochs: 3\nruns: {}"),
    "a list of runs": ("epochs: 3", "epochs: 3\nruns: [a]"),
    "a run that is a path": ("epochs: 3", "epochs: 3\nruns: {a/b: {}}"),
    "an architecture that is not there": ("arch: Unet", "arch: Unett"),
    "a number as a name": ("name: try", "name: 5"),
}


def training_of(change: tuple[str, str]) -> tuple[str, Content]:
    """The text of a training recipe with a change, and its content as an editor sees it."""
    assert change[0] in TRAINING
    text = TRAINING.replace(*change, 1)
    content = parse_yaml(text, "train.yaml", RecipeError, "1.2")
    runs = content.get("runs")
    if isinstance(runs, dict):  # in JSON every key is text
        content["runs"] = {str(name): run for name, run in runs.items()}
    return text, content


def validator_of_training() -> Draft7Validator:
    """The whole schema of train.yaml."""
    return Draft7Validator(schema_of("train"))


@pytest.mark.parametrize("change", TAKEN.values(), ids=TAKEN)
def test_a_training_recipe_that_loads_is_valid(change: tuple[str, str]) -> None:
    """Runs, merges and networks of one's own are no error in an editor."""
    text, content = training_of(change)
    TrainingRecipe.parse(text)
    validator_of_training().validate(content)


@pytest.mark.parametrize("change", REFUSED.values(), ids=REFUSED)
def test_a_training_recipe_of_a_wrong_shape_is_refused_by_both(change: tuple[str, str]) -> None:
    """Misspelt and missing keys are errors, wherever they stand."""
    text, content = training_of(change)
    with pytest.raises(RecipeError):
        TrainingRecipe.parse(text)
    assert not validator_of_training().is_valid(content)
