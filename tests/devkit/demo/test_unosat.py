"""The small competition of radar scenes: its layout, its labels, and the maps that are checked."""

import csv
import shutil
from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio

from devkit.demo.cuts import parts_of_he
from devkit.demo.shapes import write_shape
from devkit.demo.sources import read_he_kinds, read_pictures
from devkit.demo.train import training_recipe
from devkit.demo.unosat import SIZE, scenes_of
from devkit.dryrun.maps import check_maps
from devkit.dryrun.scenario import Scenario
from devkit.errors import DryRunError
from devkit.tools import REPOSITORY
from kernelkit.maps import polygons, write_geotiff, write_polygons
from kernelkit.mask import BitMask
from kernelkit.predict.report import ImageReport, Report
from kernelkit.training.cuts import make_cuts

DOWNLOADS = REPOSITORY / "build" / "demo" / "downloads"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unosat")
    write_shape("unosat", DOWNLOADS, folder / "competition", folder / "solution.csv")
    return folder


def _labels(folder: Path) -> dict[str, BitMask]:
    with (folder / "solution.csv").open(newline="") as file:
        _, *rows = csv.reader(file)
    return {name: BitMask.from_rle(encoding, SIZE) for name, encoding in rows}


def test_scenes_of_a_city_lie_on_one_grid(made: Path) -> None:
    """Two files of float32 per acquisition, and a zone of zeros that moves."""
    scenes = scenes_of(made / "competition" / "test")
    assert [scene.id for scene in scenes] == list(_labels(made))
    zones = []
    for scene in scenes[:3]:
        with rasterio.open(scene.files["vh"]) as vh, rasterio.open(scene.files["vv"]) as vv:
            assert (vh.dtypes, vh.shape, vh.crs.to_epsg()) == (("float32",), SIZE, 32638)
            assert (vh.transform, vh.crs) == (vv.transform, vv.crs)
            zones.append(vh.read(1) == 0)
            assert np.array_equal(zones[-1], vv.read(1) == 0)
    assert all(0.05 < zone.mean() < 0.4 for zone in zones)
    assert not np.array_equal(zones[0], zones[1])
    assert set(scenes[-1].files) == {"vh"}


def test_cities_of_the_test_are_not_those_of_the_training(made: Path) -> None:
    """Nuclei of the training part train, and those of the other part are tested."""
    training, test = parts_of_he(read_pictures(DOWNLOADS)["he"].pixels, read_he_kinds(DOWNLOADS))
    assert training.kinds.shape[0] + test.kinds.shape[0] < read_he_kinds(DOWNLOADS).shape[0]
    trained = {scene.city for scene in scenes_of(made / "competition" / "train")}
    assert not trained & {scene.city for scene in scenes_of(made / "competition" / "test")}


def test_training_sees_settlements_and_no_zeros(made: Path, tmp_path: Path) -> None:
    """The Shapefile of a city gives back what is bright in its scenes. Zeros hold no data."""
    [run] = training_recipe("unosat").runs.values()
    cuts = make_cuts(run, made / "competition", tmp_path)
    assert {name for fold in run.folds.lists or () for name in fold} <= set(cuts.images)
    assert geopandas.read_file(made / "competition" / "train" / "a01.shp").crs.to_epsg() == 32638
    for image in cuts.images.values():
        pixels, labels, held = image.read(image.bounds)
        assert held is not None
        assert np.array_equal(held, pixels[0] != 0)
        settled = labels[0] > 127
        assert pixels[0][held & settled].mean() > 4 * pixels[0][held & ~settled].mean()


@pytest.fixture
def scenario(made: Path, tmp_path: Path) -> Scenario:
    """A run that found every settlement, but for one column of pixels."""
    working = tmp_path / "working"
    scenario = Scenario(
        "unosat", made / "competition", tmp_path / "models", working, made / "solution.csv"
    )
    labels = _labels(made)
    images = [ImageReport(name) for name in labels]
    images[-1].fall_back("its band vv is missing")
    working.mkdir()
    Report(images=images).save(scenario.report)
    for city in ("b01", "b02"):
        scene = next(s for s in scenes_of(made / "competition" / "test") if s.city == city)
        with rasterio.open(scene.files["vh"]) as file:
            place, crs = file.transform, file.crs
        mask = labels[scene.id].copy()
        mask.words[:, 5] = 0
        write_geotiff(scenario.maps / f"{city}.tif", mask, place, crs)
        write_polygons(scenario.maps / f"{city}.shp", polygons(mask, place), crs)
    return scenario


def test_maps_are_checked_and_scored(scenario: Scenario) -> None:
    """Each city has a row with its images, its polygons and F1 of its pixels."""
    table = check_maps(scenario)
    assert table["map"].tolist() == ["b01", "b02"]
    assert table["images"].tolist() == [3, 2]
    assert (table["polygons"] > 5).all()
    assert all(0.8 < float(score) < 1 for score in table["F1"])


def test_a_map_that_is_missing_is_an_error(scenario: Scenario) -> None:
    """Not one of the files of a city is there."""
    for path in scenario.maps.glob("b02.*"):
        path.unlink()
    with pytest.raises(DryRunError, match="there is no map of b02"):
        check_maps(scenario)


def test_maps_that_differ_are_an_error(scenario: Scenario) -> None:
    """The polygons of one city are written under the name of another."""
    for path in scenario.maps.glob("b01.[sdcp]*"):
        shutil.copy(path, path.with_stem("b02"))
    with pytest.raises(DryRunError, match=r"b02.* show different masks|does not lie"):
        check_maps(scenario)
