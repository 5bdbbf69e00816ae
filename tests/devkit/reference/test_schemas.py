"""The JSON schemas, by which editors complete and check what people write."""

import json
import tomllib
from pathlib import Path
from typing import get_args

import pytest
from jsonschema import Draft7Validator

from devkit.editor import Kind, header, schema_path
from devkit.reference.schemas import schema_of, text_of
from devkit.tools import REPOSITORY
from kernelkit.errors import RecipeError
from kernelkit.yamlfile import read_yaml

KINDS = get_args(Kind)
FOLDERS = {
    "recipe": ("kernel_src/kernelkit/recipe", "tests/made/recipes"),
    "train": ("kernel_src/kernelkit/training/recipe", "devkit/demo/training"),
}
FILES = [
    *(
        (kind, path)
        for kind, each in FOLDERS.items()
        for f in each
        for path in sorted((REPOSITORY / f).glob("*.yaml"))
    ),
    ("kaggle", REPOSITORY / "kaggle.toml"),
]
each_file = pytest.mark.parametrize(("kind", "path"), FILES, ids=lambda value: str(value)[-40:])


@pytest.mark.parametrize("kind", KINDS)
def test_the_file_is_what_the_sections_say(kind: Kind) -> None:
    """If this fails, run `make schema`."""
    assert schema_path(kind).read_text(encoding="utf-8") == text_of(kind)


@pytest.mark.parametrize("kind", KINDS)
def test_each_is_a_schema_of_draft_7(kind: Kind) -> None:
    """The specification's own schema takes it."""
    Draft7Validator.check_schema(schema_of(kind))


@each_file
def test_each_file_of_the_repository_is_valid(kind: Kind, path: Path) -> None:
    """An editor shows no error in it."""
    schema = json.loads(schema_path(kind).read_text(encoding="utf-8"))
    if path.suffix == ".toml":
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    else:
        content = read_yaml(path, RecipeError, "1.2")
    Draft7Validator(schema).validate(content)


@each_file
def test_each_file_of_the_repository_names_its_schema(kind: Kind, path: Path) -> None:
    """Its first line leads an editor to a file that is there."""
    first = path.read_text(encoding="utf-8").splitlines()[0]
    assert first == header(kind, path)
    relative = first.partition("schema=")[2] or first.partition("schema ")[2]
    assert (path.parent / relative).resolve() == schema_path(kind)
