"""Radar pairs in, votes by city, polygons and GeoTIFFs out."""

from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
import rasterio
import rasterio.features
from affine import Affine
from rasterio.crs import CRS

from kernelkit.competition import CompetitionFolder
from kernelkit.errors import OutputError, RecipeError
from kernelkit.predict import Prediction, load_models, look, predict
from kernelkit.recipe import Recipe
from kernelkit.slide import Slide
from tests.made.competition import NETWORK, write_models

UTM = CRS.from_epsg(32638)
PLACE = Affine(10, 0, 500_000, 0, -10, 3_700_000)
SIZE = 96, 130
RECIPE = """
name: radar
competition:
  slug: unosat
  images: "test/{group}/**/S1_{image}_{band}.tif"
  bands: [vh, vv]
  rows: "{group}/{image}"
  submitted: [1]
  nodata: 0
  output: {polygons: "{group}.shp", field: id, geotiff: "{group}.tif"}
tiles: {core: 64}
ensembles:
  - name: sar
    when: {bands: 2, dtype: float32}
    input:
      bands: [b1, b2, (b1 + b2) / 2]
      decibel: {floor: 1.0e-8, nodata: 0}
      mean: [-17.399, -10.020, -12.108]
      std: [6.290, 5.777, 5.795]
    activation: softmax
    merge: {views: mean of logits, folds: mean of logits, models: mean of logits}
groups: {vote: all but one}
"""


def _write(folder: Path, name: str, pixels: np.ndarray, place: Affine = PLACE) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    profile = {"driver": "GTiff", "dtype": "float32", "count": 1, "crs": UTM, "transform": place}
    height, width = pixels.shape
    with rasterio.open(folder / name, "w", height=height, width=width, **profile) as file:
        file.write(pixels.astype(np.float32), 1)


def _make_city(city: Path, scenes: int, seed: int = 0, place: Affine = PLACE) -> None:
    """Scenes of one ground: bright blocks in speckle, and another zone of zeros in each."""
    rng = np.random.default_rng(seed)
    bright = np.kron(rng.random((12, 17)) < 0.3, np.ones((8, 8)))[: SIZE[0], : SIZE[1]]
    for scene in range(scenes):
        for band in ("vh", "vv"):
            power = rng.gamma(1, 0.02, SIZE) * (1 + 40 * bright)
            power[:, : 9 * scene] = 0
            _write(city / f"pass{scene}", f"S1_{scene}_{band}.tif", power, place)


@pytest.fixture(autouse=True)
def models(tmp_path: Path) -> Path:
    """A network of two classes."""
    return write_models(tmp_path / "models", NETWORK | {"classes": 2})


def _run(folder: Path, recipe: Recipe, strict: bool = False) -> Prediction:
    competition = CompetitionFolder.read(folder / "in", recipe.competition)
    models = load_models(recipe, folder / "models")
    return predict(competition, recipe, models, folder / "out", strict=strict)


def _valid(path: Path) -> np.ndarray:
    with rasterio.open(path) as file:
        return file.read(1) != 0


def test_scenes_of_a_city_vote_and_become_polygons(tmp_path: Path) -> None:
    """A pixel is on if all but one of the scenes with data there agree, and no zero zone votes."""
    _make_city(tmp_path / "in/test/mosul", 3)
    _make_city(tmp_path / "in/test/najaf", 1, seed=1)
    recipe = Recipe.parse(RECIPE)
    done = _run(tmp_path, recipe)
    masks = np.stack([done.masks[f"mosul/{n}"][0].to_array() for n in range(3)])
    voters = np.stack(
        [_valid(tmp_path / f"in/test/mosul/pass{n}/S1_{n}_vh.tif") for n in range(3)]
    ).sum(0)
    expected = (masks.sum(0) >= np.maximum(1, voters - 1)) & (voters > 0)
    assert 0 < expected.mean() < 1
    with rasterio.open(tmp_path / "out/maps/mosul.tif") as file:
        np.testing.assert_array_equal(file.read(1), expected)
        assert (file.transform, file.crs) == (PLACE, UTM)
    with rasterio.open(tmp_path / "out/maps/najaf.tif") as file:
        np.testing.assert_array_equal(file.read(1), done.masks["najaf/0"][0].to_array())
    city = geopandas.read_file(tmp_path / "out/maps/mosul.shp")
    back = rasterio.features.rasterize(city.geometry, SIZE, transform=PLACE, dtype="uint8")
    np.testing.assert_array_equal(back, expected)
    assert city.crs.to_epsg() == 32638
    assert city["id"].tolist() == list(range(1, len(city) + 1))
    assert [path.name for path in done.maps.files] == [
        "mosul.tif",
        "mosul.shp",
        "najaf.tif",
        "najaf.shp",
    ]


