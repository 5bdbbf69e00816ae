"""`make gpu-wheels`: gather the wheels that a machine with a GPU may lack, by the hashed lock.

What such a machine has is not gathered: torch, numpy, and what is heavy. Heavy ones are gathered if
they are named. The wheels travel with the working tree, so their sum has a limit.
"""

import re
import shutil
import sys
import tempfile
from collections.abc import Iterable, Sequence
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

from devkit.arguments import Arguments
from devkit.commands import command
from devkit.errors import GpuCheckError
from devkit.gpu.needed import FROM_THE_MACHINE, HEAVY, REQUIREMENTS
from devkit.tools import REPOSITORY, run_tool
from kernelkit.files import replace_folder

__all__ = ["gather", "locked"]

_LIMIT = 64 << 20
# The lock of each Python.
_LOCKS = {"cp312": "dev.txt", "cp313": "dev-py313.txt"}
# glibc's versions that wheels are built for. pip takes each name for itself alone.
_PLATFORMS = [f"manylinux_2_{minor}_x86_64" for minor in (17, 24, 26, 27, 28, 31, 34, 35)]
_PLATFORMS += ["manylinux2014_x86_64", "manylinux1_x86_64"]
_ENTRY = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)==", re.MULTILINE)


def locked(lock: str, names: Iterable[str]) -> str:
    """The lines of a lock that stand for these packages, with their hashes.

    Raises
    ------
    GpuCheckError
        A package is not in the lock.
    """
    entries = _entries(lock)
    wanted = [_normal(name) for name in names]
    unknown = [name for name in wanted if name not in entries]
    if unknown:
        raise GpuCheckError(f"the lock has no {', '.join(unknown)}. Correct WITH=")
    return "".join(entries[name] for name in dict.fromkeys(wanted))


def _entries(lock: str) -> dict[str, str]:
    """The lines of each package of a lock."""
    starts = [*_ENTRY.finditer(lock)]
    ends = [entry.start() for entry in starts[1:]] + [len(lock)]
    return {
        _normal(entry["name"]): lock[entry.start() : end]
        for entry, end in zip(starts, ends, strict=True)
    }


def gather(folder: Path, tag: str, heavy: Sequence[str] = (), limit: int = _LIMIT) -> int:
    """Download the wheels into a folder, which holds nothing else then. Return their bytes.

    Parameters
    ----------
    folder
        Where they go. It is replaced if all is well.
    tag
        Of the Python that they are for, such as `cp312`.
    heavy
        Which of the heavy packages to take along.
    limit
        Bytes that they may have together.

    Raises
    ------
    GpuCheckError
        They are too large together, or there is no lock for this Python.
    ToolError
        pip cannot download them.
    """
    if tag not in _LOCKS:
        raise GpuCheckError(f'there is no lock for "{tag}". Choose {" or ".join(_LOCKS)}')
    lock = (REPOSITORY / "requirements" / _LOCKS[tag]).read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as scratch:
        listed, fetched = Path(scratch) / "requirements.txt", Path(scratch) / "wheels"
        listed.write_text(locked(lock, _names(heavy, lock)), encoding="utf-8")
        run_tool([*_download(tag), "-r", str(listed), "-d", str(fetched)])
        wheels = sorted(fetched.glob("*.whl"), key=lambda path: -path.stat().st_size)
        size = sum(path.stat().st_size for path in wheels)
        if size > limit:
            largest = ", ".join(f"{p.name} {p.stat().st_size / 2**20:.0f} MiB" for p in wheels[:3])
            raise GpuCheckError(
                f"{folder}: found {size / 2**20:.0f} MiB of wheels, wanted at most "
                f"{limit / 2**20:.0f}. Leave something out of WITH= (the largest: {largest})"
            )
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".wheels-") as beside:
            replace_folder(shutil.copytree(fetched, Path(beside) / "new"), folder)
    return size


def _names(heavy: Sequence[str], lock: str) -> list[str]:
    """What is gathered: what is wanted, with what that needs in turn, as far as it is locked."""
    unknown = [name for name in heavy if name not in HEAVY]
    if unknown:
        raise GpuCheckError(
            f"{', '.join(unknown)}: this is gathered always, or never. WITH= takes "
            f"{', '.join(HEAVY)}"
        )
    left_out = {*FROM_THE_MACHINE, *HEAVY} - set(heavy)
    known = _entries(lock)
    names: dict[str, None] = {}
    waiting = [*heavy, *(each.split(">")[0] for each in REQUIREMENTS)]
    while waiting:
        name = _normal(waiting.pop())
        if name in names or name in left_out:
            continue
        names[name] = None
        needs = map(Requirement, metadata.requires(name) or ())
        needed = [need.name for need in needs if not need.marker or need.marker.evaluate()]
        waiting += [need for need in needed if _normal(need) in known]
    return sorted(names)


def _download(tag: str) -> list[str]:
    options = ["--no-deps", "--only-binary=:all:", "--require-hashes", "--quiet"]
    options += ["--implementation", "cp", "--python-version", tag[2:]]
    for platform in _PLATFORMS:
        options += ["--platform", platform]
    return [sys.executable, "-m", "pip", "download", "--disable-pip-version-check", *options]


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@command("gpu-wheels")
def main(arguments: list[str] | None = None) -> int:
    """Gather, and print what there is."""
    parser = Arguments("gpu-wheels", "python -m devkit.gpu.gather", description=__doc__)
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("build/gpu/wheels"),
        variable="WHEELS",
        help="the folder that they go to. It is replaced",
    )
    parser.add_argument(
        "--tag", default="cp312", choices=list(_LOCKS), variable="TAG", help="of the Python"
    )
    parser.add_argument(
        "--with",
        dest="heavy",
        nargs="*",
        default=[],
        metavar="NAME",
        variable="WITH",
        help=f"heavy packages that the machine lacks ({', '.join(HEAVY)})",
    )
    options = parser.parse_args(arguments)
    size = gather(options.output, options.tag, options.heavy)
    for wheel in sorted(options.output.glob("*.whl")):
        print(f"{wheel.stat().st_size / 2**20:6.1f} MiB  {wheel.name}")
    never = ", ".join(FROM_THE_MACHINE)
    print(f"{size / 2**20:6.1f} MiB  {options.output} (without {never}, which the machine has)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
