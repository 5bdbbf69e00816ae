"""Where the members lie, and what happens when memory or a feature is missing."""

import shutil

import pytest
import torch
from torch import nn

from kernelkit.ensemble import MegaModel
from kernelkit.ensemble.graphs import GraphRecorder
from kernelkit.errors import DeviceError
from kernelkit.recipe import Execution
from tests.made.ensembles import ensemble
from tests.made.networks import tiles


class Greedy(nn.Module):
    """Runs out of memory with more than `limit` tiles at once, or while it is not on the host."""

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
    for seat in model._seating.seats:
        seat._module = Greedy(seat._module, limit)
        greedy.append(seat._module)
    return greedy


def test_out_of_memory_halves_the_batch_and_loses_nothing(models):
    """Where memory runs out, the same tiles are tried again in halves, and the model says so."""
    folder, _ = models
    pixels = tiles(11)
    recipe = ensemble(runs=["fpn"])
    expected = MegaModel.from_recipe(folder, recipe, precision="fp32").predict(pixels)
    model = MegaModel.from_recipe(folder, recipe, precision="fp32", batch=8)
    [greedy] = make_greedy(model, limit=3)
    torch.testing.assert_close(model.predict(pixels), expected)
    assert model.batch == 2
    assert greedy.batches[1:] == [2, 2, 2, 2, 2, 1]
    assert [note for note in model.notes if "batches of 2" in note]
    torch.testing.assert_close(model.predict(pixels), expected)


def test_at_one_tile_the_largest_member_moves_to_the_host(models):
    """At batch 1 members are parked, the largest first, until it goes on; answers are the same."""
    folder, _ = models
    pixels = tiles(2)
    expected = MegaModel.from_recipe(folder, ensemble(), precision="fp32").predict(pixels)
    model = MegaModel.from_recipe(folder, ensemble(), precision="fp32", batch=2)
    seats = model._seating.seats

    class Crowded(Greedy):
        def forward(self, x):
            self.limit = 8 if sum(seat.parked for seat in seats) >= 2 else 0
            return super().forward(x)

    smallest = min(seats, key=lambda seat: seat.weight_bytes)
    for seat in seats:
        seat._module = Crowded(seat._module, 0)
    torch.testing.assert_close(model.predict(pixels), expected)
    assert sum(seat.parked for seat in seats) == 2
    assert not smallest.parked
    assert sorted(row["place"] for row in model.describe()) == ["cpu", "cpu", "host", "host"]
    assert any("host's memory" in note for note in model.notes)


def test_too_little_memory_for_one_tile_is_said(models):
    """Where even one tile and one member do not fit, the error says what to do."""
    folder, _ = models
    model = MegaModel.from_recipe(folder, ensemble(runs=["fpn"]), batch=2)
    make_greedy(model, limit=0)
    with pytest.raises(DeviceError, match="too little memory for one tile"):
        model.predict(tiles(1))


def test_other_errors_are_not_taken_for_lack_of_memory(models):
    """An error of a network that is not about memory comes out as it is."""
    folder, _ = models
    model = MegaModel.from_recipe(folder, ensemble(runs=["fpn"]))

    class Broken(nn.Module):
        def forward(self, x):
            raise RuntimeError("a shape is wrong")

    model._seating.seats[0]._module = Broken()
    with pytest.raises(RuntimeError, match="a shape is wrong"):
        model.predict(tiles(1))


def test_graphs_fall_back(models):
    """Where a CUDA graph cannot be recorded, the network is called plainly, and it says so."""
    if torch.cuda.is_available():
        pytest.skip("this machine can record graphs")
    recorder = GraphRecorder(lambda x: 2 * x)
    assert torch.equal(recorder(torch.ones(2)), 2 * torch.ones(2))
    assert recorder.failure
    execution = Execution(cuda_graph=True)
    model = MegaModel.from_recipe(models[0], ensemble(runs=["fpn"]), execution=execution)
    assert model.notes == ["without CUDA graphs: they need a GPU, and views that stay the same"]


@pytest.mark.timeout(600)
@pytest.mark.skipif(not shutil.which("g++"), reason="compiling for a CPU takes a compiler")
def test_compiled_networks_answer_as_plain_ones(models, monkeypatch, tmp_path):
    """`compile` really compiles, and changes no more than the order of additions."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    recipe = ensemble(runs=["fpn"])
    compiled, plain = (
        MegaModel.from_recipe(
            models[0], recipe, precision="fp32", execution=Execution(compile=compile)
        )
        for compile in (True, False)
    )
    torch.testing.assert_close(
        compiled.predict(tiles(2)), plain.predict(tiles(2)), atol=1e-5, rtol=1e-4
    )
    assert compiled.notes == []
    assert any(tmp_path.rglob("*.so"))


def test_compiling_falls_back(models, monkeypatch):
    """Where torch.compile fails, the plain network answers, and the model says why."""
    folder, _ = models

    def failing(module):
        def compiled(*_):
            raise RuntimeError("no compiler was found")

        return compiled

    monkeypatch.setattr(torch, "compile", failing)
    recipe = ensemble(runs=["fpn"])
    model = MegaModel.from_recipe(
        folder, recipe, precision="fp32", execution=Execution(compile=True)
    )
    plain = MegaModel.from_recipe(folder, recipe, precision="fp32")
    torch.testing.assert_close(model.predict(tiles(2)), plain.predict(tiles(2)))
    assert model.notes == [
        "fpn/fold_0: without torch.compile, which failed (no compiler was found)"
    ]


def test_a_gpu_that_is_not_there(models):
    """Asking for a GPU on a machine without one says so."""
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(DeviceError, match="no GPU that torch can use"):
        MegaModel(models[0], device="cuda:0")
