"""Faults of a competition's rows, columns and fields, and the sentence that refuses each.

A row is a fault: its name, what makes it, and the right answer.
"""

import base64
import re
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pycocotools import mask as coco_api

from kernelkit.competition import CompetitionFolder, Row, Submission, check_submission
from kernelkit.competition.scenes import find_scenes
from kernelkit.errors import CompetitionError, RecipeError, SubmissionError
from kernelkit.mask import BitMask
from kernelkit.predict import load_models, predict
from kernelkit.recipe import Competition, Recipe
from tests.made.competition import NETWORK, RECIPE, write_models
from tests.made.layouts import picture, write

PYTHONS_WORDS = re.compile(
    r"KeyError|TypeError|ValueError|NoneType|Traceback|pydantic|codec|Arrow|binascii|None\b"
)
SHAPE = (5, 7)


def names(rows: list[Any]) -> list[str]:
    """The faults' names, which pytest shows."""
    return [row[0] for row in rows]


def values(rows: list[Any]) -> list[Any]:
    """What makes each fault, and the right answer."""
    return [row[1:] for row in rows]


def refused(error: type[Exception], wanted: str, act: Callable[[], Any]) -> None:
    """One sentence of the right class, in words of the house."""
    with pytest.raises(error) as caught:
        act()
    message = str(caught.value)
    assert wanted in message
    assert not PYTHONS_WORDS.search(message), message
    assert "\n" not in message
    assert not message.endswith(".")
    assert len(message) < 500


# ---- the recipe

RECIPES = [
    # (name, what the competition says, the right answer)
    ("no height", {"size": [0, 525]}, "size.0: Input should be greater than 0"),
    ("one side", {"size": [350]}, "size"),
    ("the id again", {"columns": {"id": "x"}}, "found the column id in columns, which is the id_c"),
    ("the RLE again", {"columns": {"predicted": ""}}, "found the column predicted in columns"),
    ("a place that is none", {"columns": {"a": "{heigth}"}}, "found {heigth} in the column a"),
    ("no class to name", {"columns": {"a": "{class}"}}, "found {class} in the column a"),
    ("no group to name", {"columns": {"a": "{group}"}}, "Known here are {height}, {image}, {width"),
    ("a column of numbers", {"columns": {"a": 512}}, "columns.a: wanted text. Put it in quotes"),
    ("stars in a name", {"images": "test/**{image}.tif"}, "wanted ** between slashes, where it st"),
    ("a group in rows alone", {"rows": "{group}_{image}"}, "found {group} in rows"),
    ("a class in rows alone", {"rows": "{image}_{class}"}, "for 0 classes, wanted a form with {im"),
    ("classes in no row", {"classes": ["a"]}, "wanted a form with {image} and {class}"),
    (
        "a form that is none",
        {"rle": {"form": "png"}},
        "rle.form: Input should be 'text', 'json' or",
    ),
    ("instances as a word", {"rle": {"instances": "all"}}, "instances: Input should be 'rows' or"),
    (
        "an order of counts",
        {"rle": {"form": "coco", "order": "row"}},
        "found order, wanted neither",
    ),
    ("a base of counts", {"rle": {"form": "coco", "base": 0}}, "found base, wanted neither with"),
    ("a confidence of text", {"rle": {"confidence": 0.5}}, "found confidence, wanted none with f"),
    (
        "a confidence of 2",
        {"rle": {"form": "coco", "confidence": 2}},
        "confidence: Input should be",
    ),
    ("an empty with a comma", {"rle": {"empty": "a,b"}}, "wanted a text without comma, quote and"),
]


@pytest.mark.parametrize(("competition", "wanted"), values(RECIPES), ids=names(RECIPES))
def test_a_competition_that_cannot_be_meant_is_refused(
    competition: dict[str, Any], wanted: str
) -> None:
    """Each is one sentence with the key, what was found and what was wanted."""
    refused(RecipeError, wanted, lambda: Recipe.parse(RECIPE).override(competition=competition))


# ---- fields

VESSELS = {"form": "coco", "instances": "field"}
FORGERY = {"form": "json", "instances": "field", "empty": "authentic"}
NUCLEI = {"instances": "rows"}


