import io
import logging
import sys
import time

import pytest

from devkit import bars
from devkit.commands import command
from kernelkit.console import progress


class Terminal(io.StringIO):
    """A screen."""

    def isatty(self) -> bool:
        return True


def test_a_terminal_sees_how_long_something_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """The line has what it is and for how long, and is gone at the end."""
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(bars, "_AT_ONCE", 0.01)
    with bars.waiting("uv resolves"):
        time.sleep(0.2)
    shown = screen.getvalue()
    assert "uv resolves 00:00" in shown
    assert shown.endswith("\r")


def test_a_log_gets_no_line_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Progress is for people."""
    log = io.StringIO()
    monkeypatch.setattr(sys, "stderr", log)
    monkeypatch.setattr(bars, "_AT_ONCE", 0.0)
    with bars.waiting("uv resolves"):
        time.sleep(0.05)
    assert list(bars.bar(range(3), description="files", unit="file")) == [0, 1, 2]
    assert log.getvalue() == ""


def test_what_is_over_at_once_shows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal does not flicker."""
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    with bars.waiting("uv resolves"):
        pass
    assert screen.getvalue() == ""


def test_an_error_ends_the_line_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing goes on in the background."""
    monkeypatch.setattr(sys, "stderr", Terminal())
    with pytest.raises(ValueError, match="no"), bars.waiting("uv resolves"):
        raise ValueError("no")


def test_what_kernelkit_logs_stands_above_the_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bar is taken away for it and drawn anew. Afterwards nothing more is shown."""
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    log = logging.getLogger("kernelkit.predict")
    with progress(range(3), description="predict", unit="tile") as shown:
        with bars.messages_shown():
            log.info("plan: two devices")
        log.info("not wanted")
        shown.update()
    lines = [line.rsplit("\r", 1)[-1] for line in screen.getvalue().splitlines()]
    assert "plan: two devices" in lines
    assert "not wanted" not in screen.getvalue()


def test_a_command_warns_once_of_one_thing(capsys: pytest.CaptureFixture[str]) -> None:
    """Each of four folds notices the same. What is no warning is not shown, unless it is wanted."""
    log = logging.getLogger("kernelkit.predict")

    @command("validate")
    def main() -> int:
        for _ in range(4):
            log.warning("the mean is that of the run")
            log.info("not wanted")
        with bars.messages_shown():
            log.info("plan")
            log.warning("cpu of a machine, 7: the mean is that of the run")
        return 0

    assert main() == 0
    assert capsys.readouterr().err == "the mean is that of the run\nplan\n"
