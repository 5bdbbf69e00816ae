"""Labels of any form are the same pixels, by window, at a scale and at another size."""

import itertools
import pickle
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import geopandas
import numpy as np
import pandas as pd
import pytest
import rasterio
import rasterio.features
import shapely
import tifffile
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco_mask

from kernelkit.competition.fields import write_parts
from kernelkit.competition.scenes import find_scenes
from kernelkit.errors import GridError
from kernelkit.grid import Window
from kernelkit.labels import open_labels
from kernelkit.labels.image_label import ImageLabel
from kernelkit.labels.planes import EncodedPlanes
from kernelkit.mask import BitMask
from kernelkit.recipe import Competition, LabelsRecipe
from kernelkit.slide import Slide
from tests.made.labelled import Labelled, column_rle, truth

CLASSES = ("Fish", "Flower", "Gravel")
ROWS: dict[str, Any] = {"classes": CLASSES, "rows": "{image}_{class}"}
FORMS: dict[str, Callable[[Labelled], dict[str, Any]]] = {
    "rle": Labelled.write_rle,
    "bands": Labelled.write_bands,
    "values": Labelled.write_values,
    "chosen values": lambda made: made.write_values([7, 200, 3]),
    "a file per class": Labelled.write_files,
    "geojson": Labelled.write_geojson,
}
FILLS = {"zero": {"mode": "constant"}, "reflect": {"mode": "reflect"}, "edge": {"mode": "edge"}}


def of_array(masks: NDArray[Any], submitted_size: tuple[int, int] | None = None) -> ImageLabel:
    """The labels of an image, from arrays of their own size."""
    planes = EncodedPlanes([BitMask.from_array(mask) for mask in masks])
    return ImageLabel(planes, *masks.shape[1:], submitted_size)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_pixels(form: str, tmp_path: Path) -> None:
    """Three classes are read as they were written, whatever the form."""
    made = Labelled(tmp_path, {"a": truth(3, 40, 71), "b": truth(3, 33, 20, seed=1)}, **ROWS)
    keys = FORMS[form](made)
    for image, masks in made.truths.items():
        label = made.label(image, **keys)
        assert not label.is_soft
        found = label.read(Window(0, 0, *masks.shape[1:]))
        assert np.array_equal(found, masks * np.uint8(255))
        assert [mask.to_array().tolist() for mask in label.masks()] == masks.astype(int).tolist()


@pytest.mark.parametrize("form", ["rle", "bands", "values", "geojson"])
def test_one_class_needs_no_name(form: str, tmp_path: Path) -> None:
    """Without classes, all that is labelled is the class."""
    made = Labelled(tmp_path, {"a": truth(1, 40, 71)})
    label = made.label("a", **FORMS[form](made))
    assert np.array_equal(label.read(Window(0, 0, 40, 71)), made.truths["a"] * np.uint8(255))


def test_a_class_that_an_image_lacks_is_empty(tmp_path: Path) -> None:
    """Polygons of other classes alone leave a class empty, without an error."""
    made = Labelled(tmp_path, {"a": truth(3, 40, 71) & [[[True]], [[False]], [[True]]]}, **ROWS)
    label = made.label("a", **made.write_geojson())
    assert [mask.area > 0 for mask in label.masks()] == [True, False, True]


@pytest.mark.parametrize("all_touched", [True, False])
def test_a_shapefile_of_a_city_is_drawn_on_each_of_its_scenes(
    all_touched: bool, tmp_path: Path
) -> None:
    """Polygons on the map are rasterised as rasterio does it, on the grid of each scene."""
    random = np.random.default_rng(0)
    shapes = [shapely.Point(*random.uniform(0, 900, 2)).buffer(45) for _ in range(20)]
    (tmp_path / "train").mkdir()
    frame = geopandas.GeoDataFrame(geometry=shapes, crs="EPSG:32638")
    frame.to_file(tmp_path / "train/mosul.shp")
    profile = {"driver": "GTiff", "dtype": "uint8", "count": 1, "crs": "EPSG:32638"}
    places = {"one": (Affine(10, 0, 0, 0, -10, 900), 90), "two": (Affine(5, 0, 50, 0, -5, 800), 99)}
    for name, (transform, side) in places.items():
        path = tmp_path / f"train/mosul_{name}.tif"
        size = {"height": side, "width": side, "transform": transform}
        with rasterio.open(path, "w", **profile, **size) as file:
            file.write(np.ones((1, side, side), np.uint8))
    competition = Competition(slug="made", images="train/{group}_{image}.tif")
    scenes, _ = find_scenes(tmp_path, competition)
    recipe = LabelsRecipe(polygons="train/{group}.shp", all_touched=all_touched)
    labels = open_labels(recipe, tmp_path, competition, scenes)
    assert labels.ids == ("one", "two")
    for name, (transform, side) in places.items():
        wanted = rasterio.features.rasterize(
            shapes, (side, side), transform=transform, all_touched=all_touched
        )
        label = labels.of(name, Slide(scenes[name].paths))
        assert np.array_equal(label.read(Window(0, 0, side, side))[0], wanted * np.uint8(255))
        assert np.array_equal(label.masks()[0].to_array(), wanted)
        assert wanted.any()


