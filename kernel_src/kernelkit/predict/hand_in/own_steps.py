"""Postprocess steps of the user's own, beside kernelkit's: those of the module a recipe names."""

import inspect
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

from kernelkit.errors import RecipeError
from kernelkit.own import load_own
from kernelkit.predict.hand_in.postprocess import STEPS, Steps

__all__ = ["known_steps"]


def known_steps(module: str | None) -> Steps:
    """kernelkit's steps, and each public function of a module of the user's own.

    Parameters
    ----------
    module
        `package.module`, as `steps` in a recipe has it. None knows kernelkit's alone.

    Raises
    ------
    OwnCodeError
        It is no module of the user's own, or cannot be imported.
    RecipeError
        It has no step, or one of the name of a step of kernelkit's.
    """
    if module is None:
        return STEPS
    if ":" in module:
        raise RecipeError(f"steps: found {module!r}, wanted a module, without ':' and a name")
    own = dict(_functions(load_own(module)))
    if not own:
        raise RecipeError(
            f"steps: {module} has no step. Define a function in it whose first parameter is the "
            "mask"
        )
    if hidden := sorted(own.keys() & STEPS.keys()):
        raise RecipeError(
            f"steps: {module} has {', '.join(hidden)}, which would hide kernelkit's. Rename yours"
        )
    return {**STEPS, **own}


def _functions(module: ModuleType) -> Iterator[tuple[str, Callable[..., Any]]]:
    """The public functions that a module, or another one of its package, defines."""
    package = module.__name__.split(".")[0]
    for name, thing in vars(module).items():
        if inspect.isfunction(thing) and not name.startswith("_"):
            is_own = thing.__module__.split(".")[0] == package
            if is_own and inspect.signature(thing).parameters:
                yield name, thing
