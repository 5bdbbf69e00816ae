"""Workers of dask that can do the work, and those that cannot."""

import asyncio
import importlib
import os
from collections.abc import Mapping
from typing import Any, cast

from distributed import Client

from devkit.errors import ClusterError
from devkit.predict.connection import address_of

__all__ = ["refuse_unfit", "useful", "workers_of"]

# What workers must have in the version that is here, beside what dask itself compares.
_COMPUTING = ("torch", "rasterio", "numba")
# How long a worker may take to answer, in seconds. It may be busy with what it imports.
_PATIENCE = 20


def workers_of(client: Client) -> dict[str, dict[str, Any]]:
    """What the scheduler knows of its workers, by their addresses."""
    found: dict[str, dict[str, Any]] = client.scheduler_info(n_workers=-1)["workers"]
    return found


def useful(workers: Mapping[str, Mapping[str, Any]], resources: Mapping[str, float]) -> list[str]:
    """The workers that have the resources."""
    return [
        name for name, worker in workers.items() if resources.keys() <= worker["resources"].keys()
    ]


def refuse_unfit(client: Client, workers: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse workers that cannot do the work.

    Raises
    ------
    ClusterError
        One has several threads, does not answer, or has no kernelkit or another version of what
        computes.
    """
    _refuse_threads(workers)
    _refuse_silent(client, workers)
    _refuse_strangers(client)


def _refuse_threads(workers: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse workers that are given several calls at once, since they do one after the other."""
    for address, worker in workers.items():
        if worker["nthreads"] > 1:
            raise ClusterError(
                f"{address}: found a worker with {worker['nthreads']} threads, wanted one, since a "
                "call takes all cores of its process. Start it with --nthreads 1"
            )


def _refuse_silent(client: Client, workers: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse workers that hang, since a scheduler gives them calls for some minutes more."""

    async def answers(address: str) -> bool:
        try:
            async with asyncio.timeout(_PATIENCE):
                asked = cast(Any, client)._run(os.getpid, workers=[address], on_error="return")
                return isinstance((await asked).get(address), int)
        except TimeoutError:
            return False

    async def silent() -> list[str]:
        found = await asyncio.gather(*map(answers, workers))
        return [address for address, there in zip(workers, found, strict=True) if not there]

    if hung := cast(Any, client).sync(silent):
        raise ClusterError(
            f"{hung[0]}: the worker did not answer within {_PATIENCE} s. End it, or start it anew"
        )


def _refuse_strangers(client: Client) -> None:
    """Refuse workers that have no kernelkit, or other versions of what computes."""

    def unknown() -> str:
        try:
            importlib.import_module("kernelkit.predict.jobs.job")
        except ImportError as error:
            return str(error)
        return ""

    # a function in a function travels whole, so a worker needs no kernelkit to run it
    for address, problem in client.run(unknown, on_error="return").items():
        if problem and not isinstance(problem, OSError):  # else it is gone by now
            raise ClusterError(
                f"{address}: the worker cannot import kernelkit ({problem}). Start it with "
                "PYTHONPATH=kernel_src in a clone of this repository"
            )
    versions = cast(dict[str, Any], client.get_versions(packages=_COMPUTING))
    wanted = versions["client"]["packages"]
    others = {"the scheduler": versions["scheduler"], **versions["workers"]}
    for who, found in others.items():
        for package, version in found["packages"].items():
            if version != wanted[package] and not (
                who == "the scheduler" and package in _COMPUTING
            ):
                raise ClusterError(
                    f"{address_of(client)}: found {package} {_or_none(version)} at {who}, "
                    f"wanted {_or_none(wanted[package])} as here. Give all machines the same "
                    "environment"
                )


def _or_none(version: str | None) -> str:
    return version or "not installed"