def test_soft_labels_keep_their_shares(tmp_path: Path) -> None:
    """A soft label is read as it is, and is on in a mask from more than a half on."""
    made = Labelled(tmp_path, {"a": truth(3, 40, 72)}, **ROWS)
    label = made.label("a", **made.write_soft())
    assert label.is_soft
    assert np.array_equal(label.read(Window(0, 0, 40, 72)), made.truths["a"] * np.uint8(200))
    assert np.array_equal(label.masks()[1].to_array(), made.truths["a"][1])
    means = made.truths["a"].reshape(3, 10, 4, 18, 4).mean(axis=(2, 4)) * 200
    assert np.array_equal(label.read(Window(0, 0, 40, 72), scale=4), np.rint(means))


@settings(max_examples=150)
@given(
    corner=st.tuples(st.integers(-50, 60), st.integers(-50, 60)),
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    scale=st.integers(1, 7),
    fill=st.sampled_from(sorted(FILLS)),
)
def test_windows_are_those_of_numpy(
    corner: tuple[int, int], size: tuple[int, int], scale: int, fill: Any
) -> None:
    """Any window, inside or outside, is what numpy's pad and a mean over squares give."""
    masks = truth(2, 31, 47, seed=3)
    around = 150
    padded = np.pad(masks, ((0, 0), (around, around), (around, around)), **FILLS[fill])
    height, width = size[0] * scale, size[1] * scale
    row, col = corner[0] + around, corner[1] + around
    cut = padded[:, row : row + height, col : col + width] * 255.0
    wanted = cut.reshape(2, size[0], scale, size[1], scale).mean(axis=(2, 4))
    found = of_array(masks).read(Window(*corner, height, width), scale, fill)
    assert np.abs(found - wanted).max() <= 0.5


@pytest.fixture(scope="module")
def as_slide(tmp_path_factory: pytest.TempPathFactory) -> tuple[NDArray[Any], Path]:
    """A mask, and a slide of the same pixels."""
    masks = truth(1, 37, 29, seed=5)
    path = tmp_path_factory.mktemp("labels") / "mask.tif"
    tifffile.imwrite(path, masks[0] * np.uint8(255))
    return masks, path


@settings(max_examples=30)
@given(scale=st.integers(1, 5), row=st.integers(-6, 20), fill=st.sampled_from(sorted(FILLS)))
def test_labels_lie_on_their_pixels(
    as_slide: tuple[NDArray[Any], Path], scale: int, row: int, fill: Any
) -> None:
    """Labels are cut and shrunk to the byte as a slide of the same pixels is."""
    masks, path = as_slide
    window = Window(row, -3, 6 * scale, 5 * scale)
    with Slide(path) as slide:
        wanted = slide.read(window, scale, fill)
    assert np.array_equal(of_array(masks).read(window, scale, fill), wanted)


@settings(max_examples=60)
@given(
    shape=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    size=st.tuples(st.integers(1, 14), st.integers(1, 14)),
    seed=st.integers(0, 99),
)
def test_another_size_keeps_the_area(
    shape: tuple[int, int], size: tuple[int, int], seed: int
) -> None:
    """Each new pixel has its labelled share, as on a grid that both sizes divide."""
    masks = np.random.default_rng(seed).random((2, *shape)) < 0.5
    fine = np.kron(masks, np.ones((1, *size)))
    wanted = fine.reshape(2, size[0], shape[0], size[1], shape[1]).mean(axis=(2, 4)) * 255
    assert np.abs(of_array(masks).resized(size) - wanted).max() <= 0.5 + 1e-3


