"""Where the members are, and what happens if memory or a feature is missing."""

import gc
import shutil
import weakref

import pytest
import torch
import yaml
from torch import nn

from kernelkit.ensemble import MegaModel
from kernelkit.ensemble.device import has_code_for
from kernelkit.ensemble.graphs import GraphRecorder
from kernelkit.ensemble.notes import Notes
from kernelkit.errors import DeviceError
from kernelkit.own import load_own
from kernelkit.recipe import Execution
from tests.made.ensembles import ensemble
from tests.made.networks import tiles, write_fold
from tests.made.own import PACKAGE, session_with, write_own


class Greedy(nn.Module):
    """Runs out of memory with more than `limit` tiles at once."""

    def __init__(self, network, limit):
        super().__init__()
        self.network, self.limit = network, limit
        self.batches = []

    def forward(self, x):
        if len(x) > self.limit:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB.")
        self.batches.append(len(x))
        return self.network(x)


def make_greedy(model, limit):
    """Let every member of a model run out of memory above `limit` tiles."""
    greedy = []
    for placed in model._placement.placed:
        placed._module = Greedy(placed._module, limit)
        greedy.append(placed._module)
    return greedy


def test_out_of_memory_halves_the_batch_and_loses_nothing(models):
    """If memory runs out, the same tiles are tried again in halves, and a note says so."""
    folder, _ = models
    pixels = tiles(11)
    recipe = ensemble(runs=["fpn"])
    expected = MegaModel(folder, recipe=recipe, precision="fp32").predict(pixels).probabilities
    model = MegaModel(folder, recipe=recipe, precision="fp32", batch=8)
    [greedy] = make_greedy(model, limit=3)
    torch.testing.assert_close(model.predict(pixels).probabilities, expected)
    assert model.batch == 2
    assert greedy.batches[1:] == [2, 2, 2, 2, 2, 1]
    assert [note for note in model.notes if "the batch is 2" in note]
    torch.testing.assert_close(model.predict(pixels).probabilities, expected)


def test_at_one_tile_the_largest_member_moves_to_the_host(models):
    """At batch 1 members move to the host, the largest first. The answers stay the same."""
    folder, _ = models
    pixels = tiles(2)
    expected = MegaModel(folder, recipe=ensemble(), precision="fp32").predict(pixels).probabilities
    model = MegaModel(folder, recipe=ensemble(), precision="fp32", batch=2)
    members = model._placement.placed

    class Crowded(Greedy):
        def forward(self, x):
            self.limit = 8 if sum(member.on_host for member in members) >= 2 else 0
            return super().forward(x)

    smallest = min(members, key=lambda member: member.weight_bytes)
    for member in members:
        member._module = Crowded(member._module, 0)
    torch.testing.assert_close(model.predict(pixels).probabilities, expected)
    assert sum(member.on_host for member in members) == 2
    assert not smallest.on_host
    assert sorted(row["place"] for row in model.describe()) == ["cpu", "cpu", "host", "host"]
    assert any("stay in host memory" in note for note in model.notes)


def test_too_little_memory_for_one_tile_is_said(models):
    """If one tile and one member do not fit, the error says what to do."""
    folder, _ = models
    model = MegaModel(folder, recipe=ensemble(runs=["fpn"]), batch=2)
    make_greedy(model, limit=0)
    with pytest.raises(DeviceError, match="too little memory for one tile"):
        model.predict(tiles(1))


def test_other_errors_are_not_taken_for_lack_of_memory(models):
    """An error of a network that is not about memory comes out as it is."""
    folder, _ = models
    model = MegaModel(folder, recipe=ensemble(runs=["fpn"]))

    class Broken(nn.Module):
        def forward(self, _):
            raise RuntimeError("a shape is wrong")

    model._placement.placed[0]._module = Broken()
    with pytest.raises(RuntimeError, match="a shape is wrong"):
        model.predict(tiles(1))


def test_graphs_that_cannot_be_recorded(models):
    """If a CUDA graph cannot be recorded, the network is called directly, and a note says so."""
    if torch.cuda.is_available():
        pytest.skip("this machine can record graphs")
    notes = Notes()
    recorder = GraphRecorder(notes)
    for _ in range(2):
        assert torch.equal(recorder("twice", lambda x: 2 * x, torch.ones(2)), 2 * torch.ones(2))
    [note] = notes.sentences
    assert note.startswith("CUDA graphs are not used, because of an error")
    both = GraphRecorder(notes)
    added = both("sum", lambda x, y: x + y, torch.ones(2), torch.ones(2))
    assert torch.equal(added, 2 * torch.ones(2))
    execution = Execution(cuda_graph=True)
    model = MegaModel(models[0], recipe=ensemble(runs=["fpn"]), execution=execution)
    assert model.notes == ["CUDA graphs are not used: they need a GPU, and no rotating views"]


