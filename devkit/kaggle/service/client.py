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
import traceback
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import requests
from pydantic import ValidationError

from devkit.errors import KaggleError
from devkit.kaggle.service.advice import explain
from devkit.kaggle.service.answers import first_problem
from devkit.kaggle.service.secrets import ScrubbedStream, known_secrets, scrub
from devkit.kaggle.settings import Settings
from kernelkit.errors import KernelKitError
from kernelkit.files import DAMAGED_ARCHIVE

if TYPE_CHECKING:
    from devkit.kaggle.service.official import CarefulApi

__all__ = ["Client", "unpack_download", "wait_for"]

# HTTP statuses of trouble that passes
_PASSING = (429, 500, 502, 503, 504)
_LONGEST_PAUSE = 60.0
_NO_CREDENTIALS = (
    "there are no Kaggle credentials that work. Run `kaggle auth login`, or make a token at "
    "kaggle.com/settings/api and put it into ~/.kaggle/access_token"
)
# items of a stream that wait for their reader
_LONGEST_QUEUE = 1000
# in bytes, of a manifest that Kaggle compressed
_LARGEST_DOWNLOAD = 64 * 2**20
# errors of `requests` about an answer that came, rather than one that did not
_MALFORMED = (
    requests.exceptions.InvalidJSONError,
    requests.exceptions.InvalidURL,
    requests.exceptions.MissingSchema,
    requests.exceptions.InvalidSchema,
    requests.exceptions.ContentDecodingError,
)


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
            raise self._explained(doing, error) from error

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
                if not _is_passing(error) or time.monotonic() + pause > until:
                    raise self._explained(doing, error) from error
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
                if _status(error) in (403, 404):
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
        except KernelKitError:
            raise
        except Exception as error:
            raise self._explained("sign in to Kaggle", error) from error

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
            raise KaggleError(_NO_CREDENTIALS)
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

    def _explained(self, doing: str, error: Exception) -> KaggleError:
        """The error for what the client raised, in Kaggle's words if there are any."""
        response = getattr(error, "response", None)
        if isinstance(error, requests.HTTPError) and response is not None:
            words = scrub(_words(response, error), self.secrets)
            return KaggleError(explain(doing, words, response.status_code))
        if isinstance(error, ValidationError):
            return KaggleError(_not_understood(doing, scrub(first_problem(error), self.secrets)))
        if isinstance(error, _MALFORMED):
            return KaggleError(_not_understood(doing, "it is not one of Kaggle's interface"))
        words = _shortened(scrub(str(error), self.secrets))
        if isinstance(error, requests.RequestException | TimeoutError):
            return KaggleError(
                f"could not {doing}: Kaggle could not be reached ({words}). "
                "Run the same command again"
            )
        if isinstance(error, OSError):
            place = f"{error.filename}: " if error.filename else ""
            return KaggleError(
                f"could not {doing}: {place}{error.strerror or words}. Mend that, then run the "
                "same command again"
            )
        if isinstance(error, ValueError) and _is_of_the_client(error) and words:
            return KaggleError(
                f"could not {doing}: the official client says {words!r}. Correct what it names, "
                "then run the same command again"
            )
        return KaggleError(_not_understood(doing, "the official client cannot read it"))


def wait_for[T](
    what: str,
    check: Callable[[], T | None],
    *,
    seconds: float,
    every: float,
    go_on: str = "Run the same command again to go on waiting",
) -> T:
    """Call `check` until it returns something.

    Parameters
    ----------
    what
        What is waited for, for the error: "the score of a.csv".
    check
        Returns None while there is nothing yet.
    seconds
        The time limit.
    every
        The pause between two calls, in seconds.
    go_on
        The last sentence of the error: what to do next.

    Returns
    -------
    What `check` returned last.

    Raises
    ------
    KaggleError
        The time is up.
    """
    until = time.monotonic() + seconds
    while (found := check()) is None:
        if time.monotonic() + every > until:
            raise KaggleError(f"waited {seconds:g} s for {what}, without success. {go_on}")
        time.sleep(every)
    return found


def unpack_download(folder: Path) -> Path | None:
    """Find the one file that was fetched into `folder`, or return None.

    What Kaggle compressed for its storage comes as a zip archive, under one name or another. It is
    unpacked in its place.

    Raises
    ------
    KaggleError
        It is an archive that is damaged, or that does not hold one file of at most 64 MiB.
    """
    path = next(iter(sorted(folder.iterdir())), None)
    if path is None or not zipfile.is_zipfile(path):
        return path
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            if len(members) != 1:
                raise KaggleError(
                    f"{path.name} came from Kaggle as an archive of {len(members)} files, wanted "
                    "one. Look at it on kaggle.com"
                )
            with archive.open(members[0]) as file:
                content = file.read(_LARGEST_DOWNLOAD + 1)
    except KernelKitError:
        raise
    except (OSError, *DAMAGED_ARCHIVE) as error:
        raise KaggleError(
            f"{path.name} came from Kaggle as a damaged archive. Run the same command again"
        ) from error
    if len(content) > _LARGEST_DOWNLOAD:
        raise KaggleError(
            f"{path.name} came from Kaggle as an archive of more than "
            f"{_LARGEST_DOWNLOAD >> 20} MiB. That is no manifest. Look at it on kaggle.com"
        )
    path.write_bytes(content)
    return path


def _not_understood(doing: str, problem: str) -> str:
    return (
        f"could not {doing}: Kaggle's answer is not understood ({problem}). Run the same command "
        "again. If it stays so, look at kaggle.com, or for a newer client"
    )


def _is_of_the_client(error: Exception) -> bool:
    """Whether the client itself raised it, with words for people."""
    frames = list(traceback.walk_tb(error.__traceback__))
    return bool(frames) and frames[-1][0].f_globals.get("__name__", "").startswith("kaggle.")


def _status(error: Exception) -> int | None:
    response = getattr(error, "response", None)
    return response.status_code if response is not None else None


def _is_passing(error: Exception) -> bool:
    """Whether the same question may get an answer a little later."""
    if isinstance(error, requests.HTTPError):
        return _status(error) in _PASSING
    return isinstance(error, requests.ConnectionError | requests.Timeout | TimeoutError)


def _words(response: requests.Response, error: Exception) -> str:
    """Kaggle's own words about the error, or the client's if Kaggle says nothing."""
    try:
        content = response.json()
    except (ValueError, RecursionError):
        return str(error)
    if isinstance(content, dict):
        for key in ("message", "error", "errorMessage"):
            if content.get(key):
                return str(content[key])
    return str(error)


def _shortened(text: str, longest: int = 300) -> str:
    text = " ".join(text.split())
    return text if len(text) <= longest else f"{text[:longest]}..."
