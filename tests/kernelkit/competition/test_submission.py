import gzip
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernelkit.competition import Row, Submission, check_submission, read_submission
from kernelkit.errors import OutputError, SubmissionError
from kernelkit.mask import BitMask
from kernelkit.recipe import Competition, RLEConvention

COMPETITION = Competition(slug="a-competition")


def rows_of(*ids: str) -> list[Row]:
    return [Row(row_id, row_id, 0) for row_id in ids]


def corner_mask() -> BitMask:
    pixels = np.zeros((5, 7), dtype=bool)
    pixels[0, 0] = pixels[-1, -1] = True
    return BitMask.from_array(pixels)


def test_an_id_without_a_mask_keeps_the_fallback_row(tmp_path: Path) -> None:
    """Every id has its row, in the order given, whether or not it was predicted."""
    competition = Competition(slug="a-competition", rle=RLEConvention(empty="1 0"))
    submission = Submission(rows_of("b", "a"), competition)
    submission.set(Row("a", "a", 0), corner_mask())
    path = submission.write(tmp_path / "submission.csv")
    assert path.read_text() == "id,predicted\nb,1 0\na,1 1 35 1\n"


def test_what_is_written_is_read_back_as_it_was(tmp_path: Path) -> None:
    """A mask that touches the first and the last pixel survives the file."""
    submission = Submission(rows_of("a"), COMPETITION)
    submission.set(Row("a", "a", 0), corner_mask())
    path = submission.write(tmp_path / "submission.csv")
    masks = read_submission(path, ["a"], {"a": (5, 7)}, COMPETITION)
    assert dict(masks) == {"a": corner_mask()}


@settings(max_examples=50)
@given(ids=st.lists(st.text("ab,\"' 1é", min_size=1, max_size=6), unique=True, min_size=1))
def test_pandas_reads_the_ids_that_were_written(
    tmp_path_factory: pytest.TempPathFactory, ids: list[str]
) -> None:
    """Commas, quotes and accents in an id are written as CSV wants them."""
    path = tmp_path_factory.mktemp("csv") / "submission.csv"
    Submission(rows_of(*ids), COMPETITION).write(path)
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    assert list(table["id"]) == ids


def test_an_id_that_the_sample_lacks_can_have_no_row() -> None:
    """Setting the mask of an unknown id is an error that names it."""
    with pytest.raises(SubmissionError, match="^x: the sample submission has no such id"):
        Submission(rows_of("a"), COMPETITION).set(Row("x", "x", 0), corner_mask())


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("id,mask\na,\nb,\n", r"the columns are \['id', 'mask'\]"),
        ("id,predicted\na,\n", "1 of 2 ids have no row, the first is 'b'"),
        ("id,predicted\na,\nb,\na,\n", "the id 'a' has more than one row"),
        ("id,predicted\na,\nb,\nc,\n", "the id 'c' is not in the sample"),
        ("id,predicted\nb,\na,\n", "not in the order"),
        ("id,predicted\na,1,2\nb,\n", "line 2 has 3 fields"),
        ("id,predicted\na,36 1\nb,\n", "the row of a"),
        ("id,predicted\na,1 2 3\nb,\n", "the row of a"),
        ("id,predicted\na,1 x\nb,\n", "the row of a"),
    ],
)
def test_a_submission_that_would_be_refused_is_refused_here(
    tmp_path: Path, text: str, wanted: str
) -> None:
    """Columns, ids, their order and every RLE are checked, and the finding is named."""
    path = tmp_path / "submission.csv"
    path.write_text(text)
    with pytest.raises(SubmissionError, match=wanted):
        check_submission(path, ["a", "b"], {"a": (5, 7), "b": (5, 7)}, COMPETITION)


@pytest.mark.parametrize(
    ("row", "wanted"),
    [
        ("0 5", "the start 0 lies before the first pixel, 1"),
        ("-5 3", "the start -5 lies before the first pixel, 1"),
        ("foo bar", "'foo' is not a whole number"),
        ("1", "a start without a length"),
        ("1 0", "the length 0 is not positive"),
        ("1 5 3 2", "the start 3 lies before the end of the run before it"),
        ("9 1 1 1", "the start 1 lies before the end of the run before it"),
        ("1 1.5", "'1.5' is not a whole number"),
    ],
)
def test_without_a_size_the_runs_are_still_checked(tmp_path: Path, row: str, wanted: str) -> None:
    """The images lie on Kaggle. Pairs, base and order can be checked at home."""
    path = tmp_path / "submission.csv"
    path.write_text(f"id,predicted\na,{row}\n")
    with pytest.raises(SubmissionError, match="the row of a") as caught:
        check_submission(path, ["a"], {}, COMPETITION)
    assert wanted in str(caught.value)
    path.write_text("id,predicted\na,7000000000 3\n")
    check_submission(path, ["a"], {}, COMPETITION)


