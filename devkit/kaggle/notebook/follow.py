"""A kernel's run on Kaggle: its log is followed to the end, and checked.

A complete run need not have done its work. The log must hold the notebook's end marker and the
fingerprint of the dataset.
"""

import time

from devkit.errors import KaggleError
from devkit.kaggle.notebook.kernel import GONE_WRONG, KernelVersion, run_state
from devkit.kaggle.notebook.output import run_output
from devkit.kaggle.service.answers import event_text
from devkit.kaggle.service.client import Client
from devkit.kaggle.service.endings import explain_ending
from devkit.kaggle.service.waiting import wait_for
from devkit.kaggle.settings import Settings

__all__ = ["check_log", "follow_run"]

# what the last cell of the notebook prints
_END_MARKER = "kernelkit: end of the run"
# of the log, in the error of a run that failed
_LAST_LINES = 20
# of the log, in which words are looked for that are known
_LAST_CHARACTERS = 20_000


def follow_run(client: Client, version: KernelVersion, *, quietly: bool = False) -> str:
    """Wait for the end of a run, and print its log as it is written.

    Parameters
    ----------
    client
        The client, signed in.
    version
        Whose run it is.
    quietly
        Print only the run's state, when it changes.

    Returns
    -------
    The whole log.

    Raises
    ------
    KaggleError
        The run failed or was cancelled, or took too long. The error shows the end of the log.
    """
    settings = client.settings
    follower = _Follower(client, version, quietly)
    state = wait_for(
        f"the end of {version.name}",
        follower.look,
        seconds=settings.kernel_seconds,
        every=settings.poll_seconds,
    )
    log = run_output(client, version).log
    if not quietly:
        for piece in log[follower.shown :]:
            client.say(piece.rstrip("\n"))
    text = "".join(log)
    if state in GONE_WRONG:
        means = explain_ending(settings, follower.failure, text[-_LAST_CHARACTERS:])
        raise KaggleError(
            f"{version.name} ended with {state}{follower.failure}. {means and f'{means}. '}"
            f"The last lines of its log:\n{_last_lines(text)}"
        )
    return text


class _Follower:
    """A view of a run that is looked at again and again. It prints what is new.

    Attributes
    ----------
    shown : int
        How many pieces of the log were printed.
    failure : str
        What Kaggle says went wrong, in brackets. Empty if it says nothing.
    """

    def __init__(self, client: Client, version: KernelVersion, quietly: bool) -> None:
        self._client = client
        self._version = version
        self._quietly = quietly
        self._state = ""
        self.shown = 0
        self.failure = ""

    def look(self) -> str | None:
        """The state in which the run ended, or None if it goes on."""
        state, failure = run_state(self._client, self._version)
        if state != self._state:
            self._client.say(f"{self._version.name}: {state}")
        self._state = state
        if state == "COMPLETE" or state in GONE_WRONG:
            self.failure = f" ({failure})" if failure else ""
            return state
        if state == "RUNNING" and not self._quietly:
            self._show_stream()
        return None

    def _show_stream(self) -> None:
        """Print the live log until it breaks off or is silent for a while.

        Kaggle sends it from the beginning each time. What was shown before is skipped.
        """
        until = time.monotonic() + self._client.settings.poll_seconds * 10
        events = self._client.stream(lambda api: api.kernels_logs_stream(self._version.ref))
        for count, event in enumerate(events, 1):
            if event is None or time.monotonic() > until:
                return
            if count > self.shown:
                self.shown = count
                self._client.say(event_text(event).rstrip("\n"))


def check_log(log: str, version: KernelVersion, settings: Settings) -> None:
    """Refuse a run if its log lacks the end marker or the fingerprint that it was pushed with.

    Parameters
    ----------
    log
        The whole log.
    version
        Whose run it is.
    settings
        Those that it was pushed with, for the error.

    Raises
    ------
    KaggleError
        One of them is missing.
    """
    if _END_MARKER not in log:
        raise KaggleError(
            f"{version.name} is complete, but its log has no line {_END_MARKER!r}. The notebook "
            f"did not get to its end. See {settings.command('logs')}"
        )
    fingerprint = str(version.parameters.get("fingerprint", ""))
    # the bootstrap prints the first twelve characters
    if fingerprint[:12] not in log:
        raise KaggleError(
            f"{version.name} is complete, but its log does not name the dataset "
            f"{fingerprint[:12]} that it was pushed with. It ran with another version of the "
            f"dataset. Push again, with {settings.command('push')}"
        )


def _last_lines(log: str) -> str:
    lines = log.rstrip().splitlines()[-_LAST_LINES:] or ["(the log is empty)"]
    return "\n".join(f"    {line}" for line in lines)