@pytest.mark.parametrize("form", ["rle", "bands"])
def test_labels_of_the_submitted_size_lie_over_a_larger_image(form: str, tmp_path: Path) -> None:
    """Labels of a quarter of the image's size, as in clouds, cover 4 x 4 pixels each."""
    small = truth(3, 35, 52, seed=2)
    made = Labelled(tmp_path, {"a": small}, **ROWS, size=[35, 52])
    keys = FORMS[form](made)
    tifffile.imwrite(tmp_path / "train/a.tiff", np.zeros((140, 208), np.uint8))
    label = made.label("a", **keys)
    large = np.kron(small, np.ones((1, 4, 4), bool))
    assert np.array_equal(label.read(Window(0, 0, 140, 208)), large * np.uint8(255))
    assert np.array_equal(label.read(Window(8, 4, 40, 80), 4), small[:, 2:12, 1:21] * np.uint8(255))
    assert np.array_equal(label.resized((35, 52)), small * np.uint8(255))
    assert np.array_equal(label.masks()[2].to_array(), small[2])


def test_labels_of_the_image_size_become_the_submitted_size(tmp_path: Path) -> None:
    """With size "image", encodings are of the image, and the truth of an evaluation is smaller."""
    large = np.kron(truth(3, 35, 52, seed=2), np.ones((1, 4, 4), bool))
    made = Labelled(tmp_path, {"a": large}, **ROWS, size=[35, 52])
    label = made.label("a", **made.write_rle(), size="image")
    assert np.array_equal(label.read(Window(0, 0, 140, 208)), large * np.uint8(255))
    wanted = cv2.resize(large[0].astype(np.uint8), (52, 35), interpolation=cv2.INTER_AREA)
    assert np.array_equal(label.masks()[0].to_array(), wanted)


def test_encodings_agree_with_pycocotools(tmp_path: Path) -> None:
    """What a row encodes is what pycocotools decodes of the same runs."""
    made = Labelled(tmp_path, {"a": truth(1, 61, 45)})
    counts = coco_mask.encode(np.asfortranarray(made.truths["a"][0].astype(np.uint8)))
    label = made.label("a", **made.write_rle())
    assert np.array_equal(label.read(Window(0, 0, 61, 45))[0], coco_mask.decode(counts) * 255)


def test_a_parquet_table_is_read_as_a_csv_is(tmp_path: Path) -> None:
    """The kind of the table does not matter, and nothing stands for an empty mask."""
    made = Labelled(tmp_path, {"a": truth(1, 20, 30), "b": np.zeros((1, 9, 9), bool)})
    table = pd.DataFrame(made.rows(), columns=["id", "predicted"]).replace({"": None})
    table.to_parquet(tmp_path / "train.parquet")
    labels = made.open(rle="train.parquet")
    assert labels.ids == ("a", "b")
    assert made.label("a", rle="train.parquet").masks()[0].area == made.truths["a"].sum()
    assert made.label("b", rle="train.parquet").masks()[0].area == 0


def test_a_column_may_name_the_class(tmp_path: Path) -> None:
    """A table with image, class and encoding has a row per class that an image has."""
    made = Labelled(tmp_path, {"a": truth(3, 20, 30)}, **ROWS)
    lines = [f"x,a,{CLASSES[n]},{column_rle(made.truths['a'][n])}" for n in (2, 0)]
    (tmp_path / "t.csv").write_text("\n".join(["other,ImageId,kind,code", *lines, ""]))
    keys = {"rle": "t.csv", "id_column": "ImageId", "rle_column": "code", "class_column": "kind"}
    labels = made.open(**keys)
    found = labels.of("a", Slide(labels.scenes["a"].paths)).read(Window(0, 0, 20, 30))
    assert np.array_equal(found[[0, 2]], made.truths["a"][[0, 2]] * np.uint8(255))
    assert not found[1].any()
    assert labels.notes == [
        f"{tmp_path / 't.csv'}: 1 image (a) without a row of the class Flower, taken as empty"
    ]


def test_objects_of_rows_are_one_mask(tmp_path: Path) -> None:
    """If each row is an object, the objects of an image are its mask."""
    made = Labelled(tmp_path, {"a": truth(1, 30, 30)}, rle={"instances": "rows"})
    count, numbers = cv2.connectedComponents(made.truths["a"][0].astype(np.uint8))
    keys = made.write_rle([("a", column_rle(numbers == n)) for n in range(1, count)])
    assert count > 2
    assert np.array_equal(made.label("a", **keys).masks()[0].to_array(), made.truths["a"][0])


