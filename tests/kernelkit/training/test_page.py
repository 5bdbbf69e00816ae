"""The page about training recipes."""

import re

import pytest
import yaml

from kernelkit.training.recipe import TrainingRecipe
from kernelkit.training.recipe.settings import RunSettings
from tests.made.training_page import OF_PARTS, PAGE, SECTIONS, keys_of, page, parts_of
from tests.made.training_run import load_training


def test_the_page_has_the_keys_as_the_sections_document_them() -> None:
    """If this fails, run `python -m tests.made.training_page`."""
    assert PAGE.read_text() == page()


@pytest.mark.parametrize("section", [RunSettings, *SECTIONS.values()], ids=lambda s: s.__name__)
def test_every_key_is_documented(section: type[RunSettings]) -> None:
    """Each key of a section stands in an item of the page, with a description."""
    text = PAGE.read_text()
    for key in keys_of(section):
        assert re.search(rf"^ *- [^:]*`{key}`[^:]*: \S", text, re.MULTILINE), key


@pytest.mark.parametrize("name", OF_PARTS)
def test_every_part_is_documented(name: str) -> None:
    """So is each step of augmentation and each term of the loss, with its own keys."""
    text = PAGE.read_text().partition(f"### {name}\n")[2].partition("\n### ")[0]
    for part, section in parts_of(OF_PARTS[name]).items():
        about = text.partition(f"- **{part}**: ")[2].partition("\n- ")[0]
        assert about, part
        for key in keys_of(section):
            assert key in ("p", "weight") or f"`{key}`" in about, (part, key)


def test_the_example_of_the_page_is_a_recipe(tmp_path) -> None:
    """It loads, with a recipe that predicts for three bands."""
    (text,) = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    keys = yaml.safe_load(text)
    del keys["predicts"]
    runs = load_training(tmp_path, {}, {"core": 1536, "pad": 384, "scale": 3}, **keys).runs
    assert set(runs) == {"unet", "fpn"}
    assert runs["fpn"].batch == 8


def test_the_page_names_the_recipes_that_come_with_kernelkit() -> None:
    """Each by its name."""
    for name in TrainingRecipe.names():
        assert f"`{name}`" in PAGE.read_text()
