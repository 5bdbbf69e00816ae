"""The pixels of images at the training scale, made in this process or as a job in another one."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kernelkit.errors import OutputError, ReaderError, SlideError
from kernelkit.maps.polygonise import PIXELS
from kernelkit.reader import PictureInfo, ReaderPool
from kernelkit.slide import Slide
from kernelkit.slide.content import FileState, refuse_changed, state_of
from kernelkit.training.cuts.packs import PackSeries, Record
from kernelkit.training.cuts.pictures import read_pictures, write_whole
from kernelkit.training.cuts.shrink import write_slide
from kernelkit.training.cuts.sight import Sight

__all__ = ["CutJob", "Made", "Source", "code_of_kernelkit", "do", "make"]


@dataclass(frozen=True, slots=True)
class Source:
    """An image whose pixels are to be made.

    Attributes
    ----------
    image
        Its id.
    paths
        Its files.
    state
        Of the files when they were hashed.
    key
        Of the record that is made.
    """

    image: str
    paths: tuple[Path, ...]
    state: FileState
    key: str


@dataclass(frozen=True, slots=True)
class CutJob:
    """Some images for one process, whichever it is and wherever it runs.

    Attributes
    ----------
    sources
        The images.
    sight
        How networks see them.
    packs
        The folder for what is made, which all machines share.
    code
        The SHA-256 of kernelkit.
    """

    sources: tuple[Source, ...]
    sight: Sight
    packs: Path
    code: str


# What became of an image: its record is made, or why it is left out.
Made = tuple[str, SlideError | ReaderError | None]


def make(
    sources: Iterator[Source], sight: Sight, readers: ReaderPool, packs: PackSeries
) -> Iterator[Made]:
    """Make the records of images in this process."""
    if sight.whole:
        yield from _make_pictures(list(sources), sight, readers, packs)
        return
    for source in sources:
        try:
            _make_slide(source, sight, readers, packs)
        except (SlideError, ReaderError) as error:
            yield source.image, error
        else:
            yield source.image, None


def do(job: CutJob) -> tuple[list[Record], list[Made]]:
    """Make the records of a job in files of this process's own.

    Raises
    ------
    OutputError
        They cannot be written, or kernelkit is of another version here.
    """
    if job.code != code_of_kernelkit():
        raise OutputError(
            f"{job.packs}: kernelkit is of another version where the cuts are made. Install the "
            "same on all machines"
        )
    records: dict[str, Record] = {}
    own = [_seen_here(source) for source in job.sources]
    with ReaderPool(0) as readers, PackSeries(job.packs, records) as packs:
        made = list(make(iter(own), job.sight, readers, packs))
    return list(records.values()), made


def code_of_kernelkit() -> str:
    """The hash of kernelkit's own code."""
    from kernelkit.predict.work.keys import code_sha256  # it needs torch

    return code_sha256()


def _seen_here(source: Source) -> Source:
    """A source with the state of its files as this machine sees them. An inode is its own."""
    try:
        state = state_of(source.paths)
    except OSError:  # it is said when the file is opened
        return source
    same = [each[:2] for each in state] == [each[:2] for each in source.state]
    return replace(source, state=state) if same else source


def _make_slide(source: Source, sight: Sight, readers: ReaderPool, packs: PackSeries) -> None:
    with (
        Slide(source.paths, nodata=sight.nodata_value) as slide,
        packs.adding() as writer,
    ):
        arrays, notes = write_slide(slide, sight, readers, writer)
        refuse_changed(source.paths, source.state)
        facts = _facts(slide, (sight.scale, sight.scale)) | {
            "transform": list(slide.transform[:6]),
            "crs": None if slide.crs is None else slide.crs.to_wkt(),
            "notes": [*slide.notes, *notes],
        }
        writer.add(Record(source.key, arrays, facts))


def _make_pictures(
    sources: Sequence[Source], sight: Sight, readers: ReaderPool, packs: PackSeries
) -> Iterator[Made]:
    for number, found in read_pictures([each.paths for each in sources], sight, readers):
        source = sources[number]
        try:
            if isinstance(found, SlideError):
                raise found
            refuse_changed(source.paths, source.state)
        except SlideError as error:
            yield source.image, error
            continue
        info, pixels = found
        added = sum(sight.pads)
        height, width = pixels["pixels"].shape[1:]
        step = (info.height + added) / height, (info.width + added) / width
        with packs.adding() as writer:
            arrays = {name: write_whole(array, writer) for name, array in pixels.items()}
            writer.add(Record(source.key, arrays, _facts(info, step)))
        yield source.image, None


def _facts(source: Slide | PictureInfo, step: tuple[float, float]) -> dict[str, Any]:
    """What is known of a file, as JSON has it. A picture is no map."""
    return {
        "source": [source.height, source.width],
        "step": step,
        "transform": list(PIXELS[:6]),
        "crs": None,
        "notes": list(source.notes),
    }