def counts(height: int, width: int) -> str:
    """A full mask as HuBMAP vasculature wants it."""
    encoded = coco_api.decode({"size": [1, 1], "counts": b"01"}).repeat(height, 0).repeat(width, 1)
    text = coco_api.encode(encoded.copy(order="F"))["counts"]
    return base64.b64encode(zlib.compress(text)).decode()


FIELDS = [
    # (name, the convention, the fields of the image's rows, the right answer)
    ("no class", VESSELS, [f"0.9 {counts(*SHAPE)}"], "found 2 words, wanted class, confidence and"),
    (
        "another class",
        VESSELS,
        [f"1 0.9 {counts(*SHAPE)}"],
        "found the class '1', wanted a whole nu",
    ),
    (
        "a class of words",
        VESSELS,
        [f"x 0.9 {counts(*SHAPE)}"],
        "found the class 'x', wanted a whol",
    ),
    ("a class below 0", VESSELS, [f"-1 0.9 {counts(*SHAPE)}"], "found the class '-1'"),
    (
        "confidence in percent",
        VESSELS,
        [f"0 98 {counts(*SHAPE)}"],
        "found the confidence '98', want",
    ),
    ("confidence of NaN", VESSELS, [f"0 nan {counts(*SHAPE)}"], "found the confidence 'nan'"),
    ("no base64", VESSELS, ["0 1.0 ###"], "it is not base64"),
    ("accents", VESSELS, ["0 1.0 é"], "it is not base64"),
    ("base64 of text", VESSELS, ["0 1.0 aGVsbG8="], "holds nothing that zlib compressed"),
    (
        "cut off",
        VESSELS,
        ["0 1.0 " + base64.b64encode(zlib.compress(b"1" * 99)[:9]).decode()],
        "cut",
    ),
    (
        "rows and columns",
        VESSELS,
        [f"0 1.0 {counts(4, 7)}"],
        "its counts sum to 28 pixels, but the",
    ),
    ("too many pixels", VESSELS, [f"0 1.0 {counts(6, 7)}"], "go past the last pixel"),
    ("COCO's counts alone", VESSELS, ["0 1.0 1234"], "holds nothing that zlib compressed"),
    ("plain runs", FORGERY, ["1 3"], "found '1 3', which is no JSON list of whole numbers"),
    ("no commas", FORGERY, ["[1 3]"], "found '[1 3]', which is no JSON list"),
    ("a list that is cut", FORGERY, ["[1, 3"], "which is no JSON list of whole numbers"),
    ("floats", FORGERY, ["[1.0, 3.0]"], "which is no JSON list of whole numbers"),
    ("truth values", FORGERY, ["[true, 3]"], "which is no JSON list of whole numbers"),
    ("a table", FORGERY, ['{"1": 3}'], "which is no JSON list of whole numbers"),
    ("lists in a list", FORGERY, ["[[1, 3]]"], "which is no JSON list of whole numbers"),
    ("nested", FORGERY, ["[" * 20_000], "which is no JSON list of whole numbers"),
    (
        "an empty list",
        FORGERY,
        ["[]"],
        "found a list without a run. Write what stands for an empty",
    ),
    ("nothing", FORGERY, [""], "found nothing in it, wanted a mask, or 'authentic' alone"),
    ("authentic and a mask", FORGERY, ["authentic;[1, 3]"], "which is no JSON list"),
    (
        "a separator at the end",
        FORGERY,
        ["[1, 3];"],
        "found a part of nothing in it, wanted a mask",
    ),
    ("a JSON list of odd length", FORGERY, ["[1, 3, 9]"], "a start without a length"),
    ("before the first pixel", FORGERY, ["[0, 3]"], "the start 0 lies before the first pixel, 1"),
    ("past the last pixel", FORGERY, ["[30, 7]"], "ends past the last pixel, 35"),
    ("runs that descend", FORGERY, ["[9, 2, 1, 2]"], "Runs must ascend"),
    (
        "instances that overlap",
        FORGERY,
        ["[1, 3];[3, 2]"],
        "two of its 2 parts have the pixel at pos",
    ),
    (
        "rows that overlap",
        NUCLEI,
        ["1 3", "3 2"],
        "two of its 2 parts have the pixel at position 2",
    ),
    ("a row twice", NUCLEI, ["1 3", "1 3"], "two of its 2 parts have the pixel at position 0"),
    ("a row of nothing beside others", NUCLEI, ["1 3", ""], "found nothing in it, wanted a mask"),
]


