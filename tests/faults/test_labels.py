"""Faults of labels and folds: what is put in, and the sentence that refuses it."""

import contextlib
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import rasterio
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from kernelkit.competition import Scene
from kernelkit.errors import LabelError, TrainingError
from kernelkit.grid import Window
from kernelkit.recipe import Competition, LabelsRecipe
from kernelkit.training.divided_folds import divided_folds
from kernelkit.training.folds import Folds
from kernelkit.training.recipe.folds import FoldsRecipe
from tests.made.labelled import Labelled, truth

KINDS = {"classes": ["cat", "dog"], "rows": "{image}_{class}"}
WHOLE = Window(0, 0, 20, 30)

# What it is called, what makes it, the keys of the labels, and the sentence that refuses it.
type Row = tuple[str, Callable[[Labelled], Any], dict[str, Any], str]


def table(text: str, name: str = "train.csv") -> Callable[[Labelled], Any]:
    return lambda made: (made.folder / name).write_text(text)


def rows(*lines: str) -> Callable[[Labelled], Any]:
    return table("\n".join(["id,predicted", *lines, ""]))


def png(pixels: Any, name: str = "a.png") -> Callable[[Labelled], Any]:
    return lambda made: cv2.imwrite(str(made.folder / name), np.asarray(pixels))


def tiff(pixels: Any, name: str = "a.tif", **options: Any) -> Callable[[Labelled], Any]:
    return lambda made: tifffile.imwrite(made.folder / name, np.asarray(pixels), **options)


def upside_down(made: Labelled) -> None:
    """An image on the map, and labels whose rows go the other way."""
    for name, step in (("train/a.tiff", -1), ("a.tif", 1)):
        profile = {"driver": "GTiff", "dtype": "uint8", "count": 1, "height": 20, "width": 30}
        place = rasterio.Affine(1, 0, 500, 0, step, 900)
        with rasterio.open(
            made.folder / name, "w", crs="EPSG:32633", transform=place, **profile
        ) as file:
            file.write(BLACK, 1)


def nothing(_: Labelled) -> None:
    pass


def both(*steps: Callable[[Labelled], Any]) -> Callable[[Labelled], Any]:
    return lambda made: [step(made) for step in steps]


RLE = {"rle": "train.csv"}
MASKS = {"masks": "{image}.png"}
BLACK = np.zeros((20, 30), np.uint8)
RED = np.zeros((20, 30, 3), np.uint8)
RED[:, :10, 2] = 255

ONE_CLASS: list[Row] = [
    ("no table", nothing, RLE, "there is no such file. Download the labels again, or correct"),
    (
        "an empty table",
        table(""),
        RLE,
        "train.csv: it is empty, wanted the columns id and predicted",
    ),
    (
        "other columns",
        table("image,rle\na,1 2\n"),
        RLE,
        "found the columns image, rle, wanted id. Name the columns by id_column and rle_column",
    ),
    ("a short line", table("id,predicted\na\n"), RLE, "line 2 has 1 fields, wanted 2"),
    ("no text", lambda made: (made.folder / "train.csv").write_bytes(b"id,\xff\n"), RLE, "UTF-8"),
    ("no image", rows("z,1 2"), RLE, "none of the 1 images has a row. Compare 'images' with"),
    (
        "a row again",
        rows("a,1 2", "a,9 2"),
        RLE,
        "line 3 is a second row of 'a', wanted one. If each row is an object of its own, write",
    ),
    (
        "overlapping runs",
        rows("a,5 3 6 2"),
        RLE,
        "the labels of a, on 20 x 30 pixels: run-length encoding, character 4: the start 6 lies",
    ),
    ("runs outside of the image", rows("a,599 3"), RLE, "ends past the last pixel, 600. Check the"),
    ("no encoding", rows("a,nan"), RLE, "'nan' is not a whole number"),
    ("-1 for none", rows("a,-1"), RLE, "If '-1' stands for an empty mask, leave its field empty"),
    ("1 0 for none", rows("a,1 0"), RLE, "write rle: {empty: '1 0'} in the recipe's competition"),
    ("no masks", nothing, MASKS, "none of the 1 images has a file. Of the first it would be a.png"),
    ("another size", png(BLACK[:10]), MASKS, "found labels of 10 x 30 pixels, wanted 20 x 30 as"),
    ("in colours", png(RED), MASKS, "found a picture in colours as labels of one class, wanted"),
    ("no picture", table("text", "a.png"), MASKS, "the labels cannot be read. "),
    ("an empty file", table("", "a.png"), MASKS, "a.png: the file is empty. Download or copy it"),
    (
        "a damaged file",
        lambda made: (
            tifffile.imwrite(made.folder / "a.png", BLACK + 1, compression="zlib"),
            spoil(made.folder / "a.png"),
        ),
        MASKS,
        "the labels cannot be read. ",
    ),
    (
        "labels upside down",
        upside_down,
        {"masks": "{image}.tif"},
        "a.tif: found labels that lie elsewhere on the map than a.tiff, or the other way up. Save",
    ),
    (
        "two files of one image",
        both(png(BLACK, "x_a.png"), png(BLACK, "y_a.png")),
        {"masks": "?_{image}.png"},
        "y_a.png: it is of the same image as x_a.png. Keep one of them, or narrow the pattern",
    ),
    (
        "two bands",
        lambda made: tifffile.imwrite(made.folder / "a.tif", np.zeros((2, 20, 30), np.uint8)),
        {"masks": "{image}.tif"},
        "found 2 band(s), wanted 1, one per class",
    ),
    (
        "shares of 16 bits",
        tiff(np.zeros((20, 30), np.uint16)),
        {"soft": "{image}.tif"},
        "found soft labels of uint16, wanted uint8, where 255 is all of a pixel",
    ),
    (
        "no polygons",
        nothing,
        {"polygons": "{image}.json"},
        "none of the 1 images has a file of polygons. Of the first it would be a.json",
    ),
    (
        "no GeoJSON",
        table("{", "a.json"),
        {"polygons": "{image}.json"},
        "a.json: the labels cannot be read (this is no JSON at line 1",
    ),
    (
        "no Shapefile",
        table("text", "a.shp"),
        {"polygons": "{image}.shp"},
        "a.shp: the labels cannot be read (",
    ),
]

