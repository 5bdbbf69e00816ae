"""How much memory there is, and how much of it this process may still take."""

from pathlib import Path

__all__ = ["available_memory", "killed_in_words", "total_memory"]

# The most that a container may have, and what it takes now. One pair per version of cgroups.
_CONTAINER = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    (
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
        "/sys/fs/cgroup/memory/memory.usage_in_bytes",
    ),
)


def available_memory() -> int:
    """Return how many bytes this process may still take: the system's, or its container's."""
    free = 1 << 62
    for line in _text(Path("/proc/meminfo")).splitlines():
        if line.startswith("MemAvailable:"):
            free = int(line.split()[1]) << 10
    for limit, used in _CONTAINER:
        most, taken = _text(Path(limit)).strip(), _text(Path(used)).strip()
        if most.isdigit() and taken.isdigit():
            free = min(free, max(0, int(most) - int(taken) + _reclaimable()))
    return free


def total_memory() -> int:
    """Return how many bytes of memory there are: the system's, or its container's. 0 if unknown."""
    found = [
        int(line.split()[1]) << 10
        for line in _text(Path("/proc/meminfo")).splitlines()
        if line.startswith("MemTotal:")
    ]
    limits = (_text(Path(limit)).strip() for limit, _ in _CONTAINER)
    return min([*found, *(int(limit) for limit in limits if limit.isdigit())], default=0)


def killed_in_words(what: str) -> str:
    """Return a sentence about a process that was killed without a word, and how much memory it had.

    Parameters
    ----------
    what
        The process, such as "a reader process".
    """
    total = total_memory()
    there = f". There are {total / 2**30:.1f} GiB" if total else ""
    return f"{what} died, as processes do that are killed or run out of memory{there}"


def _reclaimable() -> int:
    """Return how many bytes of files the container's memory only keeps for speed."""
    for name in ("/sys/fs/cgroup/memory.stat", "/sys/fs/cgroup/memory/memory.stat"):
        for line in _text(Path(name)).splitlines():
            if line.startswith(("inactive_file ", "total_inactive_file ")):
                return int(line.split()[1])
    return 0


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