@pytest.mark.parametrize(("rle", "fields", "wanted"), values(FIELDS), ids=names(FIELDS))
def test_a_field_that_the_competition_would_refuse_is_refused(
    tmp_path: Path, rle: dict[str, Any], fields: list[str], wanted: str
) -> None:
    """Each is one sentence that names the file and the row."""
    competition = Competition.model_validate({"slug": "c", "rle": rle})
    path = tmp_path / "submission.csv"
    pd.DataFrame({"id": "a", "predicted": fields}).to_csv(path, index=False)
    sizes = {"a": SHAPE}
    refused(SubmissionError, wanted, lambda: check_submission(path, ["a"], sizes, competition))


COLUMNS = [
    # (name, the columns, the file, the right answer)
    ("another height", {"h": "{height}"}, "id,h,predicted\na,9,1 1\n", "its h is '9', wanted '5'"),
    ("sides exchanged", {"w": "{width}"}, "id,w,predicted\na,5,1 1\n", "its w is '5', wanted '7'"),
    ("no number", {"w": "{width}"}, "id,w,predicted\na,,\n", "its w is '', wanted '{width}'"),
    ("another constant", {"u": "Public"}, "id,u,predicted\na,,\n", "its u is '', wanted 'Public'"),
    (
        "a column less",
        {"u": "x"},
        "id,predicted\na,\n",
        "the columns are ['id', 'predicted'], want",
    ),
    ("another order", {"u": "x"}, "u,id,predicted\nx,a,\n", "the columns are ['u', 'id', 'predic"),
]


@pytest.mark.parametrize(("columns", "text", "wanted"), values(COLUMNS), ids=names(COLUMNS))
def test_a_column_that_the_recipe_would_not_write_is_refused(
    tmp_path: Path, columns: dict[str, str], text: str, wanted: str
) -> None:
    """Heights and widths are compared with the size of the submitted mask."""
    competition = Competition(slug="c", columns=columns)
    path = tmp_path / "submission.csv"
    path.write_text(text)
    refused(
        SubmissionError, wanted, lambda: check_submission(path, ["a"], {"a": SHAPE}, competition)
    )


def test_a_mask_of_another_size_than_the_recipes_is_refused() -> None:
    """It would be a row that decodes to nonsense."""
    competition = Competition(slug="c", size=(10, 20))
    submission = Submission([Row("a", "a", 0)], competition)
    refused(
        SubmissionError,
        "its mask has 5 x 7 pixels, wanted 10 x 20",
        lambda: submission.set(Row("a", "a", 0), BitMask.zeros(*SHAPE)),
    )


# ---- samples and folders

SAMPLES = [
    # (name, the competition, the sample, the right answer)
    (
        "columns that the recipe lacks",
        {},
        "id,height,width,predicted\na,1,1,\n",
        "the columns are id, height, width, predicted, but the recipe writes id, predicted",
    ),
    (
        "columns that the sample lacks",
        {"columns": {"height": "{height}"}},
        "id,predicted\na,\n",
        "the columns are id, predicted, but the recipe writes id, height, predicted",
    ),
    (
        "a class that the recipe lacks",
        {"classes": ["Fish"], "rows": "{image}.jpg_{class}"},
        "id,predicted\na.jpg_Fish,\na.jpg_Rain,\n",
        "id 'a.jpg_Rain' is not of the form '{image}.jpg_{class}' with a class of Fish",
    ),
    (
        "an id without a group",
        {"images": "test/{group}/{image}.tif", "rows": "{group}_{image}"},
        "id,predicted\na,\n",
        "the sample's id 'a' is not of the form '{group}_{image}'",
    ),
    (
        "an id twice",
        {"rle": {"form": "json", "instances": "field"}},
        "id,predicted\na,\na,\n",
        "the id 'a' stands in it twice",
    ),
]


