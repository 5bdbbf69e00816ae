"""Lightning says much, and writes files of its own. None of that is shown here."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["quiet"]

_LOGGERS = ("pytorch_lightning", "lightning_fabric", "lightning.pytorch", "lightning.fabric")
# what Lightning and torch warn about here is either meant or said in our own words
_MODULES = r"(pytorch_lightning|lightning_fabric|lightning_utilities|torch|tensorboard)(\.|$)"


@contextmanager
def quiet() -> Iterator[None]:
    """Show no line of Lightning's in this block."""
    before = {name: logging.getLogger(name).level for name in _LOGGERS}
    for name in _LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=_MODULES)
            yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)
