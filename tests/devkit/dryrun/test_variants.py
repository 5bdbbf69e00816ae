"""The submissions of one run: what the dry-run refuses of them, and the whole way of two shapes."""

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from devkit.demo.prepare import Demo
from devkit.demo.shapes import write_shape
from devkit.demo.train import train_networks
from devkit.dryrun.maps import check_maps
from devkit.dryrun.notebook import run_notebook
from devkit.dryrun.results import draw_overlay, read_checked
from devkit.dryrun.runtime import Runtime
from devkit.dryrun.scenario import Scenario
from devkit.dryrun.variants import check_variants, submissions_of
from devkit.errors import DryRunError
from devkit.tools import REPOSITORY
from kernelkit.errors import SubmissionError
from kernelkit.predict.report import Report
from kernelkit.recipe import Recipe

DOWNLOADS = REPOSITORY / "build" / "demo" / "downloads"

# The folders of which only one picture in so many is kept, since a few go the same way as hundreds.
FEWER = {"clouds": ("test_images", 4), "salt": ("*/images", 6)}

# As few epochs as their schedules allow: a snapshot ends each of three periods of salt.
EPOCHS = {"clouds": 1, "salt": 3, "unosat": 3}

# what each submission of salt says of the pictures a, b and c, of which c is empty
ROWS = {
    "nmc_seg_crf": ("1 4", "1 4", ""),
    "nmc_seg": ("1 4", "1 2", ""),
    "seg_crf": ("1 4", "1 4", "9 9"),
    "seg": ("1 4", "1 2", "9 9"),
    "nmc": ("1 1", "1 1", ""),
}
LABELS = ("1 4", "1 2", "")
DICE = {"nmc_seg": 1, "nmc_seg_crf": (1 + 2 / 3 + 1) / 3, "seg": 2 / 3}


def write_rows(path: Path, columns: tuple[str, str], encodings: tuple[str, ...]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows([columns, *zip("abc", encodings, strict=True)])


@pytest.fixture
def scenario(tmp_path: Path) -> Scenario:
    """Three pictures, and the files that a run with the recipe `salt` leaves."""
    images = tmp_path / "competition/test/images"
    images.mkdir(parents=True)
    for name in "abc":
        Image.fromarray(np.zeros((101, 101, 3), np.uint8)).save(images / f"{name}.png")
    columns = ("id", "rle_mask")
    write_rows(tmp_path / "competition/sample_submission.csv", columns, ("1 1",) * 3)
    write_rows(tmp_path / "solution.csv", ("id", "encoding"), LABELS)
    for name, encodings in ROWS.items():
        write_rows(tmp_path / f"working/submissions/{name}.csv", columns, encodings)
    write_rows(tmp_path / "working/submission.csv", columns, ROWS["nmc_seg_crf"])
    return Scenario(
        recipe="salt",
        competition=tmp_path / "competition",
        models=tmp_path / "models",
        working=tmp_path / "working",
        solution=tmp_path / "solution.csv",
    )


def test_each_submission_is_scored(scenario: Scenario) -> None:
    """The Dice is the mean over the rows, and 1 for a row that is rightly empty."""
    table = check_variants(scenario).set_index("submission")
    assert list(table.index) == list(Recipe.load("salt").submissions)
    assert list(table["rows"]) == [3] * 5
    assert list(table["empty"]) == [1, 1, 0, 0, 1]
    dice = dict(zip(table.index, map(float, table["Dice"]), strict=True))
    for name, wanted in DICE.items():
        assert dice[name] == pytest.approx(wanted, abs=1e-4)


def remove(working: Path) -> None:
    (working / "submissions/seg.csv").unlink()


def add(working: Path) -> None:
    (working / "submissions/old.csv").touch()


def repeat(working: Path) -> None:
    text = (working / "submissions/seg.csv").read_text()
    (working / "submissions/seg_crf.csv").write_text(text)


def submit_another(working: Path) -> None:
    text = (working / "submissions/nmc.csv").read_text()
    (working / "submission.csv").write_text(text)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (remove, "submissions: found nmc.csv, .*, wanted nmc.csv, .*seg.csv"),
        (add, "submissions: found nmc.csv, .*old.csv"),
        (repeat, "seg_crf and seg are the same, byte for byte"),
        (submit_another, "it is not nmc_seg_crf, the first of the recipe's submissions"),
    ],
)
def test_submissions_that_cannot_be_meant_are_refused(
    spoil: Callable[[Path], None], said: str, scenario: Scenario
) -> None:
    """A file that lacks or is left over, two that are the same, another one submitted."""
    spoil(scenario.working)
    with pytest.raises(DryRunError, match=said):
        check_variants(scenario)