@pytest.mark.parametrize(("competition", "sample", "wanted"), values(SAMPLES), ids=names(SAMPLES))
def test_a_sample_that_contradicts_the_recipe_is_refused(
    tmp_path: Path, competition: dict[str, Any], sample: str, wanted: str
) -> None:
    """It is found when the folder is read, before any model is loaded."""
    (tmp_path / "sample_submission.csv").write_text(sample)
    expected = Competition.model_validate({"slug": "c"} | competition)
    refused(CompetitionError, wanted, lambda: CompetitionFolder.read(tmp_path, expected))


def test_a_sample_of_the_other_kind_is_named(tmp_path: Path) -> None:
    """The submission would be of a kind that the competition does not take."""
    pd.DataFrame({"id": ["a"], "predicted": ""}).to_parquet(tmp_path / "sample_submission.parquet")
    refused(
        CompetitionError,
        "found sample_submission.parquet, wanted sample_submission.csv as the recipe says. Write "
        "sample_submission.parquet as 'sample' in the recipe",
        lambda: CompetitionFolder.read(tmp_path, Competition(slug="c")),
    )


PAIRS = "test/{group}/{image}_{band}.tif"
FOLDERS = [
    # (name, the pattern, the files, the reason by image)
    ("a band missing", PAIRS, ["m/1_vh"], {"1": "the file of its band vv is missing"}),
    (
        "two groups with one name",
        PAIRS,
        ["m/1_vh", "m/1_vv", "n/1_vh", "n/1_vv"],
        {
            "1": "the groups m and n have an image of this id each. If the ids of rows name the "
            "group, write {group} into the recipe's 'rows'"
        },
    ),
    (
        "two files of a band",
        "test/{group}/*{image}_{band}.tif",
        ["m/x/1_vh", "m/1_vh", "m/1_vv", "m/-1_vh"],
        {"1": "several files have this id (-1_vh.tif and 1_vh.tif). Keep one of them"},
    ),
    (
        "one file in two folders",
        "test/{group}/**/{image}_{band}.tif",
        ["m/x/1_vh", "m/y/1_vh", "m/x/1_vv"],
        {"1": "several files have this id (x/1_vh.tif and y/1_vh.tif). Keep one of them"},
    ),
]


@pytest.mark.parametrize(("pattern", "files", "reasons"), values(FOLDERS), ids=names(FOLDERS))
def test_files_that_are_not_one_image_are_told(
    tmp_path: Path, pattern: str, files: list[str], reasons: dict[str, str]
) -> None:
    """None of the files is taken in silence."""
    for name in files:
        path = tmp_path / f"test/{name}.tif"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    competition = Competition(slug="c", images=pattern, bands=("vh", "vv"))
    assert find_scenes(tmp_path, competition) == ({}, reasons)


RUNS = [
    # (name, the competition, the files, the right answer)
    (
        "a pattern that matches nothing",
        {"images": "test/{group}/{image}.tif"},
        ["a", "b"],
        "2 of 2 images have no file (a, b). There are no other files. Correct 'images'",
    ),
    (
        "a suffix that matches nothing",
        {"suffixes": [".jpg"]},
        ["a", "b"],
        "2 of 2 images have no file (a, b)",
    ),
    (
        "no image with all bands",
        {"images": "test/{image}{band}.tif", "bands": ["_vh", "_vv"]},
        ["a_vh", "b_vh"],
        "a, b: the file of its band _vv is missing",
    ),
]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One run of two folds."""
    return write_models(tmp_path_factory.mktemp("models"), NETWORK)


@pytest.mark.parametrize(("competition", "files", "wanted"), values(RUNS), ids=names(RUNS))
def test_a_folder_without_an_image_is_refused_before_the_first_tile(
    tmp_path: Path, models: Path, competition: dict[str, Any], files: list[str], wanted: str
) -> None:
    """The sample lists two images, and no file is one of them."""
    (tmp_path / "in/test").mkdir(parents=True)
    for name in files:
        write(tmp_path / f"in/test/{name}.tif", picture(3, 20, 20), "tiled")
    (tmp_path / "in/sample_submission.csv").write_text("id,predicted\na,\nb,\n")
    recipe = Recipe.parse(RECIPE).override(competition=competition)
    folder = CompetitionFolder.read(tmp_path / "in", recipe.competition)
    loaded = load_models(recipe, models)
    refused(RecipeError, wanted, lambda: predict(folder, recipe, loaded, tmp_path / "out"))
    assert not (tmp_path / "out/submission.csv").exists()
