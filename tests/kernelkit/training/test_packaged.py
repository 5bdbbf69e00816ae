"""The training recipes of the package, each trained in small on made pictures of its shape."""

from collections.abc import Iterator, Sequence
from importlib import resources
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
import yaml
from numpy.typing import NDArray
from rasterio.transform import from_origin

from kernelkit.checkpoints import Member, load_members
from kernelkit.errors import TrainingError
from kernelkit.mask import rle_encode
from kernelkit.training.cuts import make_cuts
from kernelkit.training.recipe import RunRecipe, TrainingRecipe
from kernelkit.training.run_folder import FoldFolder, begin_run
from kernelkit.training.train_fold import train_fold
from kernelkit.yamlfile import parse_yaml

SMALL = ["batch=2", "steps=2", "epochs=1", "validate.floor=0", "ema=0.5", "loggers=[]"]
TINY = ["model.encoder_name=tu-test_resnet", "model.encoder_weights=null"]


def squares(height: int, width: int, seed: int) -> NDArray[np.uint8]:
    """A mask with two squares."""
    source = np.random.default_rng(seed)
    mask = np.zeros((height, width), np.uint8)
    for _ in range(2):
        row, col = source.integers(0, height - 24), source.integers(0, width - 24)
        mask[row : row + 24, col : col + 24] = 1
    return mask


def picture(mask: NDArray[np.uint8], seed: int, bands: int = 3) -> NDArray[np.uint8]:
    """Noise that is bright where the mask is on, (h, w, bands)."""
    noise = np.random.default_rng(seed).integers(20, 90, (*mask.shape, bands))
    return (noise + 90 * mask[..., None]).astype(np.uint8)


def write_hubmap(folder: Path, ids: Sequence[str]) -> None:
    rows = []
    (folder / "train").mkdir(parents=True)
    for seed, name in enumerate(ids):
        mask = squares(330, 300, seed)
        pixels = picture(mask, seed).transpose(2, 0, 1)
        profile = {"driver": "GTiff", "width": 300, "height": 330, "count": 3, "dtype": "uint8"}
        with rasterio.open(folder / "train" / f"{name}.tiff", "w", **profile) as file:
            file.write(pixels)
        rows.append((name, rle_encode(mask)))
    pd.DataFrame(rows, columns=["id", "encoding"]).to_csv(folder / "train.csv", index=False)


def write_clouds(folder: Path) -> None:
    rows = []
    (folder / "train_images").mkdir(parents=True)
    for seed in range(6):
        masks = [squares(420, 630, 4 * seed + number) for number in range(4)]
        masks[0][-9:, -9:] = 1
        masks[seed % 4][:] = 0
        cv2.imwrite(str(folder / f"train_images/{seed:07d}.jpg"), picture(sum(masks) > 0, seed))
        for name, mask in zip(("Fish", "Flower", "Gravel", "Sugar"), masks, strict=True):
            rows.append((f"{seed:07d}.jpg_{name}", rle_encode(mask)))
    table = pd.DataFrame(rows, columns=["Image_Label", "EncodedPixels"])
    table.to_csv(folder / "train.csv", index=False)


def write_salt(folder: Path) -> None:
    for kind in ("images", "masks"):
        (folder / "train" / kind).mkdir(parents=True)
    for seed in range(16):
        mask = squares(101, 101, seed) * (seed % 2)
        cv2.imwrite(str(folder / f"train/images/{seed:010x}.png"), picture(mask, seed, 1))
        cv2.imwrite(str(folder / f"train/masks/{seed:010x}.png"), 255 * mask)


def write_unosat(folder: Path) -> None:
    for seed, city in enumerate(("38SLF", "38RPV", "38SMA", "38SNE")):
        (folder / "train" / city / "orbit").mkdir(parents=True)
        mask = squares(150, 140, seed)
        transform = from_origin(400_000 + 5000 * seed, 4_000_000, 10, 10)
        profile = {"driver": "GTiff", "width": 140, "height": 150, "count": 1, "dtype": "float32"}
        power = 10 ** (picture(mask, seed, 2).astype(np.float32) / 100 - 2)
        power[:, :9] = 0  # no data
        for number, band in enumerate(("vh", "vv")):
            path = folder / "train" / city / "orbit" / f"S1_{city}0718_{band}.tif"
            with rasterio.open(path, "w", **profile, crs="EPSG:32638", transform=transform) as file:
                file.write(power[..., number], 1)
        shapes = rasterio.features.shapes(mask, mask=mask > 0, transform=transform)
        polygons = [shapely.geometry.shape(shape) for shape, _ in shapes]
        table = geopandas.GeoDataFrame(geometry=polygons, crs="EPSG:32638")
        table.to_file(folder / "train" / f"{city}.shp")


