"""The maps of a run: each is there, lies where its images do, and shows what the others show."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import fmean

import pandas as pd
import rasterio

from devkit.dryrun.scenario import Scenario
from devkit.dryrun.scoring import score
from devkit.errors import DryRunError
from kernelkit.competition import CompetitionFolder, Row
from kernelkit.grid import Window
from kernelkit.maps import DrawnLabels
from kernelkit.mask import BitMask
from kernelkit.predict.report import Report
from kernelkit.reader.missing import empty_pixels
from kernelkit.recipe import Recipe
from kernelkit.slide import Slide

__all__ = ["check_maps"]


def check_maps(scenario: Scenario) -> pd.DataFrame:
    """One row per map: its images, its polygons, and F1 of its pixels if labels are known.

    The table is empty if the recipe asks for no maps.

    Raises
    ------
    DryRunError
        A map is missing, or its polygons do not give the mask of its GeoTIFF back.
    """
    recipe = Recipe.load(scenario.recipe)
    if recipe.competition.output is None:
        return pd.DataFrame()
    test_set = CompetitionFolder.read(scenario.competition, recipe.competition)
    rows = []
    for name, images in _parties(scenario, test_set, recipe):
        found = {path.suffix: path for path in sorted(scenario.maps.rglob(f"{name}.*"))}
        with Slide(test_set.scenes[images[0]].paths) as slide:
            masks, polygons = _masks(found, slide)
        if not masks:
            raise DryRunError(
                f"{scenario.maps}: there is no map of {name}. The notebook says why, at its end"
            )
        first = next(iter(masks.values()))
        if any(mask != first for mask in masks.values()):
            names = " and ".join(path.name for path in masks)
            raise DryRunError(f"{scenario.maps}: {names} show different masks. Write them again")
        nodata = recipe.competition.nodata
        row = {"map": name, "images": len(images), "polygons": polygons}
        if scenario.solution:
            row["F1"] = f"{_score(first, images, test_set, scenario.solution, nodata):.3f}"
        rows.append(row)
    return pd.DataFrame(rows)


def _parties(
    scenario: Scenario, test_set: CompetitionFolder, recipe: Recipe
) -> Iterator[tuple[str, list[str]]]:
    """The name of each map, and the predicted images that it is made of."""
    done = [i.image for i in Report.load(scenario.report).images if not i.is_fallback]
    groups: dict[str, list[str]] = {}
    for image in done:
        scene = test_set.scenes[image]
        groups.setdefault(scene.group if recipe.groups else image, []).append(image)
    yield from groups.items()


def _masks(found: Mapping[str, Path], slide: Slide) -> tuple[dict[Path, BitMask], int]:
    """The mask that each file of a map shows, and how many polygons there are."""
    masks, polygons = {}, 0
    for suffix, path in found.items():
        if suffix in (".tif", ".tiff"):
            with rasterio.open(path) as file:
                if (file.transform, file.crs) != (slide.transform, slide.crs):
                    raise DryRunError(
                        f"{path}: it does not lie where its images do. Write it again"
                    )
                masks[path] = BitMask.from_array(file.read(1))
        elif suffix in (".shp", ".gpkg", ".geojson"):
            drawn = DrawnLabels(path, slide.transform, slide.crs)
            whole = Window(0, 0, slide.height, slide.width)
            masks[path], polygons = drawn.mask(whole, all_touched=False), len(drawn)
    return masks, polygons


def _score(
    mask: BitMask,
    images: list[str],
    test_set: CompetitionFolder,
    solution: Path,
    nodata: float | None,
) -> float:
    """F1 of a map's pixels, which is the Dice of its mask: the mean over its images.

    Pixels for which no image has data are not judged.
    """
    rows: dict[Row, BitMask] = {row: mask for row in test_set.rows if row.image in images}
    missing = ~BitMask.zeros(*mask.shape)
    for image in images:
        with Slide(test_set.scenes[image].paths, nodata=nodata) as slide:
            missing &= empty_pixels(slide) or BitMask.zeros(*mask.shape)
    return fmean(score(rows, solution, missing).values())
