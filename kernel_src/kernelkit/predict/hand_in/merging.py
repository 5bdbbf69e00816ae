"""Runs that ask no model: what stores of other runs hold is merged, and handed in."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import replace

from kernelkit.errors import SubmissionError
from kernelkit.predict.report import ImageReport
from kernelkit.predict.store.other_stores import OtherStores
from kernelkit.predict.work.tasks import Task, at_own_cost
from kernelkit.recipe import Recipe
from kernelkit.slide import Slide
from kernelkit.slide.content import content_of

__all__ = ["merge_stores"]


def merge_stores(
    tasks: Iterable[Task], recipe: Recipe, others: OtherStores
) -> Iterator[ImageReport]:
    """Look up each image in the stores, and say what they know of it."""
    for task in tasks:
        report = ImageReport(task.image_id)
        if task.left_out:
            report.fall_back(task.left_out)
        else:
            with at_own_cost(report):
                report = _looked_up(task, recipe, others)
        yield report


def _looked_up(task: Task, recipe: Recipe, others: OtherStores) -> ImageReport:
    start = time.perf_counter()
    found = others.find(task.image_id, content_of(task.paths))
    if not found:
        raise SubmissionError(
            f"{task.image_id}: no store holds layers of it with the content that its files have. "
            "Attach the output of a run over the same files"
        )
    first = next(iter(found.values())).report
    notes = [note for stored in found.values() for note in stored.report.notes]
    return replace(
        first,
        image=task.image_id,
        ensemble=_ensemble_of(task, first.ensemble, recipe),
        status="kept",
        stored="",  # this run stores nothing
        seconds=time.perf_counter() - start,
        waited=0.0,
        network=0.0,
        notes=[*dict.fromkeys(notes)],
    )


def _ensemble_of(task: Task, stored: str, recipe: Recipe) -> str:
    """The ensemble for an image: the one of the stored run, if the recipe has one of its name."""
    if stored in (ensemble.name for ensemble in recipe.ensembles):
        return stored
    with Slide(task.paths) as slide:
        return recipe.ensemble_for(slide.bands, str(slide.dtype)).name