TWO_CLASSES: list[Row] = [
    (
        "a class without data",
        tiff(BLACK, metadata=None, extratags=[(42113, 2, 0, "2", True)]),
        {"masks": "{image}.tif"},
        "a.tif: found 2 as the value of pixels without data, and as that of a class. Save the",
    ),
    (
        "an id of no class",
        rows("a_cow,1 2"),
        RLE,
        "line 2 has the id 'a_cow', wanted the form '{image}_{class}' with a class of cat, dog",
    ),
    (
        "a column of other classes",
        table("id,predicted,kind\na,1 2,cow\n"),
        RLE | {"class_column": "kind"},
        "line 2 is of the class 'cow', wanted one of cat, dog",
    ),
    (
        "a value of no class",
        png(BLACK + 3),
        MASKS,
        "a.png: found the value 3 in rows 0:20, columns 0:30, wanted 0, or 1 to 2 for the classes",
    ),
    (
        "a value for two classes",
        png(BLACK),
        MASKS | {"values": [1]},
        "found 1 values for 2 classes, wanted one per class",
    ),
    (
        "three bands for two classes",
        png(RED),
        MASKS,
        "found 3 band(s) of uint8 for 2 classes, wanted a band per class, or one band of",
    ),
    (
        "values of floats",
        tiff(np.zeros((20, 30), np.float32)),
        {"masks": "{image}.tif"},
        "found 1 band(s) of float32 for 2 classes",
    ),
    (
        "values in a JPEG",
        png(BLACK, "a.jpg"),
        {"masks": "{image}.jpg"},
        "found values of classes in a JPEG, which does not keep them. Save the labels as PNG",
    ),
    (
        "a name for two classes",
        table("[]", "a.json"),
        {"polygons": "{image}.json", "names": ["cat"]},
        "found 1 names for 2 classes, wanted one per class",
    ),
]


def spoil(path: Path) -> None:
    """Overwrite the pixels of a compressed file."""
    content = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as file:
        start = file.pages.first.dataoffsets[0]
    content[start : start + 8] = b"\xff" * 8
    path.write_bytes(bytes(content))


def refused(made: Labelled, prepare: Callable[[Labelled], Any], keys: dict[str, Any]) -> str:
    """The sentence that refuses the labels of the image a."""
    prepare(made)
    with pytest.raises(LabelError) as caught:
        made.label("a", **keys).read(WHOLE)
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "prepare", "keys", "wanted"), ONE_CLASS, ids=[row[0] for row in ONE_CLASS]
)
def test_labels_of_one_class_are_refused(
    name: str, prepare: Callable[[Labelled], Any], keys: dict[str, Any], wanted: str, tmp_path: Path
) -> None:
    """A sentence names the file and what is wrong with it."""
    said = refused(Labelled(tmp_path, {"a": truth(1, 20, 30)}), prepare, keys)
    assert wanted in said, name
    assert str(tmp_path) in said