def with_tiles(folder: Path, name: str, **tiles: Any) -> str:
    """Write the recipe that predicts with smaller tiles, and say how to take it."""
    own = resources.files("kernelkit").joinpath(f"recipe/{name}.yaml").read_bytes()
    content = parse_yaml(own, name, TrainingError, "1.2")
    content["tiles"] |= tiles
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(content))
    return f"predicts={path}"


def trained(
    recipe: TrainingRecipe, folder: Path, models: Path, names: Sequence[str] = ()
) -> Iterator[tuple[RunRecipe, Any, list[Member]]]:
    """Train the first fold of runs, and load what inference finds of them."""
    for name in names or recipe.runs:
        run = recipe.runs[name]
        cuts = make_cuts(run, folder, folder.parent / "cuts")
        run_folder = begin_run(run, models, cuts.folds)
        place = FoldFolder(run_folder, 0)
        place.make()
        result = train_fold(run, 0, place, cuts.folder, cuts.folds, ["cpu"])
        yield run, result, load_members(models, [name])


def test_hubmap_trains_in_small(tmp_path: Path) -> None:
    """Objects and a grid at a third of the size, with colours, and weights that are averaged."""
    changes = [
        "windows.objects.size=64",
        "windows.grid.size=64",
        "crop.size=64",
        with_tiles(tmp_path, "hubmap", core=288, pad=48),
    ]
    recipe = TrainingRecipe.load("hubmap", [*SMALL, *TINY, *changes])
    run = recipe.runs["Unet_timm-regnety_016_scse"]
    assert run.folds.lists is not None
    write_hubmap(tmp_path / "hubmap", [name for fold in run.folds.lists for name in fold])
    ((_, result, (member,)),) = trained(recipe, tmp_path / "hubmap", tmp_path / "m", [run.name])
    assert 0 <= result.last <= 1
    assert (member.classes, member.trained_with.scale) == (1, 3)
    assert member.architecture == "Unet, tu-test_resnet, scse"


def test_clouds_train_in_small(tmp_path: Path) -> None:
    """Whole pictures of four classes, at the size in the run's name."""
    write_clouds(tmp_path / "clouds")
    recipe = TrainingRecipe.load("clouds", [*SMALL, *TINY])
    names = ["fpn_effb2_320x480"]
    ((_, _, (member,)),) = trained(recipe, tmp_path / "clouds", tmp_path / "models", names)
    assert member.classes == 4
    assert member.trained_with.size == (320, 480)
    assert member.trained_with.classes == ("Fish", "Flower", "Gravel", "Sugar")


def test_salt_trains_in_small(tmp_path: Path) -> None:
    """A classifier and then a segmenter, each with snapshots that inference takes as members."""
    write_salt(tmp_path / "salt")
    changes = [
        *SMALL,
        "epochs=2",
        "schedule.restarts=2",
        "runs.nmc-resnet18.model.model_name=test_resnet",
        "runs.seg-unet.model.encoder_name=tu-test_resnet",
    ]
    recipe = TrainingRecipe.load("salt", changes)
    models = tmp_path / "models"
    (nmc, _, _), (seg, _, _) = trained(recipe, tmp_path / "salt", models)
    assert (nmc.task, seg.task) == ("classify", "segment")
    gates = load_members(models, ["nmc-*"], checkpoints="all")
    assert [gate.kind for gate in gates] == ["classifier", "classifier"]
    members = load_members(models, ["seg-*"], checkpoints="all")
    assert [member.classes for member in members] == [2, 2]
    assert {member.trained_with.pad for member in members} == {(14, 13)}


def test_pictures_that_a_network_cannot_take_are_named(tmp_path: Path) -> None:
    """If their size is known only once they are read, it is said before the first step."""
    write_salt(tmp_path / "salt")
    own = with_tiles(tmp_path, "salt", pad=[0, 0])
    changes = [*SMALL[:3], "runs.seg-unet.model.arch=FPN", own, "schedule.restarts=1"]
    recipe = TrainingRecipe.load("salt", changes)
    with pytest.raises(TrainingError, match="FPN, resnet34 is trained on 101 x 101 px, wanted mul"):
        next(trained(recipe, tmp_path / "salt", tmp_path / "models", ["seg-unet"]))


def test_unosat_trains_in_small(tmp_path: Path) -> None:
    """Two files per scene, polygons per city, decibels, and zones without data."""
    write_unosat(tmp_path / "unosat")
    changes = [
        "windows.grid.size=64",
        "windows.grid.step=60",
        with_tiles(tmp_path, "unosat", core=160),
    ]
    recipe = TrainingRecipe.load("unosat", [*SMALL, *TINY, *changes])
    names = ["unet_resnet50_jaccard"]
    ((_, result, (member,)),) = trained(recipe, tmp_path / "unosat", tmp_path / "models", names)
    assert result.metric == "mean_iou"
    assert (member.classes, member.channels) == (2, 3)
    assert member.trained_with.bands == (1, 2, "(b1 + b2) / 2")
