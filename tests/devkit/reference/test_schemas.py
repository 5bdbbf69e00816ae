"""The JSON schemas, by which editors complete and check what people write."""

import json
import re
import tomllib
from collections.abc import Iterator
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
# YAML of the repository that is neither a recipe nor a training recipe.
OTHERS = ("devkit/reference/examples.yaml",)


def files() -> Iterator[tuple[Kind, Path]]:
    """The recipes, training recipes and settings of the repository, whatever their folders."""
    for folder in ("kernel_src", "devkit", "tests"):
        for path in sorted((REPOSITORY / folder).rglob("*.yaml")):
            if str(path.relative_to(REPOSITORY)) not in OTHERS:
                is_training = re.search("^predicts:", path.read_text(encoding="utf-8"), re.M)
                yield "train" if is_training else "recipe", path
        for path in sorted((REPOSITORY / folder).rglob("kaggle.toml")):
            yield "kaggle", path
    yield "kaggle", REPOSITORY / "kaggle.toml"


FILES = list(files())
each_file = pytest.mark.parametrize(
    ("kind", "path"), FILES, ids=lambda value: "-".join(Path(value).parts[-2:])
)


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
