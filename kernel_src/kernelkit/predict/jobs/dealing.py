"""Images are dealt to an executor: jobs go out, reports come in, bytes stay in the store.

An image whose process dies is tried once more, elsewhere if there is another device. If that
process dies too, the image falls back. Pictures that went out together are then tried one by one.
Before each of these steps the store is asked, since a process may die after its work. Whatever
fails, each image has a report in the end.
"""

import logging
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import dataclass, replace

from kernelkit.errors import (
    CheckpointError,
    CompetitionError,
    KernelKitError,
    OutputError,
    as_sentence,
)
from kernelkit.predict.jobs.executors import device_of, names_of, starting_processes, ticks_of
from kernelkit.predict.jobs.job import Done, Job, do, forget
from kernelkit.predict.jobs.plan import Parcel, parcels_of, plan_table
from kernelkit.predict.jobs.shared import everywhere, put_token, refuse_local, shared_job
from kernelkit.predict.jobs.stored import LostResults, told_files
from kernelkit.predict.report import ImageReport
from kernelkit.predict.work.tasks import Run, Task
from kernelkit.predict.work.whole_picture import Picture
from kernelkit.predict.work.work import warned

__all__ = ["deal"]

_log = logging.getLogger(__name__)
# Jobs end by themselves at the deadline. One that has not so many seconds later is given up.
_GRACE = 120.0
# how often the bar moves, in seconds
_LOOK = 1.0
# How often an image was tried, and which time was the last, by the deaths before that one.
_TRIES = {1: ("twice", "second"), 2: ("three times", "third")}
# What a process sees otherwise than the run's own: no other try would help.
_CONTRADICTIONS = (CheckpointError, CompetitionError, OutputError)


def deal(tasks: Sequence[Task], run: Run, executor: Executor) -> Iterator[ImageReport]:
    """Have an executor put the result of each image into the store.

    Reports come in the order in which images are finished. What went otherwise is in `run.notes`
    then.

    Parameters
    ----------
    run
        Of this process. Its models give up the device, since those who do the work need it.
    executor
        Any. It may say in `lanes` how many jobs it does at once. A pool of processes need not.

    Raises
    ------
    CheckpointError, CompetitionError, OutputError
        The processes do not see the store, the images, the models or the kernelkit that this one
        sees.
    """
    return warned(_Dealing(run, executor).reports(tasks), tasks)


@dataclass
class _Handed:
    """A job that is out, and who died of it before."""

    job: Job
    deaths: tuple[str, ...] = ()


