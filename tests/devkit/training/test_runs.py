"""`make runs`: what its table says of each run, and which submissions belong to it."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from devkit.kaggle.submissions.ledger import Entry
from devkit.kaggle.submissions.weights import weights_beside
from devkit.training.runs import main, read_runs
from kernelkit.checkpoints import load_members
from kernelkit.predict.report import Report
from tests.made.networks import FPN, write_run


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """Two runs. The first has two folds, and numbers per epoch for one of them."""
    folder = tmp_path / "models"
    write_run(folder / "fpn", FPN, (1, 2))
    write_run(folder / "other", FPN, (3,))
    numbers = "epoch,loss,val,ema\n2,1,.8,.91\n3,1,.5,.6\n"
    (folder / "fpn/fold_0/metrics.csv").write_text(numbers)
    return folder


def scored(score: str, weights: dict[str, str], **more: Any) -> Entry:
    return Entry(
        competition="c",
        file="submission.csv",
        fingerprint="f",
        message="m",
        tag=f"kk-{score}",
        status="scored",
        public_score=score,
        weights=weights,
    ).model_copy(update=more)


def weights_of(models: Path, run: str) -> dict[str, str]:
    return {member.name: member.weights_sha256 for member in load_members(models, [run])}


def test_a_table_has_a_row_per_run(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Best and last are means over the folds. Names and numbers per epoch say them."""
    assert main([str(models), "--ledger", str(models / "none.jsonl")]) == 0
    header, *rows = capsys.readouterr().out.splitlines()
    assert re.split(r"\s{2,}|(?<=run) ", header.strip())[:2] == ["run", "folds"]
    found = {row.split()[0]: row.split()[1:] for row in rows}
    assert found["fpn"][:6] == ["2", "0.9150", "0.7600", "0.9100", "0.9200", "2-3"]
    assert found["other"][:4] == ["1", "0.9300", "0.9300", "0.9300"]
    assert [row[-1] for row in found.values()] == ["-", "-"]


def test_json_has_the_same_with_every_fold(
    models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It can be read by other programs."""
    assert main([str(models), "--json", "--ledger", str(models / "none.jsonl")]) == 0
    first, second = json.loads(capsys.readouterr().out)
    assert (first["run"], second["run"]) == ("fpn", "other")
    assert first["best"] == pytest.approx(0.915)
    assert [fold["name"] for fold in first["folds"]] == ["fold_0", "fold_1"]
    assert first["folds"][0]["last"] == 0.6
    files = (models / "fpn/fold_1").rglob("*.pth")
    assert first["folds"][1]["bytes"] == sum(path.stat().st_size for path in files)
    assert first["submissions"] == []


def test_a_run_has_the_highest_score_of_its_own_weights(models: Path) -> None:
    """A run that was trained again under the same name does not inherit a score."""
    weights = weights_of(models, "fpn")
    entries = [
        scored("0.7", weights | {"other/fold_0": "0" * 64}),
        scored("0.8", weights),
        scored("0.9", dict.fromkeys(weights, "0" * 64)),
        scored("1.0", weights, status="failed"),
        scored("none", weights),
    ]
    first, second = read_runs(models, entries)
    assert first.public_score == 0.8
    assert [entry.public_score for entry in first.entries] == ["0.7", "0.8", "none"]
    assert second.public_score is None


def test_weights_that_cannot_be_loaded_leave_the_table_whole(models: Path) -> None:
    """The run has its row, without a score of the leaderboard."""
    entries = [scored("0.8", weights_of(models, "fpn"))]
    for path in models.glob("fpn/fold_*/models/*"):
        path.write_bytes(b"no checkpoint")
    assert read_runs(models, entries)[0].public_score is None


def test_the_report_beside_a_submission_names_its_weights(tmp_path: Path) -> None:
    """The files of a recipe's submissions lie one folder below."""
    weights = {"fpn/fold_0": "a" * 64}
    Report("r", weights=weights).save(tmp_path / "report.json")
    assert weights_beside(tmp_path / "submission.csv") == weights
    assert weights_beside(tmp_path / "submissions/low.csv") == weights
    assert weights_beside(tmp_path / "elsewhere/low.csv") == {}


@pytest.mark.parametrize("content", ["", "[]", '{"recipe": "r"}', '{"weights": 3}'])
def test_a_report_without_weights_names_none(content: str, tmp_path: Path) -> None:
    """Older reports have none, and a damaged one is no reason not to submit."""
    (tmp_path / "report.json").write_text(content)
    assert weights_beside(tmp_path / "submission.csv") == {}
