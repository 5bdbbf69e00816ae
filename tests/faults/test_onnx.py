"""ONNX files that refer to more than themselves: each row is a file, and why it is refused."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from kernelkit.checkpoints import load_members, onnx_file
from kernelkit.errors import CheckpointError

OTHER_FILE = "its weights lie in another file"
LIBRARY = r"operators of another library \(evil\)"


def model(
    *nodes: onnx.NodeProto,
    weights: TensorProto | None = None,
    functions: tuple[onnx.FunctionProto, ...] = (),
) -> onnx.ModelProto:
    """A network that adds a number to its tiles, with more nodes after that."""
    shape = ["n", 3, "h", "w"]
    weights = weights or numpy_helper.from_array(np.zeros((1, 3, 1, 1), np.float32), "weights")
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "weights"], ["y"]), *nodes],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [weights],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("evil", 1)]
    opsets += [helper.make_opsetid(function.domain, 1) for function in functions]
    return helper.make_model(graph, opset_imports=opsets, functions=functions, ir_version=9)


def elsewhere(location: str = "../../secret") -> TensorProto:
    """A tensor whose numbers lie in another file."""
    tensor = TensorProto(name="weights", data_type=TensorProto.FLOAT, dims=[1, 3, 1, 1])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    return tensor


def unmarked() -> TensorProto:
    """A tensor that names another file, and does not say that its numbers lie there."""
    tensor = elsewhere()
    tensor.data_location = TensorProto.DEFAULT
    return tensor


def branch(tensor: TensorProto, domain: str = "") -> onnx.NodeProto:
    """A node with a graph of its own, as If has it, and a constant in that."""
    constant = helper.make_node("Constant", [], ["c"], value=tensor, domain=domain)
    inner = helper.make_graph([constant], "branch", [], [])
    return helper.make_node("If", ["x"], ["z"], then_branch=inner, else_branch=inner)


def function(domain: str, *nodes: onnx.NodeProto) -> onnx.FunctionProto:
    """A function that a model defines itself."""
    identity = helper.make_node("Identity", ["a"], ["b"])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("evil", 1)]
    return helper.make_function(domain, "own", ["a"], ["b"], [identity, *nodes], opsets)


def saved(content: onnx.ModelProto) -> bytes:
    """A model as its file has it."""
    return content.SerializeToString()


SMALL = numpy_helper.from_array(np.zeros(1, np.float32), "small")
EVIL = helper.make_node("Run", ["y"], ["z"], domain="evil")
SPARSE = onnx.SparseTensorProto(values=elsewhere(), indices=SMALL, dims=[3])


class Row(NamedTuple):
    """An ONNX file, and a pattern of the error."""

    name: str
    content: Callable[[], bytes]
    error: str


ROWS = [
    Row("weights elsewhere", lambda: saved(model(weights=elsewhere())), OTHER_FILE),
    Row("weights beside it", lambda: saved(model(weights=elsewhere("network.onnx.data"))),
        OTHER_FILE),
    Row("weights in /etc", lambda: saved(model(weights=elsewhere("/etc/passwd"))), OTHER_FILE),
    Row("a location that is not used", lambda: saved(model(weights=unmarked())), OTHER_FILE),
    Row("a constant elsewhere",
        lambda: saved(model(helper.make_node("Constant", [], ["c"], value=elsewhere()))),
        OTHER_FILE),
    Row("a constant of a branch elsewhere", lambda: saved(model(branch(elsewhere()))), OTHER_FILE),
    Row("a sparse constant elsewhere",
        lambda: saved(model(helper.make_node("Constant", [], ["c"], sparse_value=SPARSE))),
        OTHER_FILE),
    Row("a constant of a function elsewhere",
        lambda: saved(model(functions=(function(
            "mine", helper.make_node("Constant", [], ["c"], value=elsewhere())),))),
        OTHER_FILE),
    Row("two graphs, the second elsewhere",
        lambda: saved(model()) + saved(model(weights=elsewhere())), OTHER_FILE),
    Row("an operator of a library", lambda: saved(model(EVIL)), LIBRARY),
    Row("an operator of a library in a branch", lambda: saved(model(branch(SMALL, "evil"))),
        LIBRARY),
    Row("an operator of a library in a function",
        lambda: saved(model(functions=(function("mine", EVIL),))), LIBRARY),
    Row("a compiled graph elsewhere",
        lambda: saved(model(helper.make_node("EPContext", ["y"], ["z"], domain="com.microsoft",
            ep_cache_context="../engine"))),
        "a compiled graph in another file"),
    Row("half a file", lambda: saved(model())[:-40], "found no ONNX file"),
    Row("an empty file", lambda: b"", "found no ONNX file"),
    Row("a picture", lambda: b"\x89PNG\r\n\x1a\n" + bytes(99), "found no ONNX file"),
    Row("numbers without an end", lambda: b"\xff" * 99, "found no ONNX file"),
    Row("branches in branches", lambda: nested(200), "found no ONNX file"),
]  # fmt: skip


def seen(
    *nodes: onnx.NodeProto,
    takes: Any = (TensorProto.FLOAT, ("n", 3, "h", "w")),
    gives: Sequence[tuple[str, int]] = (),
) -> bytes:
    """A network of one input x, or of none, and of outputs that are named with their types."""
    inputs = [helper.make_tensor_value_info("x", *takes)] if takes else []
    outputs = [helper.make_tensor_value_info(name, kind, None) for name, kind in gives]
    graph = helper.make_graph(list(nodes), "graph", inputs, outputs, [])
    opsets = [helper.make_opsetid("", 17)]
    return saved(helper.make_model(graph, opset_imports=opsets, ir_version=9))


MASKS = helper.make_node("ReduceMean", ["x"], ["masks"], axes=[1], keepdims=1)
LABELS = helper.make_node("ReduceMean", ["x"], ["labels"], axes=[2, 3], keepdims=0)
ARGMAX = helper.make_node("ArgMax", ["x"], ["y"], axis=1)
TRUTH = helper.make_node("IsNaN", ["x"], ["y"])
NEGATIVE = helper.make_node("Neg", ["x"], ["y"])
CONSTANT = helper.make_node("Constant", [], ["y"], value=SMALL)
FLOAT, WHOLE = TensorProto.FLOAT, TensorProto.INT64

# A network, and a pattern of why nobody can use its answers.
ANSWERS = [
    Row("class numbers", lambda: seen(ARGMAX, gives=[("y", WHOLE)]),
        "answers in int64, as after an argmax or a threshold, wanted logits"),
    Row("truth values", lambda: seen(TRUTH, gives=[("y", TensorProto.BOOL)]), "answers in bool"),
    Row("bands last", lambda: seen(NEGATIVE, takes=(FLOAT, ("n", 64, 64, 3)), gives=[("y", FLOAT)]),
        "last axis has 3 values, which are bands"),
    Row("bands last, of any size",
        lambda: seen(NEGATIVE, takes=(FLOAT, ("n", "h", "w", 3)), gives=[("y", FLOAT)]),
        "last axis has 3 values"),
    Row("bytes", lambda: seen(helper.make_node("Identity", ["x"], ["y"]), takes=(
        TensorProto.UINT8, ("n", 3, "h", "w")), gives=[("y", TensorProto.UINT8)]),
        r"it takes tensor\(uint8\), wanted tensor\(float16\), tensor\(float\)"),
    Row("no input", lambda: seen(CONSTANT, takes=(), gives=[("y", FLOAT)]), "found no input"),
    Row("no output", lambda: seen(NEGATIVE), "it answers with nothing"),
]  # fmt: skip


def nested(levels: int) -> bytes:
    """A graph in a node in a graph, and so on."""
    content = b""
    for _ in range(levels):
        for number in (6, 5, 1):
            content = bytes([number << 3 | 2]) + length(len(content)) + content
    return b"\x3a" + length(len(content)) + content


def length(number: int) -> bytes:
    """A number as protocol buffers have it."""
    out = []
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def write(folder: Path, content: bytes) -> Path:
    """A models folder with one run."""
    (folder / "run").mkdir()
    (folder / "run/network.onnx").write_bytes(content)
    return folder


@pytest.mark.parametrize("row", [*ROWS, *ANSWERS], ids=lambda row: row.name)
def test_an_onnx_file(row: Row, tmp_path: Path) -> None:
    """It is refused in a sentence that names the file, before the first tile."""
    folder = write(tmp_path, row.content())
    with pytest.raises(CheckpointError, match=row.error) as caught:
        load_members(folder)
    assert "network.onnx: " in str(caught.value)
    assert not str(caught.value).endswith(".")


@pytest.mark.parametrize(
    "content",
    [model(), model(functions=(function("mine"),)), model(branch(SMALL))],
    ids=["plain", "a function of its own", "a branch"],
)
def test_a_file_that_stands_alone_passes(tmp_path: Path, content: onnx.ModelProto) -> None:
    """Weights inside, functions of its own and branches are no reason to refuse."""
    path = tmp_path / "network.onnx"
    path.write_bytes(saved(content))
    onnx_file.check_onnx(path)


def test_a_plain_file_answers(tmp_path: Path) -> None:
    """A graph that adds 0 answers with its tiles."""
    [member] = load_members(write(tmp_path, saved(model())))
    assert member.classes == 3


@pytest.mark.parametrize("kind", [TensorProto.FLOAT16, TensorProto.DOUBLE])
def test_other_floating_point_numbers_are_taken(tmp_path: Path, kind: int) -> None:
    """Tiles are converted to what the network takes."""
    content = seen(MASKS, takes=(kind, ("n", 3, "h", "w")), gives=[("masks", kind)])
    [member] = load_members(write(tmp_path, content))
    tiles = torch.rand(2, 3, 64, 64)
    torch.testing.assert_close(
        member.module(tiles).float(), tiles.mean(1, keepdim=True), atol=1e-2, rtol=0
    )


@pytest.mark.parametrize("names", [["labels", "masks"], ["masks", "labels"]])
def test_of_several_outputs_the_masks_are_taken(tmp_path: Path, names: list[str]) -> None:
    """The name says which they are, and a note says which was taken."""
    content = seen(MASKS, LABELS, gives=[(name, FLOAT) for name in names])
    [member] = load_members(write(tmp_path, content))
    assert (member.kind, member.classes) == ("program", 1)
    assert f"answers with {', '.join(names)}, and masks is taken" in member.notes[-1]


def test_a_file_larger_than_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused by its size, before a byte of it is read."""
    folder = write(tmp_path, b"")
    with (folder / "run/network.onnx").open("r+b") as file:
        file.truncate(3 << 30)
    monkeypatch.setattr(onnx_file, "available_memory", lambda: 4 << 30)
    with pytest.raises(CheckpointError, match=r"3\.2 GB, which takes 8\.1 GB to load"):
        load_members(folder)