def test_a_scene_without_a_band_costs_its_own_vote(tmp_path: Path) -> None:
    """The other scenes of the city vote, and the report says which band is missing."""
    _make_city(tmp_path / "in/test/mosul", 3)
    (tmp_path / "in/test/mosul/pass2/S1_2_vv.tif").unlink()
    done = _run(tmp_path, Recipe.parse(RECIPE))
    assert [image.image for image in done.report.fallbacks] == ["mosul/2"]
    assert "the file of its band vv is missing" in done.report.fallbacks[0].note
    masks = np.stack([done.masks[f"mosul/{n}"][0].to_array() for n in range(2)])
    with rasterio.open(tmp_path / "out/maps/mosul.tif") as file:
        np.testing.assert_array_equal(file.read(1), masks.any(0))
    note = "mosul: 2 of 3 images vote, since the others have no mask (mosul/2)"
    assert note in done.report.notes
    assert not done.maps.missing


def _spoil(city: Path) -> None:
    """Cut off one band of every scene of a city."""
    for path in city.rglob("*_vv.tif"):
        path.write_bytes(path.read_bytes()[:100])


@pytest.mark.parametrize("spoil", [_spoil, lambda city: [*map(Path.unlink, city.rglob("*_vv*"))]])
def test_a_city_without_a_mask_has_no_map_and_it_is_said(tmp_path: Path, spoil: Any) -> None:
    """Damaged scenes and scenes that lack a band. The other city has its map all the same."""
    _make_city(tmp_path / "in/test/mosul", 2)
    _make_city(tmp_path / "in/test/najaf", 1)
    spoil(tmp_path / "in/test/mosul")
    done = _run(tmp_path, Recipe.parse(RECIPE))
    assert [path.name for path in done.maps.files] == ["najaf.tif", "najaf.shp"]
    assert done.maps.missing == ["mosul"]
    note = "mosul: no map, because: not one of its 2 image(s) has a mask"
    assert note in done.report.notes
    shown = look.maps(done)
    assert "1 map(s) are missing: mosul" in str(shown)
    assert "najaf.shp" in str(shown)


def test_strict_refuses_an_end_without_a_map(tmp_path: Path) -> None:
    """Every image has its mask, and the submission is written. Only a map is missing."""
    _make_city(tmp_path / "in/test/mosul", 1)
    (tmp_path / "out/maps/mosul.tif").mkdir(parents=True)
    with pytest.raises(OutputError, match=r"1 map\(s\) are missing \(mosul\). The report says why"):
        _run(tmp_path, Recipe.parse(RECIPE), strict=True)
    assert (tmp_path / "out/submission.csv").exists()


def test_images_of_one_name_in_two_cities_are_two(tmp_path: Path) -> None:
    """If rows name the group, each votes in its own city. If not, neither has a mask."""
    _make_city(tmp_path / "in/test/mosul", 1)
    _make_city(tmp_path / "in/test/najaf", 2, seed=1)
    done = _run(tmp_path, Recipe.parse(RECIPE))
    with rasterio.open(tmp_path / "out/maps/mosul.tif") as file:
        np.testing.assert_array_equal(file.read(1), done.masks["mosul/0"][0].to_array())
    assert not np.array_equal(done.masks["mosul/0"][0].words, done.masks["najaf/0"][0].words)
    plain = _run(tmp_path, Recipe.parse(RECIPE.replace('"{group}/{image}"', '"{image}"')))
    (lost,) = plain.report.fallbacks
    assert "the groups mosul and najaf have an image of this id each" in lost.note
    assert [path.name for path in plain.maps.files] == ["najaf.tif", "najaf.shp"]


def test_a_scene_that_a_sample_lists_and_nobody_has_is_missed(tmp_path: Path) -> None:
    """It has no file, and its row says which city it is of."""
    _make_city(tmp_path / "in/test/mosul", 1)
    sample = "id,predicted\nmosul/0,\nmosul/7,\nbasra/1,\n"
    (tmp_path / "in/sample_submission.csv").write_text(sample)
    done = _run(tmp_path, Recipe.parse(RECIPE))
    assert any("mosul: 1 of 2 images vote" in note for note in done.report.notes)
    assert done.maps.missing == ["basra"]


