"""The pixels of images are made by an executor: jobs go out, and records come in.

A job whose process dies is tried once more, and then each of its images alone. Before each try the
folder is asked, since a process may die after its work. If processes die all the same, that is an
error in the end. It need not be the image's fault, and cuts without it would be other cuts.
"""

from collections.abc import Iterable, Iterator
from concurrent.futures import Executor, Future, as_completed
from dataclasses import replace
from itertools import batched
from pathlib import Path
from typing import Any

from kernelkit.errors import KernelKitError, OutputError, ReaderError, as_sentence
from kernelkit.labels.labels import some
from kernelkit.training.cuts.packs import Record, read_packs
from kernelkit.training.cuts.pixels import CutJob, Made, Source, code_of_kernelkit, do
from kernelkit.training.cuts.sight import Sight

__all__ = ["hand_out"]

# So many whole pictures are one job.
_PICTURES = 256


def hand_out(
    sources: Iterator[Source],
    sight: Sight,
    packs: Path,
    executor: Executor,
    records: dict[str, Record],
) -> Iterator[Made]:
    """Have an executor make the records of images. What is made is added to `records`.

    Raises
    ------
    OutputError
        The cuts cannot be written, or processes do not share the folder.
    ReaderError
        The executor is broken, or processes died of an image each time. All others are made.
    """
    number = _PICTURES if sight.whole else 1
    code = code_of_kernelkit()
    jobs = (
        CutJob(together, sight, packs.absolute(), code) for together in batched(sources, number)
    )
    handing = _Handing(executor, packs, records)
    yield from handing.try_all(jobs)
    yield from handing.try_all(handing.take_failed())
    failed = handing.take_failed()
    alone = [replace(job, sources=(source,)) for job in failed for source in job.sources]
    if len(alone) > len(failed):
        yield from handing.try_all(alone)
        alone = handing.take_failed()
    last = [source for job in alone for source in job.sources]
    yield from ((source.image, None) for source in last if source.key in records)
    if images := [source.image for source in last if source.key not in records]:
        raise ReaderError(
            f"{packs.parent}: the pixels of {some(images, 'image')} are not made, since processes "
            f"died each time ({handing.reason}). What was made stays, and the same command goes "
            "on. Without SCHEDULER this machine makes the rest"
        )


class _Handing:
    """Jobs that go out, and those that failed.

    Attributes
    ----------
    reason
        Why the last one failed.
    """

    def __init__(self, executor: Executor, packs: Path, records: dict[str, Record]) -> None:
        self.reason = ""
        self._executor, self._packs, self._records = executor, packs, records
        self._failed: list[CutJob] = []

    def try_all(self, jobs: Iterable[CutJob]) -> Iterator[Made]:
        """Iterate over what became of the images of jobs. Those that fail are kept apart."""
        out: dict[Future[Any], CutJob] = {}
        try:
            for job in jobs:
                found = [source for source in job.sources if source.key in self._records]
                yield from ((source.image, None) for source in found)
                left = tuple(each for each in job.sources if each.key not in self._records)
                if left:
                    job = replace(job, sources=left)
                    out[self._submitted(job)] = job
            for future in as_completed(out):
                error = future.exception()
                if error is None or isinstance(error, OutputError):  # it would end so again
                    yield from self._taken(future)
                else:
                    self._failed.append(out[future])
                    self.reason = as_sentence(error) if isinstance(error, Exception) else "lost"
        finally:
            for future in out:
                future.cancel()

    def take_failed(self) -> list[CutJob]:
        """Give the jobs that failed. What their processes had made before is in the records now."""
        failed, self._failed = self._failed, []
        if failed:
            for record in read_packs(self._packs):
                self._records.setdefault(record.key, record)
        return failed

    def _submitted(self, job: CutJob) -> "Future[Any]":
        try:
            return self._executor.submit(do, job)
        except KernelKitError:
            raise
        except Exception as error:  # an executor says in many ways that it is broken
            raise ReaderError(
                f"{job.packs}: the executor is broken ({as_sentence(error)}). What was made stays, "
                "so try again with another one"
            ) from error

    def _taken(self, future: "Future[Any]") -> list[Made]:
        found, made = future.result()
        for record in found:
            for array in record.arrays.values():
                if not array.path.is_file():
                    raise OutputError(
                        f"{self._packs}: this process does not see {array.path.name}, which "
                        "another one wrote there. Choose a folder that all machines share, under "
                        "one path"
                    )
            self._records[record.key] = record
        return list(made)
