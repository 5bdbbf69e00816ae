"""The pixels of images at the training scale, made in this process or by an executor."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future, as_completed
from dataclasses import dataclass, replace
from itertools import batched
from pathlib import Path
from typing import Any

from kernelkit.errors import KernelKitError, OutputError, ReaderError, SlideError, as_sentence
from kernelkit.maps.polygonise import PIXELS
from kernelkit.reader import PictureInfo, ReaderPool
from kernelkit.slide import Slide
from kernelkit.slide.content import FileState, refuse_changed, state_of
from kernelkit.training.cuts.packs import PackSeries, Record
from kernelkit.training.cuts.pictures import read_pictures, write_whole
from kernelkit.training.cuts.shrink import write_slide
from kernelkit.training.cuts.sight import Sight

__all__ = ["CutJob", "Made", "Source", "do", "hand_out", "make"]

# So many whole pictures are one job.
_PICTURES = 256


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
    if job.code != _code():
        raise OutputError(
            f"{job.packs}: kernelkit is of another version where the cuts are made. Install the "
            "same on all machines"
        )
    records: dict[str, Record] = {}
    own = [_seen_here(source) for source in job.sources]
    with ReaderPool(0) as readers, PackSeries(job.packs, records) as packs:
        made = list(make(iter(own), job.sight, readers, packs))
    return list(records.values()), made


def hand_out(
    sources: Iterator[Source],
    sight: Sight,
    packs: Path,
    executor: Executor,
    records: dict[str, Record],
) -> Iterator[Made]:
    """Have an executor make the records of images. What is made is added to `records`.

    An image whose process dies is tried once more. If that one dies too, the image is left out.

    Raises
    ------
    OutputError
        The cuts cannot be written, or processes do not share the folder.
    ReaderError
        The executor is broken.
    """
    number = _PICTURES if sight.whole else 1
    code = _code()
    out: dict[Future[Any], CutJob] = {}
    again: dict[Future[Any], CutJob] = {}
    try:
        for together in batched(sources, number):
            job = CutJob(together, sight, packs.absolute(), code)
            out[_submitted(executor, job)] = job
        for future in as_completed(out):
            if future.exception() is None or _is_final(future):
                yield from _taken(future, packs, records)
            else:
                job = out[future]
                again[_submitted(executor, job)] = job
        for future in as_completed(again):
            error = future.exception()
            if not isinstance(error, Exception) or _is_final(future):
                yield from _taken(future, packs, records)
            else:
                reason = ReaderError(
                    f"it was tried twice, and the second time: {as_sentence(error)}"
                )
                yield from ((source.image, reason) for source in again[future].sources)
    finally:
        for future in (*out, *again):
            future.cancel()


def _submitted(executor: Executor, job: CutJob) -> "Future[Any]":
    try:
        return executor.submit(do, job)
    except KernelKitError:
        raise
    except Exception as error:  # an executor says in many ways that it is broken
        raise ReaderError(
            f"{job.packs}: the executor is broken ({as_sentence(error)}). What was made stays, so "
            "try again with another one"
        ) from error


def _code() -> str:
    """The hash of kernelkit's own code."""
    from kernelkit.predict.work.keys import code_sha256  # it needs torch

    return code_sha256()


def _is_final(future: "Future[Any]") -> bool:
    """Whether another try would end as this one did."""
    return isinstance(future.exception(), OutputError)


def _taken(future: "Future[Any]", packs: Path, records: dict[str, Record]) -> list[Made]:
    found, made = future.result()
    for record in found:
        for array in record.arrays.values():
            if not array.path.is_file():
                raise OutputError(
                    f"{packs}: this process does not see {array.path.name}, which another one "
                    "wrote there. Choose a folder that all machines share, under one path"
                )
        records[record.key] = record
    return list(made)


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
