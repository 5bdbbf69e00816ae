from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernelkit.competition import Submission, check_submission, read_submission
from kernelkit.errors import OutputError, SubmissionError
from kernelkit.mask import BitMask
from kernelkit.recipe import Competition, RLEConvention

COMPETITION = Competition(slug="a-competition")


def corner_mask() -> BitMask:
    pixels = np.zeros((5, 7), dtype=bool)
    pixels[0, 0] = pixels[-1, -1] = True
    return BitMask.from_array(pixels)


def test_an_id_without_a_mask_keeps_the_fallback_row(tmp_path: Path) -> None:
    """Every id has its row, in the order given, whether or not it was predicted."""
    competition = Competition(slug="a-competition", rle=RLEConvention(empty="1 0"))
    submission = Submission(["b", "a"], competition)
    submission.set("a", corner_mask())
    path = submission.write(tmp_path / "submission.csv")
    assert path.read_text() == "id,predicted\nb,1 0\na,1 1 35 1\n"


def test_what_is_written_is_read_back_as_it_was(tmp_path: Path) -> None:
    """A mask that touches the first and the last pixel survives the file."""
    submission = Submission(["a"], COMPETITION)
    submission.set("a", corner_mask())
    path = submission.write(tmp_path / "submission.csv")
    masks = read_submission(path, ["a"], {"a": (5, 7)}, COMPETITION)
    assert dict(masks) == {"a": corner_mask()}


@settings(max_examples=50, deadline=None)
@given(ids=st.lists(st.text("ab,\"' 1é", min_size=1, max_size=6), unique=True, min_size=1))
def test_pandas_reads_the_ids_that_were_written(
    tmp_path_factory: pytest.TempPathFactory, ids: list[str]
) -> None:
    """Commas, quotes and accents in an id are written as CSV wants them."""
    path = tmp_path_factory.mktemp("csv") / "submission.csv"
    Submission(ids, COMPETITION).write(path)
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    assert list(table["id"]) == ids


def test_an_id_that_the_sample_lacks_can_have_no_row() -> None:
    """Setting the mask of an unknown id is an error that names it."""
    with pytest.raises(SubmissionError, match="^x: the sample submission has no such id"):
        Submission(["a"], COMPETITION).set("x", corner_mask())


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


def test_a_missing_submission_is_named(tmp_path: Path) -> None:
    """A notebook that wrote nothing is found out."""
    with pytest.raises(SubmissionError, match="there is no such file"):
        check_submission(tmp_path / "submission.csv", ["a"], {}, COMPETITION)


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    """The submission of an earlier run survives an error in the middle of writing a new one."""
    path = Submission(["a"], COMPETITION).write(tmp_path / "submission.csv")
    before = path.read_text()
    broken = Submission(["a"], COMPETITION)
    broken.rows["a"] = "\udc80"  # cannot be encoded
    with pytest.raises(UnicodeEncodeError):
        broken.write(path)
    assert path.read_text() == before
    assert list(tmp_path.iterdir()) == [path]


def test_an_output_path_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    """A file where the folder should be is named as the reason."""
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written"):
        Submission(["a"], COMPETITION).write(tmp_path / "file" / "submission.csv")
