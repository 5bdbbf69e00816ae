"""Polygons and masks on disk, and labels that were drawn."""

import json
import os
import warnings
from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio
import rasterio.features
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS

from kernelkit.errors import CompetitionError, OutputError
from kernelkit.grid import Window
from kernelkit.maps import DrawnLabels, polygons, write_geotiff, write_polygons
from kernelkit.mask import BitMask
from tests.made.masks import binary_images

sides = st.integers(1, 70)
UTM = CRS.from_epsg(32638)
PLACE = Affine(10, 0, 500_000, 0, -10, 3_700_000)


def _blobs(height: int = 60, width: int = 90) -> BitMask:
    image = np.zeros((height, width), np.uint8)
    image[5:20, 10:40] = 1
    image[8:12, 15:20] = 0
    image[40:55, 60:61] = 1
    return BitMask.from_array(image)


def test_a_mask_on_no_map_is_written_without_a_warning(tmp_path: Path) -> None:
    """Most images lie on none. Reading the file back finds none either."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        write_geotiff(tmp_path / "mask.tif", _blobs())
    assert said == []
    with rasterio.open(tmp_path / "mask.tif") as file:
        assert (file.transform, file.crs) == (Affine.identity(), None)


@pytest.mark.parametrize("suffix", [".shp", ".gpkg"])
def test_geopandas_reads_what_was_written(tmp_path: Path, suffix: str) -> None:
    """The file has the CRS, the field with numbers from 1, and every polygon, but no background."""
    path = tmp_path / "made" / f"city{suffix}"
    count = write_polygons(path, polygons(_blobs(), PLACE), UTM)
    found = geopandas.read_file(path)
    assert found.crs.to_epsg() == 32638
    assert found["id"].tolist() == [1, 2] == list(range(1, count + 1))
    assert found.area.sum() == pytest.approx(_blobs().area * 100)
    assert len(found.geometry[0].interiors) == 1


def test_geojson_keeps_pixels_if_there_is_no_crs(tmp_path: Path) -> None:
    """A viewer of slides gets the polygons in pixels."""
    path = tmp_path / "slide.geojson"
    write_polygons(path, polygons(_blobs()))
    found = geopandas.read_file(path)
    assert found.total_bounds.tolist() == [10, 5, 61, 55]


def test_polygons_are_written_in_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers go on from one chunk to the next."""
    monkeypatch.setattr("kernelkit.maps.vector_file._AT_ONCE", 3)
    image = np.zeros((1, 20), np.uint8)
    image[0, ::2] = 1
    path = tmp_path / "dots.shp"
    assert write_polygons(path, polygons(BitMask.from_array(image)), UTM) == 10
    assert geopandas.read_file(path)["id"].tolist() == list(range(1, 11))


def test_geojson_is_the_collection_that_viewers_open(tmp_path: Path) -> None:
    """QuPath wants features with closed rings of pixels, and no CRS beside them."""
    path = tmp_path / "slide.geojson"
    write_polygons(path, polygons(_blobs()))
    content = json.loads(path.read_text())
    assert content["type"] == "FeatureCollection"
    assert "crs" not in content
    first, second = content["features"]
    assert (first["type"], first["properties"]) == ("Feature", {"id": 1})
    assert first["geometry"]["type"] == "Polygon"
    assert len(first["geometry"]["coordinates"]) == 2
    assert all(ring[0] == ring[-1] for ring in first["geometry"]["coordinates"])
    (ring,) = second["geometry"]["coordinates"]
    assert sorted(map(tuple, ring[:-1])) == [(60, 40), (60, 55), (61, 40), (61, 55)]
    assert DrawnLabels(path).mask(Window(0, 0, 60, 90), all_touched=False) == _blobs()


@pytest.mark.parametrize("pixel", [1, 10, 1000])
def test_geojson_of_a_map_is_in_longitude_and_latitude(tmp_path: Path, pixel: float) -> None:
    """RFC 7946 has no other CRS. The mask comes back, also from edges of hundreds of kilometres."""
    place = Affine(pixel, 0, 400_000, 0, -pixel, 4_000_000)
    image = np.zeros((150, 200), np.uint8)
    image[3:140, 5:190] = 1
    image[50:60, 20:180] = 0
    mask = BitMask.from_array(image)
    path = tmp_path / "city.geojson"
    write_polygons(path, polygons(mask, place), UTM)
    assert "crs" not in json.loads(path.read_text())
    found = geopandas.read_file(path)
    assert found.crs.to_epsg() == 4326
    assert found.to_crs(32638).area.sum() == pytest.approx(mask.area * pixel**2, rel=1e-4)
    labels = DrawnLabels(path, place, UTM)
    assert labels.mask(Window(0, 0, 150, 200), all_touched=False) == mask
    assert "moved from" in labels.notes[0]


