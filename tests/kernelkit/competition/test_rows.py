"""Which image and which class a row of a submission is about."""

import pytest

from kernelkit.competition.rows import Row, rows_of_ids, rows_of_images
from kernelkit.errors import CompetitionError
from kernelkit.recipe import Competition

CLOUDS = Competition(
    slug="clouds", classes=("Fish", "Flower", "Gravel", "Sugar"), rows="{image}.jpg_{class}"
)


def test_a_row_per_class_names_image_and_class() -> None:
    """The rows keep the sample's order, and each has the number of its class."""
    ids = ["b.jpg_Sugar", "a.jpg_Fish", "b.jpg_Fish"]
    assert rows_of_ids(ids, CLOUDS) == (
        Row("b.jpg_Sugar", "b", 3),
        Row("a.jpg_Fish", "a", 0),
        Row("b.jpg_Fish", "b", 0),
    )


def test_images_without_a_sample_have_a_row_per_class() -> None:
    """What is written without a sample is read back as the same rows."""
    rows = rows_of_images(["a", "b.c"], CLOUDS)
    assert len(rows) == 8
    assert rows_of_ids([row.id for row in rows], CLOUDS) == rows


def test_the_submitted_class_may_be_any_of_the_networks() -> None:
    """Of a softmax over background and salt, the row is about class number 1."""
    salt = Competition(slug="salt", submitted=(1,))
    assert rows_of_ids(["a"], salt) == (Row("a", "a", 1),)


def test_two_classes_of_four_are_submitted() -> None:
    """Each name has its own number."""
    some = Competition(slug="c", classes=("b", "d"), submitted=(1, 3), rows="{class}/{image}")
    assert [row.label for row in rows_of_images(["x"], some)] == [1, 3]


@pytest.mark.parametrize("row_id", ["a.jpg_Rain", "a_Fish", ".jpg_Fish", "a.jpg_Fish2", ""])
def test_an_id_of_another_form_is_refused(row_id: str) -> None:
    """The message names the id, the form and the classes."""
    with pytest.raises(CompetitionError, match=r"is not of the form '\{image\}\.jpg_\{class\}'"):
        rows_of_ids([row_id], CLOUDS)
