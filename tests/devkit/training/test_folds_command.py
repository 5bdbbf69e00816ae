"""What `make folds` writes and shows."""

from pathlib import Path

import pandas as pd
import pytest

from devkit.training.folds import main
from tests.made.labelled import Labelled, truth

RECIPE = """
name: made
predicts: predicts.yaml
images: "train/{image}.tiff"
labels: {rle: train.csv}
windows: {grid: {around: grid, size: 32}}
model: {arch: Unet, encoder_name: tu-regnety_002, encoder_weights: null}
loss: {bce: 1}
epochs: 1
runs:
  one: {folds: {count: 2, stratify: true}}
  two: {folds: {lists: [[a, b], [c]]}}
  three: {folds: {table: folds.csv}}
"""
PREDICTS = """
name: predicts
competition: {slug: made}
tiles: {core: 32}
ensembles: [{name: one, when: {bands: 1}, input: {bands: [1], mean: [0], std: [1]}}]
"""


@pytest.fixture
def made(tmp_path: Path) -> Labelled:
    """Six images with labels, of which one cannot be read, and one without labels."""
    made = Labelled(tmp_path, {name: truth(1, 20, 30, seed=ord(name)) for name in "abcdefg"})
    made.write_rle([row for row in made.rows() if row[0] != "g"])
    (tmp_path / "train/f.tiff").write_bytes(b"II*\0")
    (tmp_path / "train.yaml").write_text(RECIPE)
    (tmp_path / "predicts.yaml").write_text(PREDICTS)
    return made


def run(made: Labelled, *more: str) -> int:
    output = ["--output", str(made.folder / "folds.csv")]
    where = ["--competition", str(made.folder)]
    return main([str(made.folder / "train.yaml"), *where, *output, *more])


def test_a_table_is_written_and_shown(made: Labelled, capsys: pytest.CaptureFixture[str]) -> None:
    """Each fold has a line, and what is left out is said with its reason."""
    assert run(made) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].split() == ["fold", "images", "groups", "target", "%"]
    assert [line.split()[:3] for line in said[1:4]] == [
        ["0", "3", "3"],
        ["1", "2", "2"],
        ["all", "5", "5"],
    ]
    assert float(said[3].split()[3]) == pytest.approx(50, abs=0.5)
    assert any(line.endswith("1 image (g) without a row, left out") for line in said)
    assert any(line.startswith("f is left out: ") for line in said)
    table = pd.read_csv(made.folder / "folds.csv", keep_default_na=False)
    assert list(table.columns) == ["image", "fold", "group"]
    assert sorted(table["image"]) == list("abcde")


def test_a_run_has_folds_of_its_own(made: Labelled, capsys: pytest.CaptureFixture[str]) -> None:
    """The run that is named decides, and images of no list are shown as such."""
    assert run(made, "--run", "two") == 0
    said = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in said[1:5]] == ["0", "1", "always", "all"]
    table = pd.read_csv(made.folder / "folds.csv").set_index("image")
    assert table["fold"].to_dict() == {"a": 0, "b": 0, "c": 1, "d": -1, "e": -1}


def test_the_table_it_wrote_can_be_trained_with(
    made: Labelled, capsys: pytest.CaptureFixture[str]
) -> None:
    """A recipe that names the table divides images as the table does."""
    assert run(made) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[-1] == "to train with it, write folds: {table: folds.csv}"
    before = (made.folder / "folds.csv").read_text()
    assert run(made, "--run", "three") == 0
    assert (made.folder / "folds.csv").read_text() == before
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("more", "wanted"),
    [
        (["--run", "four"], "there is no run four. Name one of one, two"),
        (["--set", "runs.one.folds.count=9"], "found 5 images for 9 folds. Ask for fewer folds"),
        (["--set", "labels.rle=none.csv"], "none.csv: there is no such file"),
        (["--set", "only=x*"], "wanted some that match x*"),
    ],
)
def test_what_cannot_be_divided_is_one_line(
    more: list[str], wanted: str, made: Labelled, capsys: pytest.CaptureFixture[str]
) -> None:
    """The exit code is 1, no table is written, and a sentence says why."""
    assert run(made, *more) == 1
    assert wanted in capsys.readouterr().err
    assert not (made.folder / "folds.csv").exists()
