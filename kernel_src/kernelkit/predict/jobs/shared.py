"""What all jobs of a run share, and the file by which processes see that they share the store."""

import logging
import pickle
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from kernelkit.errors import OutputError, RecipeError, as_sentence
from kernelkit.predict.jobs.job import Job
from kernelkit.predict.store.unfinished import unfinished_file
from kernelkit.predict.work.keys import code_sha256
from kernelkit.predict.work.tasks import Run, Task

__all__ = ["everywhere", "put_token", "refuse_local", "shared_job"]

# so many images must be somewhere, or their folder is not there
_SHOWN = 8


def everywhere(task: Task) -> Task:
    """A task whose files have the same names in any working folder."""
    drawn = task.drawn.absolute() if task.drawn else None
    return replace(task, paths=tuple(path.absolute() for path in task.paths), drawn=drawn)


def put_token(store: Path) -> Path:
    """Write the file by which processes see that they share the store's folder, and its clock.

    Raises
    ------
    OutputError
        The store cannot be written to.
    """
    try:
        return unfinished_file(store.absolute(), ".run")
    except OSError as error:
        raise OutputError(
            f"{store}: the store cannot be written to ({error.strerror}). Choose another "
            "output folder"
        ) from error


def shared_job(tasks: Sequence[Task], run: Run, token: Path) -> Job:
    """A job without images, as all jobs of a run are but for their images.

    Parameters
    ----------
    tasks
        All images, named as `everywhere` does it.
    """
    wants_cpu = torch.cuda.is_available() and all(
        model.device.type == "cpu" for model in run.models.values()
    )
    return Job(
        run=token.name,
        recipe=run.recipe,
        models={name: model.arguments for name, model in run.models.items()},
        weights={n: sha for model in run.models.values() for n, sha in model.origins.items()},
        code=code_sha256(),
        device="cpu" if wants_cpu else "auto",
        store=token.parent,
        ends=token.stat().st_mtime + run.deadline.seconds_left,
        workers=run.readers.workers,
        images=tuple(path for task in tasks[:_SHOWN] for path in task.paths),
        level=logging.getLogger("kernelkit").getEffectiveLevel(),
    )


def refuse_local(job: Job) -> bytes:
    """Refuse a job that no other process can get. Return it as others get it.

    Raises
    ------
    RecipeError
        Its models are made with something that has no name in a module.
    """
    try:
        return pickle.dumps(job)
    except Exception as error:  # pickle raises many kinds
        raise RecipeError(
            f"{job.recipe.name}: its models cannot be loaded in another process "
            f"({as_sentence(error)}). Define their preprocess_fn in a module"
        ) from error
