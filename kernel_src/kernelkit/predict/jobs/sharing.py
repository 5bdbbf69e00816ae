"""Devices that share the tiles of each image, where one image is most of the work."""

import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor

import torch

from kernelkit.ensemble import MegaModel
from kernelkit.ensemble.replicas import Replicas
from kernelkit.predict.jobs.devices import DeviceProcesses
from kernelkit.predict.jobs.plan import ends_sooner_together
from kernelkit.predict.store.store import Store
from kernelkit.predict.work.tasks import Task
from kernelkit.recipe import Recipe

__all__ = ["replicas_for"]

_log = logging.getLogger(__name__)


def replicas_for(
    executor: Executor | None,
    tasks: Sequence[Task],
    recipe: Recipe,
    models: Mapping[str, MegaModel],
    store: Store,
) -> dict[str, Replicas] | None:
    """Copies of the models on an executor's devices, if these should share the tiles of each image.

    This process asks them then, one image after the other.

    Parameters
    ----------
    executor
        Its `seats` say the devices, as those of `DeviceProcesses` do.
    tasks
        All images. Those that the store has count only if it has all.
    models
        One per ensemble of the recipe, by its name.

    Returns
    -------
    The copies of each model, by its ensemble. None if each image is for one process, if devices are
    of several kinds, or if the executor has no seats.
    """
    devices = [seat.device for seat in getattr(executor, "seats", ())]
    is_one_kind = len({torch.device(name).type for name in devices}) == 1  # else answers may differ
    if recipe.tiles.whole or not is_one_kind:
        return None
    wanted = [task for task in tasks if not task.left_out]
    left = [task for task in wanted if not store.has_any(task.image_id)] or wanted
    if not ends_sooner_together([task.amount for task in left], len(devices), recipe.batch):
        return None
    names = ", ".join(devices)
    if isinstance(executor, DeviceProcesses):
        executor.rest()  # .4 GB each of what nobody asks
    _log.info("plan: %s share the tiles of each image, since one image is most of the work", names)
    return {name: Replicas.on(devices, model) for name, model in models.items()}
