"""Engines: members of an ensemble as programs that are compiled for one kind of device.

`samples` reads real tiles, or whole pictures, and what each member sees of them. `parts` are the
networks that become engines. `export` writes one as an ONNX file or an AOTInductor package.
`checking` compares its answers with those of the weights, and measures both. `folders` writes run
folders of it, `recipes` the recipe that reads them, and `placing` puts all in place at once. `make`
goes the whole way, and `table` shows what came of it.
"""

from kernelkit.engines.checking import Engine
from kernelkit.engines.make import make_engines
from kernelkit.engines.table import table_of

__all__ = ["Engine", "make_engines", "table_of"]
