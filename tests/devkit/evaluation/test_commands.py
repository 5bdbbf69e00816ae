"""`make validate` and `make tune`, over a small competition and random networks."""

import base64
import contextlib
import re
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from devkit.evaluation import predictions, tune, validate
from devkit.evaluation.__main__ import main
from kernelkit.mask import BitMask
from kernelkit.recipe import Recipe
from tests.made.competition import IMAGES, write_competition, write_models
from tests.made.executors import Deadly

PREDICTS = """\
name: test
competition: {slug: a-test-competition, images: test, id_column: id, rle_column: predicted}
tiles: {core: 64, pad: 32, fill: reflect}
ensembles:
  - name: one  # the only one
    when: {bands: 3}
    runs: ["run*"]
    views: [identity, hflip]
    thresholds: 0.5  # as good as any
batch: 4
"""
TRAINING = """\
name: test
predicts: recipe.yaml
images: test/{image}.tiff
labels: {rle: train.csv, id_column: id, rle_column: encoding}
folds: {lists: [[a, c], [b]]}
windows: {grid: {around: grid, size: 64, step: 64}}
sources: {grid: 1}
crop: {size: 64}
augment: [d4]
task: segment
model: {arch: Unet, encoder_name: tu-regnetx_002, encoder_weights: null}
loss: {bce: 1}
optimiser: {name: adamw, lr: 1.0e-3}
schedule: {name: cosine}
epochs: 1
batch: 2
validate: {metric: dice}
runs: {run: {}}
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A competition with labels, a run of two folds with its folds.csv, and both recipes."""
    folder = tmp_path_factory.mktemp("place")
    write_competition(folder / "competition")
    rows = []
    for seed, (image, (_, height, width)) in enumerate(IMAGES.items()):
        coarse = np.random.default_rng(seed).random((height // 9 + 1, width // 9 + 1)) > 0.6
        truth = BitMask.from_array(np.kron(coarse, np.ones((9, 9)))[:height, :width])
        rows.append((image, truth.to_rle()))
    table = pd.DataFrame(rows, columns=["id", "encoding"])
    table.to_csv(folder / "competition" / "train.csv", index=False)
    write_models(folder / "models")
    (folder / "models" / "run" / "folds.csv").write_text("image,fold\na,0\nb,1\nc,0\n")
    (folder / "recipe.yaml").write_text(PREDICTS)
    (folder / "train.yaml").write_text(TRAINING)
    return folder


def arguments(place: Path, *more: str) -> list[str]:
    where = ("competition", "models", "output")
    named = [part for name in where for part in (f"--{name}", str(place / name))]
    return [str(place / "train.yaml"), *named, "--devices", "cpu", *more]


def test_validation_writes_scores_and_a_report(place: Path, capsys) -> None:
    """Each image has a row with its fold, and the page has pictures that can be decoded."""
    assert main(["validate", *arguments(place), "--views"]) == 0
    scores = pd.read_csv(place / "output" / "scores.csv")
    assert scores["image"].tolist() == list(IMAGES)
    assert scores["fold"].tolist() == [0, 1, 0]
    page = (place / "output" / "report.html").read_text()
    pictures = re.findall(r'base64,([^"]+)"', page)
    assert len(pictures) == 3 + len(IMAGES)
    for picture in pictures:
        content = np.frombuffer(base64.b64decode(picture), np.uint8)
        assert cv2.imdecode(content, cv2.IMREAD_COLOR).std() > 1
    assert f"{scores['dice'].mean():.4f}" in page
    assert "of the gain survives" in page or "nothing is gained" in page
    said = capsys.readouterr().out
    assert f"dice per image {scores['dice'].mean():.4f}" in said
    assert re.search(r"one without hflip: dice per image [-0-9.]+ \(", said)
    assert "without identity" in page


def test_tuning_writes_the_recipe_and_the_total(place: Path, capsys) -> None:
    """The values that are printed stand in the recipe, beside its comments."""
    before = (place / "recipe.yaml").read_text()
    more = ["--sizes", "0,20,200", "--thresholds", "0.3:0.7:0.02", "--weights"]
    assert tune.main(arguments(place, *more, "--write", str(place / "recipe.yaml"))) == 0
    said = capsys.readouterr().out
    threshold, size = re.search(r"threshold ([\d.]+) .*minimum size (\d+)", said).groups()
    text = (place / "recipe.yaml").read_text()
    assert f"thresholds: {threshold}  # as good as any" in text
    assert "name: one  # the only one" in text
    [ensemble] = Recipe.load(place / "recipe.yaml").ensembles
    assert ensemble.thresholds == (float(threshold),)
    sizes = [step.arguments["min_area"] for step in ensemble.postprocess]
    assert sizes == ([int(size)] if size != "0" else [])
    after = re.search(r"masks as they are submitted: [\d.]+ before, ([\d.]+) after", said)[1]
    assert f"score {after}" in said
    total = pd.read_csv(place / "output" / "total.csv")
    assert total["name"].tolist() == [*IMAGES, "AVE"]
    assert total["common threshold"].iloc[0] == float(threshold)
    (place / "recipe.yaml").write_text(before)


def test_values_whose_gain_is_lost_are_not_written(place: Path, capsys) -> None:
    """The recipe stays as it is, the exit code is 1, and the values are printed."""
    before = (place / "recipe.yaml").read_bytes()
    more = ["--sizes", "0", "--thresholds", "0.5:0.5:0.1"]
    assert tune.main(arguments(place, *more, "--write", str(place / "recipe.yaml"))) == 1
    said = capsys.readouterr()
    assert "nothing is gained" in said.out
    assert "recipe.yaml: it stays as it is, since nothing of the gain survives" in said.err
    assert (place / "recipe.yaml").read_bytes() == before


def test_an_excluded_image_has_no_say(place: Path, capsys) -> None:
    """It stands in the total, and an unknown one is refused."""
    assert tune.main(arguments(place, "--exclude", "b", "--sizes", "0")) == 0
    assert "all images are of one fold, so it is not known" in capsys.readouterr().out
    assert "b" in pd.read_csv(place / "output" / "total.csv")["name"].tolist()
    assert tune.main(arguments(place, "--exclude", "bb")) == 1
    assert "found 'bb' among the images to exclude" in capsys.readouterr().err


def test_an_image_that_was_not_predicted_is_no_success(
    place: Path, tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is known of the others is written, and no recipe. Without a say it is no fault."""
    dying = contextlib.nullcontext(Deadly("c"))
    monkeypatch.setattr(predictions, "executor_for", lambda *_, **__: dying)
    assert validate.main(arguments(place, "--output", str(tmp_path))) == 1
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert "1 of 3 images were not predicted (c), so all figures are those of the others" in said
    assert "it was tried twice" in said
    assert pd.read_csv(tmp_path / "scores.csv")["image"].tolist() == ["a", "b"]
    before = (place / "recipe.yaml").read_bytes()
    tuning = arguments(place, "--output", str(tmp_path), "--sizes", "0")
    assert tune.main([*tuning, "--write", str(place / "recipe.yaml")]) == 1
    assert "1 of 3 images were not predicted (c)" in capsys.readouterr().err
    assert (place / "recipe.yaml").read_bytes() == before
    assert tune.main([*tuning, "--exclude", "c"]) == 0


FAULTS = [
    # (name, the command, further arguments, the right answer)
    (
        "models without folds.csv",
        validate.main,
        lambda place: ["--models", str(place / "competition")],
        "found no run with a folds.csv, which says what each fold held out",
    ),
    (
        "no models folder",
        validate.main,
        lambda place: ["--models", str(place / "nowhere")],
        "nowhere: there is no such models folder",
    ),
    (
        "a recipe to write that is not there",
        tune.main,
        lambda place: ["--write", str(place / "nowhere.yaml")],
        "nowhere.yaml: there is no such recipe file",
    ),
    (
        "values per group for a recipe",
        tune.main,
        lambda place: ["--share", "group", "--write", str(place / "recipe.yaml")],
        "found --write with values per group, which no recipe can say",
    ),
    (
        "groups without a group",
        tune.main,
        lambda _: ["--share", "group"],
        "a: it has no group, by which thresholds were to be chosen",
    ),
]


@pytest.mark.parametrize(
    ("run", "more", "answer"), [row[1:] for row in FAULTS], ids=[row[0] for row in FAULTS]
)
def test_faults_end_in_one_sentence(place: Path, capsys, run, more, answer: str) -> None:
    """The exit code is 1, and one line says what is wrong."""
    assert run(arguments(place, *more(place))) == 1
    assert answer in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "answer"),
    [
        (["--sizes", "1,x"], "found '1,x', wanted whole numbers such as 0,100,1000"),
        (["--thresholds", "0.2:0.9"], "found '0.2:0.9', wanted three numbers"),
    ],
)
def test_numbers_that_are_none_are_refused(place: Path, capsys, more, answer: str) -> None:
    """Before anything is read."""
    with pytest.raises(SystemExit):
        tune.main(arguments(place, *more))
    assert answer in capsys.readouterr().err
