"""What an ONNX file refers to, read from its bytes before onnxruntime sees them.

A graph holds no code. But a tensor of it may lie in another file, by any path. A node may ask for
an operator of another library. Both are refused here. The format is "Protocol Buffers encoding"
with the field numbers of onnx.proto3.
"""

import mmap
from collections.abc import Iterator, Mapping
from pathlib import Path

from kernelkit.errors import CheckpointError
from kernelkit.memory import available_memory

__all__ = ["check_onnx", "refuse_large"]

# The operators that onnxruntime has itself. "" is ONNX's own.
_DOMAINS = frozenset(("", "ai.onnx", "ai.onnx.ml", "ai.onnx.training", "com.microsoft"))
# A node of this kind names a compiled graph in another file.
_ELSEWHERE = b"EPContext"
# onnxruntime holds the file and what it makes of it.
_COPIES = 2.5
# Files of fewer bytes are loaded without asking for the free memory.
_SMALL = 64 << 20
# Graphs may hold graphs, as branches do. Real ones are a few levels deep.
_DEEPEST = 64

# Which fields of a message hold which messages.
_INSIDE: Mapping[str, Mapping[int, str]] = {
    "model": {7: "graph", 25: "function"},
    "graph": {1: "node", 5: "tensor", 15: "sparse tensor"},
    "function": {7: "node"},
    "node": {5: "attribute"},
    "attribute": {
        5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse tensor", 23: "sparse tensor"
    },
    "sparse tensor": {1: "tensor", 2: "tensor"},
    "tensor": {},
}  # fmt: skip
_FUNCTION_DOMAIN, _NODE_TYPE, _NODE_DOMAIN, _EXTERNAL, _LOCATION = 10, 4, 7, 13, 14


def check_onnx(path: Path) -> None:
    """Refuse an ONNX file that refers to other files or libraries, or needs too much memory.

    Raises
    ------
    CheckpointError
        It does, or it is no ONNX file.
    """
    refuse_large(path)
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            own = frozenset(_domains_of_functions(data))
            _check(path, data, "model", (0, len(data)), own, 0)
    except (IndexError, ValueError, UnicodeDecodeError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(
            f"{path}: found no ONNX file. It is damaged, or of another kind. Export it again"
        ) from None


def refuse_large(path: Path) -> None:
    """Refuse a file that needs more memory than is free, before a byte of it is read.

    Raises
    ------
    CheckpointError
        It does.
    """
    size = path.stat().st_size
    if size >= _SMALL and size * _COPIES > (free := available_memory()):
        raise CheckpointError(
            f"{path}: found an ONNX file of {size / 1e9:.1f} GB, which takes "
            f"{size * _COPIES / 1e9:.1f} GB to load, and {free / 1e9:.1f} GB of memory is free. "
            "Use a smaller network"
        )


def _check(
    path: Path, data: mmap.mmap, kind: str, span: tuple[int, int], own: frozenset[str], depth: int
) -> None:
    """Refuse what a message refers to, and what the messages in it do."""
    if depth > _DEEPEST:
        raise ValueError("nested too deeply")
    for number, start, stop in _fields(data, *span):
        inner = _INSIDE[kind].get(number)
        if inner is not None and stop >= 0:
            _check(path, data, inner, (start, stop), own, depth + 1)
        elif kind == "tensor" and (number == _EXTERNAL or (number == _LOCATION and start)):
            raise CheckpointError(
                f"{path}: its weights lie in another file, which is not read. Save it as one file: "
                "onnx.save(onnx.load(path), path), or export with external_data=False"
            )
        elif kind == "node" and number == _NODE_TYPE and data[start:stop] == _ELSEWHERE:
            raise CheckpointError(
                f"{path}: it names a compiled graph in another file (EPContext). Export the "
                "network itself"
            )
        elif kind == "node" and number == _NODE_DOMAIN:
            domain = data[start:stop].decode()
            if domain not in _DOMAINS and domain not in own:
                raise CheckpointError(
                    f"{path}: it needs operators of another library ({domain:.60}), which is never "
                    "loaded. Export it with ONNX's own operators"
                )


def _domains_of_functions(data: mmap.mmap) -> Iterator[str]:
    """Iterate over the domains that a model defines itself, as functions of plain operators."""
    for number, start, stop in _fields(data, 0, len(data)):
        if number == 25 and stop >= 0:
            for inner, first, last in _fields(data, start, stop):
                if inner == _FUNCTION_DOMAIN and last >= 0:
                    yield data[first:last].decode()


def _fields(data: mmap.mmap, start: int, stop: int) -> Iterator[tuple[int, int, int]]:
    """Iterate over a message's fields: number, start and stop of its bytes.

    A number has its value for a start, and -1 for a stop.
    """
    while start < stop:
        key, start = _varint(data, start)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, start = _varint(data, start)
            yield number, value, -1
        elif wire == 2:
            length, start = _varint(data, start)
            if length > stop - start:
                raise ValueError("a field beyond the end of its message")
            yield number, start, start + length
            start += length
        elif wire in (1, 5):
            start += 8 if wire == 1 else 4
        else:
            raise ValueError("a field of no kind")
    if start != stop:
        raise ValueError("a message that ends within a field")


def _varint(data: mmap.mmap, at: int) -> tuple[int, int]:
    """Return a number of any length, and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("a number without an end")
