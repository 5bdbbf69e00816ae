"""What differs: deep merges of sections, and values from the command line.

>>> merged({"model": {"arch": "Unet", "classes": 1}}, {"model": {"arch": "FPN"}})
{'model': {'arch': 'FPN', 'classes': 1}}
>>> Override.parse("model.encoder_name=resnet18")
Override(text='model.encoder_name=resnet18', keys=('model', 'encoder_name'), value='resnet18')
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from kernelkit.errors import RecipeError
from kernelkit.yamlfile import parse_yaml

__all__ = ["Override", "merged"]


def merged(content: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return `content` with the values of `changes`, section by section.

    Lists are replaced as a whole.
    """
    result = dict(content)
    for key, value in changes.items():
        result[key] = _over(result.get(key), value)
    return result


def _over(old: Any, value: Any) -> Any:
    both = isinstance(old, Mapping) and isinstance(value, Mapping)
    return merged(old, value) if both else value


@dataclass(frozen=True)
class Override:
    """One value from the command line.

    Attributes
    ----------
    text
        As it was written.
    keys
        The section's key, and those below it.
    value
        What stands after the equals sign, read as YAML.
    """

    text: str
    keys: tuple[str, ...]
    value: Any

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `key=value`, or `section.key=value`.

        Raises
        ------
        RecipeError
            It has no key, or its value is not YAML.
        """
        name, equals, value = text.partition("=")
        keys = tuple(name.strip().split("."))
        if not equals or not all(keys):
            raise RecipeError(
                f"found {text!r:.60} as a change, wanted a key and a value such as epochs=3"
            )
        content = parse_yaml(
            f"value: {value.strip()}", f"the change {text:.60}", RecipeError, "1.2"
        )
        if set(content) != {"value"}:
            raise RecipeError(f"found {text!r:.60} as a change, wanted one key and one value")
        return cls(text, keys, content["value"])

    def changed(self, content: Mapping[str, Any]) -> dict[str, Any]:
        """Return `content` with this value.

        Raises
        ------
        RecipeError
            A key of it is not a section.
        """
        return self._changed(content, self.keys)

    def _changed(self, content: Mapping[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
        key, *below = keys
        old = content.get(key)
        if not below:
            return {**content, key: _over(old, self.value)}
        if old is not None and not isinstance(old, Mapping):
            found = "a list" if isinstance(old, list | tuple) else f"{old!r:.60}"
            raise RecipeError(
                f"the change {self.text:.60}: found {found} as {key}, which has no keys. Give"
                f" {key} as a whole"
            )
        return {**content, key: self._changed(old or {}, tuple(below))}
