"""A validation in a notebook: what it refuses at once, and what costs it only a sentence."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest

from kernelkit.errors import EvaluationError
from kernelkit.mask import BitMask
from kernelkit.recipe import Recipe
from kernelkit.training.validation_session import ValidationSession
from tests.made.training_run import load_training, write_trained


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pictures with a labelled square, a run of two folds, and both recipes."""
    folder = tmp_path_factory.mktemp("place")
    (folder / "train").mkdir()
    mask = np.zeros((96, 96), bool)
    mask[20:60, 30:70] = True
    for seed, name in enumerate("ab"):
        pixels = np.random.default_rng(seed).integers(0, 255, (96, 96, 3), np.uint8)
        cv2.imwrite(str(folder / f"train/{name}.png"), pixels)
    rle = BitMask.from_array(mask).to_rle()
    (folder / "train.csv").write_text(f"id,rle\na,{rle}\nb,{rle}\n")
    labels = {"rle": "train.csv", "id_column": "id", "rle_column": "rle"}
    training = load_training(
        folder,
        {"runs": ["small"], "thresholds": 0.99},  # others gain, also out of fold
        {"core": 64},
        labels=labels,
        crop={"size": 32},
    )
    write_trained(training.runs["small"], folder / "models", (1, 1))
    return folder


def session(place: Path, output: Path, **options: Any) -> ValidationSession:
    return ValidationSession(
        place / "small.yaml", place, place / "models", output, device="cpu", **options
    )


def test_a_word_that_is_none_is_refused_before_anything_is_read(
    place: Path, tmp_path: Path
) -> None:
    """The sentence has the choices."""
    with pytest.raises(EvaluationError, match="found 'classes' as share, wanted .* Correct the"):
        session(place, tmp_path, sharing="classes")
    with pytest.raises(EvaluationError, match="nothing is predicted yet. Call predict first"):
        session(place, tmp_path).scores()


def test_a_session_that_is_over_predicts_nothing(place: Path, tmp_path: Path) -> None:
    """Without any prediction there is nothing to score, so that is an error with the reason."""
    with pytest.raises(EvaluationError, match="not one image could be predicted. The first one's"):
        session(place, tmp_path, hours=1e-9).predict()


def test_what_fails_after_the_predictions_is_a_sentence(place: Path, tmp_path: Path) -> None:
    """The scores are written, and the end says what is not."""
    (tmp_path / "report.html").mkdir()
    made = session(place, tmp_path)
    assert made.predict()["fold"].tolist() == [0, 1]
    [dice] = made.scores()["dice per image"]
    assert dice == pytest.approx(pd.read_csv(tmp_path / "scores.csv")["dice"].mean())
    assert "the report failed: " in made.report().text
    assert made.end.startswith("2 images are predicted out of fold. ")
    assert "the report failed: " in made.end


def test_values_per_group_are_shown_and_not_written(place: Path, tmp_path: Path) -> None:
    """These pictures have no group, so the search says why it cannot be done."""
    made = session(place, tmp_path, sharing="group")
    made.predict()
    assert made.tune().empty
    assert made.write_recipe() is None
    assert "the search for one failed: a: it has no group" in made.end


def test_the_tuned_recipe_is_the_one_that_predicts(
    place: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Only its thresholds and steps differ. The file beside the training recipe stays.

    What is logged has the path of the run folder, and not that of links to it.
    """
    before = (place / "predicting.yaml").read_bytes()
    made = session(place, tmp_path)
    made.predict()
    assert not [line for line in caplog.messages if "folds-" in line]
    assert any(str(place / "models/small/cfg.yaml") in line for line in caplog.messages)
    [row] = made.tune().to_dict("records")
    path = made.write_recipe()
    assert path == tmp_path / "predicting.yaml"
    old, new = Recipe.load(place / "predicting.yaml"), Recipe.load(path)
    assert new.ensembles[0].thresholds == (float(row["chosen"].split()[1].rstrip(",")),)
    assert new.model_copy(update={"ensembles": old.ensembles}) == old
    assert (place / "predicting.yaml").read_bytes() == before
