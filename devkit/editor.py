"""How an editor finds the JSON schema of a recipe, a training recipe or the settings for Kaggle.

>>> header("recipe", REPOSITORY / "competitions" / "mine" / "recipe.yaml")
'# yaml-language-server: $schema=../../docs/schemas/recipe.schema.json'
>>> header("kaggle", REPOSITORY / "kaggle.toml")
'#:schema ./docs/schemas/kaggle.schema.json'
"""

import os
from pathlib import Path
from typing import Literal

from devkit.tools import REPOSITORY

__all__ = ["Kind", "header", "schema_path"]

# What a file is: a recipe, a training recipe, or the settings for Kaggle.
Kind = Literal["recipe", "train", "kaggle"]


def schema_path(kind: Kind) -> Path:
    """Return where a schema lies."""
    return REPOSITORY / "docs" / "schemas" / f"{kind}.schema.json"


def header(kind: Kind, path: Path) -> str:
    """Return the first line of a file, which names its schema.

    Parameters
    ----------
    kind
        What the file is.
    path
        Where it lies, in this repository.
    """
    schema = Path(os.path.relpath(schema_path(kind), path.resolve().parent)).as_posix()
    if path.suffix == ".toml":
        return f"#:schema {schema if schema.startswith('.') else f'./{schema}'}"
    return f"# yaml-language-server: $schema={schema}"
