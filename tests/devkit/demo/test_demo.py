import itertools
import json
import os
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import segmentation_models_pytorch as smp
import tifffile
import torch

from devkit.demo.competition import (
    GAP,
    HIDDEN_TEST,
    TEST,
    TRAIN,
    Cut,
    write_competition,
    write_labels,
)
from devkit.demo.layouts import LOSSLESS
from devkit.demo.prepare import Demo, models_key
from devkit.demo.score import held_out_scores
from devkit.demo.sources import Picture, download, read_pictures
from devkit.demo.stage import Stage
from devkit.demo.train import export_pretrained, train_networks, training_recipe
from devkit.errors import ToolError
from devkit.tools import REPOSITORY
from kernelkit.checkpoints import load_members
from kernelkit.recipe import Recipe
from kernelkit.slide import Slide

PREPARED = Stage(REPOSITORY / "build" / "demo", "models", models_key())
DOWNLOADS = PREPARED.out / "downloads"

# Two steps of a run that has two folds.
RUN = "he_linknet_regnety002"
TINY = ("epochs=1", "steps=2", "batch=2", "windows.grid.size=64", "validate.floor=0")


@pytest.fixture(scope="module")
def pictures() -> dict[str, Picture]:
    return read_pictures(DOWNLOADS)


@pytest.fixture(scope="module")
def demo(pictures: dict[str, Picture], tmp_path_factory: pytest.TempPathFactory) -> Demo:
    demo = Demo(tmp_path_factory.mktemp("demo"))
    write_competition(pictures, demo.competition)
    write_competition(pictures, demo.hidden_competition, HIDDEN_TEST)
    write_labels(pictures, demo.solution)
    write_labels(pictures, demo.hidden_solution, HIDDEN_TEST)
    return demo


def decode(encoding: str, shape: tuple[int, int]) -> np.ndarray:
    """Decode an RLE of columns, counted from 1, in the plainest way there is."""
    flat = np.zeros(shape[0] * shape[1], bool)
    numbers = [int(number) for number in encoding.split()]
    for start, length in itertools.batched(numbers, 2):
        assert start >= 1
        assert start - 1 + length <= flat.size
        flat[start - 1 : start - 1 + length] = True
    return flat.reshape(shape, order="F")


def part_of(array: np.ndarray, cut: Cut) -> np.ndarray:
    window = cut.window
    rows = slice(window.row, window.row + window.height)
    return array[..., rows, window.col : window.col + window.width]


def overlap(a: Cut, b: Cut) -> bool:
    return a.picture == b.picture and (
        a.window.row < b.window.row + b.window.height
        and b.window.row < a.window.row + a.window.height
        and a.window.col < b.window.col + b.window.width
        and b.window.col < a.window.col + a.window.width
    )


def test_test_regions_keep_their_distance_from_training_regions() -> None:
    """Between all that trains and all that tests lie the rows of the gap, in each picture."""
    for picture in ("he", "fluo"):
        trains = [cut.window for cut in TRAIN if cut.picture == picture]
        tests = [cut.window for cut in TEST + HIDDEN_TEST if cut.picture == picture]
        assert max(w.row + w.height for w in trains) + GAP <= min(w.row for w in tests)


@pytest.mark.parametrize("cuts", [TRAIN, TEST], ids=["train", "test"])
def test_cuts_do_not_overlap(cuts: tuple[Cut, ...]) -> None:
    """No pixel is in two training images, and none in two images of the public test."""
    assert not any(overlap(a, b) for a, b in itertools.combinations(cuts, 2))


def test_every_cut_lies_inside_its_picture(pictures: dict[str, Picture]) -> None:
    """No image of the competition reaches outside the picture that it is cut from."""
    for cut in TRAIN + TEST + HIDDEN_TEST:
        height, width = pictures[cut.picture].nuclei.shape
        assert cut.window.row >= 0
        assert cut.window.col >= 0
        assert cut.window.row + cut.window.height <= height
        assert cut.window.col + cut.window.width <= width


def test_no_tile_divides_a_test_image() -> None:
    """Neither core nor tile divides a side, and one image is smaller than both."""
    for cut in TEST + HIDDEN_TEST:
        for side in (cut.window.height, cut.window.width):
            assert side % 192
            assert side % 256
    assert min(max(cut.window.height, cut.window.width) for cut in TEST) < 192