def test_one_field_may_hold_all_classes(tmp_path: Path) -> None:
    """COCO's counts of several classes, as a submission has them, are read back per class."""
    rle = {"form": "coco", "instances": "field"}
    made = Labelled(tmp_path, {"a": truth(3, 30, 40)}, classes=CLASSES, rle=rle)
    parts = [
        part
        for number, mask in enumerate(made.truths["a"])
        for part in write_parts(BitMask.from_array(mask), made.competition.rle, number)
    ]
    keys = made.write_rle([("a", " ".join(parts))])
    found = made.label("a", **keys).read(Window(0, 0, 30, 40))
    assert np.array_equal(found, made.truths["a"] * np.uint8(255))


def test_rows_may_name_whole_files(tmp_path: Path) -> None:
    """An id such as `a.tiff` is that of the image a."""
    made = Labelled(tmp_path, {"a": truth(1, 30, 40)})
    keys = made.write_rle([("a.tiff", column_rle(made.truths["a"][0]))])
    assert made.open(**keys).ids == ("a",)


def test_a_table_that_a_spreadsheet_saved_is_read(tmp_path: Path) -> None:
    """A mark of byte order, quotes and the line ends of Windows are no part of its names."""
    made = Labelled(tmp_path, {"a": truth(1, 30, 40)})
    text = f'"id","predicted"\r\n"a","{column_rle(made.truths["a"][0])}"\r\n'
    (tmp_path / "train.csv").write_bytes(text.encode("utf-8-sig"))
    label = made.label("a", rle="train.csv")
    assert np.array_equal(label.masks()[0].to_array(), made.truths["a"][0])


def test_files_beside_the_images_and_classes_are_said(tmp_path: Path) -> None:
    """A file of another class, of no image, or in another folder costs nothing but a note."""
    made = Labelled(tmp_path, {"a": truth(3, 20, 30)}, **ROWS)
    made.write_files()
    made.write_geojson()
    other = tmp_path / "files/Dust"
    other.mkdir()
    for path in (other / "a.png", tmp_path / "files/Fish/z.png", tmp_path / "drawn/z.json"):
        path.write_bytes((tmp_path / "files/Fish/a.png").read_bytes())
    notes = made.open(masks="files/{class}/{image}.png").notes
    assert [note.split(": ", 1)[1] for note in notes] == [
        "1 file (z.png) not of an image",
        "1 file (a.png) not of a class",
    ]
    notes = made.open(polygons="drawn/{image}.json").notes
    assert [note.split(": ", 1)[1] for note in notes] == ["1 file (z.json) not of an image"]


def test_polygons_of_each_class_may_lie_in_files_of_their_own(tmp_path: Path) -> None:
    """Without names, and a missing file is an empty class."""
    made = Labelled(tmp_path, {"a": truth(3, 20, 30)}, **ROWS)
    for number, name in enumerate(CLASSES[:2]):
        (tmp_path / name).mkdir()
        alone = Labelled(tmp_path / f"alone_{name}", {"a": made.truths["a"][number : number + 1]})
        alone.write_geojson()
        (alone.folder / "drawn/a.json").rename(tmp_path / name / "a.json")
    label = made.label("a", polygons="{class}/{image}.json")
    wanted = made.truths["a"] * np.array([1, 1, 0], bool)[:, np.newaxis, np.newaxis]
    assert np.array_equal(label.read(Window(0, 0, 20, 30)), wanted * np.uint8(255))


def test_what_lacks_its_other_half_is_said(tmp_path: Path) -> None:
    """An image without labels is left out, and labels without an image are named."""
    made = Labelled(tmp_path, {name: truth(1, 20, 30) for name in "abc"})
    keys = made.write_rle([row for row in made.rows() if row[0] != "b"] + [("z", "1 2")])
    labels = made.open(**keys)
    assert labels.ids == ("a", "c")
    assert labels.notes == [
        f"{tmp_path / 'train.csv'}: rows of 1 image (z) not among the images",
        f"{tmp_path / 'train.csv'}: 1 image (b) without a row, left out",
    ]
    made.write_values()
    (tmp_path / "values/b.png").rename(tmp_path / "values/y.png")
    labels = made.open(masks="values/{image}.png")
    assert labels.ids == ("a", "c")
    assert [note.split(": ", 1)[1] for note in labels.notes] == [
        "1 image (b) without a file, left out",
        "1 file (y.png) not of an image",
    ]


