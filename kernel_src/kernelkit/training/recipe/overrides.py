"""Values from the command line, and keys in the form in which they can be merged.

>>> spelled_out({"loss": {"bce": 2}, "crop": 512})
{'loss': {'bce': {'weight': 2}}, 'crop': {'size': 512}}
>>> Override.parse("model.encoder_name=resnet18")
Override(text='model.encoder_name=resnet18', keys=('model', 'encoder_name'), value='resnet18')
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from kernelkit.errors import RecipeError
from kernelkit.recipe.section import merged
from kernelkit.yamlfile import parse_yaml

__all__ = ["Override", "spelled_out"]


def spelled_out(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys of a run with sections instead of bare numbers, so that they can be merged.

    The number of a source, or of a term of the loss, is its weight. That of `crop` is its size.
    """
    result = dict(content)
    for key in ("loss", "sources"):
        if isinstance(result.get(key), Mapping):
            result[key] = {name: _section(part, "weight") for name, part in result[key].items()}
    if "crop" in result:
        result["crop"] = _section(result["crop"], "size")
    return result


def _section(value: Any, key: str) -> Any:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return {key: value} if is_number else value


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
        """Return `content`, which is spelled out, with this value.

        Raises
        ------
        RecipeError
            A key of it is not a section.
        """
        self._refuse_parts(content)
        change = self.value
        for key in reversed(self.keys):
            change = {key: change}
        return merged(content, spelled_out(change))

    def _refuse_parts(self, content: Any) -> None:
        """Refuse a key below what has no keys."""
        for above, key in zip(("", *self.keys), self.keys, strict=False):
            if content is not None and not isinstance(content, Mapping):
                found = "a list" if isinstance(content, list | tuple) else f"{content!r:.60}"
                raise RecipeError(
                    f"the change {self.text:.60}: found {found} as {above}, which has no keys. Give"
                    f" {above} as a whole"
                )
            content = (content or {}).get(key)
