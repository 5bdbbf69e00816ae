"""The pages with all keys: current, complete, and with examples that load."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import pytest
import yaml
from pydantic import BaseModel, TypeAdapter

from devkit.reference.docstrings import entries, keys_of
from devkit.reference.examples import line_of, value_of
from devkit.reference.pages import TOP, page_path, text_of_page
from devkit.reference.sections import PAGES, Sections
from kernelkit.training.recipe import TrainingRecipe
from tests.made.training_run import load_training

SECTIONS = [
    (page, heading, section)
    for page in PAGES
    for heading, section in {TOP: page.top, **page.headings}.items()
]
PARTS = [(page, heading, part.section) for page in PAGES for heading, part in page.parts.items()]
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.page)
each_section = pytest.mark.parametrize(
    ("page", "heading", "section"), SECTIONS, ids=lambda value: getattr(value, "__name__", "")
)
each_part = pytest.mark.parametrize(
    ("page", "heading", "section"), PARTS, ids=lambda value: getattr(value, "__name__", "")
)


def text_below(page: Sections, heading: str) -> str:
    """The text below one heading of a page, up to the next."""
    text = page_path(page).read_text(encoding="utf-8").partition(f"## {page.title}\n")[2]
    return text.partition(f"### {heading}\n")[2].split("\n### ")[0]


def sections_in(section: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """A section and those in it."""
    yield section
    for field in section.model_fields.values():
        for kind in _models_in(field.annotation):
            yield from sections_in(kind)


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        if annotation.__name__ not in ("AugmentStep", "Loss"):  # those have parts of their own
            yield annotation
        return
    for part in getattr(annotation, "__args__", ()):
        yield from _models_in(part)


@each_page
def test_the_page_has_the_keys_as_the_sections_document_them(page: Sections) -> None:
    """If this fails, run `make schema`."""
    assert page_path(page).read_text(encoding="utf-8") == text_of_page(page)


@each_page
def test_the_page_has_every_section_that_its_file_can_hold(page: Sections) -> None:
    """No section is reached from the top that has no heading, here or on the page of recipes."""
    assert set(sections_in(page.top)) <= {section for *_, section in SECTIONS}
    assert set(page.headings.values()) <= set(sections_in(page.top))


@each_section
def test_every_key_is_documented(page: Sections, heading: str, section: type[BaseModel]) -> None:
    """Each key of a section stands below its heading: what it takes, and what it does."""
    text = text_below(page, heading)
    described = {name for names, about in entries(section) if about for name in names}
    for key in keys_of(section):
        assert f"`{key}`: " in text, key
        assert key in described, key


@each_part
def test_every_part_is_documented(page: Sections, heading: str, section: type[BaseModel]) -> None:
    """So is each step of augmentation and each term of the loss, with its own keys."""
    text = text_below(page, heading)
    for part, field in keys_of(section).items():
        about = text.partition(f"- **{part}**: ")[2].partition("\n- ")[0]
        assert about, part
        for key in keys_of(next(_models_in(field.annotation))):
            assert key in ("p", "weight") or f"`{key}`: " in about, (part, key)


@each_section
def test_every_key_has_an_example_that_loads(
    page: Sections,  # noqa: ARG001
    heading: str,  # noqa: ARG001
    section: type[BaseModel],
) -> None:
    """The example of each key in `examples.yaml` is a value that the key takes."""
    for key, field in keys_of(section).items():
        assert line_of(section, key), f"add {section.__name__}.{key} to examples.yaml"
        kind: Any = Annotated[field.annotation, *field.metadata, None]
        TypeAdapter(kind).validate_python(value_of(section, key))


@each_part
def test_every_part_has_an_example_that_loads(
    page: Sections,  # noqa: ARG001
    heading: str,  # noqa: ARG001
    section: type[BaseModel],
) -> None:
    """So has each step and each term, by itself."""
    for name in keys_of(section):
        assert line_of(section, name), f"add {section.__name__}.{name} to examples.yaml"
        beside = {"bce": 1} if name == "aux" else {}
        section.model_validate({name: value_of(section, name), **beside})


@each_page
def test_the_contents_lead_to_the_headings(page: Sections) -> None:
    """Each section is linked from the list above all keys."""
    text = page_path(page).read_text(encoding="utf-8")
    for heading in (*page.headings, *page.parts):
        assert f"[{heading}](#{heading.replace('.', '').lower()})" in text


def test_the_example_of_training_is_a_recipe(tmp_path: Path) -> None:
    """It loads, with a recipe that predicts for three bands."""
    page = next(page for page in PAGES if page.page == "training.md")
    (text,) = re.findall(r"```yaml\n(.*?)```", page_path(page).read_text(), re.DOTALL)
    keys = yaml.safe_load(text)
    del keys["predicts"]
    runs = load_training(tmp_path, {}, {"core": 1536, "pad": 384, "scale": 3}, **keys).runs
    assert set(runs) == {"unet", "fpn"}
    assert runs["fpn"].batch == 8


@each_page
def test_the_page_names_the_recipes_that_come_with_kernelkit(page: Sections) -> None:
    """Each by its name."""
    for name in TrainingRecipe.names():
        assert f"`{name}`" in page_path(page).read_text()
