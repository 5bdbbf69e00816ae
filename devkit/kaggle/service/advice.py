"""What to do about an answer of Kaggle's that says no: its own words, then the remedy."""

import re

__all__ = ["explain"]

_AGAIN = "then run the same command again"
_BY_WORDS = tuple(
    (re.compile(pattern, re.IGNORECASE), remedy)
    for pattern, remedy in (
        (
            r"accept\b.*\brules|competitions\.participate",
            f"join the competition and accept its rules on its page, {_AGAIN}",
        ),
        (
            r"phone|verif(y|ied|ication)",
            f"verify your account with a phone at kaggle.com/settings, {_AGAIN}",
        ),
        (
            r"session count|concurrent.*session|session.*(already|limit)",
            f"wait until a running GPU session ends, or stop one on kaggle.com, {_AGAIN}",
        ),
        (
            r"quota|number of hours",
            "this week's GPU hours are used up; `kaggle quota` says when they are given again",
        ),
        (
            r"submission.*(limit|maximum|remaining)|(limit|maximum|remaining|too many).*submission",
            "the day's submissions are used up; run the same command again after 00:00 UTC",
        ),
        (r"as this owner", "owner in kaggle.toml is not you, nor a group of yours: correct it"),
        (
            r"already (in use|exists|taken)",
            f"choose another slug for it in kaggle.toml, {_AGAIN}",
        ),
    )
)
_BY_STATUS = {
    400: "Kaggle did not understand the request; check the names in kaggle.toml",
    401: (
        "the credentials are wrong or expired: make a new token at kaggle.com/settings/api, put it "
        "into ~/.kaggle/access_token or KAGGLE_API_TOKEN, and try `make doctor`"
    ),
    403: "check the names in kaggle.toml, and that the account may do this on kaggle.com",
    404: "check the names in kaggle.toml: Kaggle finds nothing of that name",
    409: f"something of that name is there or being changed: wait, or choose another, {_AGAIN}",
    413: "it is larger than Kaggle takes",
    429: f"Kaggle is asked too often: wait some minutes, {_AGAIN}",
}


def explain(doing: str, words: str, status: int | None = None) -> str:
    """One sentence: what failed, what Kaggle said, what to do.

    Parameters
    ----------
    doing
        What was tried: "push the kernel alice/inference".
    words
        What Kaggle, or the official client, said.
    status
        HTTP's, where the answer was an error.
    """
    said = " ".join(words.split()).rstrip(".") or "nothing"
    code = f" (HTTP {status})" if status else ""
    return f"could not {doing}: Kaggle said {said!r}{code}; {_remedy(said, status)}"


def _remedy(words: str, status: int | None) -> str:
    if status == 401:  # its words may speak of anything
        return _BY_STATUS[401]
    for pattern, remedy in _BY_WORDS:
        if pattern.search(words):
            return remedy
    if status is not None and status >= 500:
        return "the service has trouble: wait some minutes, " + _AGAIN
    return _BY_STATUS.get(status or 0, "look at it on kaggle.com, " + _AGAIN)
