"""What `JSON=1` prints, for programs. The keys are those of docs/on-kaggle.md."""

import json
from pathlib import Path

from devkit.training.runs import Run
from devkit.training.survey import Survey
from devkit.training.survey_lines import as_json
from tests.made.kaggle_home import Home

PAGE = Path(__file__).resolve().parents[3] / "docs/on-kaggle.md"


def documented(command: str) -> set[str]:
    """The keys in the row of a command."""
    text = PAGE.read_text(encoding="utf-8")
    row = next(line for line in text.splitlines() if line.startswith(f"| `{command}`"))
    return set(row.split("`")[3::2])


def test_doctor_says_for_programs_what_is_missing(home: Home) -> None:
    """Standard output is one JSON object. The exit code and the line are those without it."""
    home.service.has_joined = False
    result = home.run("doctor", "--json")
    found = json.loads(result.out)
    assert {*found, *found["findings"][0]} == documented("make doctor")
    assert not found["is_ready"]
    missing = [finding["what"] for finding in found["findings"] if not finding["is_fine"]]
    assert result.code == 1
    assert result.err.endswith(f"not ready to push: {', '.join(missing)}\n")


def test_submissions_are_listed_for_programs(home: Home) -> None:
    """Each has Kaggle's facts, and the line of the ledger if there is one."""
    csv = home.folder / "answer.csv"
    csv.write_text("id,predicted\naa,\nbb,\n")
    assert home.run("submit", "-f", str(csv), "-m", "first").code == 0
    found = json.loads(home.run("submissions", "--json").out)
    assert set(found) == documented("make submissions")
    [listed] = found["submissions"]
    assert listed["file"] == "answer.csv"
    assert listed["ledger"]["message"] == "first"
    assert listed["ledger"]["ref"] == listed["ref"]
    assert found["only_in_ledger"] == []


def test_submissions_are_a_table_for_people(home: Home) -> None:
    """Its first line names the columns."""
    csv = home.folder / "answer.csv"
    csv.write_text("id,predicted\naa,\nbb,\n")
    assert home.run("submit", "-f", str(csv), "-m", "first").code == 0
    header, row = home.run("submissions").out.splitlines()
    assert header.split() == ["date", "score", "ref", "from", "dataset", "message"]
    assert row.index("answer.csv") == header.index("from")


def test_the_keys_of_runs_and_images_are_those_of_the_page() -> None:
    """Programs rely on them."""
    assert set(Run("fpn", [], []).content()) == documented("make runs")
    found = Survey([], {"a": "it is damaged"}, 1, "whole", "0 in all bands")
    assert set(as_json(found)) == documented("make look")
