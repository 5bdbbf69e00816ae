"""What kernelkit logs in a process that works for another one, which shows it."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["messages_kept"]

_log = logging.getLogger("kernelkit")


@contextmanager
def messages_kept(level: int) -> Iterator[list[tuple[int, str]]]:
    """Collect what kernelkit logs. Nobody reads what this process shows."""
    collector = _Collector()
    before = _log.level, _log.propagate
    _log.addHandler(collector)
    _log.setLevel(level)
    _log.propagate = False
    try:
        yield collector.messages
    finally:
        _log.removeHandler(collector)
        _log.level, _log.propagate = before


class _Collector(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.messages: list[tuple[int, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append((record.levelno, record.getMessage()))
