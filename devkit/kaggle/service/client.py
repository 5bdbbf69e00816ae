"""Calls of the official client: with clear errors, a time limit, and no secrets in the output.

The official client exits 0 on many failures. It prints instead of raising, and waits for ever for
an answer. It treats trouble at Kaggle like a missing dataset. Here each call brings what it was to
bring, or ends with a `KaggleError` that says what to do.
"""

import contextlib
import importlib
import io
import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import requests

from devkit.errors import KaggleError
from devkit.kaggle.service.advice import explain
from devkit.kaggle.service.credentials import credential_problem, found_credentials
from devkit.kaggle.service.failures import explained, is_passing, status_of
from devkit.kaggle.service.secrets import ScrubbedStream, known_secrets, scrub
from devkit.kaggle.settings import Settings
from kernelkit.errors import KernelKitError

if TYPE_CHECKING:
    from devkit.kaggle.service.official import CarefulApi

__all__ = ["Client"]

_LONGEST_PAUSE = 60.0
# items of a stream that wait for their reader
_LONGEST_QUEUE = 1000


class Client:
    """The official client, signed in.

    Parameters
    ----------
    settings
        They give the time limits and the pauses between questions.

    Attributes
    ----------
    settings : Settings
        As given.
    secrets : frozenset of str
        The user's credentials. No line of output may show them.

    Raises
    ------
    KaggleError
        There are no credentials, Kaggle does not accept them, or Kaggle cannot be reached.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.secrets = known_secrets()
        self._api = self._sign_in()

    @property
    def username(self) -> str:
        """The name of the user who is signed in."""
        return str(self._api.config_values.get("username") or "")

    @property
    def owner(self) -> str:
        """The owner of the datasets and kernels: as set, or else the user who is signed in."""
        return self.settings.owner or self.username

    def do[T](
        self, doing: str, work: Callable[["CarefulApi"], T], seconds: float | None = None
    ) -> T:
        """Do something that must not be done twice, in one attempt.

        Parameters
        ----------
        doing
            What it is, for the error: "push the kernel alice/inference".
        work
            The calls to make.
        seconds
            The time limit. None means the settings' time for an answer.

        Returns
        -------
        What `work` returns.

        Raises
        ------
        KaggleError
            Kaggle refused it or failed, or there was no answer in time.
        """
        try:
            return self._run(lambda: work(self._api), seconds or self.settings.answer_seconds)
        except KernelKitError:
            raise
        except Exception as error:
            raise explained(doing, error, self.secrets) from error

    def ask[T](self, doing: str, work: Callable[["CarefulApi"], T]) -> T:
        """Ask a question, and ask it again while Kaggle has trouble. Otherwise like `do`."""
        until = time.monotonic() + self.settings.patience_seconds
        pause = min(self.settings.poll_seconds, 1.0)
        while True:
            try:
                return self._run(lambda: work(self._api), self.settings.answer_seconds)
            except KernelKitError:
                raise
            except Exception as error:
                if not is_passing(error) or time.monotonic() + pause > until:
                    raise explained(doing, error, self.secrets) from error
            time.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)

    def find[T](self, doing: str, work: Callable[["CarefulApi"], T]) -> T | None:
        """Ask like `ask`, but return None if there is nothing of that name.

        Kaggle answers 403 as well as 404 then. It does not tell what others keep in private.
        """

        def guarded(api: "CarefulApi") -> T | None:
            try:
                return work(api)
            except requests.HTTPError as error:
                if status_of(error) in (403, 404):
                    return None
                raise

        return self.ask(doing, guarded)

    def stream[T](self, work: Callable[["CarefulApi"], Iterable[T]]) -> Iterator[T | None]:
        """Iterate over what `work` yields. None comes whenever nothing came for a while.

        A stream that breaks off just ends. Its reader has other means to learn why.
        """
        items: queue.Queue[T | None] = queue.Queue(_LONGEST_QUEUE)
        is_left = threading.Event()

        def run() -> None:
            with contextlib.suppress(Exception):
                for item in work(self._api):
                    while not is_left.is_set():
                        with contextlib.suppress(queue.Full):
                            items.put(item, timeout=1)
                            break
                    if is_left.is_set():
                        return

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        try:
            while thread.is_alive() or not items.empty():
                try:
                    yield items.get(timeout=self.settings.poll_seconds)
                except queue.Empty:
                    yield None
        finally:
            is_left.set()

    def say(self, text: str) -> None:
        """Print a line, without secrets."""
        print(scrub(text, self.secrets), flush=True)

    def refusal(self, doing: str, words: str) -> KaggleError:
        """Make the error for an answer that says no without an HTTP error."""
        return KaggleError(explain(doing, scrub(words, self.secrets)))

    def _sign_in(self) -> "CarefulApi":
        # with these set, the client prints its requests, credentials and all
        for name in ("VERBOSE", "VERBOSE_OUTPUT"):
            os.environ.pop(name, None)

        def sign_in() -> "CarefulApi":
            official = importlib.import_module("devkit.kaggle.service.official")
            api: CarefulApi = official.CarefulApi(self.settings.poll_seconds / 20)
            api.authenticate()
            return api

        try:
            return self._run(sign_in, self.settings.answer_seconds)
        except Exception as error:
            is_answer = isinstance(error, requests.RequestException | TimeoutError)
            if not is_answer and (problem := credential_problem()):
                raise KaggleError(f"could not sign in to Kaggle: {problem}") from None
            if isinstance(error, KernelKitError):
                raise
            raise explained("sign in to Kaggle", error, self.secrets) from error

    def _run[T](self, work: Callable[[], T], seconds: float) -> T:
        """Run `work` in a thread, since the client would wait for ever for an answer."""
        results: list[T] = []
        errors: list[BaseException] = []

        def run() -> None:
            try:
                results.append(work())
            except BaseException as error:
                errors.append(error)

        thread = threading.Thread(target=run, daemon=True)
        with self._hushed():
            thread.start()
            thread.join(seconds)
        if errors and isinstance(errors[0], SystemExit):  # how the client refuses credentials
            raise KaggleError(_no_credentials())
        if errors:
            raise errors[0]
        if not results:
            raise TimeoutError(f"no answer within {seconds:g} s")
        return results[0]

    @contextlib.contextmanager
    def _hushed(self) -> Iterator[None]:
        """Keep the client's own words from the output. Its progress bars pass, scrubbed."""
        progress: Any = ScrubbedStream(sys.stderr, self.secrets)
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(progress):
            yield


def _no_credentials() -> str:
    """That nobody could be signed in, and what was found, the one that counts first."""
    names = found_credentials()
    found = f". Found {', then '.join(names)}" if names else ""
    return (
        f"there are no Kaggle credentials that work{found}. Run `.venv/bin/kaggle auth login`, or "
        "make a token at kaggle.com/settings/api and put it into ~/.kaggle/access_token"
    )