def test_the_hidden_test_differs_from_the_public_one() -> None:
    """The rerun has other ids, other sizes and more images."""
    assert not {cut.id for cut in HIDDEN_TEST} & {cut.id for cut in TEST}
    sizes = {(cut.window.height, cut.window.width) for cut in TEST}
    assert not {(cut.window.height, cut.window.width) for cut in HIDDEN_TEST} & sizes
    assert len(HIDDEN_TEST) > len(TEST)


def test_folds_validate_on_images_that_exist_and_train_on_others() -> None:
    """Each fold holds out training images of its own kind, and leaves most of them to train on."""
    for run in training_recipe("nuclei").runs.values():
        own = {cut.id for cut in TRAIN if fnmatchcase(cut.id, run.only[0])}
        held = [set(fold) for fold in run.folds.lists or ()]
        assert len(held) == 2
        assert all(fold < own for fold in held)
        assert all(len(own - fold) > len(fold) for fold in held)
        assert not set.intersection(*held)


def test_labels_lie_outside_the_competition_folder(demo: Demo) -> None:
    """The competition's folder holds what Kaggle shows, and no encoding of a test mask."""
    folder = demo.competition
    assert {path.name for path in folder.iterdir()} == {
        "train",
        "test",
        "train.csv",
        "sample_submission.csv",
    }
    assert demo.competition not in demo.solution.parents
    labelled = set(pd.read_csv(folder / "train.csv")["id"])
    assert labelled == {path.stem for path in (folder / "train").iterdir()}
    sample = pd.read_csv(folder / "sample_submission.csv", keep_default_na=False)
    assert list(sample.columns) == ["id", "predicted"]
    assert set(sample["predicted"]) == {""}
    assert set(sample["id"]) == {path.stem for path in (folder / "test").iterdir()}


@pytest.mark.parametrize("cut", TRAIN + TEST + HIDDEN_TEST, ids=lambda cut: cut.id)
def test_every_encoding_is_the_mask_of_its_image(
    cut: Cut, demo: Demo, pictures: dict[str, Picture]
) -> None:
    """An independent decoder finds in each CSV the very nuclei of the image's region."""
    encodings = {
        TRAIN: demo.competition / "train.csv",
        TEST: demo.solution,
        HIDDEN_TEST: demo.hidden_solution,
    }
    [path] = [path for cuts, path in encodings.items() if cut in cuts]
    rows = pd.read_csv(path, keep_default_na=False).set_index("id")["encoding"]
    mask = decode(rows[cut.id], (cut.window.height, cut.window.width))
    assert mask.any()
    np.testing.assert_array_equal(mask, part_of(pictures[cut.picture].nuclei, cut))


@pytest.mark.parametrize("cut", TEST + HIDDEN_TEST, ids=lambda cut: f"{cut.id}-{cut.layout}")
def test_every_image_holds_the_pixels_of_its_region(
    cut: Cut, demo: Demo, pictures: dict[str, Picture]
) -> None:
    """Whatever the layout, a slide gives back the region's pixels (nearly so in JPEG)."""
    folder = demo.competition if cut in TEST else demo.hidden_competition
    with Slide(folder / "test" / f"{cut.id}.tiff") as slide:
        pixels = slide.read(slide.bounds)
    wanted = part_of(pictures[cut.picture].pixels, cut)
    assert pixels.dtype == wanted.dtype
    if cut.layout in LOSSLESS:
        np.testing.assert_array_equal(pixels, wanted)
    else:
        assert np.abs(pixels.astype(float) - wanted).mean() < 10


def test_layouts_are_what_their_names_say(demo: Demo) -> None:
    """The test images come in all the layouts that HuBMAP's had, told apart by tifffile."""
    found = {}
    for path in (demo.competition / "test").iterdir():
        with tifffile.TiffFile(path) as file:
            page = file.pages.first
            found[path.stem] = (
                len(file.pages),
                page.is_tiled,
                tifffile.PLANARCONFIG(page.planarconfig).name,
                page.samplesperpixel,
                file.is_bigtiff,
                str(page.dtype),
                tuple(json.loads(page.description)["shape"]),
            )
    assert found == {
        "he_test_tiled": (1, True, "CONTIG", 3, False, "uint8", (397, 523, 3)),
        "he_test_planar": (1, True, "SEPARATE", 3, False, "uint8", (3, 311, 467)),
        "he_test_subdatasets": (3, True, "CONTIG", 1, False, "uint8", (3, 289, 467)),
        "he_test_5d": (3, True, "CONTIG", 1, False, "uint8", (1, 1, 3, 349, 510)),
        "he_test_strips": (1, False, "CONTIG", 3, False, "uint8", (203, 523, 3)),
        "he_test_bigtiff": (1, True, "CONTIG", 3, True, "uint8", (251, 400, 3)),
        "he_test_small": (1, False, "CONTIG", 3, False, "uint8", (150, 110, 3)),
        "fluo_test_uint16": (1, True, "CONTIG", 1, False, "uint16", (179, 509)),
    }


