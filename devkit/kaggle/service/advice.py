"""What to do if Kaggle refuses something: its own words, then the remedy."""

import re

from devkit.kaggle.service.credentials import found_credentials

__all__ = ["explain"]

_AGAIN = "then run the same command again"
_BY_WORDS = tuple(
    (re.compile(pattern, re.IGNORECASE), remedy)
    for pattern, remedy in (
        (
            r"accept\b.*\brules|competitions\.participate",
            f"Join the competition and accept its rules on its page, {_AGAIN}",
        ),
        (
            r"phone|verif(y|ied|ication)",
            f"Verify your account with a phone at kaggle.com/settings, {_AGAIN}",
        ),
        (
            r"session count|concurrent.*session|session.*(already|limit)",
            f"Wait until a running GPU session ends, or stop one on kaggle.com, {_AGAIN}",
        ),
        (
            r"quota|number of hours",
            "This week's GPU hours are used up. `.venv/bin/kaggle quota` says when there are new "
            "ones",
        ),
        (
            r"submission.*(limit|maximum|remaining)|(limit|maximum|remaining|too many).*submission",
            "The day's submissions are used up. Run the same command again after 00:00 UTC",
        ),
        (
            r"as this owner",
            "The owner in kaggle.toml is neither you nor a group of yours. Correct it",
        ),
        (
            r"already (in use|exists|taken)",
            f"Choose another slug for it in kaggle.toml, {_AGAIN}",
        ),
    )
)
_BY_STATUS = {
    400: "Kaggle did not understand the request. Check the names in kaggle.toml",
    403: "Check the names in kaggle.toml, and that your account may do this on kaggle.com",
    404: "Kaggle finds nothing of that name. Check the names in kaggle.toml",
    409: (
        f"Something of that name exists or is being changed. Wait, or choose another name, {_AGAIN}"
    ),
    413: "It is larger than Kaggle takes",
    429: f"Kaggle is asked too often. Wait some minutes, {_AGAIN}",
}


def explain(doing: str, words: str, status: int | None = None) -> str:
    """Say what failed, what Kaggle said and what to do.

    Parameters
    ----------
    doing
        What was tried: "push the kernel alice/inference".
    words
        What Kaggle, or the official client, said.
    status
        The HTTP status, if the answer was an error.
    """
    said = " ".join(words.split()).rstrip(".") or "nothing"
    code = f" (HTTP {status})" if status else ""
    return f"could not {doing}: Kaggle said {said!r}{code}. {_remedy(said, status)}"


def _remedy(words: str, status: int | None) -> str:
    if status == 401:  # its words may speak of anything
        counts = "".join(f" ({name} comes first)" for name in found_credentials()[:1])
        return (
            f"The credentials are wrong or expired{counts}. Make a new token at "
            f"kaggle.com/settings/api. Put it into ~/.kaggle/access_token or KAGGLE_API_TOKEN, "
            f"{_AGAIN}"
        )
    for pattern, remedy in _BY_WORDS:
        if pattern.search(words):
            return remedy
    if status is not None and status >= 500:
        return f"Kaggle has trouble. Wait some minutes, {_AGAIN}"
    return _BY_STATUS.get(status or 0, f"Look at it on kaggle.com, {_AGAIN}")
