"""Scenes: which files of a competition's folder make an image.

A recipe names the files by a pattern. `{image}` stands for the id of the image, `{group}` for what
several images belong to (a city, a patient), `{band}` for one of the recipe's bands. `*`, `?` and
`**` are those of a shell. Files that differ in `{band}` alone are one image.

>>> pattern = FilePattern("test/{group}/**/*_{image}_{band}.tif", ("vh", "vv"))
>>> pattern.glob
'test/*/**/*_*_*.tif'
>>> pattern.match("test/mosul/orbit_1/S1_0702_vv.tif")
{'group': 'mosul', 'image': '0702', 'band': 'vv'}
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from kernelkit.competition.rows import image_id
from kernelkit.console import printable
from kernelkit.recipe import Competition

__all__ = ["FilePattern", "Scene", "find_scenes"]

_PARTS = re.compile(r"\{(\w+)\}|(\*\*/)|(\*)|(\?)|([^{*?]+|.)")


@dataclass(frozen=True, slots=True)
class Scene:
    """One image.

    Attributes
    ----------
    image
        Its id. If rows name a group, it is `group/image`.
    paths
        Its files, in the order of the recipe's bands.
    group
        What it belongs to. Empty if the pattern names no group.
    """

    image: str
    paths: tuple[Path, ...]
    group: str = ""

    @property
    def places(self) -> dict[str, str]:
        """What `{image}` and `{group}` stand for in the name of a file about it."""
        return {"image": self.image.removeprefix(f"{self.group}/"), "group": self.group}


class FilePattern:
    """A pattern of file names.

    Parameters
    ----------
    text
        The pattern, relative to the competition's folder.
    bands
        What `{band}` may stand for, in the order of the image's bands.

    Attributes
    ----------
    glob
        The pattern for `Path.glob`, which finds the candidates.
    """

    def __init__(self, text: str, bands: Sequence[str] = ()) -> None:
        self.text = text
        self.bands = tuple(bands)
        parts = re.sub(r"\{\w+\}", "*", text).replace("[", "[[]").split("/")
        # two places side by side are one star. Two stars alone are any folders
        self.glob = "/".join(p if p == "**" else re.sub(r"\*+", "*", p) for p in parts)
        self._regex = re.compile("".join(self._translated()))

    def match(self, name: str) -> dict[str, str] | None:
        """What the places of the pattern stand for in a relative path, None if it does not fit."""
        found = self._regex.fullmatch(name)
        return found and found.groupdict()

    def _translated(self) -> Iterable[str]:
        seen: set[str] = set()
        for place, deep, star, mark, literal in _PARTS.findall(self.text):
            if place and place in seen:
                yield f"(?P={place})"
            elif place == "band":
                yield f"(?P<band>{'|'.join(map(re.escape, self.bands))})"
            elif place:
                yield f"(?P<{place}>[^/]+)"
            elif deep:
                yield "(?:.+/)?"
            elif star or mark:
                yield "[^/]*" if star else "[^/]"
            else:
                yield re.escape(literal)
            seen.add(place)


def find_scenes(folder: Path, competition: Competition) -> tuple[dict[str, Scene], dict[str, str]]:
    """Find the images of a competition's folder, in the order of their names.

    Returns
    -------
    The scene of each image id, and for each id whose files are not one image the reason why.
    """
    if "{" in competition.images:
        return _by_pattern(folder, competition)
    return _in_folder(folder / competition.images, competition.suffixes)


def _by_pattern(folder: Path, competition: Competition) -> tuple[dict[str, Scene], dict[str, str]]:
    pattern = FilePattern(competition.images, competition.bands)
    found: dict[str, dict[tuple[str, str], list[Path]]] = {}
    start = len((folder / "x").as_posix()) - 1  # of a name below the folder
    # texts are ordered and cut far faster than paths
    for path in sorted(folder.glob(pattern.glob), key=lambda path: path.as_posix().split("/")):
        places = pattern.match(path.as_posix()[start:])
        if places is not None and path.is_file():
            group = places.get("group", "")
            image = image_id(places["image"], group, competition)
            files = found.setdefault(image, {})
            files.setdefault((group, places.get("band", "")), []).append(path)
    scenes, problems = {}, {}
    for image, files in found.items():
        problem = _problem(files, pattern.bands)
        if problem:
            problems[image] = problem
            continue
        group = next(iter(files))[0]
        paths = [files[group, band][0] for band in pattern.bands or ("",)]
        scenes[image] = Scene(image, tuple(paths), group)
    return scenes, problems


def _in_folder(folder: Path, suffixes: Sequence[str]) -> tuple[dict[str, Scene], dict[str, str]]:
    """One image per file, named by its stem.

    A suffix may be written without its dot, and may have several, as `.ome.tif` has.
    """
    endings = sorted({f".{suffix.lower().lstrip('.')}" for suffix in suffixes}, key=len)
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.glob("*")):
        # the longest ending counts: a.ome.tif is no image called a.ome
        ending = next((e for e in reversed(endings) if path.name.lower().endswith(e)), None)
        if ending is not None and path.name.lower() != ending and path.is_file():
            found.setdefault(path.name[: -len(ending)], []).append(path)
    scenes = {image: Scene(image, tuple(paths)) for image, paths in found.items()}
    problems = {image: _several(paths) for image, paths in found.items() if len(paths) > 1}
    return {image: scenes[image] for image in scenes if image not in problems}, problems


def _problem(files: dict[tuple[str, str], list[Path]], bands: Sequence[str]) -> str:
    """What keeps the files of an image from being one. Empty if nothing does."""
    groups = sorted({group for group, _ in files})
    if len(groups) > 1:
        return (
            f"the groups {' and '.join(groups)} have an image of this id each. If the ids of rows "
            "name the group, write {group} into the recipe's 'rows'"
        )
    for paths in files.values():
        if len(paths) > 1:
            return _several(paths)
    missing = [band for band in bands if (groups[0], band) not in files]
    return f"the file of its band {missing[0]} is missing" if missing else ""


def _several(paths: Sequence[Path]) -> str:
    same = len({path.name for path in paths}) < len(paths)  # then the folders tell them apart
    shown = [f"{path.parent.name}/{path.name}" if same else path.name for path in paths]
    names = " and ".join(map(printable, shown))
    return f"several files have this id ({names}). Keep one of them"
