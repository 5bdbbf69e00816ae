"""The standard library of the image's Python, whichever Python runs this."""

import sys

__all__ = ["REMOVED", "standard_library"]

# The standard library's modules that came or went since Python 3.8, and in which minor version.
# "What's New" and PEP 594 list them.
_ADDED = {"graphlib": 9, "zoneinfo": 9, "tomllib": 11, "annotationlib": 14, "compression": 14}
REMOVED = {
    **dict.fromkeys(("dummy_threading", "_dummy_thread"), 9),
    **dict.fromkeys(("formatter", "parser", "symbol", "macpath"), 10),
    **dict.fromkeys(("binhex",), 11),
    **dict.fromkeys(("asynchat", "asyncore", "distutils", "imp", "smtpd"), 12),
    **dict.fromkeys(("aifc", "audioop", "cgi", "cgitb", "chunk", "crypt", "imghdr", "lib2to3"), 13),
    **dict.fromkeys(("mailcap", "msilib", "nis", "nntplib", "ossaudiodev", "pipes", "sndhdr"), 13),
    **dict.fromkeys(("spwd", "sunau", "telnetlib", "uu", "xdrlib"), 13),
}


def standard_library(python: tuple[int, int]) -> frozenset[str]:
    """Return the top-level modules of the standard library of another Python.

    >>> "distutils" in standard_library((3, 11)), "distutils" in standard_library((3, 12))
    (True, False)
    """
    minor = python[1]
    return frozenset(
        name
        for name in sys.stdlib_module_names | REMOVED.keys() | _ADDED.keys()
        if _ADDED.get(name, 0) <= minor < REMOVED.get(name, minor + 1)
    )
