"""An example line for each key, from `examples.yaml` beside this module.

>>> from kernelkit.recipe import Tiles
>>> line_of(Tiles, "core")
'core: 1536'
"""

import re
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from kernelkit.errors import KernelKitError
from kernelkit.yamlfile import parse_yaml

__all__ = ["line_of", "value_of"]

_FILE = Path(__file__).with_name("examples.yaml")


def line_of(section: type[BaseModel], key: str) -> str:
    """Return an example of a key, as it stands in the file. It is empty if there is none."""
    return _lines().get((section.__name__, key), "")


def value_of(section: type[BaseModel], key: str) -> Any:
    """Return the value of that example. It is None if there is none."""
    return parse_yaml(line_of(section, key) or f"{key}:", str(_FILE), KernelKitError, "1.2")[key]


@cache
def _lines() -> dict[tuple[str, str], str]:
    found, section = {}, ""
    for line in _FILE.read_text(encoding="utf-8").splitlines():
        if heading := re.fullmatch(r"(\w+):", line):
            section = heading[1]
        elif entry := re.fullmatch(r"  (\w+): .*", line):
            found[section, entry[1]] = line.strip()
    return found
