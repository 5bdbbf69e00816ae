"""The keys of train.yaml, as docs/training.md has them.

`python -m tests.made.training_page` writes them into the page, from the docstrings of the sections.
"""

import inspect
import re
import textwrap
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from kernelkit.recipe.labels import LabelsRecipe
from kernelkit.training.recipe import (
    AugmentStep,
    BlankRule,
    Crop,
    FoldsRecipe,
    Init,
    Loss,
    NetworkRecipe,
    Optimiser,
    Schedule,
    Source,
    Validate,
    WindowSource,
)
from kernelkit.training.recipe.network import AuxParams
from kernelkit.training.recipe.settings import InputChanges, RunSettings
from tests.made.prose import REPOSITORY

PAGE = REPOSITORY / "docs" / "training.md"
MARK = "<!-- The rest is made from the docstrings: python -m tests.made.training_page -->\n"

# Names of keys, and the lines below that say what they are.
_ENTRY = re.compile(r"^(\S.*)\n((?:    .*\n?|\n)+)", re.MULTILINE)

# The sections of a run by their keys, in the order of the page.
SECTIONS: dict[str, type[BaseModel]] = {
    "labels": LabelsRecipe,
    "folds": FoldsRecipe,
    "input": InputChanges,
    "windows.NAME": WindowSource,
    "blank": BlankRule,
    "sources.NAME": Source,
    "crop": Crop,
    "model": NetworkRecipe,
    "model.aux_params": AuxParams,
    "init": Init,
    "optimiser": Optimiser,
    "schedule": Schedule,
    "validate": Validate,
}
# Those that choose among parts by name.
OF_PARTS: dict[str, type[BaseModel]] = {"augment": AugmentStep, "loss": Loss}
# What all parts have.
SHARED = {
    "augment": ("p", "It is the share of the crops that the step changes, and 1 if left out."),
    "loss": ("weight", "It is what the term is multiplied by, and 1 if left out."),
}


def keys_of(section: type[BaseModel]) -> dict[str, FieldInfo]:
    """The fields of a section, by their keys in the YAML."""
    return {field.alias or name: field for name, field in section.model_fields.items()}


def parts_of(section: type[BaseModel]) -> dict[str, type[BaseModel]]:
    """What a section chooses from, by name."""
    parts = {}
    for key, field in keys_of(section).items():
        kinds = [
            kind for kind in getattr(field.annotation, "__args__", ()) if inspect.isclass(kind)
        ]
        parts[key] = next(kind for kind in kinds if issubclass(kind, BaseModel))
    return parts


def page() -> str:
    """The whole page: what is written by hand, and the keys."""
    written = PAGE.read_text().partition(MARK)[0]
    return written + MARK + "\n" + "\n".join(_sections()).rstrip() + "\n"


def _sections() -> Iterator[str]:
    yield "## All keys of a run\n"
    yield from _section(RunSettings)
    for key, section in SECTIONS.items():
        yield f"### {key}\n"
        yield from _section(section)
    for key, section in OF_PARTS.items():
        yield f"### {key}\n"
        yield from _about(section)
        common = SHARED[key]
        yield _wrapped(f"All have `{common[0]}`. {common[1]}\n", 0) + "\n"
        for name, part in parts_of(section).items():
            yield _wrapped(f"- **{name}**: {' '.join(_summary(part))}", 2)
            yield from _entries(part, 2, without=common[0])
        yield ""


def _section(section: type[BaseModel]) -> Iterator[str]:
    yield from _about(section)
    yield from _entries(section, 0)
    yield ""


def _entries(section: type[BaseModel], indent: int, without: str = "") -> Iterator[str]:
    """An item per entry of the docstring, which may be about several keys."""
    fields = keys_of(section)
    for names, description in _attributes(section):
        shown = [f"`{name}`{_default(fields[name])}" for name in names if name != without]
        if shown:
            text = f"{' ' * indent}- {', '.join(shown)}: {description}"
            yield _wrapped(text, indent + 2)


def _about(section: type[BaseModel]) -> Iterator[str]:
    for paragraph in _summary(section):
        yield textwrap.fill(paragraph, 100) + "\n"


def _summary(section: type[BaseModel]) -> list[str]:
    """The paragraphs before the attributes."""
    text = inspect.getdoc(section) or ""
    before = re.split(r"\nAttributes\n-+\n", text)[0]
    return [" ".join(part.split()) for part in before.split("\n\n") if part.strip()]


def _attributes(section: type[BaseModel]) -> list[tuple[list[str], str]]:
    """What the keys are, by the docstrings of the section and of those that it extends."""
    found = []
    for kind in reversed(section.__mro__):
        text = inspect.cleandoc(kind.__doc__ or "") if issubclass(kind, BaseModel) else ""
        entries = (re.split(r"Attributes\n-+\n", text)[1:] or [""])[0]
        for names, description in re.findall(
            r"^(\S.*)\n((?:    .*\n?|\n)+)", entries, re.MULTILINE
        ):
            known = [name.strip() for name in names.split(",")]
            found.append((known, " ".join(description.split())))
    return found


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return " (needed)"
    value: Any = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel) or value in (None, (), {}):
        return ""
    if isinstance(value, tuple):
        value = f"[{', '.join(map(_word, value))}]"
    return f" ({_word(value)})"


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def _wrapped(text: str, indent: int) -> str:
    return textwrap.fill(text, 100, subsequent_indent=" " * indent, break_on_hyphens=False)


if __name__ == "__main__":
    PAGE.write_text(page())
