"""Programs on the device: ONNX files, TorchScript, and packages that are compiled for a GPU."""

import shutil

import pytest
import torch
from torch import nn

from kernelkit.ensemble import MegaModel
from kernelkit.errors import CheckpointError
from kernelkit.recipe import Execution
from tests.made.ensembles import ensemble, normalised
from tests.made.networks import PIXELS, answer, tiles
from tests.made.on_device import DEVICE, needs_gpu

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(300)]


@pytest.fixture
def network():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 2, 1)
    return nn.Sequential(*layers).eval()


@pytest.fixture
def run_folder(tmp_path):
    (tmp_path / "models/run").mkdir(parents=True)
    return tmp_path / "models/run"


def assert_answers(network, folder, **execution):
    """Batches of 2, 1 and 2 tiles have the network's answers, twice each."""
    model = MegaModel(
        folder,
        recipe=ensemble(programs=True),
        precision="fp32",
        batch=2,
        device=str(DEVICE),
        execution=Execution(**execution),
    )
    pixels = tiles(5)
    wanted = answer(network, normalised(pixels)).sigmoid()
    for _ in range(2):
        found = model.predict(pixels)
        assert found.probabilities.device.type == DEVICE.type
        torch.testing.assert_close(found.probabilities.cpu(), wanted, atol=1e-4, rtol=1e-3)
    return model


def write_onnx(network, folder):
    pytest.importorskip("onnxscript")
    shapes = ({0: torch.export.Dim("batch")},)
    torch.onnx.export(
        network,
        (PIXELS,),
        folder / "network.onnx",
        dynamic_shapes=shapes,
        dynamo=True,
        external_data=False,
    )


def test_an_onnx_file_on_the_processor(network, run_folder):
    """The recipe allows the processor. The answers come back onto the device."""
    pytest.importorskip("onnxruntime")
    write_onnx(network, run_folder)
    assert_answers(network, run_folder.parent, providers={"cpu": {}})


@needs_gpu
def test_an_onnx_file_on_the_gpu(network, run_folder):
    """It computes there, or an error says that this onnxruntime cannot."""
    runtime = pytest.importorskip("onnxruntime")
    write_onnx(network, run_folder)
    if "CUDAExecutionProvider" in runtime.get_available_providers():
        assert_answers(network, run_folder.parent)
    else:
        with pytest.raises(CheckpointError, match="Install the onnxruntime-gpu"):
            assert_answers(network, run_folder.parent)


def test_torchscript(network, run_folder):
    """A scripted network computes on the device."""
    torch.jit.save(torch.jit.script(network), run_folder / "network.ts")
    assert_answers(network, run_folder.parent)


@pytest.mark.slow
@needs_gpu
@pytest.mark.skipif(not shutil.which("cc"), reason="Triton compiles with cc, which is missing")
def test_a_package_that_is_compiled_for_this_gpu(network, run_folder):
    """An AOTInductor package answers as its network, and is refused on the processor."""
    shapes = ({0: torch.export.Dim("batch", min=1, max=64)},)
    program = torch.export.export(network.to(DEVICE), (PIXELS.to(DEVICE),), dynamic_shapes=shapes)
    torch._inductor.aoti_compile_and_package(program, package_path=str(run_folder / "network.pt2"))
    assert_answers(network.cpu(), run_folder.parent)
    with pytest.raises(CheckpointError, match="was compiled for cuda, but the device is cpu"):
        MegaModel(run_folder.parent, recipe=ensemble(programs=True), device="cpu")
