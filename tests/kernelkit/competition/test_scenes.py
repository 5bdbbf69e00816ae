"""Which files of a competition's folder make an image."""

from pathlib import Path

import pytest

from kernelkit.competition import CompetitionFolder
from kernelkit.competition.scenes import FilePattern, find_scenes
from kernelkit.errors import RecipeError
from kernelkit.recipe import Competition, Recipe
from tests.made.competition import RECIPE

RADAR = "test/{group}/**/*_{image}_{band}.tif"


def make(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


@pytest.mark.parametrize(
    ("pattern", "name", "places"),
    [
        ("test/images/{image}.png", "test/images/a.b.png", {"image": "a.b"}),
        ("test/images/{image}.png", "test/images/more/a.png", None),
        ("test/images/{image}.png", "test/images/a.png.txt", None),
        (RADAR, "test/mosul/x_1_vh.tif", {"group": "mosul", "image": "1", "band": "vh"}),
        (RADAR, "test/mosul/orbit/deep/x_1_vv.tif", {"group": "mosul", "image": "1", "band": "vv"}),
        (RADAR, "test/mosul/x_1_hh.tif", None),
        ("{image}/{image}.tif", "a/a.tif", {"image": "a"}),
        ("{image}/{image}.tif", "a/b.tif", None),
        ("test/{image}?.jpg", "test/ab.jpg", {"image": "a"}),
        ("test/[{image}].jpg", "test/[a].jpg", {"image": "a"}),
    ],
)
def test_a_pattern_tells_what_its_places_stand_for(
    pattern: str, name: str, places: dict[str, str] | None
) -> None:
    """Folders, bands and ids are told apart, and a name of another form does not fit."""
    assert FilePattern(pattern, ("vh", "vv")).match(name) == places


def test_files_that_differ_in_their_band_are_one_image(tmp_path: Path) -> None:
    """The bands come in the recipe's order, whatever the order of the names."""
    names = [f"test/mosul/S1_{i}_{band}.tif" for i in (1, 2) for band in ("vh", "vv")]
    radar = Competition(slug="c", images=RADAR, bands=("vv", "vh"))
    scenes, problems = find_scenes(make(tmp_path, *names), radar)
    assert problems == {}
    assert [path.name for path in scenes["2"].paths] == ["S1_2_vv.tif", "S1_2_vh.tif"]
    assert scenes["2"].group == "mosul"


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (["test/m/S1_1_vh.tif"], "the file of its band vv is missing"),
        (
            ["test/m/S1_1_vh.tif", "test/m/S1_1_vv.tif", "test/n/S1_1_vh.tif"],
            "the groups m and n have an image of this id each. If the ids of rows name the group, "
            "write {group} into the recipe's 'rows'",
        ),
        (
            ["test/m/S1_1_vh.tif", "test/m/S1_1_vv.tif", "test/m/S2_1_vh.tif"],
            "several files have this id (S1_1_vh.tif and S2_1_vh.tif). Keep one of them",
        ),
    ],
)
def test_files_that_are_not_one_image_are_told(
    tmp_path: Path, names: list[str], reason: str
) -> None:
    """The image is none, and the reason names the files, the groups or the band."""
    radar = Competition(slug="c", images=RADAR, bands=("vh", "vv"))
    assert find_scenes(make(tmp_path, *names), radar) == ({}, {"1": reason})


@pytest.mark.parametrize(
    ("competition", "wanted"),
    [
        ({"images": "../{image}.tif"}, "wanted a path below the competition's folder"),
        ({"images": "/data/{image}.tif"}, "wanted a path below the competition's folder"),
        ({"images": "test/{id}.tif"}, "wanted a folder, or a pattern with {image}"),
        ({"images": "test/{image}_{band}.tif"}, "wanted a folder, or a pattern with {image}"),
        ({"bands": ["vh"]}, "found bands without {band}"),
        ({"rows": "{image}_{class}"}, "for 0 classes, wanted a form with {image}"),
        ({"classes": ["a", "b"]}, "wanted a form with {image} and {class}"),
        ({"classes": ["a", "a"], "rows": "{image}{class}"}, "wanted each name once"),
        ({"submitted": [0, 1]}, "wanted one number per row"),
    ],
)
def test_a_form_that_cannot_be_meant_is_refused(
    competition: dict[str, object], wanted: str
) -> None:
    """Places that nothing fills, and numbers without a row, are errors of the recipe."""
    with pytest.raises(RecipeError) as caught:
        Recipe.parse(RECIPE).override(competition=competition)
    assert wanted in str(caught.value)


def test_brackets_in_a_pattern_are_brackets(tmp_path: Path) -> None:
    """To a shell they would be a choice of letters, and match nothing here."""
    pattern = Competition(slug="c", images="test/[{image}]_?.tif")
    scenes, _ = find_scenes(make(tmp_path, "test/[a]_1.tif", "test/a_1.tif"), pattern)
    assert list(scenes) == ["a"]


def test_images_of_one_name_are_told_apart_by_the_group_that_rows_name(tmp_path: Path) -> None:
    """The id of an image has the group before it. A row is told by what the folder holds."""
    names = ["test/a_b/images/0.tif", "test/a/images/b_0.tif", "test/a/images/0.tif"]
    pattern = Competition(
        slug="c", images="test/{group}/images/{image}.tif", rows="{group}_{image}"
    )
    folder = make(tmp_path / "c", *names[::2])
    (folder / "sample_submission.csv").write_text("id,predicted\na_0,\na_b_0,\na_7,\n")
    found = CompetitionFolder.read(folder, pattern)
    assert [row.image for row in found.rows] == ["a/0", "a_b/0", "a/7"]
    assert [row.name for row in found.rows] == ["0", "0", "7"]
    assert list(found.scenes) == ["a/0", "a_b/0"]


@pytest.mark.parametrize("row_id", ["a.png_Fish", "a_Fish"])
def test_a_row_may_name_the_whole_file(tmp_path: Path, row_id: str) -> None:
    """The suffix of the file may stand in the id, before the class."""
    pattern = Competition(
        slug="c", images="test/{image}.png", classes=("Fish",), rows="{image}_{class}"
    )
    folder = make(tmp_path / "c", "test/a.png")
    (folder / "sample_submission.csv").write_text(f"id,predicted\n{row_id},\n")
    found = CompetitionFolder.read(folder, pattern)
    assert [path.name for scene in found.scenes.values() for path in scene.paths] == ["a.png"]
    assert found.unlisted == ()


def test_both_layouts_of_mounts_are_tried(tmp_path: Path) -> None:
    """A competition that is not where the notebook looks is found in Kaggle's other layout."""
    make(tmp_path, "competitions/c/test/a.tif", "d/test/a.tif")
    expected = Competition(slug="c")
    for asked in ("c", "competitions/d"):
        assert CompetitionFolder.read(tmp_path / asked, expected).images == ("a",)


def test_a_name_that_is_no_text_has_no_row(tmp_path: Path) -> None:
    """A file name of other bytes is listed among the files that no row asks for."""
    name = b"x\xff.tif".decode("utf-8", "surrogateescape")
    competition = CompetitionFolder.read(
        make(tmp_path, f"test/{name}", "test/a.tif"), Competition(slug="c")
    )
    assert competition.images == ("a",)
    assert [path.name for path in competition.unlisted] == [name]
