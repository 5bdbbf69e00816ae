"""Commands of make, as whatever says what to do next prints them: they can be pasted."""

import shlex

__all__ = ["make_command"]


def make_command(target: str, **variables: object) -> str:
    """Return a command of make for a shell in the repository.

    Parameters
    ----------
    target
        The target.
    variables
        The values of its variables. Those that are None, False or empty are left out.

    Examples
    --------
    >>> make_command("logs", NAME="my-slides", NOTEBOOK="")
    'make logs NAME=my-slides'
    >>> make_command("queue", FILES="a.csv b.csv", AGAIN=True)
    "make queue FILES='a.csv b.csv' AGAIN=1"
    """
    given = {
        name: "1" if value is True else str(value)
        for name, value in variables.items()
        if value is not None and value is not False and str(value)
    }
    # make itself reads a dollar as the begin of a variable
    words = [f"{name}={shlex.quote(text.replace('$', '$$'))}" for name, text in given.items()]
    return " ".join(["make", target, *words])