FEATURE = """{"type": "Feature", "properties": %s, "geometry": {"type": "%s", "coordinates": %s}}"""
SQUARE, HOLE = "[[0, 0], [8, 0], [8, 8], [0, 8], [0, 0]]", "[[2, 2], [4, 2], [4, 4], [2, 4]]"


def test_a_bare_list_of_features_is_in_pixels(tmp_path: Path) -> None:
    """QuPath's and HuBMAP's files have classes, of which some are taken."""
    qupath = '{"classification": {"name": "glomerulus", "colorRGB": -1}, "isLocked": true}'
    features = [
        FEATURE % (qupath, "Polygon", f"[{SQUARE}, {HOLE}]"),
        FEATURE % ('{"name": "tubule"}', "MultiPolygon", "[[[[10, 0], [12, 0], [12, 1]]]]"),
        FEATURE % ("null", "Point", "[1, 2]"),
    ]
    path = tmp_path / "slide.json"
    path.write_text(f"[{', '.join(features)}]")
    labels = DrawnLabels(path)
    assert (len(labels), labels.notes) == (2, ["slide.json: 1 shapes that are no polygons"])
    chosen = DrawnLabels(path, names=["glomerulus"]).mask(Window(0, 0, 9, 14), all_touched=False)
    expected = np.zeros((9, 14), np.uint8)
    expected[:8, :8] = 1
    expected[2:4, 2:4] = 0
    np.testing.assert_array_equal(chosen.to_array(), expected)
    with pytest.raises(
        CompetitionError, match=r"found glomerulus, tubule, wanted polygons of vein"
    ):
        DrawnLabels(path, names=["vein"])
    (tmp_path / "city.shp").touch()
    with pytest.raises(CompetitionError, match="by name in a GeoJSON alone. Leave out the names"):
        DrawnLabels(tmp_path / "city.shp", names=["vein"])


def test_a_file_without_end_is_refused(tmp_path: Path) -> None:
    """Its size is looked at before it is read."""
    path = tmp_path / "huge.json"
    path.touch()
    os.truncate(path, 1 << 40)
    with pytest.raises(CompetitionError, match=r"found 1099511627776 bytes, wanted at most"):
        DrawnLabels(path)


def test_a_collection_says_its_crs(tmp_path: Path) -> None:
    """Older writers name it beside the features, and it is read."""
    path = tmp_path / "old.geojson"
    frame = geopandas.GeoDataFrame(
        geometry=[shapely.box(500_100, 3_699_500, 500_400, 3_699_900)], crs=32638
    )
    frame.to_file(path, driver="GeoJSON")
    labels = DrawnLabels(path, PLACE, UTM)
    assert not labels.notes
    assert labels.mask(Window(0, 0, 60, 60), all_touched=False).area == 30 * 40