def test_a_scene_on_another_grid_has_no_vote(tmp_path: Path) -> None:
    """A grid that is moved by half a pixel is another one, and a note says so."""
    _make_city(tmp_path / "in/test/mosul", 2)
    moved = Affine(10, 0, 500_005, 0, -10, 3_700_000)
    for band in ("vh", "vv"):
        _write(tmp_path / "in/test/mosul/pass9", f"S1_9_{band}.tif", np.full(SIZE, 0.02), moved)
    done = _run(tmp_path, Recipe.parse(RECIPE))
    (note,) = [note for note in done.report.notes if "no vote" in note]
    assert note.startswith("mosul/9: it has no vote (found the transform (10.0, 0.0, 500005.0")


def test_the_grid_of_most_scenes_counts(tmp_path: Path) -> None:
    """A first scene that lies elsewhere has no vote, and the map is that of the others."""
    moved = Affine(10, 0, 500_005, 0, -10, 3_700_000)
    _make_city(tmp_path / "in/test/mosul", 3)
    for band in ("vh", "vv"):
        _write(tmp_path / "in/test/mosul/pass0", f"S1_0_{band}.tif", np.full(SIZE, 0.02), moved)
    done = _run(tmp_path, Recipe.parse(RECIPE))
    (note,) = [note for note in done.report.notes if "no vote" in note]
    assert note.startswith("mosul/0: it has no vote")
    with rasterio.open(tmp_path / "out/maps/mosul.tif") as file:
        assert file.transform == PLACE


def test_a_vote_decodes_no_scene_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no data stands in the store, beside the masks."""
    _make_city(tmp_path / "in/test/mosul", 3)
    recipe = Recipe.parse(RECIPE)
    first = _run(tmp_path, recipe)
    maps = [(tmp_path / "out/maps" / name).read_bytes() for name in ("mosul.shp", "mosul.tif")]

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a scene was decoded")

    monkeypatch.setattr(Slide, "read", refuse)
    monkeypatch.setattr(Slide, "read_valid", refuse)
    again = _run(tmp_path, recipe)
    assert {image.status for image in again.report.images} == {"kept"}
    assert not again.maps.missing
    assert len(first.maps.files) == len(again.maps.files) == 2
    assert maps == [(tmp_path / "out/maps" / n).read_bytes() for n in ("mosul.shp", "mosul.tif")]


def test_without_groups_each_image_has_its_map(tmp_path: Path) -> None:
    """GeoJSON for a viewer, one file per image."""
    _make_city(tmp_path / "in/test/mosul", 2)
    per_image = RECIPE.replace("groups: {vote: all but one}", "")
    for name in ("{group}.shp", "{group}.tif"):
        per_image = per_image.replace(name, name.replace("{group}", "{group}_{image}"))
    recipe = Recipe.parse(per_image.replace(".shp", ".geojson"))
    done = _run(tmp_path, recipe)
    assert sorted(path.name for path in done.maps.files) == [
        *("mosul_0.geojson", "mosul_0.tif", "mosul_1.geojson", "mosul_1.tif")
    ]


def test_a_map_that_cannot_be_written_costs_no_other(tmp_path: Path) -> None:
    """The submission stands, and a note says which map is missing."""
    _make_city(tmp_path / "in/test/mosul", 1)
    _make_city(tmp_path / "in/test/najaf", 1)
    (tmp_path / "out/maps/mosul.tif").mkdir(parents=True)
    done = _run(tmp_path, Recipe.parse(RECIPE))
    assert [path.name for path in done.maps.files] == ["najaf.tif", "najaf.shp"]
    assert any(note.startswith("mosul: no map, because") for note in done.report.notes)
    assert done.submission.exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"groups": {"vote": "most"}}, "found 'most', wanted all, all but one, majority"),
        ({"competition": {"output": None}}, "found groups without output"),
        (
            {"competition": {"output": {"polygons": "{image}.shp", "geotiff": None}}},
            "found {image} in the output '{image}.shp', which nothing fills",
        ),
        (
            {"competition": {"output": {"polygons": "city.shp", "geotiff": None}}},
            "which several masks would share. Write {group} into it",
        ),
        (
            {"competition": {"output": {"polygons": "{group}.kml"}}},
            "found polygons '{group}.kml', wanted a relative path that ends in .shp or",
        ),
        (
            {"competition": {"output": {"polygons": "../{group}.shp"}}},
            "wanted a relative path",
        ),
        (
            {"competition": {"output": {"polygons": None, "geotiff": None}}},
            "found an output without polygons and geotiff",
        ),
    ],
)
def test_maps_that_cannot_be_meant_are_refused(changes: dict, message: str) -> None:
    """The message shows what was found, and what to write."""
    with pytest.raises(RecipeError, match=message):
        Recipe.parse(RECIPE).override(**changes)
