"""Numba's decorator with a cache that cannot fail, bit instructions, and threads.

Kaggle mounts datasets read-only. If numba may write neither beside the source nor in the user's
home, it refuses to decorate ("no locator available"). `compiled` then goes without a cache.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

__all__ = ["compiled", "count_ones", "in_threads", "prefetch", "store_word", "trailing_zeros"]

# Pixels. Fewer are done before threads have started.
_WORTH_A_THREAD = 1 << 25


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile `function` at its first call, without the GIL, and cache it on disk if that works.

    The cache notices a change in the function's own file. It does not notice one in another file
    whose functions it calls.
    """
    try:
        return njit(nogil=True, error_model="numpy", cache=True)(function)
    except RuntimeError:  # no folder for the cache: compile in each process
        return njit(nogil=True, error_model="numpy")(function)


@intrinsic
def trailing_zeros(_typing: Any, _word: Any) -> Any:
    """The index (int64) of the lowest set bit of a uint64 word that is not 0."""

    def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.uint64), generate


@intrinsic
def count_ones(_typing: Any, _word: Any) -> Any:
    """The number (int64) of set bits in a uint64 word."""

    def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return builder.ctpop(args[0])

    return types.int64(types.uint64), generate


@intrinsic
def prefetch(_typing: Any, array: Any, _row: Any, _column: Any) -> Any:
    """Ask for the cache line of `array[row, column]`, which is read some hundred cycles later."""

    def generate(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        struct = context.make_array(array)(context, builder, args[0])
        item = cgutils.get_item_pointer(context, builder, array, struct, list(args[1:]))
        flag, pointer = ir.IntType(32), ir.IntType(8).as_pointer()
        ask = builder.module.declare_intrinsic(
            "llvm.prefetch",
            (pointer,),
            ir.FunctionType(ir.VoidType(), [pointer, flag, flag, flag]),
        )
        to_read, keep, data = (ir.Constant(flag, value) for value in (0, 3, 1))
        builder.call(ask, [builder.bitcast(item, pointer), to_read, keep, data])
        return context.get_dummy_value()

    return types.void(array, types.int64, types.int64), generate


@intrinsic
def store_word(_typing: Any, array: Any, _index: Any, _word: Any) -> Any:
    """Store the 8 bytes of a uint64 word in an array of bytes from `index` on, aligned or not."""

    def generate(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        struct = context.make_array(array)(context, builder, args[0])
        item = builder.gep(struct.data, [args[1]])
        builder.store(args[2], builder.bitcast(item, ir.IntType(64).as_pointer()), align=1)
        return context.get_dummy_value()

    return types.void(array, types.int64, types.uint64), generate


def in_threads[Item, Result](
    function: Callable[[Item], Result], items: Sequence[Item], pixels: int
) -> list[Result]:
    """Call `function` with each item, on all cores that this process may use.

    The threads live for this call only. In a forked reader process, a pool that the module kept
    would be one of dead threads.

    Parameters
    ----------
    function
        It should release the GIL.
    items
        Its arguments.
    pixels
        How much work there is in all. A little is done at once, without threads.

    Returns
    -------
    list
        The results, in the order of the items.
    """
    threads = min(len(items), _usable_cores())
    if threads <= 1 or pixels < _WORTH_A_THREAD:
        return [function(item) for item in items]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(function, items))


def _usable_cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        return os.cpu_count() or 1
