"""Compiled functions that start anywhere: numba's decorator with a cache that cannot fail, bit
instructions, and threads.

Numba refuses to decorate at all ("no locator available") when it may write neither beside the
source nor in the user's home. Kaggle mounts datasets read-only, so `compiled` then goes without a
cache rather than without the module.
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

_WORTH_A_THREAD = 1 << 25
"""Pixels; fewer are done sooner than threads start."""


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile `function` at its first call, without the GIL, cached on disk where that works.

    The cache knows when a function's own file changes, not when one that it calls in another does.
    """
    try:
        return njit(nogil=True, error_model="numpy", cache=True)(function)
    except RuntimeError:  # no folder for the cache: compile in each process
        return njit(nogil=True, error_model="numpy")(function)


@intrinsic
def trailing_zeros(typing_context: Any, word: Any) -> Any:
    """Index (int64) of the lowest set bit of a uint64 word that is not 0."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.uint64), generate


@intrinsic
def count_ones(typing_context: Any, word: Any) -> Any:
    """Number (int64) of set bits in a uint64 word."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.ctpop(args[0])

    return types.int64(types.uint64), generate


@intrinsic
def prefetch(typing_context: Any, array: Any, row: Any, column: Any) -> Any:
    """Ask for the cache line of `array[row, column]`, which is read some hundred cycles later."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
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
def store_word(typing_context: Any, array: Any, index: Any, word: Any) -> Any:
    """Store the 8 bytes of a uint64 word in an array of bytes from `index` on, aligned or not."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        struct = context.make_array(array)(context, builder, args[0])
        item = builder.gep(struct.data, [args[1]])
        builder.store(args[2], builder.bitcast(item, ir.IntType(64).as_pointer()), align=1)
        return context.get_dummy_value()

    return types.void(array, types.int64, types.uint64), generate


def in_threads[Item, Result](
    function: Callable[[Item], Result], items: Sequence[Item], pixels: int
) -> list[Result]:
    """Results of `function` for each item, in order, on all cores that this process may use.

    `pixels` is how much work there is in all: little is done at once, without threads. The threads
    live for this call only: a pool kept in the module would be a pool of dead threads in a forked
    reader process.
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