# What takes most of a small network's compilation, and pays for large ones only.
QUICKLY = {"cpp_cache_precompile_headers": False, "compile_threads": 1, "cpp.vec_isa_ok": True}


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine can record graphs")
def test_a_recording_that_fails_keeps_no_tensor():
    """What was recorded until then is free at once, and not when Python looks for cycles."""
    gc.disable()
    try:
        images = torch.ones(2)
        alive = weakref.ref(images)
        GraphRecorder(Notes())("twice", lambda x: 2 * x, images)
        del images
        assert alive() is None
    finally:
        gc.enable()


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(not shutil.which("g++"), reason="compiling for a CPU needs a compiler")
def test_compiled_networks_answer_as_plain_ones(monkeypatch, tmp_path):
    """`compile` really compiles, and changes only the order of additions."""
    from torch._inductor import config  # importing it takes a second

    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "compiled"))
    with session_with(write_own(tmp_path / "own")), config.patch(QUICKLY):
        network = load_own(f"{PACKAGE}.model:Net")().eval()
        write_fold(tmp_path / "models/run/fold_0/models", network)
        description = yaml.safe_dump({"MODEL": {"network": f"{PACKAGE}.model:Net"}})
        (tmp_path / "models/run/cfg.yaml").write_text(description)
        compiled, plain = (
            MegaModel(
                tmp_path / "models",
                recipe=ensemble(),
                precision="fp32",
                execution=Execution(compile=compile),
            )
            for compile in (True, False)
        )
        torch.testing.assert_close(
            compiled.predict(tiles(2)).probabilities,
            plain.predict(tiles(2)).probabilities,
            atol=1e-5,
            rtol=1e-4,
        )
    assert compiled.notes == []
    assert any((tmp_path / "compiled").rglob("*.so"))


def test_networks_that_cannot_be_compiled(models, monkeypatch):
    """If torch.compile fails, the plain network answers, and a note says why."""
    folder, _ = models

    def failing(*_, **__):
        def compiled(*_):
            raise RuntimeError("no compiler was found")

        return compiled

    monkeypatch.setattr(torch, "compile", failing)
    recipe = ensemble(runs=["fpn"])
    model = MegaModel(folder, recipe=recipe, precision="fp32", execution=Execution(compile=True))
    plain = MegaModel(folder, recipe=recipe, precision="fp32")
    torch.testing.assert_close(
        model.predict(tiles(2)).probabilities, plain.predict(tiles(2)).probabilities
    )
    assert model.notes == [
        "fpn/fold_0: torch.compile is not used, because of an error (no compiler was found)"
    ]


def test_a_device_that_is_not_there(models):
    """A request for a GPU on a machine without one says so, as does a device with no meaning."""
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(DeviceError, match="no GPU that torch can use"):
        MegaModel(models[0], device="cuda:0")
    with pytest.raises(DeviceError, match='no device "gpu". Choose auto, cpu, or a GPU'):
        MegaModel(models[0], device="gpu")
    with pytest.raises(DeviceError, match='of the kind "meta", wanted a processor or a GPU'):
        MegaModel(models[0], device="meta")


@pytest.mark.parametrize(
    ("capability", "built_for", "expected"),
    [
        ((7, 5), ["sm_75", "sm_80"], True),
        ((8, 9), ["sm_75", "sm_86"], True),
        ((6, 0), ["sm_75", "sm_80"], False),
        ((10, 0), ["sm_80", "sm_90"], False),
        ((10, 0), ["sm_80", "compute_90"], True),
        ((9, 0), ["sm_80", "sm_90a"], True),
        ((9, 1), ["sm_80", "sm_90a"], False),
        ((12, 0), ["sm_100", "sm_120"], True),
    ],
)
def test_which_gpus_torch_was_built_for(capability, built_for, expected):
    """Binary code runs on later GPUs of its generation, and PTX on all later ones."""
    assert has_code_for(capability, built_for) is expected
