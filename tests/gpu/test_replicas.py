"""Copies of an ensemble, in one process or in one each: on one GPU, on two, beside a CPU."""

import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from kernelkit.competition import CompetitionFolder
from kernelkit.ensemble import MegaModel
from kernelkit.ensemble.replicas import Replicas
from kernelkit.predict import Prediction, load_models, predict
from kernelkit.predict.jobs import DeviceProcesses
from kernelkit.recipe import Recipe
from tests.made.on_device import (
    DEVICE,
    HALF,
    MODELS,
    PICTURE,
    THRESHOLD,
    differing,
    expected_masks,
    model_of,
    needs_gpu,
    needs_two_gpus,
    real_tiles,
    settled,
    with_little_memory,
)

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(300)]

# Of the copies. One GPU takes two of them, and two GPUs one each.
SHARED = pytest.param([str(DEVICE)] * 2, id="one device")
APART = pytest.param(
    ["cuda:0", "cuda:1"],
    id="two devices",
    marks=needs_two_gpus,
)
# More than any device has, in bytes.
_TOO_MUCH = 1 << 48
_SIDES = (256, 128, 192, 160, 224)


@contextmanager
def copies_on(devices: list[str], **options: Any) -> Iterator[Replicas]:
    """Copies of the demo's networks. The first one is asked alone, too."""
    replicas = Replicas.on(devices, model_of(device=torch.device(devices[0]), **options))
    with closing(replicas):
        assert len(replicas.copies) == len(devices), replicas.notes
        yield replicas


def some_tiles(number: int, side: int = 256) -> NDArray[np.uint8]:
    """Four real tiles, or parts of them, others for each number."""
    return np.roll(real_tiles(), number, axis=0)[:4, :, :side, :side]


def bytes_of(pixels: NDArray[np.uint8], model: MegaModel) -> NDArray[np.uint8]:
    return np.stack(model.predict(pixels).bytes().result())


def masks_of(pixels: NDArray[np.uint8], model: MegaModel) -> NDArray[np.bool_]:
    return model.predict(pixels).masks([THRESHOLD])


@pytest.mark.parametrize("devices", [SHARED, APART])
def test_copies_give_the_bytes_of_one(devices: list[str]) -> None:
    """Twelve batches, whichever copy is free. Each copy answered some of them."""
    with copies_on(devices) as replicas:
        wanted = [bytes_of(some_tiles(number), replicas.copies[0]) for number in range(6)]
        asked = [replicas.ask(partial(bytes_of, some_tiles(number % 6))) for number in range(12)]
        for number, answer in enumerate(asked):
            assert np.array_equal(answer.result(), wanted[number % 6])
        assert [copy.memory is not None for copy in replicas.copies] == [True] * len(devices)
        assert replicas.notes == []


@needs_gpu
@pytest.mark.parametrize("devices", [SHARED, APART])
def test_a_copy_computes_on_its_current_gpu(devices: list[str]) -> None:
    """A network's own code may say `cuda` without a number. It gets the copy's GPU."""
    with copies_on(devices) as replicas:
        for copy in replicas.copies:
            placed = copy._placement.placed[0]
            placed._module = Numberless(placed._module)
        asked = [replicas.ask(partial(bytes_of, some_tiles(number))) for number in range(6)]
        for answer in asked:
            assert len(answer.result()) == 4
        assert replicas.notes == []


@needs_gpu
@pytest.mark.parametrize("devices", [SHARED, APART])
def test_graphs_are_recorded_while_the_other_copy_is_asked(devices: list[str]) -> None:
    """Tiles come in five sizes, so each copy records at any time. The other one waits."""
    with copies_on(devices) as plain:
        wanted = {side: bytes_of(some_tiles(0, side), plain.copies[0]) for side in _SIDES}
    with copies_on(devices, cuda_graph=True) as replicas:
        for _ in range(2):
            asked = [
                (side, replicas.ask(partial(bytes_of, some_tiles(0, side))))
                for side in _SIDES
                for _ in devices
            ]
            for side, answer in asked:
                difference = np.subtract(answer.result(), wanted[side], dtype=np.int16)
                assert np.abs(difference).max() <= 1
            for copy in replicas.copies:  # a copy that gives up its graphs spoils no other's
                copy._runner.forget_graphs()
                torch.cuda.empty_cache()
        assert replicas.notes == []
    settled()


