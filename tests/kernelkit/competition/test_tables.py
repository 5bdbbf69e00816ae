"""CSV and Parquet: columns in the sample's order, and its types."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kernelkit.competition import (
    CompetitionFolder,
    Row,
    Submission,
    check_submission,
    preview,
    read_submission,
    submission_rows,
)
from kernelkit.errors import CompetitionError, SubmissionError, TableError
from kernelkit.mask import BitMask
from kernelkit.recipe import Competition

VESSELS = Competition.model_validate(
    {
        "slug": "vessels",
        "suffixes": [".tif"],
        "rle_column": "prediction_string",
        "columns": {"width": "{width}", "height": "{height}"},
        "rle": {"form": "coco", "instances": "field"},
    }
)


def make(folder: Path, table: pd.DataFrame, name: str = "sample_submission.csv") -> Path:
    (folder / "test").mkdir(parents=True)
    for image in table.iloc[:, 0]:
        (folder / f"test/{image}.tif").touch()
    if name.endswith("parquet"):
        table.to_parquet(folder / name)
    else:
        table.to_csv(folder / name, index=False)
    return folder


def vessels(ids: list[object]) -> pd.DataFrame:
    return pd.DataFrame({"id": ids, "height": 512, "width": 512, "prediction_string": "0 1.0 eN"})


def square() -> BitMask:
    return BitMask.from_array(np.pad(np.ones((3, 3), np.uint8), ((1, 4), (2, 5))))


def test_columns_come_in_the_order_of_the_sample(tmp_path: Path) -> None:
    """The recipe names the columns in any order. An unknown size is that of the sample."""
    folder = make(tmp_path / "in", vessels(["b", "a"]))
    found = CompetitionFolder.read(folder, VESSELS)
    submission = Submission(found.rows, VESSELS, found.sample)
    submission.set(found.rows[1], square())
    path = submission.write(tmp_path / "submission.csv")
    lines = path.read_text().splitlines()
    assert lines[:2] == ["id,height,width,prediction_string", "b,512,512,"]
    assert lines[2].startswith("a,8,10,0 1.0 eN")
    masks = read_submission(path, found.ids, {"a": (8, 10)}, VESSELS, submission.header)
    assert dict(masks) == {"a": square()}
    # the size of b is known to the reader, and its fallback row stays valid
    check_submission(path, found.ids, {"b": (8, 10)}, VESSELS, submission.header)


def test_without_a_sample_an_unknown_size_is_0(tmp_path: Path) -> None:
    """The row of an image that cannot be opened is there, with numbers."""
    path = Submission([Row("a", "a", 0)], VESSELS).write(tmp_path / "submission.csv")
    assert path.read_text() == "id,width,height,prediction_string\na,0,0,\n"
    check_submission(path, ["a"], {}, VESSELS)


def test_columns_name_what_the_row_is_about(tmp_path: Path) -> None:
    """Places stand for image, group and class. All else is written as it is."""
    recipe = Competition.model_validate(
        {
            "slug": "c",
            "images": "test/{group}/{image}.tif",
            "rows": "{group}_{image}_{class}",
            "classes": ["x", "y"],
            "columns": {"of": "{image} in {group}", "kind": "{class}", "usage": "Public"},
            "size": [8, 10],
        }
    )
    row = Row("g_a_y", "g/a", 1, "g")
    path = Submission([row], recipe).write(tmp_path / "submission.csv")
    assert path.read_text() == "id,of,kind,usage,predicted\ng_a_y,a in g,y,Public,\n"
    check_submission(path, None, {"g_a_y": (8, 10)}, recipe)


@pytest.mark.parametrize("ids", [["b", "a"], [12, 7]])
def test_the_submission_is_parquet_if_the_sample_is(tmp_path: Path, ids: list[object]) -> None:
    """pandas reads it with the types of the sample, numbers as numbers."""
    folder = make(tmp_path / "in", vessels(ids), "sample_submission.parquet")
    recipe = VESSELS.model_copy(update={"sample": "sample_submission.parquet"})
    found = CompetitionFolder.read(folder, recipe)
    assert found.ids == tuple(map(str, ids))
    assert recipe.submission_name == "submission.parquet"
    submission = Submission(found.rows, recipe, found.sample)
    submission.set(found.rows[1], square())
    path = submission.write(tmp_path / recipe.submission_name)
    table = pd.read_parquet(path)
    assert list(table["id"]) == ids
    assert dict(table.dtypes) == dict(vessels(ids).dtypes)
    assert list(table["height"]) == [512, 8]
    sizes = {str(ids[1]): (8, 10)}
    masks = read_submission(path, found.ids, sizes, VESSELS, submission.header)
    assert dict(masks) == {str(ids[1]): square()}
    assert list(preview(path)["id"]) == list(map(str, ids))


def test_a_parquet_file_of_damaged_text_is_refused(tmp_path: Path) -> None:
    """A flipped byte in a text is one sentence, as in a CSV file."""
    text = pa.array([b"a", b"\xff"], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"id": text}), tmp_path / "a.parquet")
    with pytest.raises(TableError, match="a.parquet: it is no whole Parquet file of texts"):
        list(submission_rows(tmp_path / "a.parquet"))


def test_a_parquet_file_of_many_rows_is_whole(tmp_path: Path) -> None:
    """Rows are written in groups, and come back in their order."""
    plain = Competition(slug="c")
    rows = [Row(f"image {number}", "a", 0) for number in range(10_000)]
    submission = Submission(rows, plain)
    submission.set(rows[9_999], square())
    path = submission.write(tmp_path / "submission.parquet")
    found = list(submission_rows(path))
    assert found[0] == ["id", "predicted"]
    assert [row[0] for row in found[1:]] == [row.id for row in rows]
    assert found[-1][1] == square().to_rle()


def test_a_column_that_cannot_hold_the_text_is_named(tmp_path: Path) -> None:
    """A template of text in a column of numbers is one sentence."""
    folder = make(tmp_path / "in", vessels(["a"]), "sample_submission.parquet")
    columns = {"width": "{image}", "height": "{height}"}
    changes = {"columns": columns, "sample": "sample_submission.parquet"}
    recipe = VESSELS.model_copy(update=changes)
    found = CompetitionFolder.read(folder, recipe)
    with pytest.raises(SubmissionError, match="the column width holds int64 in the sample"):
        Submission(found.rows, recipe, found.sample).write(tmp_path / "submission.parquet")
    assert not (tmp_path / "submission.parquet").exists()


@pytest.mark.parametrize("content", [b"PAR1", b"PAR1 and then nothing", b"id,predicted\na,\n"])
def test_a_damaged_parquet_file_is_named(tmp_path: Path, content: bytes) -> None:
    """A sample that is cut off, or is a CSV file under another name, is one sentence."""
    folder = make(tmp_path / "in", vessels(["a"]))
    (folder / "sample_submission.parquet").write_bytes(content)
    recipe = VESSELS.model_copy(update={"sample": "sample_submission.parquet"})
    with pytest.raises(CompetitionError, match=r"sample_submission\.parquet: "):
        CompetitionFolder.read(folder, recipe)
