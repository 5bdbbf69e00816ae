"""What a survey found, as lines for people and as JSON for programs."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from devkit.tables import aligned
from devkit.training.survey import KAGGLE_CORES, ImageLook, Survey

__all__ = ["as_json", "lines_of"]

# More images than this are counted by their kinds, not listed.
_LISTED = 40
# A kind of fewer images is odd: they are named.
_ODD = 3
# If there are more sizes than this, none is odd.
_SIZES = 12


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
    sizes = {(image.height, image.width) for image in found.images}
    yield (
        f"{_number(len(found.images), 'image')}, {_pixels(found.megapixels)},"
        f" {_number(len(sizes), 'size')},"
        f" {_number(len({image.dtype for image in found.images}), 'dtype')}"
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


def _number(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count != 1)}"


def _sizes(images: Sequence[ImageLook]) -> str:
    sizes = sorted({(image.height, image.width) for image in images})
    if len(sizes) == 1:
        return f"{sizes[0][0]} x {sizes[0][1]}"
    heights, widths = zip(*sizes, strict=True)
    return f"{min(heights)}..{max(heights)} x {min(widths)}..{max(widths)} ({len(sizes)} sizes)"


def as_json(found: Survey) -> dict[str, object]:
    """The survey as `make look JSON=1` prints it."""
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