def test_a_row_is_checked_against_the_size_of_the_recipe(tmp_path: Path) -> None:
    """The size of submitted masks counts, whatever the image's is, and if no image is here."""
    clouds = Competition(slug="clouds", size=(5, 7))
    path = tmp_path / "submission.csv"
    path.write_text("id,predicted\na,35 1\n")
    masks = read_submission(path, ["a"], {"a": (1400, 2100)}, clouds)
    assert [mask.shape for _, mask in masks] == [(5, 7)]
    path.write_text("id,predicted\na,36 1\n")
    for sizes in ({}, {"a": (1400, 2100)}):
        with pytest.raises(SubmissionError, match="ends past the last pixel, 35"):
            check_submission(path, ["a"], sizes, clouds)


def test_a_compressed_submission_is_read_as_kaggle_reads_it(tmp_path: Path) -> None:
    """What the file begins with decides. Its name may say something else."""
    content = b"id,predicted\na,1 1 35 1\n"
    with zipfile.ZipFile(tmp_path / "a.csv", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("submission.csv", content)
    (tmp_path / "b.zip").write_bytes(gzip.compress(content))
    for path in tmp_path.iterdir():
        masks = dict(read_submission(path, ["a"], {"a": (5, 7)}, COMPETITION))
        assert masks == {"a": corner_mask()}


@pytest.mark.parametrize(
    ("members", "wanted"), [([], "holds 0 files, wanted one"), (["a", "b"], "holds 2 files")]
)
def test_an_archive_of_several_files_is_refused(
    tmp_path: Path, members: list[str], wanted: str
) -> None:
    """Nobody could say which of them is the submission."""
    path = tmp_path / "submission.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in members:
            archive.writestr(name, "id,predicted\na,\n")
    with pytest.raises(SubmissionError, match=wanted):
        check_submission(path, ["a"], {}, COMPETITION)


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        (b"", "it is empty. Wanted the columns id, predicted"),
        (b"id,predicted\n", "it has no row"),
        (b"id,predicted\na,\na,\n", "the id 'a' has more than one row"),
        (b"\x89PNG\r\n\x1a\n\x00", "it is not text in UTF-8 (byte 0x89)"),
        (gzip.compress(b"id,predicted\na,\n" * 999, mtime=0)[:40], "the archive is damaged"),
        (b"PK\x03\x04 and then nothing", "the archive is damaged"),
        ("id,predicted\na,\n".encode("utf-16"), "it is not text in UTF-8"),
    ],
)
def test_a_file_that_is_no_table_is_refused(tmp_path: Path, content: bytes, wanted: str) -> None:
    """Without a sample there are no ids to compare with. The rest is checked."""
    path = tmp_path / "submission.csv"
    path.write_bytes(content)
    with pytest.raises(SubmissionError) as caught:
        check_submission(path, None, {}, COMPETITION)
    assert wanted in str(caught.value)


def test_a_file_without_an_end_is_left_at_the_first_row_too_many(tmp_path: Path) -> None:
    """An archive of a few kilobytes may hold gigabytes of rows."""
    path = tmp_path / "submission.csv"
    path.write_bytes(gzip.compress(b"id,predicted\n" + b"a,\n" * 10**6 + b'"'))
    with pytest.raises(SubmissionError, match="the id 'a' has more than one row"):
        check_submission(path, ["a"], {}, COMPETITION)


def test_a_missing_submission_is_named(tmp_path: Path) -> None:
    """A notebook that wrote nothing is found out."""
    with pytest.raises(SubmissionError, match="there is no such file"):
        check_submission(tmp_path / "submission.csv", ["a"], {}, COMPETITION)


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    """The submission of an earlier run survives an error in the middle of writing a new one."""
    path = Submission(rows_of("a"), COMPETITION).write(tmp_path / "submission.csv")
    before = path.read_text()
    broken = Submission(rows_of("a"), COMPETITION)
    broken.parts[Row("a", "a", 0)] = ["\udc80"]  # cannot be encoded
    with pytest.raises(UnicodeEncodeError):
        broken.write(path)
    assert path.read_text() == before
    assert list(tmp_path.iterdir()) == [path]


def test_an_output_path_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    """A file where the folder should be is named as the reason."""
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written"):
        Submission(rows_of("a"), COMPETITION).write(tmp_path / "file" / "submission.csv")
