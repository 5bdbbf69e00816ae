"""One image that is most of the work: its tiles are dealt to all devices, in one process.

Two copies on the processor stand for two GPUs. No process is started.
"""

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from devkit.demo.layouts import write
from kernelkit.competition import CompetitionFolder
from kernelkit.ensemble import MegaModel
from kernelkit.errors import DeviceError
from kernelkit.predict import Prediction, load_models, predict
from kernelkit.predict.deadline import Deadline
from kernelkit.predict.jobs import DeviceProcesses
from kernelkit.predict.jobs.plan import ends_sooner_together
from kernelkit.predict.jobs.sharing import replicas_for
from kernelkit.predict.store.store import Store
from kernelkit.predict.work import pace
from kernelkit.predict.work.tasks import Task
from kernelkit.recipe import Recipe
from tests.made.competition import RECIPE, write_competition, write_models

pytestmark = pytest.mark.timeout(120)

# 24 tiles and 1 tile, in batches of 4
IMAGES = {"large": ("tiled", 230, 380), "small": ("strips", 40, 50)}
# each pixel of a tile of which the networks make NaN
BROKEN = 201


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("replicas")
    write_competition(folder / "in", IMAGES)
    write_models(folder / "models")
    return folder


def run(folder: Path, output: Path, text: str = RECIPE, on: str = "", **options: Any) -> Prediction:
    """Predict on the devices of `on`, or plainly."""
    recipe = Recipe.parse(text)
    competition = CompetitionFolder.read(folder / "in", recipe.competition)
    models = options.pop("models", None) or load_models(recipe, folder / "models", "cpu")
    executor = DeviceProcesses(on.split()) if on else None
    return predict(competition, recipe, models, output, executor=executor, **options)


@pytest.mark.parametrize(
    "more",
    ["", "disagreement: true", "stitching: {blend: linear}", "store: {what: probabilities}"],
)
def test_an_image_is_the_same_on_two_devices(folder: Path, tmp_path: Path, more: str) -> None:
    """Its mask, and the picture of where members disagree, have the bytes of one device."""
    wanted = run(folder, tmp_path / "one", RECIPE + more)
    done = run(folder, tmp_path / "two", RECIPE + more, on="cpu cpu")
    assert done.submission.read_bytes() == wanted.submission.read_bytes()
    assert done.report.counts == wanted.report.counts
    assert done.report.notes == wanted.report.notes
    for image, picture in wanted.disagreement.items():
        assert done.disagreement[image].read_bytes() == picture.read_bytes()
    assert set(wanted.disagreement) == (set(IMAGES) if "disagreement" in more else set())


