"""`make licences`: the page of licences, from what the installed packages state.

A statement that nobody reviewed is an error. So a package that changes its licence is noticed.
"""

import sys
import tomllib
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

from packaging.requirements import Requirement

from devkit.arguments import Arguments
from devkit.commands import command
from devkit.errors import LintError
from devkit.tools import REPOSITORY
from kernelkit.files import open_atomically

__all__ = ["PAGE", "licence_of", "licences_page", "main"]

PAGE = REPOSITORY / "docs/licences.md"
_PROJECT = REPOSITORY / "kernel_src/pyproject.toml"
_PROFILES = REPOSITORY / "wheels/profiles"

# What packages state, and the licence that it is. All of these were reviewed: they allow the use
# that is made here, and ask for no more than their notice.
_REVIEWED = {
    "Apache 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "Apache-2.0": "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception": "Apache-2.0 WITH LLVM-exception",
    "BSD": "BSD-3-Clause",
    "BSD License": "BSD-3-Clause",
    "BSD 3-Clause": "BSD-3-Clause",
    "BSD-2-Clause": "BSD-2-Clause",
    "BSD-2-Clause AND Apache-2.0 WITH LLVM-exception": (
        "BSD-2-Clause AND Apache-2.0 WITH LLVM-exception"
    ),
    "BSD-3-Clause": "BSD-3-Clause",
    "MIT": "MIT",
    "MIT License": "MIT",
    "MIT-CMU": "MIT-CMU",
    "MPL-2.0 AND MIT": "MPL-2.0 AND MIT",
    "Python Software Foundation License": "PSF-2.0",
}
# A longer statement is the licence itself. The classifier is its name then.
_LONGEST_NAME = 60
_CLASSIFIER = "License :: OSI Approved :: "

_PAGE = """# Licences

kernelkit is under the Apache License 2.0. This page is made by `make licences` from what the
installed packages state. A test holds it current.

## What kernelkit requires

Kaggle's image has these, or the dataset ships them. kernelkit imports them and copies none of them.

{required}

## What the dataset ships

These wheels lie in the dataset as their makers built them, each with its own notice inside.

{shipped}

## The rules

A licence is added to the reviewed ones in `devkit/licences.py` by a maintainer who has read it. It
must allow use, copies and changes, and ask for no more than its notice. The MPL of tqdm concerns
changes of its own files, and none are made. Some wheels hold libraries of others, such as GDAL in
rasterio and FFmpeg in OpenCV. Their notices lie in those wheels.
"""


def licence_of(name: str) -> str:
    """The reviewed licence of an installed package.

    Raises
    ------
    LintError
        It is not installed, or states a licence that nobody reviewed.
    """
    try:
        stated = metadata(name)
    except PackageNotFoundError:
        raise LintError(f"{name}: it is not installed, so its licence is unknown") from None
    words = stated.get("License-Expression") or stated.get("License") or ""
    if not words or len(words) > _LONGEST_NAME or "\n" in words:
        found = (
            each.removeprefix(_CLASSIFIER)
            for each in stated.get_all("Classifier") or ()
            if each.startswith(_CLASSIFIER)
        )
        words = next(found, "nothing")
    if words not in _REVIEWED:
        raise LintError(
            f"{name}: it states the licence {words!r}, which nobody reviewed. Read it, then add it "
            "to devkit/licences.py or do without the package"
        )
    return _REVIEWED[words]


def licences_page() -> str:
    """The text of the page.

    Raises
    ------
    LintError
        As by `licence_of`.
    """
    project = tomllib.loads(_PROJECT.read_text(encoding="utf-8"))["project"]
    required = {Requirement(text).name for text in project["dependencies"]}
    rows: dict[str, list[str]] = {}
    for lock in sorted(_PROFILES.glob("*/pylock.toml")):
        for package in tomllib.loads(lock.read_text(encoding="utf-8")).get("packages", ()):
            rows.setdefault(package["name"], []).append(lock.parent.name)
    return _PAGE.format(
        required=_table(["package", "licence"], [[name, licence_of(name)] for name in required]),
        shipped=_table(
            ["package", "licence", "for"],
            [[name, licence_of(name), ", ".join(images)] for name, images in rows.items()],
        ),
    )


def _table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *sorted(rows, key=lambda row: row[0].lower())]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


@command("licences")
def main(arguments: list[str] | None = None) -> int:
    """Write the page."""
    Arguments("licences", "python -m devkit.licences", description=__doc__).parse_args(arguments)
    page = licences_page()
    with open_atomically(PAGE) as file:
        file.write(page)
    print(f"{Path(PAGE).relative_to(REPOSITORY)} is current")
    return 0


if __name__ == "__main__":
    sys.exit(main())
