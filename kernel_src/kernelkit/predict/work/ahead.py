"""Reading ahead by one: a thread makes the next item while the last one is worked on."""

from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager

__all__ = ["one_ahead"]

# how long the thread may take for its item after the caller has left, in seconds
_GRACE = 10.0


@contextmanager
def one_ahead[T](items: Generator[T], give_up: Callable[[], None]) -> Iterator[Iterator[T]]:
    """Give the items of a generator, which runs in a thread of its own.

    Decoders and networks leave Python to itself, so both go on at once. The items and their order
    are those of the generator. Its errors are raised where its items are awaited.

    Parameters
    ----------
    give_up
        Is called if the generator is stuck when the caller leaves.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="kernelkit-ahead") as thread:
        future = thread.submit(next, items, None)

        def taken() -> Iterator[T]:
            nonlocal future
            while (item := future.result()) is not None:
                future = thread.submit(next, items, None)
                yield item

        try:
            yield taken()
        finally:
            if wait([future], _GRACE).not_done:
                give_up()
            thread.submit(items.close).result()
