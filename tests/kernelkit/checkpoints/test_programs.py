"""Members that are programs: TorchScript, torch.export and ONNX files."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
import yaml
from torch import nn

from kernelkit.checkpoints import load_members
from kernelkit.errors import CheckpointError
from tests.made.networks import PIXELS, UNET, answer, same_answers


class Doubling(nn.Module):
    """A network that is scripted in a moment."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 1, 3, padding=1)

    def forward(self, x):
        return 2 * self.conv(x)


def write_program(folder, form):
    folder.mkdir(parents=True)
    module = Doubling().eval()
    if form == ".pt2":
        batch = torch.export.Dim("batch")
        program = torch.export.export(module, (PIXELS,), dynamic_shapes=({0: batch},))
        torch.export.save(program, folder / "network.pt2")
    else:
        torch.jit.save(torch.jit.script(module), folder / f"network{form}")
    return module


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:The given buffer")
@pytest.mark.parametrize("form", [".ts", ".pt", ".pt2"])
def test_programs_load_only_on_request(tmp_path, form):
    """TorchScript and torch.export archives are refused, unless programs are requested."""
    module = write_program(tmp_path / "run", form)
    with pytest.raises(CheckpointError, match=r"network\.pt2?|network\.ts.*can run code"):
        load_members(tmp_path)
    [member] = load_members(tmp_path, programs=True)
    assert member.kind == "program"
    assert same_answers([member], [module])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_program_in_disguise(tmp_path):
    """TorchScript with the name of a checkpoint is loaded only on request."""
    write_program(tmp_path / "run", ".ts")
    (tmp_path / "run/network.ts").rename(tmp_path / "run/e1.pth")
    (tmp_path / "run/cfg.yaml").write_text(yaml.safe_dump({"MODEL": UNET}))
    with pytest.raises(CheckpointError, match=r"e1\.pth: this is a program"):
        load_members(tmp_path)
    assert load_members(tmp_path, programs=True)[0].kind == "program"


def test_onnx_without_its_runtime(tmp_path, monkeypatch):
    """Without onnxruntime the error for an ONNX file says what is missing."""
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    (tmp_path / "run").mkdir()
    (tmp_path / "run/network.onnx").write_bytes(b"onnx")
    with pytest.raises(CheckpointError, match="needs onnxruntime"):
        load_members(tmp_path)


@pytest.fixture(scope="module")
def onnx_models(tmp_path_factory):
    """A models folder with a run that is an ONNX file, and the network that was exported."""
    module = Doubling().eval()
    folder = tmp_path_factory.mktemp("onnx")
    (folder / "run").mkdir()
    shapes = ({0: torch.export.Dim("batch")},)
    path = folder / "run/network.onnx"
    options = {"dynamic_shapes": shapes, "dynamo": True, "external_data": False}
    torch.onnx.export(module, (PIXELS,), path, **options)
    return folder, module


def test_onnx_with_its_runtime(onnx_models):
    """An ONNX file runs in onnxruntime and answers as the network that was exported."""
    folder, module = onnx_models
    [member] = load_members(folder)
    np.testing.assert_allclose(
        answer(member.module, PIXELS[:1]).numpy(), answer(module, PIXELS[:1]).numpy(), atol=1e-5
    )


REACHES_OUT = """
import os, socket, sys
listener = socket.create_server(("127.0.0.1", 0))
for name in ("http_proxy", "https_proxy"):
    os.environ[name] = "http://127.0.0.1:%d" % listener.getsockname()[1]
from kernelkit.checkpoints import load_members
load_members(sys.argv[1])
listener.settimeout(15)  # without the setting a report comes after nine
try:
    print(listener.accept()[0].recv(100))
except TimeoutError:
    print("nothing")
"""


@pytest.mark.slow
def test_onnx_members_do_not_report_home(onnx_models):
    """The reports that onnxruntime sends to its makers by default are not sent."""
    environment = {k: v for k, v in os.environ.items() if k not in ("CI", "ORT_DISABLE_TELEMETRY")}
    done = subprocess.run(
        [sys.executable, "-c", REACHES_OUT, onnx_models[0]],
        env=environment | {"PYTHONPATH": "kernel_src"},
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    assert done.stdout == "nothing\n"
