import itertools
import json
import os
import shutil
from dataclasses import replace
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
from devkit.demo.crops import Crops, band_statistics, read_labelled
from devkit.demo.layouts import LOSSLESS
from devkit.demo.prepare import Demo, models_key
from devkit.demo.runs import RUNS, Run
from devkit.demo.score import held_out_scores
from devkit.demo.sources import Picture, download, read_pictures
from devkit.demo.stage import Stage
from devkit.demo.tasks import dice
from devkit.demo.train import export_pretrained, train_fold, write_config
from devkit.errors import ToolError
from devkit.tools import REPOSITORY
from kernelkit.checkpoints import load_members
from kernelkit.errors import CheckpointError
from kernelkit.recipe import Recipe
from kernelkit.slide import Slide

PREPARED = Stage(REPOSITORY / "build" / "demo", "models", models_key())
DOWNLOADS = PREPARED.out / "downloads"

TINY_RUN = Run(
    name="he_tiny",
    images="he_",
    model={"arch": "Unet", "encoder_name": "tu-resnet10t", "in_channels": 3, "classes": 1}
    | {"encoder_depth": 3, "decoder_channels": (8, 8, 8)},
    validation=(("he_train_1",), ("he_train_3",)),
    seed=5,
    tile=64,
    batch=2,
    epochs=1,
    steps=2,
    worth_saving=-1.0,
)


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
    for run in RUNS:
        own = {cut.id for cut in TRAIN if cut.id.startswith(run.images)}
        held = [set(fold) for fold in run.validation]
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


def test_crops_keep_pixels_and_masks_together() -> None:
    """A crop's mask is turned as its pixels are. Images smaller than a crop are filled up."""
    mask = (torch.arange(40 * 70).reshape(1, 40, 70) % 7 == 0).float()
    crops = Crops([(100 * mask, mask)], side=48, generator=torch.Generator().manual_seed(0))
    pixels, masks = crops.batch(16)
    assert pixels.shape == masks.shape == (16, 1, 48, 48)
    for one, its_mask in zip(pixels, masks, strict=True):
        assert one[its_mask > 0.5].min() > one[its_mask < 0.5].max()


@pytest.fixture(scope="module")
def trained(demo: Demo, tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """Two steps of training in each of two folds."""
    trained = Demo(tmp_path_factory.mktemp("trained"))
    write_config(TINY_RUN, demo.competition, trained.models)
    for fold in (0, 1):
        train_fold(TINY_RUN, fold, demo.competition, trained.models, lambda: None)
    export_pretrained(trained.models, trained.pretrained)
    return trained


def test_training_writes_the_folder_form(trained: Demo) -> None:
    """A run is a cfg.yaml and folds of checkpoints with the five keys, safe to load."""
    run = trained.models / "he_tiny"
    assert sorted(path.name for path in run.iterdir()) == ["cfg.yaml", "fold_0", "fold_1"]
    for path in run.glob("fold_*/models/*"):
        assert path.match("e1_t1_cmax_*_0.*.pth")
        state = torch.load(path, weights_only=True)
        assert set(state) == {"epoch", "loss", "model_state", "opt_state", "model_name"}


def test_both_forms_hold_the_same_networks(trained: Demo) -> None:
    """Run folders and the library's own form load as the same weights, in both libraries."""
    members = load_members(trained.models)
    assert [member.name for member in members] == ["he_tiny/fold_0", "he_tiny/fold_1"]
    saved = load_members(trained.pretrained)
    assert [m.weights_sha256 for m in saved] == [m.weights_sha256 for m in members]
    pixels = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    for member in members:
        theirs = smp.from_pretrained(trained.pretrained / f"{member.run}_{member.fold}").eval()
        with torch.inference_mode():
            torch.testing.assert_close(member.module(pixels), theirs(pixels))


def test_every_member_and_the_ensemble_have_a_score(demo: Demo, trained: Demo) -> None:
    """Each fold has a row with its Dice on held-out images, and so has their mean."""
    scores = held_out_scores([TINY_RUN], demo.competition, demo.solution, trained.models)
    assert [row["fold"] for row in scores["members"]] == ["fold_0", "fold_1"]
    assert all(0 <= row["heldout_dice"] <= 1 for row in scores["members"])
    assert set(scores["ensembles"]) == {"he"}


@pytest.mark.skipif(not PREPARED.is_done(), reason="the demo's models are made by make dry-run")
def test_the_prepared_models_are_worth_an_ensemble() -> None:
    """On held-out H&E the mean of all members passes Dice 0.70, and beats the average member."""
    scores = Demo(PREPARED.out).scores
    members = [row["heldout_dice"] for row in scores["members"] if row["run"].startswith("he_")]
    assert len({row["architecture"] for row in scores["members"]}) >= 2
    assert len(members) == 4
    assert scores["ensembles"]["he"] > max(0.70, sum(members) / len(members))


def test_training_is_repeatable(demo: Demo, trained: Demo, tmp_path: Path) -> None:
    """The same seed gives the same weights, and every step is reported."""
    steps = []
    train_fold(TINY_RUN, 1, demo.competition, tmp_path, lambda: steps.append(1))
    assert len(steps) == TINY_RUN.steps
    shutil.copy(trained.models / "he_tiny" / "cfg.yaml", tmp_path / "he_tiny")
    [again], [_, first] = load_members(tmp_path), load_members(trained.models)
    assert again.weights_sha256 == first.weights_sha256


def test_a_fold_that_never_learns_is_an_error(demo: Demo, tmp_path: Path) -> None:
    """A run whose Dice stays below what is worth saving says so, and leaves no empty fold."""
    hopeless = replace(TINY_RUN, worth_saving=0.99, steps=1)
    with pytest.raises(CheckpointError, match=r"no epoch's Dice was above 0\.99"):
        train_fold(hopeless, 0, demo.competition, tmp_path, lambda: None)


def test_the_recipe_normalises_as_the_training_did(demo: Demo) -> None:
    """The recipe `nuclei` divides, shifts and scales pixels by the training images' statistics."""
    recipe = Recipe.load("nuclei")
    for run in RUNS:
        images = read_labelled(
            demo.competition / "train", demo.competition / "train.csv", run.images
        )
        [ensemble] = [e for e in recipe.ensembles if f"{run.images}*" in e.runs]
        mean, std = band_statistics(images, run.divide)
        assert ensemble.input.divide == run.divide
        np.testing.assert_allclose(ensemble.input.mean, mean, atol=2e-4)
        np.testing.assert_allclose(ensemble.input.std, std, atol=2e-4)


def test_dice_is_over_the_pixels_of_all_images_together() -> None:
    """Two images are one long image, and nothing against nothing is a perfect match."""
    full, empty = np.ones((2, 2), bool), np.zeros((2, 2), bool)
    assert dice([full, full], [full, empty]) == pytest.approx(8 / 12)
    assert dice([empty], [empty]) == 1
