"""Make a profile of your own: `python -m devkit.image.add_profile NAME --probe FILE`.

The probe is what `notebooks/probe.ipynb` printed (and saved) on Kaggle; it knows everything. A
freeze is what `pip freeze` printed in the image; it knows the packages only, so Python is to be
told, and import names are looked up in the table that all profiles share.
"""

import argparse
import datetime
import shutil
import sys
from pathlib import Path

from devkit.errors import ProfileError
from devkit.image.profiles import PROFILES, Profile, load_profile, read_probe
from kernelkit.errors import KernelKitError

__all__ = ["add_profile", "main"]

_TEMPLATE = """\
python = "{python}"
glibc = "{glibc}"
machine = "{machine}"

[[sources]]
file = "{file}"
date = {date}
origin = "{origin}"
"""


def add_profile(
    name: str,
    source: Path,
    *,
    python: str | None = None,
    glibc: str = "2.35",
    folder: Path = PROFILES,
) -> Profile:
    """Write the profile `name` from a probe (`.json`) or a freeze (anything else), and load it.

    Raises
    ------
    ProfileError
        When the source cannot be understood, the name is taken, or a freeze comes without `python`.
    """
    home = folder / name
    if home.exists():
        raise ProfileError(f"{home} exists already; remove it or choose another name")
    if not source.is_file():
        raise ProfileError(f"{source}: there is no such file")
    if source.suffix == ".json":
        probe = read_probe(source)
        facts = {key: str(probe[key]) for key in ("python", "glibc")}
        facts |= {"machine": str(probe.get("machine", "x86_64")), "file": "probe.json"}
        facts |= {"date": str(probe.get("taken", ""))[:10], "origin": "probed on Kaggle"}
    elif python is None:
        raise ProfileError(f"{source}: a freeze does not say which Python it is of: add --python")
    else:
        facts = {"python": python, "glibc": glibc, "machine": "x86_64", "file": "pip-freeze.txt"}
        facts |= {"date": "", "origin": "pip freeze"}
    facts["date"] = facts["date"] or datetime.date.today().isoformat()
    home.mkdir(parents=True)
    try:
        shutil.copyfile(source, home / facts["file"])
        (home / "profile.toml").write_text(_TEMPLATE.format(**facts), encoding="utf-8")
        return load_profile(name, folder)
    except ProfileError:
        shutil.rmtree(home)
        raise


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m devkit.image.add_profile", description=__doc__)
    parser.add_argument("name", help="what to call the profile, kaggle-mine say")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--probe", type=Path, help="the profile.json that the probe notebook wrote")
    source.add_argument("--freeze", type=Path, help="what pip freeze printed in the image")
    parser.add_argument("--python", help="of the image, with --freeze: 3.12.13")
    parser.add_argument("--glibc", default="2.35", help="of the image, with --freeze (%(default)s)")
    options = parser.parse_args(arguments)
    try:
        profile = add_profile(
            options.name,
            options.probe or options.freeze,
            python=options.python,
            glibc=options.glibc,
        )
    except KernelKitError as error:
        print(f"no profile made: {error}", file=sys.stderr)
        return 1
    print(f"{profile.folder}: Python {profile.python}, {len(profile.packages)} packages")
    return 0


if __name__ == "__main__":
    sys.exit(main())
