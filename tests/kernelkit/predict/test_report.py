import contextlib
import math
import time

from kernelkit.predict.report import ImageReport, RunReport, Stopwatch


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
    report = RunReport(
        [
            ImageReport("a", height=1000, width=2000, seconds=4),
            ImageReport("b", height=9000, width=9000, seconds=0.1, status="kept"),
            ImageReport("c", seconds=8, status="fallback", note="corrupt"),
        ]
    )
    assert report.megapixels_per_second == 0.5
    assert report.projected_hours(1800) == 1.0
    assert [image.image for image in report.fallbacks] == ["c"]
    assert list(report.table()["status"]) == ["predicted", "kept", "fallback"]


def test_a_run_that_predicted_nothing_projects_nothing() -> None:
    """Without a speed there is no projection, and no division by zero."""
    assert math.isnan(RunReport([]).projected_hours(100))
