"""The words and patterns that several sections of a recipe hold."""

from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import Annotated, Any, get_args

from pydantic import AfterValidator, BeforeValidator, Field

from kernelkit.vocabulary import Prefer, choices

__all__ = ["Below", "Checkpoints", "Patterns", "Word", "no_doubles", "overlap"]


def no_doubles(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the values. Refuse a value that stands there twice."""
    twice = {value for value in values if values.count(value) > 1}
    if twice:
        raise ValueError(f"found {', '.join(sorted(map(str, twice)))} twice, wanted each once")
    return values


def _can_match(pattern: str) -> str:
    if not pattern or pattern != pattern.strip() or "/" in pattern or "\\" in pattern:
        raise ValueError(
            f"found {pattern!r:.60}, which no run's name can match. Write a name, or a pattern such"
            ' as "unet*"'
        )
    return pattern


def _known_checkpoints(value: Any) -> Any:
    words = tuple(value) if isinstance(value, list | tuple) else (value,)
    if not words or any(word not in get_args(Prefer) for word in words):
        raise ValueError(
            f"found {value!r:.60}, wanted {choices(Prefer)}, or several such as [best, last]"
        )
    if "all" in words and len(words) > 1:
        raise ValueError('found "all" beside others, which it contains. Write it alone')
    return value if isinstance(value, str) else no_doubles(words)


def _below(path: str) -> str:
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or "\0" in path:
        raise ValueError(f"found {path!r:.60}, wanted a path below the competition's folder")
    return path


# A path in the competition's folder, which may have places such as {image}.
Below = Annotated[str, AfterValidator(_below)]
# A text that is not empty.
Word = Annotated[str, Field(min_length=1)]
# Which checkpoints of a fold are members. Several words are one member each.
Checkpoints = Annotated[Prefer | tuple[Prefer, ...], BeforeValidator(_known_checkpoints)]
# Names of runs, with * and ? for what may stand there.
Patterns = Annotated[
    tuple[Annotated[str, AfterValidator(_can_match)], ...],
    Field(min_length=1),
    AfterValidator(no_doubles),
]


def overlap(patterns: Patterns, others: Patterns) -> bool:
    """Whether an entry of one list matches an entry of the other, so that both name one run.

    If none does, two patterns may still match the same run, as `a*` and `*b` do.
    """
    return any(
        fnmatchcase(one, other) or fnmatchcase(other, one) for one in patterns for other in others
    )
