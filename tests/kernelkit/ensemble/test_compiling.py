"""Programs for one size of batch: which are made, and what answers where there is none."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from kernelkit.checkpoints import Member
from kernelkit.ensemble import MegaModel
from kernelkit.ensemble.compiling import MOST_SHAPES, CompiledNetwork
from kernelkit.ensemble.notes import Notes
from kernelkit.ensemble.placed import PlacedMember
from kernelkit.recipe import Execution
from tests.made.ensembles import ensemble
from tests.made.networks import FPN, tiles, write_run

pytestmark = pytest.mark.timeout(120)


class Net(nn.Module):
    """Networks of this class share their Python code, as those of the library do."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, tiles: Tensor) -> Tensor:
        return self.layer(tiles)[:, :1]


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The shapes of tiles that programs are made for. They run the graphs as they are."""
    shapes: list[tuple[int, ...]] = []

    def keep(graph: torch.fx.GraphModule, inputs: list[Any]) -> Callable[..., Any]:
        tensors = [part for part in inputs if isinstance(part, Tensor)]
        shapes.append(tuple(tensors[0].shape))
        return graph.forward

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=keep))
    return shapes


def sized(side: int) -> Tensor:
    return torch.ones(2, 3, 8 * side, 8)


@torch.no_grad()
def test_networks_of_one_class_are_compiled_for_each_of_their_shapes(
    made: list[tuple[int, ...]],
) -> None:
    """torch stops after eight programs of one piece of code, and says so nowhere."""
    layers = [nn.Identity(), nn.ReLU(), nn.Sigmoid()]
    networks = [CompiledNetwork(Net(layer).eval()) for layer in layers]
    for _ in range(2):
        for network in networks:
            for side in (3, 1, 2, 4):
                assert network.takes(sized(side))
                network(sized(side))
    assert made == 3 * [tuple(sized(side).shape) for side in (3, 1, 2, 4)]


def placed(notes: Notes) -> PlacedMember:
    member = Member(
        module=Net(nn.Sigmoid()).eval(),
        kind="segmenter",
        run="run",
        fold="fold_0",
        path=Path("run/fold_0/e1.pth"),
        weights_sha256="",
        architecture="",
        parameters=0,
        score=None,
        channels=3,
        classes=1,
    )
    execution = Execution(compile=True, channels_last=False, fuse_norms=False)
    return PlacedMember(member, torch.device("cpu"), torch.float32, execution, notes)


def test_shapes_beyond_the_eighth_are_not_compiled_and_a_note_says_so(
    made: list[tuple[int, ...]],
) -> None:
    """They get the same answers. Programs that were made go on, and there is one note."""
    notes = Notes()
    network = placed(notes)
    for side in [*range(1, MOST_SHAPES + 3), 1, MOST_SHAPES]:
        torch.testing.assert_close(network(sized(side)), sized(side)[:, :1].sigmoid())
    assert len(made) == MOST_SHAPES
    [note] = notes.sentences
    assert note.startswith("run/fold_0: torch.compile is used for the first 8 shapes of its tiles")


@pytest.mark.parametrize("with_spread", [False, True])
def test_a_last_batch_needs_no_program_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, with_spread: bool
) -> None:
    """It is filled up, also if disagreement is asked for. Its answers are those of a full one."""
    asked: list[int] = []

    class Counted(CompiledNetwork):
        def __init__(self, network: nn.Module) -> None:
            self._call = network
            self._shapes = set()

        def __call__(self, tiles: Tensor) -> Any:
            asked.append(len(tiles))
            return super().__call__(tiles)

    monkeypatch.setattr("kernelkit.ensemble.placed.CompiledNetwork", Counted)
    write_run(tmp_path / "run", FPN, seeds=(1, 2))
    recipe = ensemble(views=["identity"])
    one, plain = (
        MegaModel(tmp_path, recipe=recipe, precision="fp32", batch=4, execution=execution)
        for execution in (Execution(compile=True), Execution())
    )
    answers = one.predict(tiles(6), with_spread=with_spread)
    wanted = plain.predict(tiles(6), with_spread=with_spread)
    assert set(asked) == {4}
    torch.testing.assert_close(answers.probabilities, wanted.probabilities)
    assert (answers.spread is None) != with_spread
    if with_spread:
        torch.testing.assert_close(answers.spread, wanted.spread)


@pytest.mark.parametrize("with_spread", [False, True])
def test_graphs_are_recorded_only_if_they_are_replayed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, with_spread: bool
) -> None:
    """How far members lie apart is in no graph, so none is recorded for it, and none is held."""
    recorded: list[Any] = []

    def record(name: Any, function: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
        recorded.append(name)
        return function(*inputs)

    write_run(tmp_path / "run", FPN, seeds=(1, 2))
    model = MegaModel(tmp_path, recipe=ensemble(), precision="fp32", batch=2)
    model._runner._records = True
    monkeypatch.setattr(model._runner, "_recorder", record)
    pixels = tiles(2)
    model.get_ready(pixels.shape[1:], pixels.dtype, with_spread=with_spread)
    assert bool(recorded) != with_spread
    model.predict(pixels, with_spread=with_spread)
    assert bool(recorded) != with_spread
