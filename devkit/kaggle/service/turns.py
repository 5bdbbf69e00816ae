"""One command at a time: what two terminals would otherwise do twice, or to one file."""

import contextlib
import hashlib
from collections.abc import Iterator

from filelock import FileLock, Timeout

from devkit.kaggle.outputs import writing
from devkit.kaggle.service.client import Client

__all__ = ["turn"]


@contextlib.contextmanager
def turn(client: Client, what: str) -> Iterator[None]:
    """Do in this block what no other command on this machine does meanwhile.

    If another one is at it, that is said and waited for.

    Parameters
    ----------
    client
        The client, signed in.
    what
        What is done, such as "the upload of alice/data". Equal words wait for each other.

    Raises
    ------
    OutputError
        The folder of the state cannot be written to.
    """
    state = client.settings.state
    lock = FileLock(state / f"{hashlib.sha256(what.encode()).hexdigest()[:12]}.lock")
    is_taken = False
    with writing(state, "state"):
        state.mkdir(parents=True, exist_ok=True)
        state.chmod(0o700)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            is_taken = True
    if is_taken:
        client.say(f"{what}: another command here is at it, waiting for its end")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
