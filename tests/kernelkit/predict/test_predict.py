import itertools
import os
import pickle
import shutil
import signal
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
import rasterio
import yaml

from kernelkit.competition import CompetitionFolder, read_submission
from kernelkit.ensemble import MegaModel
from kernelkit.errors import CheckpointError, OutputError, RecipeError, SubmissionError
from kernelkit.predict import Prediction, load_models, predict
from kernelkit.predict.deadline import Deadline
from kernelkit.predict.report import Report
from kernelkit.predict.work.image_tiles import ImageTiles
from kernelkit.reader import ReaderPool, TileReader
from kernelkit.reader.piece_task import PieceResult, PieceTask
from kernelkit.recipe import Recipe
from kernelkit.slide import Slide
from tests.made.competition import NETWORK, RECIPE, write_competition, write_models
from tests.made.layouts import spoil_block
from tests.made.stored import forget, names


@pytest.fixture(scope="module")
def models_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_models(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return Recipe.parse(RECIPE)


@pytest.fixture(scope="module")
def models(recipe: Recipe, models_folder: Path) -> dict[str, MegaModel]:
    return load_models(recipe, models_folder)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_competition(tmp_path / "competition")


def run(
    folder: Path, recipe: Recipe, models: dict[str, MegaModel], output: Path, **options: object
) -> Prediction:
    competition = CompetitionFolder.read(folder, recipe.competition)
    return predict(competition, recipe, models, output, **options)  # type: ignore[arg-type]


def statuses(done: Prediction) -> dict[str, str]:
    return {image.image: image.status for image in done.report.images}


def test_reader_processes_change_nothing(
    folder: Path, recipe: Recipe, models: dict[str, MegaModel], tmp_path: Path
) -> None:
    """The submission is the same, byte for byte, whether tiles come from 0, 1 or 2 processes."""
    texts = {
        run(folder, recipe, models, tmp_path / str(n), workers=n).submission.read_bytes()
        for n in (0, 1, 2)
    }
    assert len(texts) == 1
    assert len(texts.pop()) > 100


def test_stitched_tiles_equal_the_image_seen_at_once(
    folder: Path, recipe: Recipe, models: dict[str, MegaModel], tmp_path: Path
) -> None:
    """An image that fits into one tile has the mask that the models give for that tile."""
    at_once = recipe.override(tiles={"core": 224, "pad": 0, "fill": "zero"})
    done = run(folder, at_once, models, tmp_path / "out")
    with Slide(folder / "test/a.tiff") as slide:
        size = (slide.height, slide.width)
        pixels = np.zeros((1, 3, 224, 224), np.uint8)
        pixels[0, :, : slide.height, : slide.width] = slide.read(slide.bounds)
    wanted = (
        models["one"].predict(pixels).probabilities[0, 0].cpu().numpy()[: size[0], : size[1]] > 0.5
    )
    rows = read_submission(done.submission, ["a", "b", "c"], {"a": size}, recipe.competition)
    assert np.array_equal(dict(rows)["a"].to_array().astype(bool), wanted)


def spoil_by_truncation(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def spoil_with_text(path: Path) -> None:
    path.write_text("this is no image")


@pytest.mark.parametrize("spoil", [spoil_by_truncation, spoil_with_text, Path.unlink])
def test_a_bad_image_costs_only_its_own_row(
    spoil: object, folder: Path, recipe: Recipe, models: dict[str, MegaModel], tmp_path: Path
) -> None:
    """The others are as without it, its row is the fallback, and the report names the reason."""
    good = run(folder, recipe, models, tmp_path / "good").submission.read_text().splitlines()
    spoil(folder / "test/b.tiff")  # type: ignore[operator]
    done = run(folder, recipe, models, tmp_path / "bad", workers=2)
    rows = done.submission.read_text().splitlines()
    assert rows == [good[0], good[1], "b,", good[3]]
    assert statuses(done) == {"a": "predicted", "b": "fallback", "c": "predicted"}
    (fallback,) = done.report.fallbacks
    (reason,) = fallback.notes
    assert "b" in reason
    assert "\n" not in reason


def test_strict_fails_after_the_submission_is_written(
    folder: Path, recipe: Recipe, models: dict[str, MegaModel], tmp_path: Path
) -> None:
    """The exit is an error that names the image, and the file is there all the same."""
    spoil_with_text(folder / "test/b.tiff")
    with pytest.raises(SubmissionError, match=r"1 image\(s\) have only the fallback row \(b\)"):
        run(folder, recipe, models, tmp_path / "out", strict=True)
    assert (tmp_path / "out/submission.csv").read_text().count("\n") == 4


def test_a_run_that_predicted_nothing_says_so(
    folder: Path, recipe: Recipe, models: dict[str, MegaModel], tmp_path: Path
) -> None:
    """A submission of nothing but fallback rows is no success, strict or not."""
    with pytest.raises(SubmissionError, match="not one image could be predicted"):
        run(folder, recipe, models, tmp_path / "out", deadline=Deadline(0, reserve=1))
    assert (tmp_path / "out/submission.csv").read_text().count("\n") == 4


def test_an_interrupted_run_goes_on_where_it_was(
    folder: Path, recipe: Recipe, models: dict[str, MegaModel], tmp_path: Path
) -> None:
    """Finished masks are kept. Another recipe does not use them."""
    first = run(folder, recipe, models, tmp_path / "out")
    forget(tmp_path / "out/masks", "b")
    second = run(folder, recipe, models, tmp_path / "out")
    assert statuses(second) == {"a": "kept", "b": "predicted", "c": "kept"}
    assert second.submission.read_bytes() == first.submission.read_bytes()
    other = run(folder, recipe.override(batch=2), models, tmp_path / "out")
    assert set(statuses(other).values()) == {"predicted"}


def test_another_minimum_area_needs_no_model(
    folder: Path, recipe: Recipe, models: dict[str, MegaModel], tmp_path: Path
) -> None:
    """Postprocessing reads the store: a changed step keeps the masks and changes the rows."""
    first = run(folder, recipe, models, tmp_path / "out")
    steps = [{"remove_small": {"min_area": 40}}]
    ensemble = recipe.ensembles[0].model_dump() | {"postprocess": steps}
    second = run(folder, recipe.override(ensembles=[ensemble]), models, tmp_path / "out")
    assert set(statuses(second).values()) == {"kept"}
    assert second.masks["a"] == [first.masks["a"][0].remove_small(40)]
    areas = {image.image: image.area for image in second.report.images}
    assert areas["a"] == second.masks["a"][0].area < first.masks["a"][0].area


def test_another_image_of_the_same_name_and_size_is_predicted(
    folder: Path, recipe: Recipe, models: dict[str, MegaModel], tmp_path: Path
) -> None:
    """A file that changed in a single byte in its middle has a mask of its own."""
    run(folder, recipe, models, tmp_path / "out")
    path = folder / "test/c.tiff"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x55
    path.write_bytes(content)
    second = run(folder, recipe, models, tmp_path / "out")
    assert statuses(second) == {"a": "kept", "b": "kept", "c": "predicted"}


def test_a_block_that_cannot_be_decoded_costs_its_own_pixels(
    recipe: Recipe, models: dict[str, MegaModel], tmp_path: Path
) -> None:
    """Its pixels are background, the others are predicted, and a second run says so again."""
    folder = write_competition(tmp_path / "competition", {"a": ("tiled", 300, 280)})
    spoil_block(folder / "test/a.tiff", 0, 0)
    first = run(folder, recipe, models, tmp_path / "out")
    (mask,) = first.masks["a"]
    assert mask.crop(0, 0, 256, 256).area == 0
    assert mask.area > 0
    second = run(folder, recipe, models, tmp_path / "out")
    assert statuses(second) == {"a": "kept"}
    (note,) = second.report.images[0].notes
    assert note.startswith("1 block(s) cannot be decoded. They are 78.0% of the image")
    assert first.report.images[0].notes == [note]


def test_an_image_of_which_no_block_can_be_decoded_is_not_predicted(
    folder: Path, recipe: Recipe, models: dict[str, MegaModel], tmp_path: Path
) -> None:
    """The network's answer to zeros is not submitted."""
    spoil_block(folder / "test/a.tiff", 0, 0)
    done = run(folder, recipe, models, tmp_path / "out")
    assert statuses(done)["a"] == "fallback"
    assert "not one block of it can be decoded" in done.report.fallbacks[0].notes[-1]


def test_a_file_that_changes_while_it_is_read_is_not_trusted(
    folder: Path,
    recipe: Recipe,
    models: dict[str, MegaModel],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its row is the fallback, and no mask of it is kept."""
    finish = ImageTiles.batches

    def overwriting(tiles: ImageTiles) -> Any:
        yield from finish(tiles)
        if tiles.slide.name.startswith("c"):
            os.utime(folder / "test/c.tiff", ns=(1, 1))

    monkeypatch.setattr(ImageTiles, "batches", overwriting)
    done = run(folder, recipe, models, tmp_path / "out")
    assert statuses(done) == {"a": "predicted", "b": "predicted", "c": "fallback"}
    assert "was changed while it was read" in done.report.fallbacks[0].notes[-1]
    assert not any(name.startswith("c-") for name in names(tmp_path / "out/masks"))


def test_models_that_do_not_fit_the_rows_are_found_first(
    folder: Path, recipe: Recipe, tmp_path: Path
) -> None:
    """Missing models, and models of two classes, are errors before any tile is read."""
    with pytest.raises(RecipeError, match="one: no models are loaded for it"):
        run(folder, recipe, {}, tmp_path / "out")
    network = NETWORK | {"classes": 2}
    two = load_models(recipe, write_models(tmp_path / "models", network))
    with pytest.raises(RecipeError, match=r"2 class\(es\), but the recipe submits 1 row"):
        run(folder, recipe, two, tmp_path / "out")
    assert not (tmp_path / "out/submission.csv").exists()


def test_a_run_that_is_refused_leaves_a_report(
    folder: Path, recipe: Recipe, tmp_path: Path
) -> None:
    """It has no images, and its notes are what was found."""
    with pytest.raises(RecipeError, match="one: no models are loaded for it"):
        run(folder, recipe, {}, tmp_path / "out")
    report = Report.load(tmp_path / "out/report.json")
    assert (report.recipe, report.images) == ("test", [])
    assert report.notes == ["one: no models are loaded for it. Load them by load_models"]


def test_what_is_wrong_with_the_next_image_is_said_at_its_own_turn(
    folder: Path,
    recipe: Recipe,
    models: dict[str, MegaModel],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Readers that cannot begin with it while this one is predicted cost this one nothing."""
    start, failed = TileReader.start, []

    def failing(reader: TileReader, size: int = 1) -> None:
        if reader.slide.name == "b":
            failed.append(reader)
            raise MemoryError
        start(reader, size)

    monkeypatch.setattr(TileReader, "start", failing)
    done = run(folder, recipe, models, tmp_path / "out", workers=2)
    assert failed
    assert set(statuses(done).values()) == {"predicted"}
    assert not any(image.notes for image in done.report.images)


def test_a_limit_leaves_fallback_rows_for_the_rest(
    folder: Path, recipe: Recipe, models: dict[str, MegaModel], tmp_path: Path
) -> None:
    """The submission has all ids, whatever was predicted."""
    done = run(folder, recipe, models, tmp_path / "out", limit=1)
    assert statuses(done) == {"a": "predicted", "b": "fallback", "c": "fallback"}


def test_images_after_the_deadline_get_their_fallback(
    folder: Path, recipe: Recipe, models: dict[str, MegaModel], tmp_path: Path
) -> None:
    """When time is over in the middle of the second image, the first one's row stands."""
    seconds = iter([0.0, 0.0] + [0.0] * 5 + [9999.0] * 99)
    deadline = Deadline(1, reserve=0, clock=lambda: next(seconds))
    done = run(folder, recipe, models, tmp_path / "out", deadline=deadline)
    assert statuses(done) == {"a": "predicted", "b": "fallback", "c": "fallback"}
    assert "time was over" in done.report.fallbacks[0].notes[-1]


def test_disagreement_is_drawn_on_request(
    folder: Path, recipe: Recipe, models: dict[str, MegaModel], tmp_path: Path
) -> None:
    """There is a picture an image, also of one that an earlier run finished, and the same masks."""
    without = run(folder, recipe, models, tmp_path / "without")
    assert not without.disagreement
    asking = recipe.override(disagreement=True)
    for _ in range(2):
        done = run(folder, asking, models, tmp_path / "with")
        assert done.submission.read_bytes() == without.submission.read_bytes()
        assert list(done.disagreement) == ["a", "b", "c"]
        picture = plt.imread(done.disagreement["a"])
        assert picture.shape[:2] == (-(-150 // 16), -(-201 // 16))
        assert picture[..., :3].std() > 0.01  # random networks differ, here more and there less


class Deadly:
    """Kills the process that unpickles it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return signal.raise_signal, (signal.SIGKILL,)


@pytest.fixture
def killer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Has the reader process that is given the second piece of all die over it."""
    submit = ReaderPool.submit
    pieces = itertools.count()

    def deadly(pool: ReaderPool, task: PieceTask) -> "Future[PieceResult]":
        if next(pieces) == 1:
            task = task._replace(source=pickle.dumps(Deadly()))
        return submit(pool, task)

    monkeypatch.setattr(ReaderPool, "submit", deadly)


@pytest.mark.timeout(120)
@pytest.mark.usefixtures("killer")
def test_a_killed_reader_changes_nothing_but_the_report(
    folder: Path, recipe: Recipe, models: dict[str, MegaModel], tmp_path: Path
) -> None:
    """Tiles that a dead process owed are read in this one, and the submission is the same."""
    done = run(folder, recipe, models, tmp_path / "out", workers=2)
    wanted = run(folder, recipe, models, tmp_path / "undisturbed")
    assert set(statuses(done).values()) == {"predicted"}
    assert done.submission.read_bytes() == wanted.submission.read_bytes()
    assert any("by one new reader" in note for i in done.report.images for note in i.notes)


@pytest.mark.timeout(120)
def test_a_file_that_kills_its_readers_costs_its_own_row(
    folder: Path,
    recipe: Recipe,
    models: dict[str, MegaModel],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every process that decodes it dies. The notebook does not decode it, and goes on."""
    submit = ReaderPool.submit

    def deadly(pool: ReaderPool, task: PieceTask) -> "Future[PieceResult]":
        if b"b.tiff" in task.source:
            task = task._replace(source=pickle.dumps(Deadly()))
        return submit(pool, task)

    monkeypatch.setattr(ReaderPool, "submit", deadly)
    done = run(folder, recipe, models, tmp_path / "out", workers=2)
    assert statuses(done) == {"a": "predicted", "b": "fallback", "c": "predicted"}
    assert "a reader process died" in done.report.fallbacks[0].notes[-1]


def test_another_rule_for_pixels_without_data_is_another_mask(
    recipe: Recipe, models: dict[str, MegaModel], tmp_path: Path
) -> None:
    """A mask that was cleared of them is not kept for a recipe that keeps them."""
    (tmp_path / "competition/test").mkdir(parents=True)
    pixels = np.full((3, 60, 80), 99, np.float32)
    pixels[:, :, :40] = -1
    shape = {"count": 3, "height": 60, "width": 80, "dtype": "float32", "nodata": -1}
    with rasterio.open(tmp_path / "competition/test/a.tif", "w", driver="GTiff", **shape) as file:
        file.write(pixels)
    folder = tmp_path / "competition"
    low = recipe.override(ensembles=[recipe.ensembles[0].model_dump() | {"thresholds": 0.01}])
    cleared = run(folder, low, models, tmp_path / "out").masks["a"][0]
    kept = run(folder, low.override(nodata="keep"), models, tmp_path / "out")
    assert statuses(kept) == {"a": "predicted"}
    assert cleared.area < kept.masks["a"][0].area


def test_an_ensemble_may_get_another_name(
    folder: Path, recipe: Recipe, models: dict[str, MegaModel], tmp_path: Path
) -> None:
    """Its masks are kept, and its own steps are done."""
    first = run(folder, recipe, models, tmp_path / "out")
    renamed = recipe.override(ensembles=[recipe.ensembles[0].model_dump() | {"name": "two"}])
    second = run(folder, renamed, {"two": models["one"]}, tmp_path / "out")
    assert set(statuses(second).values()) == {"kept"}
    assert second.submission.read_bytes() == first.submission.read_bytes()


def test_a_report_that_cannot_be_written_costs_no_submission(
    folder: Path, recipe: Recipe, models: dict[str, MegaModel], tmp_path: Path
) -> None:
    """A folder in the report's place is said, and the run ends well."""
    (tmp_path / "out/report.json").mkdir(parents=True)
    done = run(folder, recipe, models, tmp_path / "out")
    assert done.submission.read_text().count("\n") == 4


def test_a_misspelt_postprocess_step_is_found_first(
    folder: Path, recipe: Recipe, models: dict[str, MegaModel], tmp_path: Path
) -> None:
    """The error comes before any tile is read, and names the step that was meant."""
    ensemble = recipe.ensembles[0].model_dump() | {"postprocess": [{"remove_smal": {}}]}
    with pytest.raises(RecipeError, match="remove_small"):
        run(folder, recipe.override(ensembles=[ensemble]), models, tmp_path / "out")


def test_an_output_folder_that_cannot_be_written_is_found_first(
    folder: Path, recipe: Recipe, tmp_path: Path
) -> None:
    """The error comes before any model is asked, in one sentence."""
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="the output folder cannot be written to"):
        run(folder, recipe, {}, tmp_path / "file/out")


def test_a_checkpoint_of_another_architecture_is_refused(
    recipe: Recipe, models_folder: Path, tmp_path: Path
) -> None:
    """The message names the file, and weights that fit by chance are not loaded."""
    shutil.copytree(models_folder, tmp_path / "models")
    config = {"MODEL": NETWORK | {"encoder_name": "resnet18"}}
    (tmp_path / "models/run/cfg.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(CheckpointError, match=r"e1_t2_cmax_val_0\.9\.pth"):
        load_models(recipe, tmp_path / "models")


def test_an_empty_models_folder_is_refused(recipe: Recipe, tmp_path: Path) -> None:
    """The message names the folder."""
    with pytest.raises(CheckpointError, match=str(tmp_path)):
        load_models(recipe, tmp_path)


STORED = "store: {what: probabilities, level: LEVEL}\nsubmissions: {a: {}, b: {thresholds: 0.3}}\n"


@pytest.mark.parametrize("level", ["member", "model", "ensemble"])
def test_another_threshold_needs_no_model(
    folder: Path, models: dict[str, MegaModel], tmp_path: Path, level: str
) -> None:
    """Of stored probabilities, other thresholds, steps and files come without a network."""
    text = RECIPE + STORED.replace("LEVEL", level)
    first = run(folder, Recipe.parse(text), models, tmp_path / "out")
    assert [path.name for path in first.submissions] == ["a.csv", "b.csv"]
    assert set(statuses(first).values()) == {"predicted"}
    changed = text.replace("submissions: {", "submissions: {c: {thresholds: 0.3}, ")
    second = run(folder, Recipe.parse(changed), models, tmp_path / "out")
    assert set(statuses(second).values()) == {"kept"}
    b, c = (tmp_path / f"out/submissions/{name}.csv" for name in "bc")
    assert b.read_bytes() == c.read_bytes() == second.submission.read_bytes()
    assert (tmp_path / "out/submissions/a.csv").read_bytes() != b.read_bytes()


def test_stored_probabilities_make_the_masks_that_work_makes(
    folder: Path, recipe: Recipe, models: dict[str, MegaModel], tmp_path: Path
) -> None:
    """Only where a probability is within half a byte of the threshold do they differ."""
    decided = run(folder, recipe, models, tmp_path / "masks")
    stored = Recipe.parse(RECIPE + STORED.replace("LEVEL", "member"))
    later = run(folder, stored, models, tmp_path / "layers")
    for name, [mask] in decided.masks.items():
        [other] = later.masks[name]
        assert (mask ^ other).area <= 0.02 * mask.height * mask.width
        assert 0 < mask.area < mask.height * mask.width


def test_a_run_joins_what_another_notebook_stored(
    folder: Path, models: dict[str, MegaModel], tmp_path: Path
) -> None:
    """Its members count beside the own ones, and the same member twice is refused first."""
    text = RECIPE + STORED.replace("LEVEL", "member")
    own = Recipe.parse(text)
    run(folder, own, models, tmp_path / "other")
    with pytest.raises(RecipeError, match="it holds run/fold_0, as one does, which would count"):
        run(folder, own, models, tmp_path / "out", stores=[tmp_path / "other"])
    shutil.copytree(write_models(tmp_path / "models") / "run", tmp_path / "more/second")
    more = load_models(own, tmp_path / "more")
    done = run(folder, own, more, tmp_path / "out", stores=[tmp_path / "other"])
    assert set(statuses(done).values()) == {"predicted"}
    merged = predict(
        CompetitionFolder.read(folder, own.competition),
        own,
        {},
        tmp_path / "merged",
        stores=[tmp_path / "other", tmp_path / "out"],
    )
    assert merged.submission.read_bytes() == done.submission.read_bytes()


@pytest.mark.parametrize(
    ("submissions", "wanted"),
    [
        ("{a: {thresholds: [0.3, 0.4]}}", r"submissions.a: it has 2 thresholds for 1 class\(es\)"),
        ("{a: {postprocess: [fill_hole]}}", "submissions.a: postprocess: .* Did you mean fill_h"),
        ("{a: {runs: [unet*]}}", r"submissions.a: no run of one matches unet\* \(there are run\)"),
    ],
)
def test_a_submission_that_cannot_be_made_is_found_first(
    folder: Path, models: dict[str, MegaModel], tmp_path: Path, submissions: str, wanted: str
) -> None:
    """The error names the submission before any tile is read."""
    with pytest.raises(RecipeError, match=wanted):
        run(folder, Recipe.parse(f"{RECIPE}submissions: {submissions}"), models, tmp_path / "out")
    assert not (tmp_path / "out/masks").exists()


def test_masks_cannot_be_merged_with_stores(
    folder: Path, recipe: Recipe, models: dict[str, MegaModel], tmp_path: Path
) -> None:
    """A recipe that stores masks says so before any tile is read."""
    stored = Recipe.parse(RECIPE + STORED.replace("LEVEL", "member"))
    run(folder, stored, models, tmp_path / "other")
    with pytest.raises(RecipeError, match="to merge with, but the recipe stores masks"):
        run(folder, recipe, models, tmp_path / "out", stores=[tmp_path / "other"])
