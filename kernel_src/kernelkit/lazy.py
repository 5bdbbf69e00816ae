"""`lazily`: names of a package that load with the piece that defines them, once they are asked for.

>>> find = lazily("kernelkit", {"grid": ("TileGrid",)})
>>> find("TileGrid").__module__
'kernelkit.grid'
"""

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

__all__ = ["lazily"]


def lazily(package: str, pieces: Mapping[str, Sequence[str]]) -> Callable[[str], Any]:
    """Return what a package needs as its `__getattr__`. So it is imported without its pieces.

    Parameters
    ----------
    package
        The package's own name, `__name__`.
    pieces
        The names that each module below it defines.
    """
    homes = {name: module for module, names in pieces.items() for name in names}

    def find(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{package}.{homes[name]}"), name)

    return find