class _Dealing:
    """One run over an executor."""

    def __init__(self, run: Run, executor: Executor) -> None:
        self._run, self._executor = run, executor
        self._names = names_of(executor)
        self._lanes = len(self._names)
        self._out: dict[Future[Done], _Handed] = {}
        self._said: set[str] = set()
        self._pickled = b""
        # what is stored is found in a moment, even if the session is over
        self._end = time.monotonic() + max(0.0, run.deadline.seconds_left) + _GRACE
        # what its processes had done before this run, if it says how much they do
        self._ticks = ticks_of(executor)

    def reports(self, tasks: Sequence[Task]) -> Iterator[ImageReport]:
        run = self._run
        run.hardware.clear()
        for model in run.models.values():
            if model.device.type != "cpu":
                model.leave_device()
        to_do = []
        for task in tasks:
            report = _done_already(task, run)
            if report is None:
                to_do.append(task)
            else:
                yield report
        if not to_do:
            return
        token = put_token(run.store.folder)
        self._lost = LostResults(run, token)
        try:
            to_do = [everywhere(task) for task in to_do]
            job = shared_job(to_do, run, token)
            self._pickled = refuse_local(job)
            self._make_ready(job)
            parcels = parcels_of(to_do, run, self._lanes)
            _log.info("plan:\n%s", plan_table(parcels, self._names, run.unit))
            yield from self._hand_out(job, parcels)
        finally:
            for future in self._out:
                future.cancel()
            forget(token.name)
            for path in (*told_files(token), token):
                path.unlink(missing_ok=True)

    def _make_ready(self, job: Job) -> None:
        """Have processes load the models. What cannot work is an error before any work begins."""
        try:
            futures = [self._give(job) for _ in range(self._lanes)]
        except _CONTRADICTIONS:  # it was done at once
            raise
        except Exception:  # each image will have this reason
            return
        errors: list[Exception] = []
        for future in futures:
            try:
                self._take_in(future.result(self._seconds_left()))
            except _CONTRADICTIONS:
                raise
            except Exception as error:
                errors.append(error)
        if errors and len(errors) == len(futures) and isinstance(errors[0], KernelKitError):
            raise errors[0]
        for reason in map(as_sentence, errors):
            self._note(f"a process could not begin, because: {reason}")

    def _hand_out(self, job: Job, parcels: Sequence[Parcel]) -> Iterator[ImageReport]:
        rest = sum(parcel.amount for parcel in parcels)
        for parcel in parcels:
            rest -= parcel.amount
            part = replace(job, tasks=parcel.tasks, others=rest // self._lanes)
            yield from self._submit(_Handed(part))
        while self._out:
            done, _ = wait(self._out, min(_LOOK, self._seconds_left()), FIRST_COMPLETED)
            self._show_ticks()
            if not done and not self._seconds_left():
                yield from self._give_up_all()
            for future in done:
                yield from self._finished(future, self._out.pop(future))
        self._run.progress.move_to_end()

    def _show_ticks(self) -> None:
        """Move the bar to what processes have done, if the executor says it."""
        done = ticks_of(self._executor)
        if done is not None and self._ticks is not None:
            self._run.progress.move_to(done - self._ticks)

    def _give(self, job: Job) -> "Future[Done]":
        with starting_processes(self._executor, self._pickled):
            return self._executor.submit(do, job)

    def _submit(self, handed: _Handed) -> Iterator[ImageReport]:
        try:
            self._out[self._give(handed.job)] = handed
        except Exception as error:  # an executor says in many ways that it is broken
            yield from self._fall_back(handed, f"the executor is broken ({as_sentence(error)})")

    def _finished(self, future: "Future[Done]", handed: _Handed) -> Iterator[ImageReport]:
        try:
            done = future.result()
        except Exception as error:
            yield from self._died(handed, error, device_of(future))
            return
        self._take_in(done)
        for report in done.reports:
            if handed.deaths:
                times, _ = _TRIES[len(handed.deaths)]
                report.notes.append(f"it was tried {times}, because: {handed.deaths[-1]}")
            yield self._counted(report)

    def _died(self, handed: _Handed, error: Exception, device: str) -> Iterator[ImageReport]:
        """Try a job once more elsewhere, and then each image alone. Let that one fall back."""
        reason, job = as_sentence(error), handed.job
        if handed.deaths and len(job.tasks) == 1:
            times, last = _TRIES[len(handed.deaths)]
            reason = f"it was tried {times}, and the {last} time: {reason}"
            yield from self._fall_back(handed, reason)
            return
        left = []
        for task in job.tasks:
            report = self._lost.find(task, reason, unfinished=False)
            if report is None:
                left.append(task)
            else:
                yield self._counted(report)
        if not handed.deaths and left:
            again = replace(job, tasks=tuple(left), avoids=device)
            yield from self._submit(_Handed(again, (reason,)))
        elif handed.deaths:
            for task in left:
                alone = replace(job, tasks=(task,))
                yield from self._submit(_Handed(alone, (*handed.deaths, reason)))

    def _give_up_all(self) -> Iterator[ImageReport]:
        for future, handed in self._out.items():
            future.cancel()
            reason = "the session's time was over, and its process had not answered"
            yield from self._fall_back(handed, reason)
        self._out.clear()

    def _fall_back(self, handed: _Handed, reason: str) -> Iterator[ImageReport]:
        for task in handed.job.tasks:
            report = self._lost.find(task, reason, unfinished=True)
            if report is None:
                report = ImageReport(task.image_id)
                report.notes += handed.deaths
                report.fall_back(reason)
            yield self._counted(report)

    def _counted(self, report: ImageReport) -> ImageReport:
        self._run.progress.begin(report.image)
        if self._ticks is None:
            self._run.progress.end()
        return report

    def _take_in(self, done: Done) -> None:
        """Take what a process says into the run."""
        for note in done.notes:
            self._note(note)
        for level, text in done.messages:
            if text not in self._said:
                self._said.add(text)
                who = "" if text.startswith(done.device) else f"{done.device}: "
                _log.log(level, "%s%s", who, text)
        self._run.first_tiles |= done.first_tiles
        if done.reports:
            self._run.hardware[done.device] = done.hardware

    def _note(self, sentence: str) -> None:
        if sentence not in self._run.notes:
            self._run.said.append(sentence)

    def _seconds_left(self) -> float:
        return max(0.0, self._end - time.monotonic())


def _done_already(task: Task, run: Run) -> ImageReport | None:
    """The report of an image that no process is needed for."""
    if run.recipe.tiles.whole:  # batches are made of those that are left
        picture = Picture(task, run)
        return picture.report if picture.is_done else None
    if not task.left_out:
        return None
    report = ImageReport(task.image_id)
    report.fall_back(task.left_out)
    return report
