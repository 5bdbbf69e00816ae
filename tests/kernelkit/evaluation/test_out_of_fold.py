"""Each image by the members whose fold held it out, and the search over what they stored."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from kernelkit.competition import CompetitionFolder
from kernelkit.errors import CheckpointError, EvaluationError, KernelKitError
from kernelkit.evaluation.held_out import HeldOut
from kernelkit.evaluation.out_of_fold import OutOfFold, predict_out_of_fold
from kernelkit.evaluation.search.space import Space
from kernelkit.evaluation.search.stored import Current, Pair, sweep_stored, usual_shrink
from kernelkit.mask import BitMask
from kernelkit.predict.hand_in.variants import ways_of
from kernelkit.predict.run import load_models, predict
from kernelkit.recipe import Recipe
from tests.made.competition import RECIPE, write_competition, write_models

RULES = """
name: test
competition: {slug: a-test-competition}
tiles: {core: 64, pad: 32, fill: reflect}
ensembles:
  - name: one
    when: {bands: 3}
    views: [identity, hflip]
    thresholds: 0.5
    postprocess: [{remove_small: {min_area: 4, keep: ">"}}]
batch: 4
"""
FOLDS = {"a": 0, "b": 1, "c": 0}


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A competition of three images, and a run of two folds."""
    folder = tmp_path_factory.mktemp("place")
    write_competition(folder / "competition")
    write_models(folder / "models")
    return folder


@pytest.fixture(scope="module")
def predicted(place: Path) -> OutOfFold:
    return predict_all(place, FOLDS, place / "output")


def predict_all(place: Path, folds: dict[str, int], output: Path) -> OutOfFold:
    recipe = Recipe.parse(RULES)
    competition = CompetitionFolder.read(place / "competition", recipe.competition)
    held = HeldOut({"run": folds})
    return predict_out_of_fold(recipe, place / "models", competition, held, output, device="cpu")