def test_wheels_with_another_hash_are_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A damaged wheel is fetched again. Offline, the error says what to do."""
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    for wheel in download(DOWNLOADS):
        (tmp_path / wheel.name).write_bytes(wheel.read_bytes()[:-1])
    with pytest.raises(
        ToolError, match=r"could not be downloaded\. .* Connect to the internet, or"
    ):
        download(tmp_path)
    assert not list(tmp_path.glob(".partial-*"))


def test_wheels_that_are_there_need_no_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With both wheels in the folder, pip is not even asked."""
    for wheel in download(DOWNLOADS):
        (tmp_path / wheel.name).symlink_to(wheel)
    monkeypatch.setattr("sys.executable", "/no/python")
    assert [wheel.parent for wheel in download(tmp_path)] == [tmp_path, tmp_path]


@pytest.fixture(scope="module")
def trained(demo: Demo, tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """Two steps of training in each of two folds."""
    trained = Demo(tmp_path_factory.mktemp("trained"))
    cuts = tmp_path_factory.mktemp("cuts")
    train_networks(
        "nuclei", demo.competition, trained.models, cuts=cuts, runs=[RUN], overrides=TINY
    )
    export_pretrained(trained.models, trained.pretrained)
    return trained


def test_both_forms_hold_the_same_networks(trained: Demo) -> None:
    """Run folders and the library's own form load as the same weights, in both libraries."""
    members = load_members(trained.models)
    assert [member.name for member in members] == [f"{RUN}/fold_0", f"{RUN}/fold_1"]
    saved = load_members(trained.pretrained)
    assert [m.weights_sha256 for m in saved] == [m.weights_sha256 for m in members]
    pixels = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    for member in members:
        theirs = smp.from_pretrained(trained.pretrained / f"{member.run}_{member.fold}").eval()
        with torch.inference_mode():
            torch.testing.assert_close(member.module(pixels), theirs(pixels))


def test_every_member_and_the_ensemble_have_a_score(demo: Demo, trained: Demo) -> None:
    """Each fold has a row with its Dice on held-out images, and so has their mean."""
    training = training_recipe("nuclei")
    only = training.model_copy(update={"runs": {RUN: training.runs[RUN]}})
    scores = held_out_scores(only, demo.competition, demo.solution, trained.models)
    assert [row["fold"] for row in scores["members"]] == ["fold_0", "fold_1"]
    assert all(0 <= row["heldout_dice"] <= 1 for row in scores["members"])
    assert set(scores["ensembles"]) == {"h-and-e"}


@pytest.mark.skipif(not PREPARED.is_done(), reason="the demo's models are made by make dry-run")
def test_the_prepared_models_are_worth_an_ensemble() -> None:
    """On held-out H&E the mean of all members passes Dice 0.70, and beats the average member."""
    scores = Demo(PREPARED.out).scores
    members = [row["heldout_dice"] for row in scores["members"] if row["run"].startswith("he_")]
    assert len({row["architecture"] for row in scores["members"]}) >= 2
    assert len(members) == 4
    assert scores["ensembles"]["h-and-e"] > max(0.70, sum(members) / len(members))


def test_the_recipe_normalises_by_the_training_images(demo: Demo) -> None:
    """The recipe `nuclei` shifts and scales pixels by the training images' statistics."""
    recipe = Recipe.load("nuclei")
    for run in training_recipe("nuclei").runs.values():
        [ensemble] = [e for e in recipe.ensembles if e.name == run.ensemble]
        assert ensemble.input == run.input
        paths = sorted((demo.competition / "train").glob(f"{run.only[0]}.tiff"))
        pixels = np.concatenate([_bands(path) for path in paths], 1) / run.input.divide
        np.testing.assert_allclose(run.input.mean, pixels.mean(1), atol=2e-4)
        np.testing.assert_allclose(run.input.std, pixels.std(1), atol=2e-4)


def _bands(path: Path) -> np.ndarray:
    """The pixels of each band, (C, N)."""
    with Slide(path) as slide:
        return slide.read(slide.bounds).reshape(slide.bands, -1)