def test_a_missing_file_of_a_class_is_an_empty_class(tmp_path: Path) -> None:
    """With a file per class, what has no file is empty, and a note says so."""
    made = Labelled(tmp_path, {"a": truth(3, 20, 30), "b": truth(3, 20, 30)}, **ROWS)
    keys = made.write_files()
    (tmp_path / "files/Flower/b.png").unlink()
    labels = made.open(**keys)
    label = labels.of("b", Slide(labels.scenes["b"].paths))
    assert [mask.area > 0 for mask in label.masks()] == [True, False, True]
    assert labels.notes[0].endswith(
        "1 image (b) without a file of the class Flower, taken as empty"
    )


def test_a_mask_saved_in_colours_is_read_if_its_bands_are_equal(tmp_path: Path) -> None:
    """Many tools save a mask as red, green and blue."""
    made = Labelled(tmp_path, {"a": truth(1, 20, 30)})
    mask = made.truths["a"][0] * np.uint8(255)
    cv2.imwrite(str(tmp_path / "a.png"), np.stack([mask] * 3, axis=-1))
    label = made.label("a", masks="{image}.png")
    assert np.array_equal(label.read(Window(0, 0, 20, 30))[0], mask)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "I;16"])
def test_a_mask_may_be_any_kind_of_png(mode: str, tmp_path: Path) -> None:
    """One bit, 16 bits, a palette or an alpha band: what is not 0 is labelled."""
    made = Labelled(tmp_path, {"a": truth(1, 20, 30)})
    grey = Image.fromarray(made.truths["a"][0] * np.uint8(255))
    if mode == "I;16":
        picture = Image.fromarray(made.truths["a"][0] * np.uint16(65535))
    elif mode == "P":
        picture = Image.fromarray(made.truths["a"][0] * np.uint8(1)).convert("P")
        picture.putpalette([9, 9, 9, 200, 0, 0])
    else:
        picture = grey.convert(mode)
    picture.save(tmp_path / "a.png")
    label = made.label("a", masks="{image}.png")
    assert np.array_equal(label.read(Window(0, 0, 20, 30)), made.truths["a"] * np.uint8(255))


@pytest.mark.parametrize("mode", ["L", "P"])
def test_a_transparent_colour_is_a_label(mode: str, tmp_path: Path) -> None:
    """Which colour a PNG calls transparent says how it is shown, and not what is labelled."""
    made = Labelled(tmp_path, {"a": truth(1, 20, 30)})
    picture = Image.fromarray(made.truths["a"][0] * np.uint8(1)).convert(mode)
    if mode == "P":
        picture.putpalette([9, 9, 9, 200, 0, 0])
    picture.save(tmp_path / "a.png", transparency=1)
    label = made.label("a", masks="{image}.png")
    assert np.array_equal(label.read(Window(0, 0, 20, 30)), made.truths["a"] * np.uint8(255))


def test_a_nodata_value_of_labels_is_said(tmp_path: Path) -> None:
    """Its pixels are not labelled, and a note names the value."""
    made = Labelled(tmp_path, {"a": truth(2, 20, 30)})
    pixels = made.truths["a"][0] + made.truths["a"][1] * np.uint8(255)
    tags = [(42113, 2, 0, "255", True)]
    tifffile.imwrite(tmp_path / "a.tif", pixels, metadata=None, extratags=tags)
    label = made.label("a", masks="{image}.tif")
    assert np.array_equal(label.read(Window(0, 0, 20, 30))[0] > 0, made.truths["a"][0])
    assert label.notes == ["a.tif: pixels of its nodata value 255 are taken as not labelled"]


def test_a_palette_holds_classes(tmp_path: Path) -> None:
    """A PNG with a palette, as many tools write it, is read by its indices."""
    made = Labelled(tmp_path, {"a": truth(3, 20, 30)}, **ROWS)
    values = sum(mask * np.uint8(n) for n, mask in enumerate(made.truths["a"], 1))
    picture = Image.fromarray(values).convert("P")
    picture.putpalette(list(range(100, 112)))
    picture.save(tmp_path / "a.png")
    label = made.label("a", masks="{image}.png")
    assert np.array_equal(label.read(Window(0, 0, 20, 30)), made.truths["a"] * np.uint8(255))


def test_pages_of_a_tiff_are_classes(tmp_path: Path) -> None:
    """A TIFF with a page per class is read as one with a band per class."""
    made = Labelled(tmp_path, {"a": truth(3, 20, 30)}, **ROWS)
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for mask in made.truths["a"]:
            file.write(mask * np.uint8(255), photometric="minisblack", contiguous=False)
    label = made.label("a", masks="{image}.tif")
    assert np.array_equal(label.read(Window(0, 0, 20, 30)), made.truths["a"] * np.uint8(255))


