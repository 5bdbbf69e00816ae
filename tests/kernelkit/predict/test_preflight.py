"""What recipe, models, files and sample contradict each other in."""

from pathlib import Path

import numpy as np
import pytest
import torch

from kernelkit.competition import CompetitionFolder
from kernelkit.ensemble import MegaModel
from kernelkit.errors import RecipeError
from kernelkit.predict import load_models
from kernelkit.predict.findings import Finding, findings_table, refuse_errors
from kernelkit.predict.preflight import preflight
from kernelkit.recipe import Recipe
from tests.made.competition import RECIPE, write_competition, write_models
from tests.made.layouts import write

RECIPE_OF_ALL = Recipe.parse(RECIPE.replace(", when: {bands: 3}", ""))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, MegaModel]:
    return load_models(RECIPE_OF_ALL, write_models(tmp_path_factory.mktemp("models")))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_competition(tmp_path / "competition")


def found(folder: Path, models: dict[str, MegaModel], **changes: object) -> list[Finding]:
    recipe = RECIPE_OF_ALL.override(**changes)
    competition = CompetitionFolder.read(folder, recipe.competition)
    return preflight(competition, recipe, models, folder).findings


def one_band(path: Path) -> None:
    path.unlink()
    write(path, np.zeros((1, 50, 50), np.uint8), "tiled")


def test_what_fits_together_has_no_findings(folder: Path, models: dict[str, MegaModel]) -> None:
    """A whole competition passes."""
    assert found(folder, models) == []


def test_ids_without_a_file_are_named(folder: Path, models: dict[str, MegaModel]) -> None:
    """One id costs its row. All of them are an error that names the files without an id."""
    (folder / "test/b.tiff").rename(folder / "test/bb.tiff")
    (finding,) = found(folder, models)
    assert not finding.is_error
    assert "1 of 3 images have no file (b). No id asks for: bb.tiff" in finding.message
    for path in (folder / "test").iterdir():
        path.rename(path.with_name(f"x{path.name}"))
    (finding,) = found(folder, models)
    assert finding.is_error
    assert "3 of 3 images" in finding.message


def test_files_without_an_id_are_named(folder: Path, models: dict[str, MegaModel]) -> None:
    """They are not predicted, which is said."""
    write(folder / "test/more.tiff", np.zeros((3, 50, 50), np.uint8), "tiled")
    (finding,) = found(folder, models)
    assert (finding.is_error, "no id asks for more.tiff" in finding.message) == (False, True)


def test_several_files_of_one_id_are_named(folder: Path, models: dict[str, MegaModel]) -> None:
    """The image keeps its fallback row, and the message names the files."""
    write(folder / "test/a.tif", np.zeros((3, 50, 50), np.uint8), "tiled")
    (finding,) = found(folder, models)
    assert str(finding) == "a: several files have this id (a.tif and a.tiff). Keep one of them"


def test_an_image_with_too_few_bands_costs_its_own_row(
    folder: Path, models: dict[str, MegaModel]
) -> None:
    """One such image is a warning. If all are such, nothing can be predicted."""
    one_band(folder / "test/a.tiff")
    (finding,) = found(folder, models)
    assert (finding.subject, finding.is_error) == ("a", False)
    assert "takes band 3, but the image has 1" in finding.message
    one_band(folder / "test/b.tiff")
    one_band(folder / "test/c.tiff")
    (finding,) = found(folder, models)
    assert finding.is_error
    assert "no image can be predicted. The first, a: the input of one takes band 3" in str(finding)


def test_a_rule_of_colours_needs_colours(folder: Path, models: dict[str, MegaModel]) -> None:
    """A foreground rule by saturation on a grey image is found, whatever the bands taken."""
    grey = {"bands": [1, 1, 1]}
    ensemble = RECIPE_OF_ALL.ensembles[0].model_dump() | {"input": grey}
    one_band(folder / "test/a.tiff")
    rule = {"rule": "saturation"}
    (finding,) = found(folder, models, ensembles=[ensemble], foreground=rule)
    assert "needs 3 colours, but the image has 1 band(s). Use the rule 'grey'" in finding.message


def test_a_softmax_over_one_class_is_refused(folder: Path, models: dict[str, MegaModel]) -> None:
    """It would turn every pixel on."""
    ensemble = RECIPE_OF_ALL.ensembles[0].model_dump() | {"activation": "softmax"}
    (finding,) = found(folder, models, ensembles=[ensemble])
    assert (finding.is_error, "1 everywhere" in finding.message) == (True, True)


def test_a_full_disk_is_found_before_the_masks_are(
    folder: Path, models: dict[str, MegaModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message says how much is free and how much the masks may take."""
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 100}))
    (finding,) = found(folder, models)
    assert "0.00 GB are free" in finding.message


def test_errors_come_first_and_all_of_them_are_told(
    folder: Path, models: dict[str, MegaModel]
) -> None:
    """The table has one line per finding. The error names every error and no warning."""
    one_band(folder / "test/a.tiff")
    changes = {"postprocess": ["remove_smal"], "when": {"dtype": "uint8"}}
    ensemble = RECIPE_OF_ALL.ensembles[0].model_dump() | changes
    findings = found(folder, models, ensembles=[ensemble, {"name": "two"}])
    lines = findings_table(findings).splitlines()
    assert [line.split()[0] for line in lines] == ["error", "error", "warning"]
    with pytest.raises(RecipeError, match=r"remove_small.*two: no models are loaded") as caught:
        refuse_errors(findings, RECIPE_OF_ALL)
    assert "takes band 3" not in str(caught.value)


class FixedSize(torch.nn.Module):
    """Takes tiles of 64 x 64 pixels only."""

    def __init__(self) -> None:
        super().__init__()
        self.place = torch.nn.Parameter(torch.randn(1, 1, 64, 64))

    def forward(self, tiles: torch.Tensor) -> torch.Tensor:
        return tiles.mean(1, keepdim=True) + self.place


def test_a_network_of_another_tile_size_is_found_before_the_first_tile(
    folder: Path, tmp_path: Path
) -> None:
    """A program that takes 64 x 64 pixels cannot be given tiles of 128."""
    path = tmp_path / "models/run/fold_0/e1_0.9.ts"
    path.parent.mkdir(parents=True)
    torch.jit.script(FixedSize()).save(str(path))
    ensemble = RECIPE_OF_ALL.ensembles[0].model_dump() | {"programs": True}
    recipe = RECIPE_OF_ALL.override(ensembles=[ensemble])
    programs = load_models(recipe, tmp_path / "models")
    (finding,) = found(folder, programs, ensembles=[ensemble])
    assert (finding.subject, finding.is_error) == ("one", True)
    assert "64 x 64" in finding.message


def test_memory_that_runs_out_is_no_finding(
    folder: Path, models: dict[str, MegaModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model makes room when the first tile comes, by smaller batches."""

    def too_large(*_: object) -> None:
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(MegaModel, "get_ready", too_large)
    assert found(folder, models) == []