def test_every_submission_is_checked(scenario: Scenario) -> None:
    """A row outside of its picture is found in the last of the files."""
    path = scenario.submissions / "nmc.csv"
    write_rows(path, ("id", "rle_mask"), ("1 1", "10201 2", ""))
    with pytest.raises(SubmissionError, match=r"nmc\.csv"):
        check_variants(scenario)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.xdist_group("twin")
@pytest.mark.parametrize("name", ["clouds", "salt"])
def test_a_shape_goes_the_whole_way(name: str, runtime: Runtime, tmp_path: Path) -> None:
    """From pictures and a few steps of training to five checked files of kernelkit's own recipe."""
    scenario = _rehearsed(name, runtime, tmp_path)
    files = submissions_of(scenario)
    assert len(files) == 5
    assert {path.name for path in scenario.submissions.iterdir()} == {f"{n}.csv" for n in files}
    masks = [read_checked(scenario, path) for path in files.values()]
    assert len({tuple(one) for one in masks}) == 1
    assert {image.status for image in Report.load(scenario.report).images} == {"predicted"}
    assert draw_overlay(scenario, masks[0]).stat().st_size > 1000


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.xdist_group("twin")
def test_radar_goes_the_whole_way(runtime: Runtime, tmp_path: Path) -> None:
    """From scenes and a few steps of training to one checked map per city."""
    scenario = _rehearsed("unosat", runtime, tmp_path)
    assert check_maps(scenario)["map"].tolist() == ["b01", "b02"]
    assert len(Report.load(scenario.report).fallbacks) == 1  # the acquisition that lacks a band


def _rehearsed(name: str, runtime: Runtime, tmp_path: Path) -> Scenario:
    """A run of the notebook on a small competition, whose networks have learned next to nothing."""
    demo = Demo(tmp_path / name)
    write_shape(name, DOWNLOADS, demo.competition, demo.solution)
    if name in FEWER:
        _thin(demo, *FEWER[name])
    short = (f"epochs={EPOCHS[name]}", "steps=1", "batch=2", "validate.floor=0")
    train_networks(
        name,
        demo.competition,
        demo.models,
        cuts=tmp_path / "cuts",
        overrides=short,
        devices="cpu",  # one process for all networks
    )
    scenario = Scenario(
        recipe=name,
        competition=demo.competition,
        models=demo.models,
        working=tmp_path / "working",
        solution=demo.solution,
    )
    assert run_notebook(scenario, runtime, workers=2).exit_code == 0
    return scenario


def _thin(demo: Demo, pictures: str, every: int) -> None:
    """Keep one of so many pictures, and its rows. A few go the same way as hundreds."""
    gone = set()
    for folder in demo.competition.glob(pictures):
        for number, path in enumerate(sorted(folder.iterdir())):
            if number % every:
                path.unlink()
                gone.add(path.stem)
    for table in (*demo.competition.glob("*.csv"), demo.solution):
        header, *rows = table.read_text().splitlines()
        rows = [row for row in rows if row.partition(",")[0].partition(".")[0] not in gone]
        table.write_text("\n".join([header, *rows, ""]))
