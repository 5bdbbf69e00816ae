"""ONNX files run on the device of their ensemble, and say what really computes."""

from collections import Counter
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from kernelkit.checkpoints import Runtime, load_members
from kernelkit.checkpoints.onnx_session import OnnxSession, cpu_note, nodes_by_provider
from kernelkit.ensemble import MegaModel
from kernelkit.errors import CheckpointError
from kernelkit.recipe import Execution
from tests.made.networks import PIXELS

GPU = torch.device("cuda", 0)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder with a run that is an ONNX file of any batch."""
    folder = tmp_path_factory.mktemp("onnx")
    (folder / "run").mkdir()
    with torch.random.fork_rng():
        network = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 2, 1)).eval()
    options = {"dynamo": True, "external_data": False}
    shapes = ({0: torch.export.Dim("batch")},)
    path = folder / "run/network.onnx"
    torch.onnx.export(network, (PIXELS,), path, dynamic_shapes=shapes, **options)
    return folder


def test_bound_memory_holds_the_same_answers(models: Path) -> None:
    """Answers that onnxruntime writes into torch's memory are those that it gives as arrays."""
    path = models / "run/network.onnx"
    session = OnnxSession(path, Runtime())
    plain = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for count in (2, 1, 2, 1):  # the second of each length is bound
        tiles = PIXELS[:count].flip(-1) * count
        [wanted] = plain.run(None, {plain.get_inputs()[0].name: tiles.numpy()})
        answer = session(tiles)
        np.testing.assert_array_equal(answer.numpy(), wanted)
        again = session(tiles.transpose(-2, -1))  # not contiguous, and in memory of its own
        assert answer.data_ptr() != again.data_ptr()
        np.testing.assert_array_equal(answer.numpy(), wanted)


def test_the_provider_is_said(models: Path) -> None:
    """It stands in the member's notes, and in the table of the ensemble."""
    model = MegaModel(models, device="cpu")
    words = f"onnxruntime {onnxruntime.__version__}, CPUExecutionProvider"
    assert [row["runs_by"] for row in model.describe()] == [words]
    assert any(note.endswith(f"network.onnx: it is run by {words}") for note in model.notes)


@pytest.mark.skipif(torch.cuda.is_available(), reason="onnxruntime may take the GPU here")
def test_a_cpu_in_place_of_a_gpu_is_refused(models: Path) -> None:
    """Unless the recipe names the CPU, after what it would rather have."""
    with pytest.raises(CheckpointError, match=r"on cuda:0, wanted CUDAExecutionProvider\. Install"):
        load_members(models, runtime=Runtime(GPU))
    wanted = (("tensorrt", {}), ("cuda", {}), ("cpu", {}))
    [member] = load_members(models, runtime=Runtime(GPU, providers=wanted))
    assert member.runs_by.endswith("CPUExecutionProvider")


def test_onnxruntime_tells_who_got_which_nodes(models: Path) -> None:
    """All are the CPU's here, and in its own session that is no note."""
    session = OnnxSession(models / "run/network.onnx", Runtime())
    [(provider, nodes)] = nodes_by_provider(session._session).items()
    assert provider == "CPUExecutionProvider"
    assert nodes == {"Conv": 2, "Relu": 1}
    assert session.notes == []


def test_nodes_that_a_gpu_leaves_to_the_cpu_are_named() -> None:
    """Those that work on shapes are left to it on purpose."""
    nodes = {
        "CUDAExecutionProvider": Counter(Conv=90),
        "CPUExecutionProvider": Counter(Shape=4, GridSample=2, Resize=3, Gather=1),
    }
    [note] = cpu_note(Path("a.onnx"), nodes)
    assert note.startswith(
        "a.onnx: a CPU computes 5 of its 100 nodes, for which the GPU has no code"
    )
    assert "(3 Resize, 2 GridSample)" in note
    nodes["CPUExecutionProvider"] = Counter(Shape=4, Gather=1)
    assert cpu_note(Path("a.onnx"), nodes) == []


def test_tensorrt_is_refused_where_there_is_none(models: Path) -> None:
    """A recipe that wants a GPU gets no CPU, and its error says how to allow it."""
    wanted = Execution(providers=["tensorrt", "cuda"])
    with pytest.raises(CheckpointError, match=r"wanted Tensorrt.*Choose a GPU.*or add cpu to"):
        MegaModel(models, device="cpu", execution=wanted)
    allowed = Execution(providers=["tensorrt", "cuda", "cpu"])
    assert MegaModel(models, device="cpu", execution=allowed).classes == 2


def test_options_of_a_provider() -> None:
    """A GPU's provider has its number, TensorRT the ensemble's float16, and the recipe the rest.

    CUDA's provider computes in the same way each time, and takes no more memory than it needs.
    """
    chosen = (("tensorrt", {"trt_engine_cache_enable": True}), ("cuda", {"device_id": 3}))
    runtime = Runtime(torch.device("cuda", 1), is_half=True, providers=chosen)
    assert runtime.options_of("tensorrt") == {
        "device_id": "1",
        "trt_fp16_enable": "True",
        "trt_engine_cache_enable": "True",
    }
    assert runtime.options_of("cuda") == {
        "device_id": "3",
        "cudnn_conv_algo_search": "HEURISTIC",
        "arena_extend_strategy": "kSameAsRequested",
    }
    assert runtime.options_of("cpu") == {}


def test_memory_that_runs_out_is_torchs_own_error(tmp_path: Path) -> None:
    """So the ensemble asks about fewer tiles at once, as of any other network."""
    larger = helper.make_node("Resize", ["tiles", "", "scales"], ["answer"], mode="nearest")
    scales = numpy_helper.from_array(np.array([1, 1, 9000, 9000], np.float32), "scales")
    [tiles, answer] = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 3, None, None])
        for name in ("tiles", "answer")
    )
    graph = helper.make_graph([larger], "huge", [tiles], [answer], [scales])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    (tmp_path / "huge.onnx").write_bytes(model.SerializeToString())
    session = OnnxSession(tmp_path / "huge.onnx", Runtime())
    with pytest.raises(torch.OutOfMemoryError, match="running Resize node"):
        session(PIXELS)


def test_a_session_has_the_threads_of_torch(models: Path) -> None:
    """Processes share a machine by their threads, and sessions must keep to it."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        session = OnnxSession(models / "run/network.onnx", Runtime())
    finally:
        torch.set_num_threads(before)
    assert session._session.get_session_options().intra_op_num_threads == 1
