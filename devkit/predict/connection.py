"""A connection to a scheduler of dask, and how much of what dask logs is shown."""

import asyncio
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from distributed import Client
from distributed.core import rpc
from distributed.security import Security

from devkit.errors import ClusterError

__all__ = ["PATIENCE", "address_of", "connected", "quiet"]

# How long a scheduler may take to answer, in seconds.
PATIENCE = 5


@contextmanager
def connected(address: str) -> Iterator[Client]:
    """Give a client of a scheduler for a `with` block.

    Raises
    ------
    ClusterError
        No scheduler of dask answers.
    """
    try:
        # a client of dask's asks again and again, and also if something else answers
        found = asyncio.run(_kind_of(address))
        if found == "Scheduler":
            client = Client(address, timeout=PATIENCE, set_as_default=False)
    except Exception as error:  # it raises many kinds
        raise ClusterError(
            f"{address}: no scheduler of dask answered within {PATIENCE} s. Start one with make "
            "scheduler, or correct SCHEDULER"
        ) from error
    if found != "Scheduler":
        raise ClusterError(
            f"{address}: found a {found.lower()} of dask, wanted a scheduler. Correct SCHEDULER"
        )
    try:
        yield client
    finally:
        # what matters has been said, and no cluster ends without complaints
        _log_from(logging.CRITICAL + 1)
        with suppress(Exception):
            client.close(PATIENCE)


async def _kind_of(address: str) -> str:
    """What listens at an address, as dask calls it: `Scheduler`, `Worker` or `Nanny`."""
    there = rpc(address, timeout=PATIENCE, connection_args=Security().get_connection_args("client"))
    try:
        async with asyncio.timeout(PATIENCE):
            return str((await there.identity())["type"])
    finally:
        await there.close_rpc()


def address_of(client: Client) -> str:
    """Where the scheduler is."""
    return str(client.scheduler_info()["address"])


@contextmanager
def quiet() -> Iterator[None]:
    """Show warnings of dask, and nothing that is less."""
    _log_from(logging.WARNING)
    with warnings.catch_warnings():
        # that a port is taken, and versions, of which a sentence is made here
        warnings.simplefilter("ignore")
        yield


def _log_from(level: int) -> None:
    """Show what dask logs from a level on."""
    names = [name for name in logging.root.manager.loggerDict if name.startswith("distributed")]
    for name in (*names, "tornado.application", "asyncio"):
        logging.getLogger(name).setLevel(level)
