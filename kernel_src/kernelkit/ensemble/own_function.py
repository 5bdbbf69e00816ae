"""`identity_of`: what a function of the user's own computes, as values that can be hashed.

The store keeps the answers of networks under a hash of all that they depend on. Such a function is
a part of that. Its source alone does not tell it apart: one source with another mean in its closure
computes something else.
"""

import functools
import hashlib
import inspect
import logging
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from types import CellType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

import kernelkit
from kernelkit.errors import RecipeError

__all__ = ["identity_of"]

_STANDARD = sysconfig.get_path("stdlib")
_INSTALLED = (_STANDARD, "<frozen", str(Path(kernelkit.__file__).parent))
_PLAIN = (bool, int, float, complex, str, bytes, type(None), torch.dtype, torch.device)


def identity_of(function: Any) -> Any:
    """Return what a function computes, as lists and strings that can be written as JSON.

    Parameters
    ----------
    function
        A function, a method, a `functools.partial`, or an object that is called, such as a network.
        What it reads is a part of it: defaults, closures, attributes, weights and names of its
        module. Of what is installed the name counts.

    Raises
    ------
    RecipeError
        It reads an object of which nobody can tell whether it is the same in another run.

    Examples
    --------
    >>> def minus(mean):
    ...     return lambda tiles: tiles - mean
    >>> identity_of(minus(1)) == identity_of(minus(1))
    True
    >>> identity_of(minus(1)) == identity_of(minus(2))
    False
    """
    return _identity(function, ())


def _identity(value: Any, inside: tuple[int, ...]) -> Any:
    """The identity of a value. `inside` are the objects that it is a part of."""
    if isinstance(value, _PLAIN):
        return repr(value)
    if isinstance(value, Tensor | np.ndarray | np.generic):
        return _of_numbers(value)
    if isinstance(value, ModuleType):
        return value.__name__
    if isinstance(value, logging.Logger):
        return value.name
    if id(value) in inside:
        return f"what is {len(inside) - inside.index(id(value))} above"
    parts = [_identity(part, (*inside, id(value))) for part in _parts(value)]
    return sorted(map(str, parts)) if isinstance(value, set | frozenset) else parts


def _parts(value: Any) -> Iterator[Any]:
    """What a value consists of."""
    if isinstance(value, list | tuple | set | frozenset):
        yield from (type(value).__name__, *value)
    elif isinstance(value, dict):
        yield from ("dict", *value.items())
    elif isinstance(value, CodeType):
        yield from (value.co_code, value.co_names, value.co_consts)
    elif isinstance(value, MethodType):
        yield from (value.__func__, value.__self__)
    elif isinstance(value, functools.partial):
        yield from (value.func, value.args, value.keywords)
    elif isinstance(value, staticmethod | classmethod):
        yield value.__func__
    elif isinstance(value, property):
        yield value.fget
    elif callable(value) and hasattr(value, "__name__"):  # functions and classes
        yield getattr(value, "__module__", None)
        yield getattr(value, "__qualname__", value.__name__)
        if isinstance(value, FunctionType) and not _is_installed(value.__code__.co_filename):
            yield from _of_function(value)
        elif isinstance(value, type) and not _is_installed(_file_of(value)):
            yield from _of_class(value)
        elif not isinstance(value, FunctionType | type):
            yield getattr(value, "__self__", None)
    elif hasattr(value, "__dict__"):
        yield from (type(value), vars(value))
    else:
        raise RecipeError(
            f"preprocess_fn: it reads an object of type {type(value).__name__}, and nobody can "
            "tell whether that will be the same in another run. Make it within the function"
        )


def _of_function(function: FunctionType) -> Iterator[Any]:
    """What a function does, and what it reads but for its arguments."""
    try:
        yield inspect.getsource(function)
    except OSError:  # typed at a prompt
        yield function.__code__
    yield from (function.__defaults__, function.__kwdefaults__)
    yield from map(_content, function.__closure__ or ())
    for name in sorted(_names(function.__code__) & function.__globals__.keys()):
        yield from (name, function.__globals__[name])


def _of_class(kind: type) -> Iterator[Any]:
    """What a class can do, and what it inherits."""
    yield from kind.__bases__
    for name, value in vars(kind).items():
        if not name.startswith("__") or isinstance(value, FunctionType):
            yield from (name, value)


def _content(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # a name that has no value yet
        return None


def _names(code: CodeType) -> set[str]:
    """The names that code looks up, also those of functions within it."""
    within = (_names(constant) for constant in code.co_consts if isinstance(constant, CodeType))
    return set(code.co_names).union(*within)


def _file_of(kind: type) -> str:
    """The file that a class is from. What is built into Python has none."""
    if kind.__module__ == "__main__":
        return ""
    return getattr(sys.modules.get(kind.__module__), "__file__", None) or _STANDARD


def _is_installed(file: str) -> bool:
    """Whether a file is Python's, a package's or kernelkit's, and no own one."""
    folders = set(Path(file).parts)
    return not folders.isdisjoint({"site-packages", "dist-packages"}) or file.startswith(_INSTALLED)


def _of_numbers(values: Any) -> list[str]:
    if isinstance(values, Tensor):
        content = values.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    else:
        content = np.ascontiguousarray(values)
    digest = hashlib.sha256(content.tobytes()).hexdigest()
    return [str(values.dtype), str(tuple(values.shape)), digest]