@pytest.mark.parametrize(
    ("name", "prepare", "keys", "wanted"), TWO_CLASSES, ids=[row[0] for row in TWO_CLASSES]
)
def test_labels_of_two_classes_are_refused(
    name: str, prepare: Callable[[Labelled], Any], keys: dict[str, Any], wanted: str, tmp_path: Path
) -> None:
    """A sentence names the file and what is wrong with it."""
    said = refused(Labelled(tmp_path, {"a": truth(2, 20, 30)}, **KINDS), prepare, keys)
    assert wanted in said, name
    assert str(tmp_path) in said


def test_no_mask_beside_a_mask_is_refused(tmp_path: Path) -> None:
    """What stands for an empty mask stands alone, also if each row is an object."""
    made = Labelled(tmp_path, {"a": truth(1, 20, 30)}, rle={"instances": "rows", "empty": "-1"})
    said = refused(made, rows("a,-1", "a,1 2"), RLE)
    assert said.endswith(
        "found '-1', which stands for no mask, in one of 2 rows. Leave that row out"
    )


def test_encodings_of_another_size_are_refused(tmp_path: Path) -> None:
    """If no encoding goes beyond the submitted size, they are not of larger images."""
    made = Labelled(tmp_path, {"a": truth(1, 20, 30)}, size=[10, 15])
    rows("a,1 2 140 4")(made)
    with pytest.raises(LabelError, match="goes beyond pixel 143, so all fit the submitted size of"):
        made.open(rle="train.csv", size="image")


def test_encodings_of_the_image_size_are_refused_with_a_remedy(tmp_path: Path) -> None:
    """If encodings leave the submitted size, they may be of the images, as those of clouds are."""
    made = Labelled(tmp_path, {"a": truth(1, 20, 30)}, size=[10, 15])
    said = refused(made, rows("a,590 9"), RLE)
    assert "on 10 x 15 pixels: run-length encoding, character 0: the run" in said
    assert said.endswith("If they are of the image's own size, write size: image")


def test_labels_without_any_pixel_are_refused(tmp_path: Path) -> None:
    """If no image has any class, the labels are not those of these images."""
    made = Labelled(tmp_path, {"a": truth(1, 20, 30)})
    labels = made.open(**made.write_rle())
    with pytest.raises(LabelError, match="no pixel of the 2 images is labelled. Check the form"):
        labels.occurrence({"a": [0.0], "b": [0.0]})


def test_an_image_without_labels_has_none(tmp_path: Path) -> None:
    """Whoever asks for the labels of an image that was left out is told so."""
    made = Labelled(tmp_path, {"a": truth(1, 20, 30), "b": truth(1, 20, 30)})
    keys = made.write_rle(made.rows()[:1])
    with pytest.raises(
        LabelError, match="the image 'b' has no labels. Ask for one of the 1 images"
    ):
        made.label("b", **keys)


def test_polygons_beside_the_image_are_said(tmp_path: Path) -> None:
    """If no polygon touches an image, it is empty, and a note says so."""
    made = Labelled(tmp_path, {"a": truth(1, 20, 30)})
    keys = made.write_geojson()
    path = tmp_path / "drawn/a.json"
    path.write_text(re.sub(r"\[(\d+), (\d+)\]", r"[\g<1>000, \g<2>000]", path.read_text()))
    path.write_text(path.read_text().replace("[0000, ", "[5000, ").replace(", 0000]", ", 5000]"))
    label = made.label("a", **keys)
    assert label.masks()[0].area == 0
    assert "polygons touches the image a, which is taken as empty" in label.notes[0]


def test_polygons_of_other_names_are_said(tmp_path: Path) -> None:
    """If no polygon has a name of the recipe, a note has those of the file."""
    made = Labelled(tmp_path, {"a": truth(1, 20, 30)})
    keys = made.write_geojson()
    path = tmp_path / "drawn/a.json"
    features = json.loads(path.read_text())
    for number, feature in enumerate(features):
        feature["properties"] = {"name": ("cortex", "medulla")[number % 2]}
    path.write_text(json.dumps(features))
    label = made.label("a", **keys, names=["glomerulus"])
    assert label.masks()[0].area == 0
    assert label.notes == [
        "a.json: no polygon has a name of the recipe, so the image a is taken as empty. The "
        "file has cortex, medulla"
    ]
    assert made.label("a", **keys, names=["cortex"]).notes == []


