"""Engines: members of an ensemble as programs that are compiled for one kind of device.

`samples` reads real tiles, or whole pictures, and what each member sees of them. `export` writes a
network as an ONNX file or an AOTInductor package. `checking` compares its answers with those of the
weights, and measures both. `folders` writes run folders of it, and `recipes` the recipe that reads
them. `make` goes the whole way, and `table` shows what came of it.
"""

from kernelkit.engines.make import Engine, make_engines
from kernelkit.engines.table import table_of

__all__ = ["Engine", "make_engines", "table_of"]
