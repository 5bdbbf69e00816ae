"""What was made, as a table for people."""

from collections.abc import Sequence

import pandas as pd

from kernelkit.engines.checking import Engine

__all__ = ["table_of"]


def table_of(engines: Sequence[Engine]) -> pd.DataFrame:
    """One row per engine: its size, how far it is from its weights, and how fast both are."""
    return pd.DataFrame(
        {
            "engine": [engine.name for engine in engines],
            "MB": [round(engine.megabytes, 1) for engine in engines],
            "largest difference": [f"{engine.largest:.1e}" for engine in engines],
            "where": [engine.where for engine in engines],
            "ms per tile": [round(1e3 * engine.seconds, 2) for engine in engines],
            "ms by the weights": [round(1e3 * engine.weights_seconds, 2) for engine in engines],
        }
    )
