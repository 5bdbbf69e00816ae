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
from kernelkit.predict.preflight.preflight import preflight
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


def test_images_of_several_dtypes_in_one_ensemble_are_named(
    folder: Path, models: dict[str, MegaModel]
) -> None:
    """One division cannot be right for 8 and for 16 bits. If the input is scaled, it can."""
    write(folder / "test/a.tiff", np.full((3, 50, 50), 999, np.uint16), "tiled")
    (finding,) = found(folder, models)
    assert not finding.is_error
    assert "found images of uint16 and of uint8, whose values one 'divide'" in finding.message
    ensemble = RECIPE_OF_ALL.model_dump(exclude_unset=True)["ensembles"][0]
    ensemble = ensemble | {"input": ensemble.get("input", {}) | {"minmax": {}}}
    assert not any("divide" in each.message for each in found(folder, models, ensembles=[ensemble]))


@pytest.mark.parametrize(("value", "is_said"), [(4095, True), (255, False)])
def test_values_that_no_byte_holds_are_named(
    folder: Path, models: dict[str, MegaModel], value: int, is_said: bool
) -> None:
    """12 bits divided by 255 are up to 16. What fits into 8 bits may lie in 16."""
    for path in (folder / "test").iterdir():
        path.unlink()
        write(path, np.full((3, 50, 50), value, np.uint16), "tiled")
    said = [finding for finding in found(folder, models) if "divide" in finding.message]
    assert [finding.is_error for finding in said] == [False] * is_said
    assert all("found values up to 4095 in a, which is of uint16" in f.message for f in said)


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

    def too_large(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(MegaModel, "get_ready", too_large)
    assert found(folder, models) == []


@pytest.mark.parametrize(
    ("sides", "errors"), [([64, 64, 64], []), ([64, 96, 64], [False]), ([96, 64, 96], [True])]
)
def test_pictures_that_no_network_takes_are_found_before_the_first_one(
    tmp_path: Path, sides: list[int], errors: list[bool]
) -> None:
    """The most frequent size decides the run. Another one costs its own pictures."""
    path = tmp_path / "models/run/fold_0/e1_0.9.ts"
    path.parent.mkdir(parents=True)
    torch.jit.script(FixedSize()).save(str(path))
    ensemble = RECIPE_OF_ALL.ensembles[0].model_dump() | {"programs": True}
    recipe = Recipe.parse(RECIPE).override(ensembles=[ensemble])
    content = recipe.model_dump(exclude_unset=True) | {"tiles": "whole"}
    recipe = Recipe.model_validate(content)
    images = {name: ("tiled", side, side) for name, side in zip("abc", sides, strict=True)}
    folder = write_competition(tmp_path / "competition", images)
    competition = CompetitionFolder.read(folder, recipe.competition)
    models = load_models(recipe, tmp_path / "models")
    findings = preflight(competition, recipe, models, tmp_path).findings
    assert [finding.is_error for finding in findings] == errors
    assert {finding.subject for finding in findings} <= {"one, pictures of 96 x 96"}
    assert all("64 x 64" in finding.message for finding in findings)


def test_logits_that_are_merged_from_bytes_are_said(
    folder: Path, models: dict[str, MegaModel]
) -> None:
    """If a merge of logits stands above the stored level, a warning says what bytes lose."""
    [ensemble] = RECIPE_OF_ALL.model_dump(exclude_unset=True)["ensembles"]
    changes = {
        "ensembles": [ensemble | {"merge": {"folds": "mean of logits"}}],
        "store": {"what": "probabilities", "level": "member"},
    }
    (finding,) = found(folder, models, **changes)
    assert not finding.is_error
    assert "stored probabilities are merged by mean of logits" in finding.message
    assert found(folder, models, **changes | {"store": {"what": "probabilities"}}) == []


def test_rotating_views_need_tiles(folder: Path, models: dict[str, MegaModel]) -> None:
    """A whole picture has no neighbour that is seen in the next view."""
    ensemble = RECIPE_OF_ALL.ensembles[0].model_dump() | {"views": "rotating"}
    content = RECIPE_OF_ALL.model_dump(exclude_unset=True)
    recipe = Recipe.model_validate(content | {"tiles": "whole", "ensembles": [ensemble]})
    competition = CompetitionFolder.read(folder, recipe.competition)
    (finding,) = preflight(competition, recipe, models, folder).findings
    assert finding.is_error
    assert "the views 'rotating' go from tile to tile" in finding.message


def test_room_for_probabilities_is_room_for_all_layers(
    folder: Path, models: dict[str, MegaModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two folds take a byte per pixel each, and masks a quarter of one."""
    pixels = 150 * 201 + 97 * 130 + 40 * 50
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": pixels}))
    assert found(folder, models) == []
    (finding,) = found(folder, models, store={"what": "probabilities", "level": "member"})
    assert "and the probabilities may take 0.00 GB" in finding.message
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 2 * pixels}))
    assert found(folder, models, store={"what": "probabilities", "level": "member"}) == []


def test_of_many_images_that_cannot_be_predicted_a_few_are_named(
    folder: Path, models: dict[str, MegaModel]
) -> None:
    """The others are counted."""
    for number in range(30):
        one_band(write_copy(folder, number))
    (folder / "sample_submission.csv").unlink()
    findings = found(folder, models)
    assert len(findings) == 21
    assert findings[-1].message == "10 more images cannot be predicted. The report says why"


def write_copy(folder: Path, number: int) -> Path:
    path = folder / f"test/x{number:02}.tiff"
    path.touch()
    return path
