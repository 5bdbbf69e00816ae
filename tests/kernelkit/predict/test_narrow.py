"""Images of a few pixels: their tiles are as narrow as they need to be, and no narrower."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from kernelkit.competition import CompetitionFolder
from kernelkit.ensemble import MegaModel
from kernelkit.predict import load_models, predict
from kernelkit.predict.work.image_tiles import ImageTiles
from kernelkit.recipe import Recipe
from kernelkit.slide import Slide
from tests.made.competition import RECIPE, write_competition, write_models
from tests.made.layouts import picture, write

IMAGES = {
    "dot": ("tiled", 3, 3),
    "line": ("strips", 1, 700),
    "column": ("strips", 700, 1),
    "large": ("tiled", 260, 300),
}
# the smallest tiles that the networks are asked about, by what the image needs
SHAPES = {"dot": (64, 64), "line": (64, 256), "column": (256, 64), "large": (256, 256)}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two random folds of one run."""
    return write_models(tmp_path_factory.mktemp("models") / "models")


@pytest.mark.parametrize("views", [["identity"], "hubmap", "rotating"])
@pytest.mark.parametrize("blend", ["crop", "hann"])
def test_narrow_images_are_predicted_in_narrow_tiles(
    tmp_path: Path, models: Path, views: list[str] | str, blend: str
) -> None:
    """Each image has a mask of its size, whatever the views and however tiles are blended."""
    ensemble = Recipe.parse(RECIPE).ensembles[0].model_dump() | {"views": views}
    recipe = Recipe.parse(RECIPE).override(
        tiles={"core": 192, "pad": 32}, ensembles=[ensemble], stitching={"blend": blend}
    )
    write_competition(tmp_path / "in", IMAGES)
    competition = CompetitionFolder.read(tmp_path / "in", recipe.competition)
    done = predict(competition, recipe, load_models(recipe, models), tmp_path / "out")
    assert not done.report.fallbacks
    for name, (_, height, width) in IMAGES.items():
        assert done.masks[name][0].shape == (height, width)


def test_a_narrow_image_is_what_its_networks_see_of_it(tmp_path: Path, models: Path) -> None:
    """The mask of 20 x 9 pixels is the networks' own answer to the picture in the tile's middle."""
    pixels = picture(3, 20, 9)
    path = write(tmp_path / "a.tif", pixels, "tiled")
    recipe = Recipe.parse(RECIPE).override(tiles={"core": 192, "pad": 32, "fill": "zero"})
    model = MegaModel(models, recipe=recipe.ensembles[0], device="cpu")
    tiles = ImageTiles(Slide(path), recipe, model=model)
    [batch] = tiles.batches()
    tiles.close()
    top, left = (64 - 20) // 2, (64 - 9) // 2
    expected = np.pad(pixels, [(0, 0), (top, 64 - 20 - top), (left, 64 - 9 - left)])
    np.testing.assert_array_equal(batch.pixels, expected[None])
    assert batch.tiles[0].inner.slices == (slice(top, top + 20), slice(left, left + 9))


@pytest.mark.parametrize("name", IMAGES)
def test_tiles_are_no_larger_than_an_image_needs(tmp_path: Path, models: Path, name: str) -> None:
    """An axis of a few pixels is clipped. An image as large as a tile has whole tiles."""
    layout, height, width = IMAGES[name]
    path = write(tmp_path / "a.tif", picture(3, height, width), layout)
    recipe = Recipe.parse(RECIPE).override(tiles={"core": 192, "pad": 32})
    model = MegaModel(models, recipe=recipe.ensembles[0], device="cpu")
    tiles = ImageTiles(Slide(path), recipe, model=model)
    tiles.close()
    assert tiles.grid.tile_shape == SHAPES[name]


class OfOneSize(nn.Module):
    """A network that takes tiles of 256 x 256 alone."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1, 1, 256, 256))

    def forward(self, x: Tensor) -> Tensor:
        """Weigh each pixel of the first band."""
        return x[:, :1] * self.weight


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_networks_of_one_size_keep_their_tiles(tmp_path: Path) -> None:
    """A program for 256 x 256 sees whole tiles of an image of 3 x 3 pixels."""
    (tmp_path / "models/run").mkdir(parents=True)
    torch.jit.save(torch.jit.script(OfOneSize().eval()), tmp_path / "models/run/network.ts")
    ensemble = Recipe.parse(RECIPE).ensembles[0].model_dump() | {"programs": True}
    recipe = Recipe.parse(RECIPE).override(tiles={"core": 192, "pad": 32}, ensembles=[ensemble])
    write_competition(tmp_path / "in", {"dot": ("tiled", 3, 3)})
    competition = CompetitionFolder.read(tmp_path / "in", recipe.competition)
    [model] = load_models(recipe, tmp_path / "models").values()
    slide = Slide(tmp_path / "in/test/dot.tiff")
    tiles = ImageTiles(slide, recipe, model=model)
    tiles.close()
    assert tiles.grid.tile_shape == (256, 256)
    done = predict(competition, recipe, {model.recipe.name: model}, tmp_path / "out")
    assert not done.report.fallbacks
