"""`make look`: what the images of a competition are, and how long Kaggle takes to read them.

It needs no models. With a recipe, it looks at the images that the recipe predicts, or at those of
--images. It reads them as the recipe cuts them. Without a recipe, it looks at all image files.
"""

import argparse
import json
import os
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from devkit.commands import command
from devkit.predict.images import SUFFIXES
from devkit.training.columns import aligned
from devkit.training.survey import KAGGLE_CORES, ImageLook, Survey, survey
from kernelkit.competition import Scene
from kernelkit.competition.scenes import find_scenes
from kernelkit.console import printable
from kernelkit.errors import CompetitionError
from kernelkit.recipe import Recipe

__all__ = ["main"]

# More images than this are counted by their kinds, not listed.
_LISTED = 40
# A kind of fewer images is odd: they are named.
_ODD = 3
# If there are more sizes than this, none is odd.
_SIZES = 12


@command("look")
def main(arguments: list[str] | None = None) -> int:
    """Run the command line. The exit code is 0 if any image can be read.

    Raises
    ------
    CompetitionError
        There is no image, or none can be read.
    """
    options = _parse(arguments)
    recipe = Recipe.load(options.recipe) if options.recipe else None
    scenes, problems = _scenes(options.competition, recipe, options.images)
    found = survey(scenes, recipe, options.workers)
    found = Survey(
        found.images, {**problems, **found.problems}, found.workers, found.how, found.blank_rule
    )
    if not found.images:
        name, reason = next(iter(found.problems.items()))
        raise CompetitionError(
            f"{options.competition}: none of {len(found.problems)} images can be read. The first is"
            f" {printable(name)}: {reason}"
        )
    if options.json:
        print(json.dumps(_as_json(found), indent=2))
    else:
        print("\n".join(printable(line) for line in lines_of(found)))
    return 0


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m devkit.training.look", description=__doc__)
    parser.add_argument("--competition", type=Path, required=True, help="the competition's folder")
    parser.add_argument("--recipe", help="the recipe that predicts: a name or a YAML file")
    parser.add_argument(
        "--images",
        help='a folder or a pattern, such as "train/{image}.tiff", instead of the recipe\'s',
    )
    parser.add_argument(
        "--workers",
        type=int,
        default=min(KAGGLE_CORES, len(os.sched_getaffinity(0))),
        help="processes that read",
    )
    parser.add_argument("--json", action="store_true", help="print JSON for programs")
    options = parser.parse_args(arguments)
    if options.images and not options.recipe:
        parser.error("--images needs --recipe, which says what else the images are")
    return options


def _scenes(
    folder: Path, recipe: Recipe | None, images: str | None
) -> tuple[Mapping[str, Scene], Mapping[str, str]]:
    """The images, and why the files of others are none."""
    if not folder.is_dir():
        raise CompetitionError(f"{folder}: there is no such folder. Name the competition's folder")
    if recipe is None:
        paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)
        names = {p.relative_to(folder).as_posix(): p for p in paths if p.is_file()}
        scenes = {name: Scene(name, (path,)) for name, path in names.items()}
        problems: dict[str, str] = {}
        wanted = f"a file that ends in {', '.join(SUFFIXES)}"
    else:
        competition = recipe.competition
        if images:
            competition = competition.model_validate(
                {**competition.model_dump(exclude_unset=True), "images": images}
            )
        scenes, problems = find_scenes(folder, competition)
        wanted = competition.images
    if not scenes and not problems:
        raise CompetitionError(f"{folder}: found no image, wanted {wanted}. Name another folder")
    return scenes, problems


def lines_of(found: Survey) -> Iterator[str]:
    """The survey as lines for people."""
    if len(found.images) <= _LISTED:
        yield from _listed(found)
    else:
        yield from _counted(found)
    yield ""
    yield from _summed(found)
    for image in found.images[:_LISTED]:
        yield from (f"  {image.image}: {note}" for note in image.notes)
    if found.problems:
        yield ""
        yield f"{len(found.problems)} images cannot be read:"
        yield from (f"  {name}: {reason}" for name, reason in found.problems.items())


def _listed(found: Survey) -> Iterator[str]:
    """A line per image."""
    names = ["image", "height x width", "bands", "dtype", "layout", "pixel", "equal bands", "blank"]
    rows = [
        [
            image.image,
            f"{image.height} x {image.width}",
            str(image.bands),
            image.dtype,
            image.layout,
            image.pixel_size or "-",
            _yes_or_no(image.equal_bands),
            _percent(image.blank),
            f"{image.speed:.0f}" if image.speed else "-",
            _duration(found.seconds_of([image], KAGGLE_CORES)),
        ]
        for image in found.images
    ]
    yield from aligned([[*names, "Mpx/s", "on Kaggle"], *rows])


