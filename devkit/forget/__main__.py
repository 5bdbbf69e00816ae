"""`make forget`: what kernelkit keeps on this machine, and how large it is. WHAT removes some.

Without WHAT nothing is removed. Of a link only the link is. Caches that other programs use too are
shown, and never removed. So are the files with Kaggle's credentials, whose content is not read.
"""

import argparse
import datetime
import difflib
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from devkit.arguments import Arguments
from devkit.bars import bar
from devkit.commands import command
from devkit.errors import SettingsError
from devkit.forget.places import Place, kept_places, token_files
from devkit.forget.removal import nobody_at_work, refuse_linked, remove
from devkit.forget.usage import Usage, measure
from devkit.tables import aligned
from devkit.tools import REPOSITORY
from kernelkit.console import printable

__all__ = ["main"]


@command("forget")
def main(arguments: list[str] | None = None, repository: Path = REPOSITORY) -> int:
    """Run the command line. The exit code is 0 only if all that was named is gone.

    Raises
    ------
    SettingsError
        There is nothing of that name, it may not be removed, or nobody agreed.
    BusyError
        A dry-run is at work.
    OutputError
        Something cannot be removed.
    """
    options = _parse(arguments)
    places = kept_places(repository)
    if not options.what:
        for line in _lines(places, _measured(places), repository):
            print(printable(line))
        return 0
    chosen = _chosen(options.what, places)
    for place in chosen:
        refuse_linked(place, repository)
    used = _measured(chosen)
    total = sum(usage.bytes for usage in used)
    for line in aligned(_rows(chosen, used)):
        print(printable(line))
    if not options.yes:
        _ask(total)
    with nobody_at_work(repository / "build"):
        for place in chosen:
            remove(place.paths)
    print(f"{_size(total)} removed")
    return 0


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = Arguments("forget", "python -m devkit.forget", description=__doc__)
    parser.add_argument(
        "what", nargs="*", metavar="WHAT", variable="WHAT", help="the names of what is removed"
    )
    parser.add_argument(
        "--yes", action="store_true", variable="YES", help="remove it without a question"
    )
    return parser.parse_args(arguments)


def _measured(places: Sequence[Place]) -> list[Usage]:
    with bar(description="measuring", unit="file") as counted:
        return [measure(place.paths, counted.update) for place in places]


def _chosen(names: Sequence[str], places: Sequence[Place]) -> list[Place]:
    by_name = {place.name: place for place in places}
    for name in names:
        if name not in by_name:
            near = difflib.get_close_matches(name, by_name, 1)
            meant = f". Did you mean {near[0]}" if near else ""
            raise SettingsError(
                f"found WHAT={name:.60}, and nothing of that name is kept. There are "
                f"{', '.join(place.name for place in places if not place.is_shared)}{meant}"
            )
        if by_name[name].is_shared:
            raise SettingsError(
                f"found WHAT={name}, which other programs use too. Remove "
                f"{by_name[name].paths[0]} by hand if you want"
            )
    # the environment last, since this runs in it
    return sorted({by_name[name] for name in names}, key=lambda place: place.name == "environment")


def _ask(total: int) -> None:
    """Ask whether it may go. Without a terminal nobody can answer."""
    if not sys.stdin.isatty():
        raise SettingsError("nothing was removed, since nobody can be asked. Add YES=1")
    answer = input(f"Remove all of it, {_size(total)}? [y/N] ")
    if answer.strip().lower() not in ("y", "yes"):
        raise SettingsError("nothing was removed, since the answer was not yes")


def _lines(places: Sequence[Place], used: Sequence[Usage], repository: Path) -> Iterator[str]:
    yield from aligned(_rows(places, used))
    own = [usage.bytes for place, usage in zip(places, used, strict=True) if not place.is_shared]
    free = shutil.disk_usage(repository).free
    yield f"{_size(sum(own))} can be removed, and {_size(free)} of the disk are free"
    for path in token_files():
        yield f"{path} holds Kaggle's credentials. Remove it by hand, or at kaggle.com/settings"
    yield 'make forget WHAT="twins demo" removes what is named. make clean removes build/'


def _rows(places: Sequence[Place], used: Sequence[Usage]) -> list[list[str]]:
    rows = [["name", "size", "files", "last used", "what it is", "where", "made again by"]]
    for place, usage in zip(places, used, strict=True):
        again = "shared, never removed" if place.is_shared else place.again or "-"
        first, *more = (_where(path) for path in place.paths)
        rows.append(
            [
                place.name,
                _size(usage.bytes),
                str(usage.files),
                _date(usage.last_used),
                place.what,
                f"{first} and {len(more)} more" if more else first,
                again,
            ]
        )
    return rows


def _where(path: Path) -> str:
    shown = os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)
    return f"{shown} (a link)" if path.is_symlink() else shown


def _size(count: int) -> str:
    if count >= 10**9:
        return f"{count / 1e9:.1f} GB"
    return f"{count / 1e6:.1f} MB" if count >= 10**5 else f"{count / 1e3:.1f} kB"


def _date(seconds: float) -> str:
    return f"{datetime.datetime.fromtimestamp(seconds):%Y-%m-%d}" if seconds else "-"


if __name__ == "__main__":
    sys.exit(main())