KEYS: list[tuple[str, dict[str, Any], str]] = [
    ("no form", {}, "found no form of labels, wanted one of rle, masks, soft and polygons"),
    ("two forms", {"rle": "a", "masks": "{image}"}, "found rle and masks, wanted one of"),
    ("a foreign key", {"rle": "a", "values": [1]}, "found values with rle, which does not use it"),
    ("a strange place", {"masks": "{name}.png"}, "found {name} in masks '{name}.png', which"),
    ("no place", {"masks": "a.png"}, "which several images would share. Write {image} into it"),
    ("a table per image", {"rle": "{image}.csv"}, "found {image} in rle '{image}.csv'"),
    ("a value twice", {"masks": "{image}", "values": [1, 1]}, "found 1 twice, wanted each once"),
    ("outside", {"rle": "../a.csv"}, "wanted a path below the competition's folder"),
]


@pytest.mark.parametrize(("name", "keys", "wanted"), KEYS, ids=[row[0] for row in KEYS])
def test_keys_of_labels_are_checked(name: str, keys: dict[str, Any], wanted: str) -> None:
    """What the section cannot mean is refused when the recipe is read."""
    with pytest.raises(ValidationError) as caught:
        LabelsRecipe.model_validate(keys)
    assert wanted in str(caught.value), name


def scenes(groups: Mapping[str, str]) -> dict[str, Scene]:
    return {image: Scene(image, (Path(f"{image}.tif"),), group) for image, group in groups.items()}


def divided(
    groups: Mapping[str, str],
    keys: dict[str, Any],
    folder: Path = Path("/nowhere"),
    shares: Any = None,
) -> Folds:
    recipe = FoldsRecipe.model_validate(keys)
    return divided_folds(recipe, folder, Competition(slug="made"), scenes(groups), shares)


FOUR = {"a": "", "b": "", "c": "", "d": ""}
CITIES = {"a": "mosul", "b": "mosul", "c": "najaf", "d": "najaf"}
FOLDS: list[tuple[str, Mapping[str, str], dict[str, Any], str]] = [
    ("more folds than images", FOUR, {"count": 5}, "found 4 images for 5 folds. Ask for fewer"),
    (
        "more folds than groups",
        CITIES,
        {"count": 3, "by": "group"},
        "found 2 groups for 3 folds. Ask for fewer folds",
    ),
    ("a group leaks", CITIES, {"count": 2}, "which would be in two folds. Write by: group"),
    ("no groups", FOUR, {"count": 2, "by": "group"}, "but no {group} in the images' pattern"),
    ("a column of no table", FOUR, {"count": 2, "by": "age"}, "found by: age without groups"),
    (
        "a list leaks",
        CITIES,
        {"lists": [["a"], ["b", "c"]]},
        "the group mosul is in two folds: a in fold 0, and b in fold 1. Give both one fold",
    ),
    (
        "a list leaks into the training",
        CITIES,
        {"lists": [["a"], ["c", "d"]]},
        "the group mosul is in two folds: a in fold 0, and b in all trainings",
    ),
    (
        "an unknown id",
        FOUR,
        {"lists": [["a"], ["x"]]},
        "there is no image 'x' with labels, as fold",
    ),
    (
        "patterns that overlap",
        FOUR,
        {"lists": [["a"], ["?"]]},
        "folds: a is in the folds 0 and 1. List it once",
    ),
    ("nothing to train on", FOUR, {"lists": [["*"]]}, "all 4 images validate in the fold 0"),
    ("stratify blindly", FOUR, {"count": 2, "stratify": True}, "without the labels of all images"),
]


@pytest.mark.parametrize(("name", "groups", "keys", "wanted"), FOLDS, ids=[row[0] for row in FOLDS])
def test_folds_that_cannot_be_meant(
    name: str, groups: Mapping[str, str], keys: dict[str, Any], wanted: str
) -> None:
    """Leaks, gaps and unknown images are errors, however the folds are written."""
    with pytest.raises(TrainingError) as caught:
        divided(groups, keys)
    assert wanted in str(caught.value), name


