"""`make shift`, over small pictures with and without other colours in the test set."""

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import timm
import torch

from devkit.evaluation.__main__ import main
from kernelkit.evaluation.shift import NetworkFeatures
from tests.made.competition import write_models
from tests.made.shifted import write_shifted

PREDICTS = """\
name: predicts
competition: {{slug: shifted, images: "{images}", suffixes: [.png]}}
tiles: whole
ensembles: [{{name: one}}]
"""


def shift(folder: Path, *more: str) -> list[str]:
    return [
        *("shift", "--competition", str(folder), "--output", str(folder / "out")),
        *more,
    ]


def measured(folder: Path, capsys: pytest.CaptureFixture[str], *more: str) -> dict:
    assert main(shift(folder, "--json", *more)) == 0
    found = json.loads(capsys.readouterr().out)
    assert isinstance(found, dict)
    return found


def predicts(folder: Path, images: str) -> str:
    path = folder / "predicts.yaml"
    path.write_text(PREDICTS.format(images=images))
    return str(path)


@pytest.fixture(scope="module")
def alike(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shifted(tmp_path_factory.mktemp("alike"), count=30)


@pytest.fixture(scope="module")
def shifted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shifted(tmp_path_factory.mktemp("shifted"), 50)


def test_two_sets_of_one_distribution_show_no_difference(alike: Path, capsys) -> None:
    """The AUC is near one half, and the sentence says what that means."""
    found = measured(alike, capsys)
    assert 0.3 < found["auc"] < 0.65
    assert found["low"] <= 0.5
    assert found["sentence"].endswith("no difference between training and test images is seen")
    assert found["images"] == {"training": 30, "test": 30}


def test_other_colours_are_told_and_named(shifted: Path, capsys) -> None:
    """The AUC is near 1, and the band that was changed leads the list."""
    found = measured(shifted, capsys)
    assert found["auc"] > 0.95
    assert ": a strong shift, since in " in found["sentence"]
    first = found["differences"][0]
    assert first["feature"].endswith("of band 1")
    assert first["test"] - first["training"] == pytest.approx(50, abs=10)


def test_a_training_image_like_the_test_images_comes_first(tmp_path: Path, capsys) -> None:
    """The table has each image, and the picture can be looked at."""
    write_shifted(tmp_path, 50)
    odd = tmp_path / "train/odd.png"
    odd.write_bytes((tmp_path / "test/te3.png").read_bytes())
    found = measured(tmp_path, capsys)
    assert found["most_test_like"][0]["image"] == "odd"
    table = pd.read_csv(tmp_path / "out/shift.csv", keep_default_na=False)
    assert len(table) == 33
    assert table["likeness"].is_monotonic_decreasing
    assert table[table["part"] == "training"]["image"].iloc[0] == "odd"
    sheet = cv2.imread(str(tmp_path / "out/shift.png"))
    assert min(sheet.shape[:2]) > 400
    assert sheet.std() > 10


def test_a_network_of_timm_sees_it_too_and_says_whose_weights(shifted: Path, capsys) -> None:
    """Random filters see colours. Weights in a file change the features, and are named."""
    found = measured(shifted, capsys, "--model", "regnetx_002")
    assert found["features"] == (
        "regnetx_002 with random weights, since no others are on this machine"
    )
    assert found["auc"] > 0.9
    torch.manual_seed(7)
    state = timm.create_model("regnetx_002", num_classes=5).state_dict()
    torch.save(state, shifted / "own.pth")
    more = ["--model", "regnetx_002", "--weights", str(shifted / "own.pth")]
    other = measured(shifted, capsys, *more)
    assert other["features"] == "regnetx_002 with the weights of own.pth"
    assert other["most_test_like"] != found["most_test_like"]


def test_the_encoder_of_a_run_or_of_a_checkpoint_sees_it(
    shifted: Path, tmp_path: Path, capsys
) -> None:
    """A run folder gives its first fold, and a checkpoint itself."""
    run = write_models(tmp_path / "models") / "run"
    assert NetworkFeatures.of_run(run).name == "the encoder of run/fold_0"
    capsys.readouterr()  # its bar
    checkpoint = run / "fold_1/models/e1_t2_cmax_val_0.9.pth"
    found = measured(shifted, capsys, "--model", str(checkpoint))
    assert found["features"] == "the encoder of run/fold_1"
    assert found["auc"] > 0.9


def test_images_of_one_group_are_held_out_together(tmp_path: Path, capsys) -> None:
    """The group is that of the pattern, and stands in the table."""
    write_shifted(tmp_path, 60, groups=4)
    recipe = predicts(tmp_path, "test/{group}/{image}.png")
    found = measured(tmp_path, capsys, "--recipe", recipe)
    assert found["notes"] == ["images of one group were held out together"]
    assert found["auc"] > 0.9
    assert found["most_test_like"][0]["group"].startswith("train")


def test_few_groups_are_not_held_out_and_a_note_says_so(tmp_path: Path, capsys) -> None:
    """The test images of UNOSAT are of few cities."""
    write_shifted(tmp_path, groups=1)
    recipe = predicts(tmp_path, "test/{group}/{image}.png")
    [note] = measured(tmp_path, capsys, "--recipe", recipe)["notes"]
    assert note.startswith("there are too few groups to hold them out together")


def test_a_training_recipe_says_where_both_sets_are(shifted: Path, capsys) -> None:
    """Only the images that it trains on are compared."""
    recipe = shifted / "train.yaml"
    predicts(shifted, "test/{image}.png")
    recipe.write_text(
        "name: t\npredicts: predicts.yaml\nimages: 'train/{image}.png'\nonly: ['tr1*']\n"
        "labels: {masks: 'masks/{image}.png'}\nfolds: {count: 2}\n"
        "model: {arch: Unet, encoder_name: tu-regnety_002, encoder_weights: null}\n"
        "loss: {bce: 1}\noptimiser: {name: adamw, lr: 1.0e-3}\nschedule: {name: cosine}\n"
        "task: segment\nepochs: 1\nbatch: 2\naugment: [d4]\nvalidate: {metric: dice}\n"
    )
    found = measured(shifted, capsys, "--recipe", str(recipe))
    assert found["images"] == {"training": 7, "test": 16}


def test_images_that_cannot_be_read_are_named_and_left_out(tmp_path: Path, capsys) -> None:
    """They are a broken file, one of other bands, and one that breaks off amid its pixels."""
    write_shifted(tmp_path, 50)
    (tmp_path / "train/bad.png").write_bytes(b"no picture")
    cv2.imwrite(str(tmp_path / "test/grey.png"), np.zeros((40, 60), np.uint8))
    whole = (tmp_path / "test/te0.png").read_bytes()
    (tmp_path / "test/te0.png").write_bytes(whole[: len(whole) // 2])
    assert main(shift(tmp_path)) == 0
    said = capsys.readouterr().out
    assert "16 training and 15 test images" in said
    assert "3 image(s) are left out:" in said
    assert "training bad: " in said
    assert "test grey: it has 1 band(s), and the others have 3" in said
    assert "test te0: " in said


def _emptied(part: str, left: int = 0) -> Callable[[Path], list[str]]:
    def change(folder: Path) -> list[str]:
        for path in sorted((folder / part).iterdir())[left:]:
            path.unlink()
        return []

    return change


def _unreadable(folder: Path) -> list[str]:
    for path in (folder / "test").iterdir():
        path.write_bytes(b"no picture")
    return []


FAULTS = [
    # (name, what is changed and asked for, the right answer)
    ("no training images", _emptied("train"), "found no training image, wanted train. Name them"),
    ("an empty test folder", _emptied("test"), "found no test image, wanted test. Many competi"),
    (
        "one training image",
        _emptied("train", 1),
        "found 1 training and 4 test image(s) to compare, wanted 3 or more of each. Name the",
    ),
    (
        "one test image",
        _emptied("test", 1),
        "found 4 training and 1 test image(s) to compare, wanted 3 or more of each. A hidden",
    ),
    (
        "no readable test image",
        _unreadable,
        "found 4 training and 0 test image(s) to compare, wanted 3 or more of each. 4 were left",
    ),
    (
        "no folder",
        lambda folder: ["--competition", str(folder / "nowhere")],
        "nowhere: there is no such folder. Name the competition's folder",
    ),
    (
        "the test images as those of training",
        lambda _: ["--images", "test"],
        "test/te0.png: it is the training image te0 and the test image te0",
    ),
    (
        "a recipe that does not say where training images are",
        lambda folder: ["--recipe", predicts(folder, "images/{image}.png")],
        "its test images are images/{image}.png, which does not say where the training images",
    ),
    (
        "a pattern without the image",
        lambda _: ["--images", "../train/{image}.png"],
        "found '../train/{image}.png' as the training images: ",
    ),
    (
        "an unknown network",
        lambda _: ["--model", "resnet0"],
        "found no network 'resnet0' in timm. Known are ",
    ),
    (
        "no such run",
        lambda folder: ["--model", str(folder / "runs/unet")],
        "runs/unet: there is no such run folder or checkpoint",
    ),
    (
        "a folder that is no run",
        lambda folder: ["--model", str(folder / "train")],
        "train: found no run in it, wanted run folders",
    ),
    (
        "a checkpoint outside of a run",
        lambda folder: ["--model", str(folder / "train/tr0.png")],
        "tr0.png: it lies in no run folder that can be loaded",
    ),
    (
        "weights without a network",
        lambda folder: ["--weights", str(folder / "own.pth")],
        "found --weights without --model",
    ),
    (
        "weights of another network",
        lambda folder: ["--model", "regnetx_002", "--weights", _other_weights(folder)],
        "other.pth: its weights do not fit regnetx_002",
    ),
]


def _other_weights(folder: Path) -> str:
    torch.save({"conv.weight": torch.zeros(3, 3)}, folder / "other.pth")
    return str(folder / "other.pth")


@pytest.mark.parametrize(
    ("change", "answer"), [row[1:] for row in FAULTS], ids=[row[0] for row in FAULTS]
)
def test_faults_end_in_one_sentence(tmp_path: Path, capsys, change, answer: str) -> None:
    """The exit code is 1, and one line says what is wrong."""
    write_shifted(tmp_path, count=4)
    assert main(shift(tmp_path, *change(tmp_path))) == 1
    said = capsys.readouterr().err
    assert answer in said
    assert said.startswith("shift failed: ")
    assert said.count("\n") == 1
