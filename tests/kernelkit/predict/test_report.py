import contextlib
import math
import time
from pathlib import Path

import pytest

from kernelkit.errors import OutputError
from kernelkit.predict.report import ImageReport, Report, Stopwatch


def test_a_stopwatch_adds_up_the_seconds_of_a_phase() -> None:
    """Two stays in a phase count together, also where one ends in an error."""
    watch = Stopwatch()
    with watch.phase("read"):
        time.sleep(0.02)
    with contextlib.suppress(ValueError), watch.phase("read"):
        time.sleep(0.02)
        raise ValueError
    assert watch.seconds["read"] >= 0.04


def test_the_steady_speed_counts_only_what_this_run_predicted() -> None:
    """An image kept from an earlier run, or given up, says nothing about speed."""
    report = Report(
        images=[
            ImageReport("a", height=1000, width=2000, seconds=4),
            ImageReport("b", height=9000, width=9000, seconds=0.1, status="kept"),
            ImageReport("c", seconds=8, status="fallback", notes=["corrupt"]),
        ]
    )
    assert report.megapixels_per_second == 0.5
    assert report.projected_hours(1800) == 1.0
    assert [image.image for image in report.fallbacks] == ["c"]
    assert list(report.table()["status"]) == ["predicted", "kept", "fallback"]


def test_a_run_that_predicted_nothing_projects_nothing() -> None:
    """Without a speed there is no projection, and no division by zero."""
    assert math.isnan(Report().projected_hours(100))


def test_a_report_that_is_saved_is_loaded_as_it_was(tmp_path: Path) -> None:
    """Device, notes and each image's figures survive the file."""
    image = ImageReport("a", height=10, width=20, seconds=1.5, notes=["one tile was bad"])
    report = Report("hubmap", "0123", "a device", images=[image], notes=["smaller batches"])
    report.save(tmp_path / "report.json")
    assert Report.load(tmp_path / "report.json") == report


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        (None, "there is no report to read"),
        ("{", "this is no report of a run"),
        ('{"images": [{"image": 1}]}', r"images\.0\.image is wrong"),
    ],
)
def test_what_is_no_report_is_one_sentence(
    tmp_path: Path, content: str | None, wanted: str
) -> None:
    """A missing, cut off or foreign file is named, with what is wrong in it."""
    if content is not None:
        (tmp_path / "report.json").write_text(content)
    with pytest.raises(OutputError, match=wanted):
        Report.load(tmp_path / "report.json")


def test_of_many_images_the_table_names_those_that_need_attention() -> None:
    """Fallbacks come first, then unfinished images, then notes. The others are summed up."""
    images = [ImageReport(str(n), height=10, width=10, tiles=2, seconds=0.5) for n in range(18_000)]
    images[70].notes = ["a mean over 3 pixels"]
    images[80].unfinished = True
    images[90].fall_back("corrupt")
    images[100].status = "kept"
    table = Report(images=images).table()
    assert list(table["image"]) == ["90", "80", "70", "17996 more", "1 more"]
    assert list(table["status"]) == ["fallback", "predicted", "predicted", "predicted", "kept"]
    assert table["tiles"].sum() == 36_000
    assert table["seconds"].sum() == 9_000


def test_of_many_images_that_need_attention_as_many_as_fit_are_named() -> None:
    """The rest is counted, and the count says that it has notes."""
    images = [ImageReport(str(n), status="fallback", notes=["corrupt"]) for n in range(300)]
    table = Report(images=images).table(most=20)
    assert list(table["image"]) == [*map(str, range(20)), "280 more"]
    assert table["notes"].iloc[-1] == "280 of them have notes"