def _counted(found: Survey) -> Iterator[str]:
    """A line per kind of image. Kinds of a few images name them."""
    kinds: dict[tuple[object, ...], list[ImageLook]] = defaultdict(list)
    for image in found.images:
        kinds[image.bands, image.dtype, image.layout, image.pixel_size].append(image)
    rows = [
        ["images", "height x width", "bands", "dtype", "layout", "pixel", "equal bands", "blank"]
    ]
    ordered = sorted(kinds.values(), key=len, reverse=True)
    for images in ordered:
        first, read = images[0], [image for image in images if image.pixels_read]
        blank = [image.blank for image in read if image.blank is not None]
        equal = {image.equal_bands for image in read}
        rows.append(
            [
                str(len(images)),
                _sizes(images),
                str(first.bands),
                first.dtype,
                first.layout,
                first.pixel_size or "-",
                "some" if equal == {True, False} else _yes_or_no(next(iter(equal), None)),
                _percent(sum(blank) / len(blank) if blank else None),
            ]
        )
    yield from aligned(rows)
    yield from _odd(ordered)


def _odd(kinds: Sequence[Sequence[ImageLook]]) -> Iterator[str]:
    """The images of kinds and of sizes that few have."""
    sizes: dict[tuple[int, int], list[ImageLook]] = defaultdict(list)
    for images in kinds:
        if len(images) <= _ODD:
            first, names = images[0], ", ".join(image.image for image in images)
            yield f"odd: {names} ({first.bands} x {first.dtype}, {first.layout})"
        else:
            for image in images:
                sizes[image.height, image.width].append(image)
    for (height, width), images in sizes.items() if len(sizes) <= _SIZES else ():
        if len(images) <= _ODD:
            yield f"odd: {', '.join(image.image for image in images)} ({height} x {width})"


def _summed(found: Survey) -> Iterator[str]:
    """All images together, and what Kaggle takes to read them."""
    read = [image for image in found.images if image.pixels_read]
    yield (
        f"{len(found.images)} images, {_pixels(found.megapixels)},"
        f" {len({(i.height, i.width) for i in found.images})} sizes,"
        f" {len({i.dtype for i in found.images})} dtypes"
    )
    if found.speed is None:
        return
    seconds = found.seconds_of(found.images, KAGGLE_CORES)
    yield (
        f"{len(read)} of them read {found.how} at {found.speed:.0f} Mpx/s with {found.workers}"
        f" worker(s). All take {_duration(seconds)} on Kaggle's {KAGGLE_CORES} cores"
    )
    blank = sum((image.blank or 0) * image.pixels_read for image in read)
    yield (
        f"blank is {blank / sum(image.pixels_read for image in read):.0%} of what was read"
        f" ({found.blank_rule})"
    )
    equal = [image.image for image in read if image.equal_bands]
    if equal:
        yield f"{len(equal)} of them have equal bands, so one band would do"


def _sizes(images: Sequence[ImageLook]) -> str:
    sizes = sorted({(image.height, image.width) for image in images})
    if len(sizes) == 1:
        return f"{sizes[0][0]} x {sizes[0][1]}"
    heights, widths = zip(*sizes, strict=True)
    return f"{min(heights)}..{max(heights)} x {min(widths)}..{max(widths)} ({len(sizes)} sizes)"


def _as_json(found: Survey) -> dict[str, object]:
    return {
        "images": [
            {
                **{name: value for name, value in vars(image).items() if name != "seconds"},
                "mpx_per_second": image.speed,
                "kaggle_seconds": found.seconds_of([image], KAGGLE_CORES),
            }
            for image in found.images
        ],
        "unreadable": dict(found.problems),
        "total": {
            "images": len(found.images),
            "megapixels": found.megapixels,
            "mpx_per_second": found.speed,
            "workers": found.workers,
            "kaggle_seconds": found.seconds_of(found.images, KAGGLE_CORES),
            "blank_rule": found.blank_rule,
        },
    }


def _yes_or_no(answer: bool | None) -> str:
    return "-" if answer is None else "yes" if answer else "no"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.0%}"


def _pixels(megapixels: float) -> str:
    return f"{megapixels / 1000:.2f} Gpx" if megapixels >= 1000 else f"{megapixels:.1f} Mpx"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    if seconds >= 5400:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 60:.1f} min" if seconds >= 90 else f"{seconds:.1f} s"


if __name__ == "__main__":
    sys.exit(main())
