"""Run a command as Kaggle will: without a network, with the inputs read-only below `/kaggle`.

`python -m devkit.sandbox.isolate SPEC -- COMMAND...` makes a user, a network and a mount namespace.
It builds a root folder in which `/kaggle` holds what the spec says, and becomes the command. It
needs no root. If the system forbids such namespaces, it runs nothing and exits with `FORBIDDEN`.

The spec is a JSON file with four keys:

- `root`: an empty folder to build the root in
- `folder`: the command's own working folder
- `shm_bytes`: the size of its own /dev/shm, or null for that of a tmpfs by default
- `mounts`: a list of [source, target, writable], where each target is a path below `/kaggle`
"""

import ctypes
import fcntl
import json
import os
import socket
import struct
import sys
from pathlib import Path

__all__ = ["FORBIDDEN", "main"]

# The exit code on a system that forbids namespaces.
FORBIDDEN = 97

# from <sys/mount.h> and <linux/if.h>
_MS_RDONLY, _MS_REMOUNT, _MS_BIND, _MS_REC, _MS_PRIVATE = 1, 32, 4096, 16384, 1 << 18
_LOCKED_FLAGS = 2 | 4 | 8 | 1024 | 2048  # nosuid, nodev, noexec, noatime, nodiratime
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1

_libc = ctypes.CDLL(None, use_errno=True)


def main(arguments: list[str]) -> int:
    """Enter the namespaces and become the command. It returns only if that is not possible."""
    spec_path, separator, *command = arguments
    if separator != "--" or not command:
        print("usage: python -m devkit.sandbox.isolate SPEC -- COMMAND...", file=sys.stderr)
        return 2
    spec = json.loads(Path(spec_path).read_text())
    try:
        _enter_namespaces()
        _raise_loopback()
        _change_root(Path(spec["root"]), spec["mounts"], spec["shm_bytes"])
    except OSError as error:
        print(f"isolation is not possible here: {error}", file=sys.stderr)
        return FORBIDDEN
    os.chdir(spec["folder"])
    return os.execvp(command[0], command)


def _enter_namespaces() -> None:
    user, group = os.getuid(), os.getgid()
    os.unshare(os.CLONE_NEWUSER | os.CLONE_NEWNET | os.CLONE_NEWNS)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
    Path("/proc/self/gid_map").write_text(f"{group} {group} 1")


def _raise_loopback() -> None:
    """Raise `lo`, which is down in a new network namespace: Jupyter needs it for its kernel."""
    request = struct.pack("16sH14x", b"lo", 0)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as channel:
        answer = fcntl.ioctl(channel, _SIOCGIFFLAGS, request)
        (flags,) = struct.unpack_from("16xH", answer)
        fcntl.ioctl(channel, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags | _IFF_UP))


def _change_root(root: Path, mounts: list[tuple[str, str, bool]], shm_bytes: int | None) -> None:
    """Enter a root that holds all that the present one does, and `/kaggle` with the mounts."""
    _mount(None, "/", flags=_MS_REC | _MS_PRIVATE)
    _mount("tmpfs", root, kind="tmpfs")
    for entry in Path("/").iterdir():
        _repeat(entry, root / entry.name)
    if (root / "dev/shm").is_dir():
        size = None if shm_bytes is None else f"size={shm_bytes}"
        _mount("tmpfs", root / "dev/shm", kind="tmpfs", data=size)
    kaggle_input = root / "kaggle/input"
    kaggle_input.mkdir(parents=True, exist_ok=True)
    _mount("tmpfs", kaggle_input, kind="tmpfs")
    for source, target, writable in mounts:
        place = root / target.lstrip("/")
        place.mkdir(parents=True, exist_ok=True)
        _mount(source, place, flags=_MS_BIND)
        if not writable:
            _make_read_only(place)
    _make_read_only(kaggle_input)
    os.chroot(root)


def _repeat(entry: Path, place: Path) -> None:
    """Show an entry of the present root folder in the new one. `/kaggle` begins empty."""
    if entry.is_symlink():
        place.symlink_to(entry.readlink())
    elif entry.is_dir():
        place.mkdir()
        if entry.name != "kaggle":
            _mount(entry, place, flags=_MS_BIND | _MS_REC)


def _make_read_only(place: Path) -> None:
    # a user namespace may not take away flags that the mount came with, so they are repeated
    kept = os.statvfs(place).f_flag & _LOCKED_FLAGS
    _mount(None, place, flags=_MS_REMOUNT | _MS_BIND | _MS_RDONLY | kept)


def _mount(
    source: str | Path | None,
    target: str | Path,
    kind: str | None = None,
    flags: int = 0,
    data: str | None = None,
) -> None:
    encoded = [None if text is None else os.fsencode(text) for text in (source, target, kind, data)]
    if _libc.mount(*encoded[:3], ctypes.c_ulong(flags), encoded[3]) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(target))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