TABLES: list[tuple[str, str, str]] = [
    ("empty", "", "it is empty, wanted a table with a header"),
    ("no fold", "image\na\n", "found the columns image, wanted fold. Rename one"),
    ("a word", "image,fold\na,one\n", "line 2 has the fold 'one', wanted a whole number from 0 on"),
    ("below", "image,fold\na,-2\n", "line 2 has the fold '-2', wanted a whole number"),
    ("twice", "image,fold\na,0\na,1\n", "line 3 has 'a' again, wanted it once"),
    ("a gap", "image,fold\na,0\nb,2\nc,2\nd,0\n", "the fold 1 of 3 has no image. Count folds from"),
    ("from 1", "image,fold\na,1\nb,2\nc,1\nd,2\n", "the fold 0 of 3 has no image"),
    ("an image less", "image,fold\na,0\nb,1\nc,0\n", "1 of 4 images have no row, the first is d"),
    ("another", "image,fold\na,0\nb,1\nc,0\nd,1\nx,1\n", "there is no image 'x' with labels"),
    ("a leak", "image,fold,group\na,0,p\nb,1,p\nc,0,q\nd,1,r\n", "the group p is in two folds: a"),
    ("none validates", "image,fold\na,-1\nb,-1\nc,-1\nd,-1\n", "found no image that validates"),
    ("a short line", "image,fold\na\n", "line 2 has 1 fields, wanted 2"),
]


@pytest.mark.parametrize(("name", "text", "wanted"), TABLES, ids=[row[0] for row in TABLES])
def test_tables_of_folds_that_cannot_be_meant(
    name: str, text: str, wanted: str, tmp_path: Path
) -> None:
    """The sentence names the table, and the line if there is one."""
    (tmp_path / "folds.csv").write_text(text)
    with pytest.raises(TrainingError) as caught:
        divided(FOUR, {"table": "folds.csv"}, tmp_path)
    assert wanted in str(caught.value), name
    assert str(tmp_path / "folds.csv") in str(caught.value)


def test_an_image_of_two_groups_is_refused(tmp_path: Path) -> None:
    """A table may list an image often, as one of classes does, but of one group."""
    (tmp_path / "patients.csv").write_text("image,patient\na,p\nb,p\nc,q\nd,q\na,q\n")
    keys = {"count": 2, "by": "patient", "groups": "patients.csv"}
    with pytest.raises(TrainingError, match="line 6 has 'q' as the patient of 'a', and an earlier"):
        divided(FOUR, keys, tmp_path)


def test_a_table_of_groups_must_know_each_image(tmp_path: Path) -> None:
    """An image without a patient cannot be put into a fold."""
    (tmp_path / "patients.csv").write_text("image,patient\na,p\nb,p\nc,q\n")
    keys = {"count": 2, "by": "patient", "groups": "patients.csv"}
    with pytest.raises(TrainingError, match=r"patients.csv: the image d has no patient. Add a row"):
        divided(FOUR, keys, tmp_path)
    with pytest.raises(TrainingError, match="found the columns image, patient, wanted age"):
        divided(FOUR, keys | {"by": "age"}, tmp_path)


FIELDS = st.sampled_from(["a", "z", "1 2", "5 3 6 2", "", "nan", "-1", "1 999", "½", '"', "1e3 1"])
TEXTS = st.one_of(
    st.binary(max_size=60),
    st.lists(st.tuples(FIELDS, FIELDS), max_size=5).map(
        lambda rows: "\n".join(["id,predicted", *map(",".join, rows)]).encode()
    ),
)


@settings(max_examples=150)
@given(content=TEXTS)
def test_any_table_is_labels_or_a_sentence(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    """Whatever lies in the table, only an error of labels comes of it."""
    folder = tmp_path_factory.getbasetemp() / "any-table"
    if not folder.exists():
        Labelled(folder, {"a": truth(1, 20, 30)})
    made = Labelled.__new__(Labelled)
    made.folder, made.competition = folder, Competition(slug="made", images="train/{image}.tiff")
    (folder / "train.csv").write_bytes(content)
    with contextlib.suppress(LabelError):
        assert made.label("a", **RLE).read(WHOLE).shape == (1, 20, 30)


LINES = st.lists(st.tuples(st.sampled_from("abcdx"), st.integers(-3, 3)), max_size=6)


@settings(max_examples=150)
@given(
    content=st.one_of(
        st.binary(max_size=60),
        LINES.map(lambda rows: "\n".join(["image,fold", *(f"{i},{f}" for i, f in rows)]).encode()),
    )
)
def test_any_table_is_folds_or_a_sentence(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    """Whatever lies in the table, folds of it are whole, or an error of training says why not."""
    folder = tmp_path_factory.getbasetemp()
    (folder / "folds.csv").write_bytes(content)
    with contextlib.suppress(TrainingError):
        folds = divided(FOUR, {"table": "folds.csv"}, folder)
        assert set(folds.images) == set(FOUR)
        assert all(folds.validation(n) and folds.training(n) for n in range(folds.count))