def truth_of(shape: tuple[int, int], seed: int) -> BitMask:
    coarse = np.random.default_rng(seed).random((shape[0] // 9 + 1, shape[1] // 9 + 1)) > 0.5
    return BitMask.from_array(np.kron(coarse, np.ones((9, 9)))[: shape[0], : shape[1]])


def test_an_image_is_predicted_by_the_fold_that_held_it_out(
    place: Path, predicted: OutOfFold, tmp_path: Path
) -> None:
    """The masks are those of a run with the checkpoints of that fold alone, bit for bit."""
    recipe = Recipe.parse(RULES).override(store={"what": "probabilities", "level": "member"})
    competition = CompetitionFolder.read(place / "competition", recipe.competition)
    for fold in (0, 1):
        shutil.copytree(place / "models", tmp_path / str(fold))
        shutil.rmtree(tmp_path / str(fold) / "run" / f"fold_{1 - fold}")
        models = load_models(recipe, tmp_path / str(fold), "cpu")
        alone = predict(competition, recipe, models, tmp_path / f"output{fold}")
        for image, held in FOLDS.items():
            is_same = predicted.masks[image] == alone.masks[image]
            assert is_same == (held == fold)
    assert predicted.folds == FOLDS


def test_what_is_stored_is_not_predicted_again(place: Path, predicted: OutOfFold) -> None:
    """A second call keeps all images, and another threshold is no reason to ask again."""
    assert {image.status for image in predicted.report.images} == {"predicted"}
    again = predict_all(place, FOLDS, place / "output")
    assert {image.status for image in again.report.images} == {"kept"}
    assert all(again.masks[image] == predicted.masks[image] for image in FOLDS)


def test_the_search_reads_the_store(predicted: OutOfFold) -> None:
    """Areas of each threshold and size are those of the masks that would be submitted."""
    truth = {
        image: truth_of(predicted.masks[image][0].shape, seed)
        for seed, image in enumerate(predicted.scenes)
    }
    way = ways_of(predicted.recipe)[""]["one"]
    current = Current.of(way, (0,))
    assert (current.thresholds, current.sizes, current.keep) == ((0.5,), (4,), ">")
    space = Space((0.45, 0.5, 0.52), (0, 4, 60), current.keep, current.connectivity)
    assert usual_shrink(predicted.recipe, "one") == 1
    pairs = [
        Pair(i, lambda i=i: predicted.masks.stored(i), lambda i=i: [truth[i]])
        for i in predicted.scenes
    ]
    table = sweep_stored(pairs, lambda _: way, space, (0,), ("",))
    assert table.images == tuple(FOLDS)
    for row, image in enumerate(table.images):
        found = predicted.masks[image][0]
        assert table.found[row, 0, 1, 1] == found.area
        assert table.both[row, 0, 1, 1] == (found & truth[image]).area
        assert table.truth[row, 0] == truth[image].area
    assert (table.found[:, 0, 0, 0] > table.found[:, 0, 2, 0]).all()


def test_truth_of_another_size_is_refused(predicted: OutOfFold) -> None:
    """The sentence names the image and both sizes."""
    way = ways_of(predicted.recipe)[""]["one"]
    pairs = [Pair("a", lambda: predicted.masks.stored("a"), lambda: [BitMask.zeros(7, 8)])]
    with pytest.raises(EvaluationError, match="a: found true masks of 7 x 8 pixels, wanted 150"):
        sweep_stored(pairs, lambda _: way, Space((0.5,)), (0,), ("",))
    pairs = [Pair("a", lambda: predicted.masks.stored("a"), lambda: [])]
    with pytest.raises(EvaluationError, match=r"a: found true masks of 0 class\(es\), wanted 1"):
        sweep_stored(pairs, lambda _: way, Space((0.5,)), (0,), ("",))


def test_images_that_always_train_are_left_out(place: Path, tmp_path: Path) -> None:
    """They have no honest prediction, and a note says so."""
    found = predict_all(place, {"a": -1, "b": 1, "c": 0}, tmp_path)
    assert list(found.scenes) == ["b", "c"]
    assert "1 image(s) train in all folds, so they are left out (a)" in found.notes


def test_a_fold_that_was_not_trained_yet_costs_its_images(place: Path, tmp_path: Path) -> None:
    """So the first fold can be scored alone. A note names the fold."""
    found = predict_all(place, {"a": 0, "b": 2, "c": 2}, tmp_path)
    assert list(found.scenes) == ["a"]
    said = "2 image(s) are left out until the folds are trained that held them out: run/fold_2"
    assert said in found.notes


def test_an_image_that_cannot_be_read_costs_itself(place: Path, tmp_path: Path) -> None:
    """The others are predicted, and a note says why it is not."""
    shutil.copytree(place / "competition", tmp_path / "competition")
    shutil.copytree(place / "models", tmp_path / "models")
    (tmp_path / "competition" / "test" / "a.tiff").write_bytes(b"no image")
    found = predict_all(tmp_path, FOLDS, tmp_path / "output")
    assert list(found.scenes) == ["b", "c"]
    assert any(note.startswith("a: ") and "It is left out" in note for note in found.notes)


def test_a_fold_without_a_checkpoint_is_named_where_it_lies(place: Path, tmp_path: Path) -> None:
    """The sentence has the path of the models folder, and not that of the links."""
    shutil.copytree(place / "competition", tmp_path / "competition")
    shutil.copytree(place / "models", tmp_path / "models")
    for checkpoint in (tmp_path / "models/run/fold_1").rglob("*.pth"):
        checkpoint.unlink()
    fold = re.escape(str(tmp_path / "models/run/fold_1"))
    with pytest.raises(CheckpointError, match=f"{fold}: there is no checkpoint in it"):
        predict_all(tmp_path, {"a": 1, "b": 1, "c": 1}, tmp_path / "output")


def test_a_run_folder_is_named_where_it_lies(place: Path, tmp_path: Path) -> None:
    """The reason has the path of the run's own cfg.yaml, and not that of the links."""
    shutil.copytree(place / "competition", tmp_path / "competition")
    shutil.copytree(place / "models", tmp_path / "models")
    own = tmp_path / "models/run/cfg.yaml"
    own.write_text(own.read_text() + "DATA: {scale: 3}\n")
    with pytest.raises(KernelKitError) as caught:
        predict_all(tmp_path, FOLDS, tmp_path / "output")
    assert "folds-" not in str(caught.value)
    assert str(own) in str(caught.value)


@pytest.mark.parametrize(
    ("folds", "answer"),
    [
        ({"a": 0, "b": 1}, "c: it is in no fold of the run run, so it is not known"),
        (
            {"a": -1, "b": -1, "c": -1},
            "found 3 images, wanted some that can be read and are held out",
        ),
        ({"a": 2, "b": 3, "c": 2}, r"held out by a trained fold. Train run/fold_2, run/fold_3"),
    ],
)
def test_folds_that_do_not_fit_are_refused(
    place: Path, tmp_path: Path, folds: dict[str, int], answer: str
) -> None:
    """One sentence each, before the first tile of the image."""
    with pytest.raises(EvaluationError, match=answer):
        predict_all(place, folds, tmp_path)


def test_a_leak_is_an_error_with_image_and_member() -> None:
    """A member whose fold did not hold the image out was trained on it."""
    held = HeldOut({"unet": {"a": 0, "b": 1, "c": -1}})
    held.refuse_leaks("a", ["unet/fold_0/e30_t50", "unet/0"])
    with pytest.raises(
        EvaluationError, match=r"a: it leaks, since unet/fold_1 was trained on it \(fold 0 held"
    ):
        held.refuse_leaks("a", ["unet/fold_0", "unet/fold_1"])
    with pytest.raises(EvaluationError, match=r"c: it leaks, since unet/fold_0 .*no fold held it"):
        held.refuse_leaks("c", ["unet/fold_0"])
    with pytest.raises(EvaluationError, match="a: it is not known what fpn/fold_0 was trained on"):
        held.refuse_leaks("a", ["fpn/fold_0"])


def test_runs_that_disagree_about_an_image_are_refused() -> None:
    """One run held it out and the other did not, so no ensemble of both is honest."""
    held = HeldOut({"unet": {"a": 0}, "fpn": {"a": -1}})
    with pytest.raises(EvaluationError, match="a: all folds of fpn were trained on it, and a fold"):
        held.folds_of("a", ["unet", "fpn"])
    with pytest.raises(EvaluationError, match=r"found folds of the runs unet, fpn, wanted some of"):
        held.runs(["linknet*"])


def test_probabilities_are_searched_as_networks_saw_them() -> None:
    """Tiles enlarged before they are stored are shrunk by their scale, and nothing else is."""
    hubmap, clouds = Recipe.load("hubmap"), Recipe.load("clouds")
    assert usual_shrink(hubmap, "glomeruli") == 3
    assert usual_shrink(hubmap.override(stitching={"upsample": "band"}), "glomeruli") == 1
    assert usual_shrink(clouds, "clouds") == 1


def test_current_values_are_those_of_the_recipe() -> None:
    """Thresholds and sizes are of the submitted classes, and other steps are named."""
    steps = "postprocess: [fill_holes, {remove_small: {min_area: [1, 2]}}]"
    text = RECIPE.replace("views:", f"thresholds: [0.1, 0.2], {steps}, views:")
    way = ways_of(Recipe.parse(text))[""]["one"]
    current = Current.of(way, (1, 0))
    assert (current.thresholds, current.sizes) == ((0.2, 0.1), (2, 1))
    assert current.notes == (
        "the steps fill_holes are not part of the search. What it promises is without them",
    )
    likeliest = ways_of(Recipe.parse(RECIPE.replace("views:", "activation: softmax, views:")))
    assert "each pixel is of its likeliest class" in Current.of(likeliest[""]["one"], (1,)).notes[0]
