import io
import sys

import pytest

from kernelkit.console import printable, progress


class Full(io.StringIO):
    """An output on a disk that is full."""

    def write(self, text: str) -> int:
        raise OSError(28, f"No space left on device for {len(text)} characters")


def test_bytes_that_are_no_text_are_escaped() -> None:
    """A file name of other bytes is shown with an escape, and text stays as it is."""
    assert printable("é \udcff") == "é \\udcff"
    assert printable("é", "ascii") == "\\xe9"


@pytest.mark.parametrize(
    "output", [Full(), io.TextIOWrapper(io.BytesIO(), encoding="ascii", write_through=True)]
)
def test_a_bar_goes_on_whatever_its_output(
    output: io.TextIOBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk and an output of ASCII take nothing from what is counted."""
    monkeypatch.setattr(sys, "stderr", output)
    assert list(progress(range(3), description="é \udcff", unit="tile")) == [0, 1, 2]


def test_a_line_takes_the_place_of_the_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    """A result on standard output stands alone in its line, and the bar below it."""
    terminal = io.StringIO()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setattr(sys, "stderr", terminal)
    with progress(description="training", unit="step", total=2) as bar:
        bar.write("fold_0: done")
    before, after = terminal.getvalue().split("fold_0: done")
    assert before.rpartition("\r")[2] == ""
    assert after.startswith("\n")


def test_a_closed_output_is_no_reason_to_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bar on an output that was closed counts all the same."""
    output = io.StringIO()
    output.close()
    monkeypatch.setattr(sys, "stderr", output)
    assert list(progress(range(3), description="a", unit="tile")) == [0, 1, 2]
