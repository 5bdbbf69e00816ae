"""Make a profile of your own: `python -m devkit.image.add_profile NAME --probe FILE`.

The probe is the file that `notebooks/probe.ipynb` saved on Kaggle. It knows everything. A freeze is
what `pip freeze` printed in the image. It knows the packages only, so tell the Python as well.
Import names then come from the table that all profiles share.
"""

import datetime
import shutil
import sys
import tempfile
from pathlib import Path

from devkit.arguments import Arguments
from devkit.commands import command
from devkit.errors import ProfileError
from devkit.image.profiles import PROFILES, Profile, load_profile
from devkit.image.sources import read_probe

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
    """Write the profile `name`, and load it.

    Parameters
    ----------
    name
        What to call it.
    source
        A probe if it ends in `.json`, else a freeze.
    python, glibc
        Of the image. A probe knows them itself.
    folder
        Where profiles lie.

    Raises
    ------
    ProfileError
        The source cannot be understood, the name is taken, or a freeze comes without `python`.
    """
    profile_folder = folder / name
    if profile_folder.exists():
        raise ProfileError(f"{profile_folder} exists already. Remove it or choose another name")
    if not source.is_file():
        raise ProfileError(f"there is no file {source}. Name the probe or the freeze")
    if source.suffix == ".json":
        probe = read_probe(source)
        facts = {key: str(probe[key]) for key in ("python", "glibc")}
        facts |= {"machine": str(probe.get("machine", "x86_64")), "file": "probe.json"}
        facts |= {"date": str(probe.get("taken", ""))[:10], "origin": "probed on Kaggle"}
    elif python is None:
        raise ProfileError(f"{source}: a freeze does not say its Python. Add --python")
    else:
        facts = {"python": python, "glibc": glibc, "machine": "x86_64", "file": "pip-freeze.txt"}
        facts |= {"date": "", "origin": "pip freeze"}
    facts["date"] = facts["date"] or datetime.date.today().isoformat()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".new-") as place:
        unfinished = Path(place) / name
        unfinished.mkdir()
        shutil.copyfile(source, unfinished / facts["file"])
        text = _TEMPLATE.format(**facts)
        (unfinished / "profile.toml").write_text(text, encoding="utf-8")
        load_profile(name, Path(place))
        unfinished.rename(profile_folder)
    return load_profile(name, folder)


@command("add_profile")
def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    parser = Arguments(prog="python -m devkit.image.add_profile", description=__doc__)
    parser.add_argument("name", help="what to call the profile, for example kaggle-mine")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--probe", type=Path, help="the profile.json that the probe notebook wrote")
    source.add_argument("--freeze", type=Path, help="what pip freeze printed in the image")
    parser.add_argument("--python", help="of the image, with --freeze: 3.12.13")
    parser.add_argument("--glibc", default="2.35", help="of the image, with --freeze (%(default)s)")
    options = parser.parse_args(arguments)
    source_path = options.probe or options.freeze
    profile = add_profile(options.name, source_path, python=options.python, glibc=options.glibc)
    print(f"{profile.folder}: Python {profile.python}, {len(profile.packages)} packages")
    return 0


if __name__ == "__main__":
    sys.exit(main())
