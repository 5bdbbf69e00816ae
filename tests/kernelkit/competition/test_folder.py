from pathlib import Path

import pytest

from kernelkit.competition import CompetitionFolder
from kernelkit.errors import CompetitionError
from kernelkit.recipe import Competition

COMPETITION = Competition(slug="a-competition")


def make(folder: Path, sample: str | None, *images: str) -> Path:
    (folder / "test").mkdir(parents=True)
    for name in images:
        (folder / "test" / name).touch()
    if sample is not None:
        (folder / "sample_submission.csv").write_text(sample)
    return folder


def test_ids_come_in_the_order_of_the_sample(tmp_path: Path) -> None:
    """The submission's order is the sample's, not the folder's."""
    folder = make(tmp_path / "c", "id,predicted\nb,\na,\n", "a.tiff", "b.TIF")
    competition = CompetitionFolder.read(folder, COMPETITION)
    assert competition.ids == ("b", "a")
    assert {name: path.name for name, path in competition.files.items()} == {
        "a": "a.tiff",
        "b": "b.TIF",
    }


def test_ids_that_look_like_numbers_stay_text(tmp_path: Path) -> None:
    """An id of 0012 is not turned into 12, nor one of NA into nothing."""
    folder = make(tmp_path / "c", "id,predicted\n0012,\nNA,\n", "0012.tiff")
    assert CompetitionFolder.read(folder, COMPETITION).ids == ("0012", "NA")


def test_without_a_sample_the_images_are_the_ids(tmp_path: Path) -> None:
    """A folder that has only images is predicted in the order of their names."""
    folder = make(tmp_path / "c", None, "b.tiff", "a.tiff", "notes.txt")
    assert CompetitionFolder.read(folder, COMPETITION).ids == ("a", "b")


def test_an_image_that_no_id_asks_for_is_set_apart(tmp_path: Path) -> None:
    """It is not predicted, since the submission may have no row for it."""
    folder = make(tmp_path / "c", "id,predicted\na,\n", "a.tiff", "extra.tiff")
    competition = CompetitionFolder.read(folder, COMPETITION)
    assert [path.name for path in competition.unlisted] == ["extra.tiff"]


@pytest.mark.parametrize(
    ("sample", "wanted"),
    [
        (None, "no image with the suffix .tiff or .tif"),
        ("image,predicted\na,\n", "the column 'id' is missing, found image, predicted"),
        ("id,rle\na,\n", "the column 'predicted' is missing"),
        ("id,predicted\na,\na,\n", "the id 'a' stands in it twice"),
    ],
)
def test_a_folder_that_cannot_be_right_is_refused(
    tmp_path: Path, sample: str | None, wanted: str
) -> None:
    """An empty folder and a sample of another competition are each one sentence."""
    with pytest.raises(CompetitionError, match=wanted):
        CompetitionFolder.read(make(tmp_path / "c", sample), COMPETITION)


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    """The message says which competition to attach."""
    with pytest.raises(CompetitionError, match="Attach the competition 'a-competition'"):
        CompetitionFolder.read(tmp_path / "none", COMPETITION)
