"""Tables as lines for people."""

from collections.abc import Iterator, Sequence

__all__ = ["aligned"]


def aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Rows as lines. A column is as wide as its longest field.

    >>> list(aligned([["fold", "images"], ["0", "12"]]))
    ['fold  images', '0     12']
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        fields = (field.ljust(width) for field, width in zip(row, widths, strict=True))
        yield "  ".join(fields).rstrip()
