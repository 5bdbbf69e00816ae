"""How much memory this process may still take."""

from pathlib import Path

__all__ = ["available_memory"]


def available_memory() -> int:
    """Return how many bytes this process may still take: the system's, or its container's."""
    free = 1 << 62
    for line in _text(Path("/proc/meminfo")).splitlines():
        if line.startswith("MemAvailable:"):
            free = int(line.split()[1]) << 10
    for limit, used in (
        ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
        (
            "/sys/fs/cgroup/memory/memory.limit_in_bytes",
            "/sys/fs/cgroup/memory/memory.usage_in_bytes",
        ),
    ):
        most, taken = _text(Path(limit)).strip(), _text(Path(used)).strip()
        if most.isdigit() and taken.isdigit():
            free = min(free, max(0, int(most) - int(taken) + _reclaimable()))
    return free


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
