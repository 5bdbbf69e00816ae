"""What stands in the RLE column: every form, whole or one part per component."""

import base64
import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco_api
from scipy import ndimage

from kernelkit.competition import Row, Submission, check_submission, read_submission
from kernelkit.competition.fields import fields_of, masks_of, read_fields, write_parts
from kernelkit.errors import SubmissionError
from kernelkit.mask import BitMask
from kernelkit.recipe import Competition, RLEConvention
from tests.made.masks import binary_images

NOTES: list[dict[str, Any]] = [
    {"form": form, "instances": instances} | more
    for form in ("text", "json")
    for instances in (None, "rows", "field")
    for more in ({}, {"order": "row", "base": 0, "empty": "-"})
]
NOTES += [{"form": "coco", "instances": instances} for instances in (None, "rows", "field")]
conventions = st.sampled_from([RLEConvention(**note) for note in NOTES])


@given(binary_images(), conventions)
def test_what_is_written_is_read_back(image: np.ndarray, rle: RLEConvention) -> None:
    """In every form a mask is the mask of its fields, empty masks included."""
    mask = BitMask.from_array(image)
    fields = fields_of(write_parts(mask, rle), rle)
    assert len(fields) == 1 or rle.instances == "rows"
    parts = read_fields(fields, rle, 1, image.size)
    assert masks_of(parts, rle, 1, mask.shape) == [mask]
    assert len(read_fields(fields, rle, 1, None)) == len(parts)


@given(binary_images(), st.sampled_from(["rows", "field"]))
def test_each_component_is_a_part(image: np.ndarray, instances: str) -> None:
    """There are as many parts as scipy finds components."""
    for form in ("text", "json", "coco"):
        rle = RLEConvention.model_validate({"form": form, "instances": instances})
        parts = write_parts(BitMask.from_array(image), rle)
        assert len(parts) == ndimage.label(image, np.ones((3, 3)))[1]


def two_squares() -> np.ndarray:
    image = np.zeros((6, 9), np.uint8)
    image[1:3, 1:3] = 1
    image[4:6, 6:9] = 1
    return image


def test_instances_of_a_json_field_are_recods() -> None:
    """The example of the competition's page: JSON runs, and a semicolon between instances."""
    rle = RLEConvention(form="json", instances="field", empty="authentic")
    (field,) = fields_of(write_parts(BitMask.from_array(two_squares()), rle), rle)
    assert field == "[8, 2, 14, 2];[41, 2, 47, 2, 53, 2]"
    assert fields_of([], rle) == ["authentic"]
    starts = [json.loads(part)[0] for part in field.split(";")]
    assert all(two_squares().flatten("F")[start - 1] for start in starts)


def test_a_vessel_is_class_confidence_and_counts() -> None:
    """HuBMAP vasculature reads `class confidence base64` for each instance."""
    rle = RLEConvention(form="coco", instances="field", confidence=0.98)
    (field,) = fields_of(write_parts(BitMask.from_array(two_squares()), rle), rle)
    words = field.split(" ")
    assert words[0::3] == ["0", "0"]
    assert words[1::3] == ["0.98", "0.98"]
    found = np.zeros_like(two_squares())
    for text in words[2::3]:
        counts = zlib.decompress(base64.b64decode(text))
        found += coco_api.decode({"size": [6, 9], "counts": counts})
    assert np.array_equal(found, two_squares())


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_the_confidence_is_the_mean_probability(dtype: type) -> None:
    """If probabilities are stored, each part has its own confidence, of four digits at most."""
    image = two_squares()
    probabilities = np.where(image, 204, 10).astype(np.uint8)
    probabilities[4:6, 6:9] = 255
    if dtype == np.float32:
        probabilities = (probabilities / 255).astype(np.float32)
    mask = BitMask.from_array(image)
    parts = write_parts(mask, RLEConvention(form="coco", instances="rows"), 2, probabilities)
    assert [part.split()[:2] for part in parts] == [["2", "0.8"], ["2", "1.0"]]
    whole = write_parts(mask, RLEConvention(form="coco"), 0, probabilities)
    assert [part.split()[:2] for part in whole] == [["0", "0.92"]]


CELLS = Competition(
    slug="cells",
    classes=("nucleus", "cytosol"),
    rle=RLEConvention(form="coco", instances="field"),
)


def test_all_classes_of_an_image_may_share_a_field(tmp_path: Path) -> None:
    """HPA's row holds the parts of every class. A class is read back as its own mask."""
    rows = [Row("a", "a", label) for label in (0, 1)] + [Row("b", "b", label) for label in (0, 1)]
    first = BitMask.from_array(two_squares())
    second = BitMask.from_array(1 - two_squares())
    submission = Submission(rows, CELLS)
    submission.set(rows[0], first)
    submission.set(rows[1], second)
    submission.set(rows[3], first)
    path = submission.write(tmp_path / "submission.csv")
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    assert list(table["id"]) == ["a", "b"]
    assert table["predicted"][0].split()[0::3] == ["0", "0", "1"]
    found = list(read_submission(path, ["a", "b"], {"a": (6, 9), "b": (6, 9)}, CELLS))
    assert [row_id for row_id, _ in found] == ["a", "a", "b", "b"]
    assert [mask for _, mask in found] == [first, second, BitMask.zeros(6, 9), first]


def test_each_component_has_its_own_row(tmp_path: Path) -> None:
    """DSB2018 wants several rows of one id, one after the other, and one row if there is none."""
    nuclei = Competition(slug="nuclei", rle=RLEConvention(instances="rows"))
    rows = [Row("b", "b", 0), Row("a", "a", 0)]
    submission = Submission(rows, nuclei)
    submission.set(rows[0], BitMask.from_array(two_squares()))
    path = submission.write(tmp_path / "submission.csv")
    assert path.read_text() == "id,predicted\nb,8 2 14 2\nb,41 2 47 2 53 2\na,\n"
    found = dict(read_submission(path, ["b", "a"], {"b": (6, 9)}, nuclei))
    assert found == {"b": BitMask.from_array(two_squares())}
    with pytest.raises(SubmissionError, match="1 of 3 ids have no row, the first is 'c'"):
        check_submission(path, ["b", "a", "c"], {}, nuclei)


def test_rows_of_an_id_stand_together(tmp_path: Path) -> None:
    """An id that comes again after another is refused."""
    nuclei = Competition(slug="nuclei", rle=RLEConvention(instances="rows"))
    path = tmp_path / "submission.csv"
    path.write_text("id,predicted\na,1 1\nb,1 1\na,3 1\n")
    with pytest.raises(SubmissionError, match="the id 'a' has more than one row"):
        check_submission(path, None, {}, nuclei)