def test_a_jpeg_is_labelled_where_it_is_bright(tmp_path: Path) -> None:
    """JPEG keeps no exact values, so its pixels are told apart at the half."""
    mask = np.zeros((64, 64), np.uint8)
    mask[16:48, 16:48] = 255
    made = Labelled(tmp_path, {"a": mask[np.newaxis] > 0})
    cv2.imwrite(str(tmp_path / "a.jpg"), mask, [cv2.IMWRITE_JPEG_QUALITY, 30])
    label = made.label("a", masks="{image}.jpg")
    assert np.array_equal(label.read(Window(0, 0, 64, 64))[0], mask)


def test_classes_that_never_occur_are_named(tmp_path: Path) -> None:
    """A class without a pixel in all images is said once."""
    made = Labelled(tmp_path, {"a": truth(3, 20, 30)}, **ROWS)
    labels = made.open(**made.write_rle())
    assert labels.occurrence({"a": (0.1, 0.0, 0.2), "b": (0.0, 0.0, 0.1)}) == [
        f"{tmp_path / 'train.csv'}: the class Flower never occurs in the 2 images"
    ]
    assert labels.occurrence({"a": (0.1, 0.2, 0.2)}) == []


@pytest.mark.parametrize("form", FORMS)
def test_a_fingerprint_tells_whose_labels_changed(form: str, tmp_path: Path) -> None:
    """Only the image whose labels changed has another fingerprint."""
    made = Labelled(tmp_path / "one", {"a": truth(3, 20, 30), "b": truth(3, 20, 30)}, **ROWS)
    keys = FORMS[form](made)
    before = made.open(**keys)
    other = Labelled(tmp_path / "two", made.truths | {"b": truth(3, 20, 30, seed=9)}, **ROWS)
    FORMS[form](other)
    after = other.open(**keys)
    assert before.fingerprint("a") == after.fingerprint("a")
    assert before.fingerprint("b") != after.fingerprint("b")


@pytest.mark.parametrize("form", FORMS)
def test_labels_can_be_sent_to_another_process(form: str, tmp_path: Path) -> None:
    """Labels pickle, and give the same pixels afterwards."""
    made = Labelled(tmp_path, {"a": truth(3, 20, 30)}, **ROWS)
    labels = pickle.loads(pickle.dumps(made.open(**FORMS[form](made))))
    label = labels.of("a", Slide(labels.scenes["a"].paths))
    assert np.array_equal(label.read(Window(0, 0, 20, 30)), made.truths["a"] * np.uint8(255))


def test_a_large_label_takes_the_memory_of_a_band() -> None:
    """A mask of 12 000 x 12 000 pixels is shrunk without an array of its size."""
    planes = EncodedPlanes([BitMask.zeros(12_000, 12_000)])
    label = ImageLabel(planes, 12_000, 12_000)
    tracemalloc.start()
    label.read(Window(0, 0, 12_000, 12_000), scale=8)
    label.resized((300, 300))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 120e6, "the array of bytes alone has 144 MB"


def test_a_scale_that_does_not_divide_is_refused() -> None:
    """As a slide refuses it, so do its labels."""
    with pytest.raises(GridError, match="scale 3 does not divide a window of 10 x 9"):
        of_array(truth(1, 20, 20)).read(Window(0, 0, 10, 9), 3)


def test_closed_labels_are_opened_again(tmp_path: Path) -> None:
    """After a `with` block the files are closed, and the next read opens them."""
    made = Labelled(tmp_path, {"a": truth(3, 20, 30)}, **ROWS)
    for form in ("bands", "a file per class"):
        with made.label("a", **FORMS[form](made)) as label:
            before = label.read(Window(0, 0, 20, 30))
        assert np.array_equal(label.read(Window(0, 0, 20, 30)), before)


def test_combinations_of_columns_are_read_from_one_table(tmp_path: Path) -> None:
    """An id column and an encoding column of any name are found among others."""
    made = Labelled(tmp_path, {"a": truth(1, 20, 30)})
    code = column_rle(made.truths["a"][0])
    for order in itertools.permutations(["organ", "name", "code"]):
        fields = {"organ": "kidney", "name": "a", "code": code}
        rows = [",".join(order), ",".join(fields[column] for column in order)]
        (tmp_path / "t.csv").write_text("\n".join(rows))
        label = made.label("a", rle="t.csv", id_column="name", rle_column="code")
        assert label.masks()[0].area == made.truths["a"].sum()