def test_the_plan_says_that_devices_share_an_image(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is one sentence, and the report names the devices."""
    caplog.set_level(logging.INFO, "kernelkit")
    run(folder, tmp_path, on="cpu cpu")
    [plan] = [text for text in caplog.messages if text.startswith("plan: ")]
    assert "cpu, cpu share the tiles of each image" in plan


def test_what_is_stored_is_kept(folder: Path, tmp_path: Path) -> None:
    """A second run keeps all images."""
    run(folder, tmp_path, on="cpu cpu")
    again = run(folder, tmp_path, on="cpu cpu")
    assert again.report.counts["kept"] == len(IMAGES)


def test_answers_that_are_no_numbers_cost_their_image_alone(tmp_path: Path) -> None:
    """Whatever else is in flight of it is waited for, and the next image is predicted."""
    write_competition(tmp_path / "in", {"broken": ("tiled", 230, 380), **IMAGES})
    write_models(tmp_path / "models")
    pixels = np.full((3, 230, 380), BROKEN, np.uint8)
    write(tmp_path / "in/test/broken.tiff", pixels, "tiled")

    def breaks(images: Tensor) -> Tensor:
        broken = (images == BROKEN).flatten(1).all(1)
        return images.float().masked_fill(broken[:, None, None, None], float("nan"))

    ensemble = Recipe.parse(RECIPE).ensembles[0]
    model = MegaModel(tmp_path / "models", recipe=ensemble, preprocess_fn=breaks, device="cpu")
    done = run(tmp_path, tmp_path / "out", on="cpu cpu cpu", models={"one": model})
    [fallback] = done.report.fallbacks
    assert fallback.image == "broken"
    assert "NaN or infinity" in fallback.notes[-1]
    assert done.report.counts["predicted"] == 2


def test_all_devices_ask_less_if_the_time_is_short(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All tiles are done, since less is asked about them."""
    monkeypatch.setattr(pace, "_LEAST_SECONDS", 0.0)
    monkeypatch.setattr(pace.Pace, "_projected", lambda *_: float("inf"))
    done = run(folder, tmp_path, on="cpu cpu", deadline=Deadline(1))
    assert done.report.counts["predicted"] == len(IMAGES)
    assert {image.asked for image in done.report.images} == {0.25}


def test_less_is_asked_after_a_device_failed(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The report says so, and a run with more time asks all again. It failed at its first tiles."""
    models = load_models(Recipe.parse(RECIPE), folder / "models", "cpu")

    def fails(*_: object, **__: object) -> None:
        raise DeviceError("the GPU is gone")

    with monkeypatch.context() as patch:
        patch.setattr(models["one"], "predict", fails)
        patch.setattr(pace, "_LEAST_SECONDS", 0.0)
        patch.setattr(pace.Pace, "_projected", lambda *_: float("inf"))
        done = run(folder, tmp_path, on="cpu cpu", models=models, deadline=Deadline(1))
    assert "cpu is not used any more, because: the GPU is gone" in done.report.notes
    assert {image.asked for image in done.report.images} == {0.25}
    again = run(folder, tmp_path, models=models)
    assert again.report.counts["predicted"] == len(IMAGES)


def test_an_image_outlives_a_device_that_fails_while_answers_come_down(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As GPUs do: what they were asked is found to have failed when somebody waits for it."""
    wanted = run(folder, tmp_path / "one")
    models = load_models(Recipe.parse(RECIPE), folder / "models", "cpu")

    def fails() -> None:
        raise torch.AcceleratorError("CUDA error: uncorrectable ECC error encountered")

    lost = SimpleNamespace(spread=None, bits=lambda *_: SimpleNamespace(result=fails))
    monkeypatch.setattr(models["one"], "predict", lambda *_, **__: lost)
    done = run(folder, tmp_path / "two", on="cpu cpu", models=models)
    assert done.submission.read_bytes() == wanted.submission.read_bytes()
    [note] = [note for note in done.report.notes if "cpu is not used any more" in note]
    assert "uncorrectable ECC error" in note


def test_devices_of_two_kinds_share_no_image(tmp_path: Path) -> None:
    """One would wait for the other, and what they answer differs in last bits."""
    recipe = Recipe.parse(RECIPE)
    task = Task("large", (), amount=1000)
    with DeviceProcesses(["cpu", "cuda:0"]) as both:
        assert replicas_for(both, [task], recipe, {}, Store(tmp_path)) is None
    with DeviceProcesses(["cpu", "cpu"]) as alike:
        assert replicas_for(alike, [task], recipe, {}, Store(tmp_path)) == {}


@given(
    amounts=st.lists(st.integers(1, 500), max_size=12),
    lanes=st.integers(1, 4),
    batch=st.integers(1, 16),
)
def test_devices_share_images_only_if_that_ends_sooner(
    amounts: list[int], lanes: int, batch: int
) -> None:
    """One device never does, nor do images of which each device gets the same."""
    assert not ends_sooner_together(amounts, 1, batch)
    assert not ends_sooner_together(amounts * lanes, lanes, batch)
    if amounts and lanes > 1:
        rest = sum(amounts)
        assert ends_sooner_together([*amounts, 50 * batch * lanes * rest], lanes, batch)
