"""What the official client raises: whether it passes, and what to tell the user about it."""

import traceback

import requests
from pydantic import ValidationError

from devkit.errors import KaggleError
from devkit.kaggle.service.advice import explain
from devkit.kaggle.service.answers import first_problem
from devkit.kaggle.service.secrets import scrub

__all__ = ["explained", "is_passing", "status_of"]

# HTTP statuses of trouble that passes
_PASSING = (429, 500, 502, 503, 504)
# errors of `requests` about an answer that came, rather than one that did not
_MALFORMED = (
    requests.exceptions.InvalidJSONError,
    requests.exceptions.InvalidURL,
    requests.exceptions.MissingSchema,
    requests.exceptions.InvalidSchema,
    requests.exceptions.ContentDecodingError,
)


def explained(doing: str, error: Exception, secrets: frozenset[str]) -> KaggleError:
    """Return the error for what the client raised, in Kaggle's words if there are any.

    `doing` is what failed: "push the kernel alice/inference". No secret is shown.
    """
    response = getattr(error, "response", None)
    if isinstance(error, requests.HTTPError) and response is not None:
        words = scrub(_words(response, error), secrets)
        return KaggleError(explain(doing, words, response.status_code))
    if isinstance(error, ValidationError):
        return KaggleError(_not_understood(doing, scrub(first_problem(error), secrets)))
    if _is_of_the_proxy(error):
        words = _shortened(scrub(str(error), secrets))
        return KaggleError(
            f"could not {doing}: the proxy of http_proxy or https_proxy does not work ({words}). "
            "Correct or unset it, then run the same command again"
        )
    if isinstance(error, _MALFORMED):
        return KaggleError(_not_understood(doing, "it is not one of Kaggle's interface"))
    words = _shortened(scrub(str(error), secrets))
    if isinstance(error, requests.RequestException | TimeoutError):
        proxy = ""
        if isinstance(error, requests.exceptions.ProxyError):
            proxy = ". If it stays so, check the proxy of http_proxy or https_proxy"
        return KaggleError(
            f"could not {doing}: Kaggle could not be reached ({words}). Run the same command again"
            f"{proxy}"
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


def _not_understood(doing: str, problem: str) -> str:
    return (
        f"could not {doing}: Kaggle's answer is not understood ({problem}). Run the same command "
        "again. If it stays so, look at kaggle.com, or for a newer client"
    )


def _is_of_the_client(error: Exception) -> bool:
    """Whether the client itself raised it, with words for people."""
    frames = list(traceback.walk_tb(error.__traceback__))
    return bool(frames) and frames[-1][0].f_globals.get("__name__", "").startswith("kaggle.")


def _is_of_the_proxy(error: Exception) -> bool:
    """Whether requests could not make out the address of a proxy."""
    errors = filter(None, (error, error.__context__))
    walked = (pair for each in errors for pair in traceback.walk_tb(each.__traceback__))
    frames = {frame.f_code.co_name for frame, _ in walked}
    of_proxies = {"proxy_manager_for", "prepend_scheme_if_needed"}
    return bool(frames & of_proxies) or isinstance(error, requests.exceptions.InvalidProxyURL)


def status_of(error: Exception) -> int | None:
    """Return the HTTP status of the answer, None if there is no answer."""
    response = getattr(error, "response", None)
    return response.status_code if response is not None else None


def is_passing(error: Exception) -> bool:
    """Whether the same question may get an answer a little later."""
    if isinstance(error, requests.HTTPError):
        return status_of(error) in _PASSING
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
