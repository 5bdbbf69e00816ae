"""What is told of a built dataset: its files, why each is there, and which wheels are left out."""

from collections.abc import Collection, Iterator
from pathlib import Path

from packaging.utils import canonicalize_name

from devkit.dataset.pack import Packed
from devkit.errors import WheelError
from devkit.tools import REPOSITORY
from devkit.wheels.lock import Lock
from devkit.wheels.resolve import Resolver, read_requirements
from devkit.wheels.wheelfile import Wheel, read_wheel

__all__ = ["notes_of_own_wheels", "plan_lines", "shown", "size_in_words", "table_lines"]


def plan_lines(resolver: Resolver, files: int) -> list[str]:
    """Say what a build would resolve, take, fetch and lint.

    Parameters
    ----------
    resolver
        What is asked for, and the image.
    files
        How many files the lint would look at.
    """
    profile, lock = resolver.profile, resolver.current_lock()
    steps = [f"for {profile.name}: Python {profile.python}, glibc {profile.glibc}"]
    asked = ", ".join(map(str, read_requirements(resolver.requirements))) or "nothing"
    if lock is None:
        steps.append(f"would resolve {asked} again, since the lock does not answer it")
    else:
        there = [w.file for w in lock.wheels if (resolver.downloads_folder / w.file).is_file()]
        fetched = [w.file for w in lock.wheels if w.file not in there]
        taken = ", ".join(there) or "nothing"
        steps.append(f"would take {taken} from {shown(resolver.downloads_folder)}")
        steps += [f"would fetch {name}" for name in fetched]
    return [*steps, f"would lint {files} files"]


def shown(path: Path) -> Path:
    """A path as it is told, from the repository on if it lies there."""
    return path.relative_to(REPOSITORY) if path.is_relative_to(REPOSITORY) else path


def table_lines(packed: Packed, lock: Lock, resolver: Resolver) -> list[str]:
    """Say what is in a built dataset, how large it is, and why it is there.

    Parameters
    ----------
    packed
        The dataset.
    lock
        What its wheels were taken by.
    resolver
        What was asked for, and the image.
    """
    notes = {wheel.name: wheel.note for wheel in lock.wheels}
    rows = [(e["safe_name"], size_in_words(e["size"]), e["why"]) for e in packed.files]
    total = sum(entry["size"] for entry in packed.files)
    rows.append(("total", size_in_words(total), f"fingerprint {packed.fingerprint}"))
    width = max(len(name) for name, _, _ in rows)
    lines = [f"{name:<{width}}  {size:>9}  {why}" for name, size, why in rows]
    lines += [f"note: {name}: {note}" for name, note in notes.items() if note]
    return [*lines, *_not_shipped(resolver, notes)]


def notes_of_own_wheels(resolver: Resolver, lock: Lock) -> list[str]:
    """Say what becomes of the wheels in folders of one's own that are not taken."""
    taken = {wheel.sha256 for wheel in lock.wheels}
    lines = []
    for path in resolver.source.own_wheels():
        try:
            wheel = read_wheel(path)
        except WheelError as error:
            lines.append(f"note: {path.name}: not taken. {error}")
            continue
        if wheel.sha256 not in taken:
            lines.append(f"note: {path.name}: not taken. {_why_not(wheel, resolver, lock)}")
    return lines


def size_in_words(count: int) -> str:
    """A number of bytes.

    >>> size_in_words(1_500_000)
    '1.50 MB'
    """
    return f"{count / 1e6:.2f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"


def _why_not(wheel: Wheel, resolver: Resolver, lock: Lock) -> str:
    """Why a wheel of one's own is not taken, and what to do."""
    profile = resolver.profile
    other = next((each for each in lock.wheels if each.name == wheel.name), None)
    if other is not None:
        return (
            f"{other.version} is taken, {other.file}. To take this one, ask for "
            f"{wheel.name}=={wheel.version}, and build with UPGRADE=1"
        )
    if profile.is_pinned(wheel.name):
        return f"{profile.name} has {profile.packages[wheel.name].version}. Remove the wheel"
    requirements = resolver.requirements.name
    return f"nothing asks for it. Add {wheel.name} to {requirements}, or remove it"


def _not_shipped(resolver: Resolver, shipped: Collection[str]) -> Iterator[str]:
    """A line for each package that was asked for, and that the image has."""
    profile = resolver.profile
    for requirement in read_requirements(resolver.requirements):
        name = canonicalize_name(requirement.name)
        if name not in shipped and profile.is_pinned(name):
            version = profile.packages[name].version
            yield f"note: {name}: not shipped, {profile.name} has {version}"
