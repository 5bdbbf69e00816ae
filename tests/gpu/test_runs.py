"""Whole runs on the device: from files to a checked submission."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from kernelkit.competition import CompetitionFolder
from kernelkit.mask import BitMask
from kernelkit.predict import Prediction, load_models, predict
from kernelkit.recipe import Recipe
from tests.made.ensembles import dice
from tests.made.on_device import DEVICE, HALF, MODELS, PICTURE, differing, needs_gpu
from tests.made.pictures import NEAR, Clouds, Salt, run, submitted

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(300)]

OPTIONS: list[dict[str, Any]] = [{}, {"cuda_graph": True}]


@pytest.fixture(scope="module")
def section(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A competition of one section of tissue."""
    folder = tmp_path_factory.mktemp("section")
    (folder / "test").mkdir()
    shutil.copyfile(PICTURE, folder / "test" / "section.tiff")
    (folder / "sample_submission.csv").write_text("id,predicted\nsection,\n")
    return folder


def section_mask(
    folder: Path, output: Path, device: torch.device, workers: int = 0, **changes: Any
) -> tuple[NDArray[np.bool_], Prediction]:
    """The mask of the section, and the run that made it."""
    values = Recipe.load("nuclei").model_dump(mode="json", exclude_unset=True)
    [ensemble, _] = values["ensembles"]
    values["ensembles"] = [ensemble | {"runs": ["*"]}]
    recipe = Recipe.model_validate(values | changes)
    competition = CompetitionFolder.read(folder, recipe.competition)
    models = load_models(recipe, MODELS, str(device))
    done = predict(competition, recipe, models, output, workers=workers)
    assert done.report.counts["fallback"] == 0
    [mask] = done.masks["section"]
    return mask.to_array().astype(bool), done


@pytest.mark.parametrize("workers", [0, 2])
def test_a_section_from_its_file(section: Path, tmp_path: Path, workers: int) -> None:
    """Its mask is that of the processor, with readers in other processes too."""
    wanted, _ = section_mask(section, tmp_path / "cpu", torch.device("cpu"), precision="fp32")
    same, _ = section_mask(section, tmp_path / "fp32", DEVICE, workers, precision="fp32")
    assert differing(same, wanted) <= 0.0005
    half, done = section_mask(section, tmp_path / "half", DEVICE, workers, precision=HALF)
    assert dice(half[None], wanted[None]) >= 0.999
    assert done.disagreement["section"].is_file()


def test_a_section_gives_the_same_bytes_twice(section: Path, tmp_path: Path) -> None:
    """Two runs write the same submission, byte for byte."""
    done = [
        section_mask(section, tmp_path / name, DEVICE, workers, precision=HALF)[1]
        for name, workers in (("one", 0), ("two", 2))
    ]
    first, second = (each.submission.read_bytes() for each in done)
    assert first == second


@pytest.mark.slow
@needs_gpu
def test_a_section_with_programs(section: Path, tmp_path: Path) -> None:
    """Compiled networks in a graph give nearly the processor's mask, and no note."""
    wanted, _ = section_mask(section, tmp_path / "cpu", torch.device("cpu"), precision="fp32")
    options = {"compile": bool(shutil.which("cc")), "cuda_graph": True}
    found, done = section_mask(section, tmp_path / "fast", DEVICE, execution=options)
    assert dice(found[None], wanted[None]) >= 0.999
    assert not [note for note in done.report.notes if "not used" in note]


@pytest.mark.parametrize("execution", OPTIONS, ids=["plain", "graph"])
def test_pictures_behind_a_gate(tmp_path: Path, execution: dict[str, Any]) -> None:
    """Pads, a softmax of snapshots and the gate give the masks of the plain networks."""
    salt = Salt(tmp_path)
    recipe = Recipe.model_validate(
        salt.recipe.model_dump(mode="json", exclude_unset=True) | {"execution": execution}
    )
    models = load_models(recipe, salt.models, str(DEVICE))
    rows = submitted(run(salt, tmp_path / "out", recipe, models=models))
    found = [BitMask.from_rle(rows[path.stem], salt.size).to_array() for path in salt.paths]
    wanted = [salt.mask(path) for path in salt.paths]
    assert differing(np.stack(found).astype(bool), np.stack(wanted)) <= 0.0005
    assert 0 < sum(mask.any() for mask in wanted) < len(wanted)


@pytest.mark.parametrize("execution", OPTIONS, ids=["plain", "graph"])
def test_pictures_in_four_sizes(tmp_path: Path, execution: dict[str, Any]) -> None:
    """Each size has its networks. The merged masks are those of the plain networks."""
    clouds = Clouds(tmp_path, count=3, threshold=0.7)
    recipe = Recipe.model_validate(
        clouds.recipe.model_dump(mode="json", exclude_unset=True) | {"execution": execution}
    )
    models = load_models(recipe, clouds.models, str(DEVICE))
    rows = submitted(run(clouds, tmp_path / "out", recipe, models=models))
    for path in clouds.paths:
        for name, plane in zip(clouds.classes, clouds.merged(path), strict=True):
            rle = rows[f"{path.stem}.jpg_{name}"]
            mask = BitMask.from_rle(rle, clouds.size).to_array().astype(bool)
            near = np.abs(plane - clouds.threshold) <= 10 * NEAR
            assert differing(mask[~near], (plane > clouds.threshold)[~near]) <= 0.0005