@pytest.mark.parametrize("devices", [SHARED, APART])
def test_memory_runs_out_for_one_copy(devices: list[str]) -> None:
    """Its batch is halved, and the other copy's stays. No tile is lost."""
    with copies_on(devices, precision="fp32") as replicas:
        other, greedy = replicas.copies
        for copy in replicas.copies:
            bytes_of(some_tiles(0), copy)
        placed = greedy._placement.placed[0]
        placed._module = Greedy(placed._module)
        asked = [replicas.ask(partial(masks_of, some_tiles(number))) for number in range(8)]
        for number, answer in enumerate(asked):
            wanted = np.roll(expected_masks(), number, axis=0)[:4]
            assert differing(answer.result(), wanted) <= 0.0005
        assert len(replicas.copies) == 2, replicas.notes
        assert (other.batch, greedy.batch) in {(4, 1), (4, 4)}  # it may have answered none
        masks_of(some_tiles(0), greedy)
        assert (other.batch, greedy.batch) == (4, 1)


@pytest.mark.parametrize("devices", [SHARED, APART])
def test_memory_runs_out_for_all_copies(devices: list[str]) -> None:
    """Midway little is left for both. All tiles are answered, with the same masks."""
    with copies_on(devices, precision="fp32") as replicas:
        for copy in replicas.copies:
            masks_of(some_tiles(0), copy)
        with with_little_memory(16 << 20):
            asked = [replicas.ask(partial(masks_of, some_tiles(number))) for number in range(6)]
            for number, answer in enumerate(asked):
                wanted = np.roll(expected_masks(), number, axis=0)[:4]
                assert differing(answer.result(), wanted) <= 0.0005


@needs_gpu
def test_a_copy_on_the_processor_beside_a_gpu() -> None:
    """Whoever is free answers. In float32 at most one pixel of 2000 differs."""
    with copies_on([str(DEVICE), "cpu"], precision="fp32") as replicas:
        asked = [replicas.ask(partial(masks_of, some_tiles(number))) for number in range(8)]
        for number, answer in enumerate(asked):
            wanted = np.roll(expected_masks(), number, axis=0)[:4]
            assert differing(answer.result(), wanted) <= 0.0005


@pytest.mark.parametrize("devices", [SHARED, APART])
def test_an_image_whose_tiles_copies_share(devices: list[str], tmp_path: Path) -> None:
    """The submission and the picture of the disagreement have the bytes of one device."""
    write_sections(tmp_path, "section")
    one = predicted(tmp_path, "one", None)
    with DeviceProcesses(devices) as processes:  # it says which devices, and none is started
        several = predicted(tmp_path, "several", processes)
    assert several.report.counts["fallback"] == 0
    assert several.submission.read_bytes() == one.submission.read_bytes()
    pictures = [done.disagreement["section"].read_bytes() for done in (one, several)]
    assert pictures[0] == pictures[1]


@pytest.mark.slow
@pytest.mark.parametrize("devices", [SHARED, APART])
def test_images_whose_processes_share_a_gpu(devices: list[str], tmp_path: Path) -> None:
    """Each of two processes has an image. The submission has the bytes of one process."""
    write_sections(tmp_path, "first", "second")
    one = predicted(tmp_path, "one", None)
    with DeviceProcesses(devices) as processes:
        several = predicted(tmp_path, "several", processes)
    assert several.report.counts["predicted"] == 2, several.report.notes
    assert several.submission.read_bytes() == one.submission.read_bytes()


class Greedy(nn.Module):
    """A network that needs more memory than there is, unless it sees one tile."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, tiles: Tensor) -> Any:
        if len(tiles) > 1:
            torch.empty(_TOO_MUCH, dtype=torch.uint8, device=tiles.device)
        return self.network(tiles)


class Numberless(nn.Module):
    """A network that makes a tensor on whichever GPU is the current one."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, tiles: Tensor) -> Any:
        return self.network(tiles + torch.zeros(1, dtype=tiles.dtype, device="cuda"))


def write_sections(folder: Path, *names: str) -> None:
    """A competition of so many times the section of tissue."""
    (folder / "in/test").mkdir(parents=True)
    for name in names:
        shutil.copyfile(PICTURE, folder / f"in/test/{name}.tiff")
    rows = "".join(f"{name},\n" for name in names)
    (folder / "in/sample_submission.csv").write_text(f"id,predicted\n{rows}")


def predicted(folder: Path, name: str, executor: DeviceProcesses | None) -> Prediction:
    """A run over the competition."""
    values = Recipe.load("nuclei").model_dump(mode="json", exclude_unset=True)
    [ensemble, _] = values["ensembles"]
    values |= {"ensembles": [ensemble | {"runs": ["*"]}], "precision": HALF, "disagreement": True}
    recipe = Recipe.model_validate(values)
    competition = CompetitionFolder.read(folder / "in", recipe.competition)
    models = load_models(recipe, MODELS, str(DEVICE))
    return predict(competition, recipe, models, folder / name, workers=0, executor=executor)