@pytest.mark.parametrize("scale", [1, 3, 16, 100])
def test_a_smaller_mask_shows_the_whole_window(tmp_path: Path, scale: int) -> None:
    """A pixel of it is on if a polygon touches it, whether or not the scale divides the window."""
    path = tmp_path / "labels.gpkg"
    write_polygons(path, [shapely.box(13, 5, 14, 6), shapely.box(89, 59, 90, 60)])
    mask = DrawnLabels(path).mask(Window(0, 0, 60, 90), scale=scale).to_array()
    assert mask.shape == (-(-60 // scale), -(-90 // scale))
    assert mask[-1, -1]
    assert mask[int(5.5 * mask.shape[0] / 60), int(13.5 * mask.shape[1] / 90)]


@pytest.mark.parametrize("suffix", [".shp", ".gpkg", ".geojson"])
def test_an_empty_mask_gives_an_empty_file(tmp_path: Path, suffix: str) -> None:
    """A city without a settlement has a file, too."""
    path = tmp_path / f"empty{suffix}"
    assert write_polygons(path, polygons(BitMask.zeros(5, 5)), UTM) == 0
    assert len(geopandas.read_file(path)) == 0


def test_the_last_good_file_stays(tmp_path: Path) -> None:
    """If a polygon cannot be made, what lay there stays, and nothing else is left behind."""
    path = tmp_path / "city.shp"
    write_polygons(path, polygons(_blobs()), UTM)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}

    def broken():
        yield shapely.box(0, 0, 1, 1)
        raise OSError("the disk is gone")

    with pytest.raises(OutputError, match="the disk is gone"):
        write_polygons(path, broken(), UTM)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_an_unknown_suffix_is_refused(tmp_path: Path) -> None:
    """The error names the formats that there are."""
    with pytest.raises(OutputError, match=r"found the suffix '.kml', wanted .shp, .gpkg, .geojson"):
        write_polygons(tmp_path / "city.kml", [])


@settings(max_examples=25)
@given(binary_images(), st.integers(0, 2))
def test_a_geotiff_holds_the_mask_and_its_place(
    tmp_path_factory: pytest.TempPathFactory, image: np.ndarray, number: int
) -> None:
    """rasterio reads the same pixels, transform, CRS and tags."""
    path = tmp_path_factory.mktemp("maps") / f"{number}.tif"
    write_geotiff(path, BitMask.from_array(image), PLACE, UTM, {"scene": str(number)})
    with rasterio.open(path) as file:
        assert np.array_equal(file.read(1), image)
        assert (file.transform, file.crs, file.tags()["scene"]) == (PLACE, UTM, str(number))
        assert file.block_shapes == [(512, 512)]
        assert file.compression.name == "deflate"


@settings(max_examples=25)
@given(binary_images(st.tuples(sides, sides)))
def test_drawn_labels_are_the_mask_again(
    tmp_path_factory: pytest.TempPathFactory, image: np.ndarray
) -> None:
    """A mask that is written as polygons and drawn by pixel centres is the same mask."""
    path = tmp_path_factory.mktemp("maps") / "labels.gpkg"
    mask = BitMask.from_array(image)
    write_polygons(path, polygons(mask, PLACE), UTM)
    labels = DrawnLabels(path, PLACE, UTM)
    assert labels.mask(Window(0, 0, *image.shape), all_touched=False) == mask
    assert not labels.notes


@pytest.mark.parametrize(
    "window", [Window(3, 12, 20, 31), Window(-5, -7, 30, 40), Window(50, 80, 30, 30)]
)
def test_a_window_equals_that_part_of_the_whole(tmp_path: Path, window: Window) -> None:
    """Labels in a window are those of the whole image there, and nothing outside of it."""
    path = tmp_path / "labels.shp"
    shapes = [
        shapely.Point(500_300, 3_699_800).buffer(123.4),
        shapely.box(500_713, 3_699_100, 500_900, 3_699_500),
    ]
    write_polygons(path, shapes, UTM)
    whole = rasterio.features.rasterize(
        shapes, (200, 200), transform=Affine(10, 0, 499_500, 0, -10, 3_700_500), all_touched=True
    )
    part = whole[window.row + 50 : window.bottom + 50, window.col + 50 : window.right + 50]
    assert np.array_equal(DrawnLabels(path, PLACE, UTM).mask(window).to_array(), part)


def test_labels_of_another_crs_are_moved_and_it_is_said(tmp_path: Path) -> None:
    """Polygons in degrees land where geopandas puts them, with a note."""
    path = tmp_path / "degrees.gpkg"
    frame = geopandas.GeoDataFrame(
        geometry=[shapely.box(500_100, 3_699_500, 500_400, 3_699_900)], crs=32638
    )
    frame.to_crs(4326).to_file(path)
    labels = DrawnLabels(path, PLACE, UTM)
    mask = labels.mask(Window(0, 0, 60, 60), all_touched=False).to_array()
    assert mask.sum() == 30 * 40
    assert mask[10:50, 10:40].all()
    assert labels.notes == ["degrees.gpkg: its polygons were moved from EPSG:4326 to EPSG:32638"]


def test_a_long_edge_in_degrees_is_a_curve_on_the_map(tmp_path: Path) -> None:
    """A parallel of one degree bends by a hundred metres, which are ten pixels here."""
    path = tmp_path / "region.geojson"
    geopandas.GeoDataFrame(geometry=[shapely.box(44.5, 33.0, 45.5, 33.5)], crs=4326).to_file(path)
    [drawn] = DrawnLabels(path, PLACE, UTM).in_pixels()
    dense = shapely.segmentize(shapely.box(44.5, 33.0, 45.5, 33.5), 0.001)
    [wanted] = geopandas.GeoSeries([dense], crs=4326).to_crs(32638)
    a, b, c, d, e, f = (~PLACE)[:6]
    wanted = shapely.transform(wanted, lambda p: p @ [[a, d], [b, e]] + [c, f])
    assert shapely.hausdorff_distance(drawn, wanted) < 0.1


def test_layers_that_are_not_read_are_said(tmp_path: Path) -> None:
    """A GeoPackage may have several, of which the first is read."""
    for name in ("roads", "houses"):
        frame = geopandas.GeoDataFrame(geometry=[shapely.box(0, 0, 9, 9)], crs=32638)
        frame.to_file(tmp_path / "all.gpkg", layer=name)
    labels = DrawnLabels(tmp_path / "all.gpkg", PLACE, UTM)
    assert labels.notes == ["all.gpkg: only the layer roads is read, and not houses"]


def test_a_place_that_is_no_text_is_refused(tmp_path: Path) -> None:
    """A damaged .prj beside a Shapefile is said of the Shapefile."""
    path = tmp_path / "a.shp"
    geopandas.GeoDataFrame(geometry=[shapely.box(0, 0, 9, 9)], crs=32638).to_file(path)
    text = path.with_suffix(".prj").read_bytes()
    path.with_suffix(".prj").write_bytes(text.replace(b"WGS", b"\xb9\xff\xfe"))
    with pytest.raises(CompetitionError, match=r"a.shp: the labels cannot be read \("):
        DrawnLabels(path, PLACE, UTM)


@pytest.mark.parametrize("suffix", [".gpkg", ".geojson"])
def test_a_polygon_without_a_corner_is_none(tmp_path: Path, suffix: str) -> None:
    """It has no place, so nothing can be cut around it."""
    shapes = [shapely.box(0, 0, 9, 9), shapely.MultiPolygon([])]
    geopandas.GeoDataFrame(geometry=shapes).to_file(tmp_path / f"a{suffix}")
    labels = DrawnLabels(tmp_path / f"a{suffix}")
    assert (len(labels), labels.notes) == (1, [f"a{suffix}: 1 shapes that are no polygons"])


@pytest.mark.parametrize("corner", [(200, 95), (1e14, 1e14)])
def test_polygons_that_are_not_of_their_crs_are_refused(
    tmp_path: Path, corner: tuple[float, float]
) -> None:
    """Nothing lies beyond the pole, so the CRS or the order of coordinates is wrong."""
    path = tmp_path / "region.geojson"
    x, y = corner
    ring = json.dumps([[[x, y], [x + 1, y], [x, y + 1]]])
    path.write_text(
        f'{{"type": "FeatureCollection", "features": [{FEATURE % ("{}", "Polygon", ring)}]}}'
    )
    with pytest.raises(CompetitionError, match="cannot be moved from OGC:CRS84 to EPSG:32638"):
        DrawnLabels(path, PLACE, UTM)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("missing.shp", None, "the labels cannot be read"),
        ("broken.shp", b"no shapes", "the labels cannot be read"),
        ("broken.geojson", b"{", "the labels cannot be read"),
        *(
            (name, content.encode(), message)
            for name, content, message in (
                ("a word.json", '"a"', "found no list of features, wanted GeoJSON"),
                ("a number.json", "[1]", "feature 1 is no Feature of GeoJSON"),
                ("open.json", '[{"type": "Feature"', "this is no JSON at line 1"),
                ("a.json", f"[{FEATURE % ('{}', 'Polygon', '[]')}]", "without an outline"),
                ("b.json", f"[{FEATURE % ('{}', 'Polygon', '[[[0, 0]]]')}]", "fewer than 3"),
                ("c.json", f"[{FEATURE % ('{}', 'Polygon', '5')}]", "a Polygon without coord"),
                (
                    "d.json",
                    f"[{FEATURE % ('{}', 'Polygon', '[[[0, 0], [1, 1e99], [2, 2]]]')}]",
                    "feature 1 has a corner that is not two finite numbers",
                ),
                ("e.json", f"[{FEATURE % ('{}', 'MultiPolygon', '[[[5]]]')}]", "fewer than 3"),
                ("f.json", '[{"type": "Feature", "geometry": 5}]', "a geometry without a type"),
                ("g.json", '{"type": "FeatureCollection", "features": [], "crs": {}}', "a crs"),
            )
        ),
        (
            "points.geojson",
            b'{"type":"FeatureCollection","features":[{"type":"Feature","properties":{},"geometry":{"type":"Point","coordinates":[1,2]}}]}',
            "it holds 1 shapes, and none is a polygon",
        ),
    ],
)
def test_what_holds_no_polygons_is_refused(
    tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    """A file that is missing, damaged or of points is one sentence."""
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(CompetitionError, match=message):
        DrawnLabels(tmp_path / name)
