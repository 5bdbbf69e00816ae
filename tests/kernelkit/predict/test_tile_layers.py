"""Images in tiles, of which the store keeps the probabilities of each layer."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch.nn.functional as F

from kernelkit.competition import CompetitionFolder
from kernelkit.ensemble import MegaModel
from kernelkit.grid import TileGrid
from kernelkit.predict import Prediction, load_models, predict
from kernelkit.predict.deadline import Deadline
from kernelkit.predict.store.store import Layers, Store
from kernelkit.recipe import Recipe
from kernelkit.slide import Slide
from tests.made.competition import NETWORK, RECIPE, write_competition, write_models
from tests.made.layouts import spoil_block

CLASSES = 2


@pytest.fixture(scope="module")
def models_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_models(tmp_path_factory.mktemp("models"), NETWORK | {"classes": CLASSES})


def recipe_of(**changes: Any) -> Recipe:
    """Both classes are submitted, and the probabilities of each fold are kept."""
    competition = {"classes": ["x", "y"], "rows": "{image}_{class}"}
    store = {"what": "probabilities", "level": "member"}
    return Recipe.parse(RECIPE).override(competition=competition, store=store, **changes)


def run(
    recipe: Recipe, folder: Path, models: dict[str, MegaModel], output: Path, **options: Any
) -> Prediction:
    competition = CompetitionFolder.read(folder, recipe.competition)
    return predict(competition, recipe, models, output, **options)


def layers_of(done: Prediction, output: Path) -> dict[str, Layers]:
    store = Store(output / "masks", read_only=True)
    found = {}
    for image in done.report.images:
        if image.stored:
            stored = store.entry_named(image.stored).load()
            assert stored is not None
            assert stored.layers is not None
            found[image.image] = stored.layers
    return found


def write(folder: Path, images: dict[str, tuple[str, int, int]]) -> Path:
    """A competition without a sample submission, whose rows are then one per class."""
    write_competition(folder, images)
    (folder / "sample_submission.csv").unlink()
    return folder


@pytest.mark.parametrize(
    ("stitching", "scale"), [("crop-tile", 1), ("hann-tile", 2), ("hann-band", 2)]
)
def test_layers_are_each_members_own_answers(
    stitching: str, scale: int, models_folder: Path, tmp_path: Path
) -> None:
    """An image of one tile has the probabilities that the network of each fold gives for it."""
    blend, upsample = stitching.split("-")
    folder = write(tmp_path / "in", {"a": ("tiled", 150, 202)})
    recipe = recipe_of(
        tiles={"core": 256, "pad": 0, "scale": scale, "fill": "zero"},
        stitching={"blend": blend, "upsample": upsample},
    )
    models = load_models(recipe, models_folder)
    done = run(recipe, folder, models, tmp_path / "out")
    layers = layers_of(done, tmp_path / "out")["a"]
    assert layers.names == ("run/fold_0", "run/fold_1")
    grid = TileGrid(150, 202, core=256, scale=scale)
    with Slide(folder / "test/a.tiff") as slide:
        pixels = slide.read(grid[0].read, scale)
    answer = models["one"].predict(pixels[None], level="member").probabilities
    if upsample == "tile" and scale > 1:
        answer = F.interpolate(answer, scale_factor=scale, mode="bilinear")
    height, width = layers.values.shape[2:]
    factor = scale if upsample == "band" else 1
    assert (height, width) == (150 // factor, 202 // factor)
    wanted = answer.numpy().reshape(2, CLASSES, *answer.shape[2:])[..., :height, :width]
    assert np.abs(layers.values / 255 - wanted).max() <= 1 / 255
    assert wanted.std() > 0.01


def test_layers_merged_are_the_masks_of_a_store_of_masks(
    models_folder: Path, tmp_path: Path
) -> None:
    """All but a few pixels, at which 8 bits decide, are those that the device decides."""
    folder = write(tmp_path / "in", {"a": ("tiled", 150, 201), "b": ("strips", 97, 130)})
    kept = recipe_of()
    masks = kept.override(store={"what": "masks", "level": None})
    models = load_models(kept, models_folder)
    one = run(kept, folder, models, tmp_path / "kept")
    other = run(masks, folder, models, tmp_path / "masks")
    for image in ("a", "b"):
        for mask, wanted in zip(one.masks[image], other.masks[image], strict=True):
            assert 0 < wanted.area < wanted.height * wanted.width
            assert (mask ^ wanted).area < 0.02 * wanted.height * wanted.width


def test_reader_processes_change_no_layer(models_folder: Path, tmp_path: Path) -> None:
    """With 2 workers the stored bytes are those without."""
    folder = write(tmp_path / "in", {"a": ("tiled", 150, 201), "b": ("strips", 97, 130)})
    recipe = recipe_of(stitching={"blend": "hann"})
    models = load_models(recipe, models_folder)
    found = []
    for workers in (0, 2):
        output = tmp_path / str(workers)
        done = run(recipe, folder, models, output, workers=workers)
        found.append(layers_of(done, output))
    for image in ("a", "b"):
        assert np.array_equal(found[0][image].values, found[1][image].values)


def test_pixels_without_data_are_kept_beside_the_layers(
    models_folder: Path, tmp_path: Path
) -> None:
    """The layers hold what the networks said there, and the masks are off there."""
    (tmp_path / "in/test").mkdir(parents=True)
    pixels = np.random.default_rng(0).random((3, 60, 80), np.float32)
    pixels[:, 10:20, 30:50] = np.nan
    shape = {"count": 3, "height": 60, "width": 80, "dtype": "float32"}
    with rasterio.open(tmp_path / "in/test/a.tif", "w", driver="GTiff", **shape) as file:
        file.write(pixels)
    ensemble = Recipe.parse(RECIPE).ensembles[0].model_dump() | {"thresholds": 0.01}
    recipe = recipe_of(ensembles=[ensemble])
    done = run(recipe, tmp_path / "in", load_models(recipe, models_folder), tmp_path / "out")
    layers = layers_of(done, tmp_path / "out")["a"]
    assert layers.missing is not None
    assert np.array_equal(layers.missing.to_array() > 0, np.isnan(pixels[0]))
    assert layers.values[..., 10:20, 30:50].min() > 0
    for mask in done.masks["a"]:
        assert np.array_equal(mask.to_array() == 0, np.isnan(pixels[0]))
    assert done.report.images[0].notes == ["200 pixel(s) hold no data. They are background"]


def test_blocks_that_cannot_be_decoded_are_kept_as_missing(
    models_folder: Path, tmp_path: Path
) -> None:
    """They are not in the mask, whatever the rule for pixels without data."""
    folder = write(tmp_path / "in", {"a": ("tiled", 300, 280)})
    spoil_block(folder / "test/a.tiff", 0, 0)
    recipe = recipe_of(nodata="keep")
    done = run(recipe, folder, load_models(recipe, models_folder), tmp_path / "out")
    missing = layers_of(done, tmp_path / "out")["a"].missing
    assert missing is not None
    assert missing.area == 256 * 256
    assert all(mask.crop(0, 0, 256, 256).area == 0 for mask in done.masks["a"])


def test_a_layer_is_given_up_between_images_only(
    models_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If folds have to go, an image has all of its layers, and the next one has fewer."""
    folder = write(tmp_path / "in", {"a": ("tiled", 150, 201), "b": ("tiled", 150, 201)})
    recipe = recipe_of(batch=1, give_up=["folds"])
    now = [0.0]
    plain = MegaModel.predict

    def timed(model: MegaModel, pixels: Any, *arguments: Any, **options: Any) -> Any:
        now[0] += 10 * model.cost * len(pixels)
        return plain(model, pixels, *arguments, **options)

    monkeypatch.setattr(MegaModel, "predict", timed)
    deadline = Deadline(200 / 3600, reserve=0, clock=lambda: now[0])
    models = load_models(recipe, models_folder)
    done = run(recipe, folder, models, tmp_path / "out", deadline=deadline)
    assert [image.status for image in done.report.images] == ["predicted", "predicted"]
    layers = layers_of(done, tmp_path / "out")
    assert layers["a"].names == ("run/fold_0", "run/fold_1")
    assert layers["b"].names == ("run/fold_0",)
