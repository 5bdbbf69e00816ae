"""Polygons beside the images say where to look, as HuBMAP's anatomical regions do."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kernelkit.competition import CompetitionFolder
from kernelkit.ensemble import MegaModel
from kernelkit.errors import RecipeError
from kernelkit.predict import Prediction, load_models, predict
from kernelkit.predict.preflight.preflight import preflight
from kernelkit.recipe import Recipe
from tests.made.competition import IMAGES, RECIPE, write_competition, write_models

FILES = "test/{image}-anatomical-structure.json"
DRAWN = {"rule": "polygons", "files": FILES, "names": ["Cortex"]}
LOOKING = Recipe.parse(RECIPE).override(foreground=DRAWN)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, MegaModel]:
    return load_models(LOOKING, write_models(tmp_path_factory.mktemp("models")))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three images, of which each has a cortex in its upper left and a medulla in all of it."""
    write_competition(tmp_path / "competition")
    for name, (_, height, width) in IMAGES.items():
        write_regions(tmp_path / "competition", name, ("Medulla", height, width))
    return tmp_path / "competition"


def write_regions(folder: Path, name: str, *others: tuple[str, int, int]) -> Path:
    """A file as HuBMAP has them: a bare list of features in pixels, classified as QuPath does."""
    features = [
        {
            "type": "Feature",
            "id": "PathAnnotationObject",
            "geometry": {
                "type": "Polygon",
                "coordinates": [[[0, 0], [width, 0], [width, height], [0, height], [0, 0]]],
            },
            "properties": {
                "classification": {"name": kind, "colorRGB": -3140401},
                "isLocked": True,
            },
        }
        for kind, height, width in (("Cortex", 30, 40), *others)
    ]
    path = folder / FILES.format(image=name)
    path.write_text(json.dumps(features))
    return path


def run(folder: Path, models: dict[str, MegaModel], recipe: Recipe = LOOKING) -> Prediction:
    competition = CompetitionFolder.read(folder, recipe.competition)
    return predict(competition, recipe, models, folder.parent / "out")


def report_of(done: Prediction, name: str) -> Any:
    return next(image for image in done.report.images if image.image == name)


def test_only_tiles_in_polygons_of_a_class_are_read(
    folder: Path, models: dict[str, MegaModel]
) -> None:
    """Of nine and more tiles one touches the cortex, and the mask is that of this tile alone."""
    done = run(folder, models)
    everywhere = predict(
        CompetitionFolder.read(folder, LOOKING.competition),
        LOOKING.override(foreground=None),
        models,
        folder.parent / "everywhere",
    )
    for name, (_, height, width) in IMAGES.items():
        image = report_of(done, name)
        tiles = -(-height // 64) * -(-width // 64)
        assert (image.tiles, image.skipped) == (1, tiles - 1)
        expected = everywhere.masks[name][0].to_array()
        expected[64:], expected[:, 64:] = 0, 0
        np.testing.assert_array_equal(done.masks[name][0].to_array(), expected)


def test_without_names_every_polygon_counts(folder: Path, models: dict[str, MegaModel]) -> None:
    """The medulla covers each image."""
    done = run(folder, models, LOOKING.override(foreground={"names": None}))
    assert [image.skipped for image in done.report.images] == [0, 0, 0]


def test_a_share_of_the_tile_may_be_asked_for(folder: Path, models: dict[str, MegaModel]) -> None:
    """The cortex covers 30 x 40 of 64 x 64 pixels, which is less than a third."""
    kept = run(folder, models, LOOKING.override(foreground={"fraction": 0.2, "scale": 1}))
    assert report_of(kept, "a").tiles == 1
    none = run(folder, models, LOOKING.override(foreground={"fraction": 0.3, "scale": 1}))
    assert (report_of(none, "a").tiles, report_of(none, "a").skipped) == (0, 12)


def test_other_polygons_predict_an_image_anew(folder: Path, models: dict[str, MegaModel]) -> None:
    """The mask in the store belongs to the polygons that it was made with."""
    run(folder, models)
    assert {image.status for image in run(folder, models).report.images} == {"kept"}
    path = write_regions(folder, "a", ("Cortex", 150, 201))
    done = run(folder, models)
    assert [image.status for image in done.report.images] == ["predicted", "kept", "kept"]
    assert report_of(done, "a").skipped == 0
    path.unlink()
    assert report_of(run(folder, models), "a").status == "predicted"


# What is called, what stands in the file, and a part of the note. None removes the file.
FAULTS: list[tuple[str, bytes | None, str]] = [
    ("gone", None, "there is no file of polygons, wanted test/{image}-anatomical-structure"),
    ("empty", b"", "this is no JSON at line 1"),
    ("cut off", b'[{"type": "Feature", "geome', "this is no JSON at line 1"),
    ("bytes", b"\xff\xfe\xfa", "this is no "),
    ("no list", b'"Cortex"', "found no list of features, wanted GeoJSON"),
    ("no features", b'{"type": "FeatureCollection"}', "found no list of features"),
    ("other items", b"[1, 2]", "feature 1 is no Feature of GeoJSON"),
    ("an empty list", b"[]", "found no class, wanted polygons of Cortex. Correct the names"),
    ("nested", b"[" * 100_000, "found too many lists inside each other"),
    ("NaN", b'[{"type": "Feature", "geometry": NaN}]', "found NaN, wanted a finite number"),
]


@pytest.mark.parametrize(
    ("content", "message"), [pytest.param(*fault[1:], id=fault[0]) for fault in FAULTS]
)
def test_without_usable_polygons_all_tiles_are_read(
    folder: Path, models: dict[str, MegaModel], content: bytes | None, message: str
) -> None:
    """It costs time and no mask. The image's notes say why."""
    path = folder / FILES.format(image="a")
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    image = report_of(run(folder, models), "a")
    assert (image.status, image.skipped) == ("predicted", 0)
    (note,) = image.notes
    assert note.startswith("every tile is predicted, since the foreground rule could not be")
    assert message in note
    assert "\n" not in note


def findings(folder: Path, models: dict[str, MegaModel], recipe: Recipe = LOOKING) -> list[str]:
    competition = CompetitionFolder.read(folder, recipe.competition)
    return [str(found) for found in preflight(competition, recipe, models, folder).findings]


def test_files_that_no_image_has_are_refused(folder: Path, models: dict[str, MegaModel]) -> None:
    """The message says how the first image's file would be called."""
    recipe = LOOKING.override(foreground={"files": "test/{image}-regions.json"})
    with pytest.raises(RecipeError, match=r"are there for no image. Of a it would be test/a-reg"):
        run(folder, models, recipe)


def test_an_image_without_a_file_is_found_before_the_first_tile(
    folder: Path, models: dict[str, MegaModel]
) -> None:
    """The others are looked at where their polygons are."""
    assert findings(folder, models) == []
    (folder / FILES.format(image="b")).unlink()
    (found,) = findings(folder, models)
    assert "1 of 3 images have no file of polygons (b). All their tiles are read" in found


def test_a_name_that_no_polygon_has_is_found_before_the_first_tile(
    folder: Path, models: dict[str, MegaModel]
) -> None:
    """The message lists the names that there are."""
    (found,) = findings(folder, models, LOOKING.override(foreground={"names": ["cortex"]}))
    assert "found Cortex, Medulla, wanted polygons of cortex. Correct the names" in found
