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
    assert {name: scene.paths[0].name for name, scene in competition.scenes.items()} == {
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
        (None, "the suffix .tiff or .tif in the folder test finds no image"),
        ("image,predicted\na,\n", "the columns are image, predicted, but the recipe writes id"),
        ("id,rle\na,\n", "the columns are id, rle, but"),
        ("id,height,width,predicted\na,1,1,\n", "the columns are id, height, width, predicted"),
        ("id,predicted\n", "it lists no id"),
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


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_a_sample_of_another_encoding_is_refused(tmp_path: Path, encoding: str) -> None:
    """The message says that UTF-8 is wanted."""
    folder = make(tmp_path / "c", "id,predicted\na,\n", "a.tiff")
    (folder / "sample_submission.csv").write_text("id,predicted\né,\n", encoding=encoding)
    with pytest.raises(CompetitionError, match="no CSV file in UTF-8"):
        CompetitionFolder.read(folder, COMPETITION)


def test_a_byte_order_mark_is_no_part_of_a_column(tmp_path: Path) -> None:
    """A sample that a spreadsheet saved is read."""
    folder = make(tmp_path / "c", "\ufeffid,predicted\na,\n", "a.tiff")
    assert CompetitionFolder.read(folder, COMPETITION).ids == ("a",)


def test_a_comma_after_the_last_field_is_no_column(tmp_path: Path) -> None:
    """The ids of a sample are those of its first column, whatever its rows end with."""
    folder = make(tmp_path / "c", "id,predicted\na,1 1,\nb,1 1,\n", "a.tiff")
    assert CompetitionFolder.read(folder, COMPETITION).ids == ("a", "b")


def test_several_files_of_one_id_are_told_apart_by_nobody(tmp_path: Path) -> None:
    """None of them is taken in silence."""
    folder = make(tmp_path / "c", "id,predicted\na,\nb,\n", "a.tif", "a.tiff", "b.tif")
    competition = CompetitionFolder.read(folder, COMPETITION)
    assert list(competition.scenes) == ["b"]
    assert competition.problems["a"].startswith("several files have this id (a.tif and a.tiff)")


def test_an_id_may_be_a_whole_file_name(tmp_path: Path) -> None:
    """A sample that lists k.png finds the file k.png."""
    folder = make(tmp_path / "c", "id,predicted\nk.png,\nm,\n", "k.png", "m.png")
    competition = CompetitionFolder.read(folder, Competition(slug="c", suffixes=("png",)))
    assert {name: scene.paths[0].name for name, scene in competition.scenes.items()} == {
        "k.png": "k.png",
        "m": "m.png",
    }


def test_a_suffix_may_have_several_dots(tmp_path: Path) -> None:
    """The image of a.ome.tif is a. A folder is no image."""
    folder = make(tmp_path / "c", None, "a.ome.tif", "b.tif", "notes.txt")
    (folder / "test/c.tif").mkdir()
    suffixes = (".tif", ".ome.tif")
    assert CompetitionFolder.read(folder, Competition(slug="c", suffixes=suffixes)).ids == (
        "a",
        "b",
    )
