"""Faults of processes that work for a run: what they see otherwise, and how they end."""

import multiprocessing
import resource
import shutil
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from kernelkit.competition import CompetitionFolder
from kernelkit.ensemble import MegaModel
from kernelkit.errors import (
    CheckpointError,
    CompetitionError,
    DeviceError,
    KernelKitError,
    OutputError,
    RecipeError,
)
from kernelkit.predict import Prediction, load_models, predict
from kernelkit.predict.jobs import DeviceProcesses, Job, devices_of
from kernelkit.recipe import Recipe
from tests.made.competition import RECIPE, write_competition, write_models
from tests.made.executors import Elsewhere

TWO = {"a": ("strips", 40, 50), "b": ("tiled", 60, 100)}


@dataclass
class Small:
    """Two small images, and models for them."""

    folder: Path
    models: Path
    recipe: Recipe
    output: Path

    def predict(self, executor: Any, **models: MegaModel) -> Prediction:
        competition = CompetitionFolder.read(self.folder, self.recipe.competition)
        loaded = models or load_models(self.recipe, self.models)
        return predict(competition, self.recipe, loaded, self.output, executor=executor)


@pytest.fixture(scope="module")
def shared_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_models(tmp_path_factory.mktemp("models"))


@pytest.fixture
def small(tmp_path: Path, shared_models: Path) -> Small:
    folder = write_competition(tmp_path / "in", TWO)
    return Small(folder, shared_models, Recipe.parse(RECIPE), tmp_path / "out")


def elsewhere(folder: Path) -> Callable[[Job], Job]:
    """As on a machine where the models lie in another folder, under the same path."""

    def change(job: Job) -> Job:
        return replace(job, models={n: {**m, "folder": folder} for n, m in job.models.items()})

    return change


def other_weights(folder: Path, models: Path) -> Path:
    """A copy of the models, with one fold in the place of the other."""
    shutil.copytree(models, folder)
    run = folder / "run"
    for name, now in (("fold_0", "x"), ("fold_1", "fold_0"), ("x", "fold_1")):
        (run / name).rename(run / now)
    return folder


# What it is called, what a machine sees otherwise, the error, and a part of its sentence.
SEEN: list[tuple[str, Callable[[Path, Small], Callable[[Job], Job]], type[Exception], str]] = [
    (
        "another kernelkit",
        lambda _, __: lambda job: replace(job, code="another"),
        OutputError,
        "kernelkit is of another version there. Install the same on all machines",
    ),
    (
        "a store that is not shared",
        lambda folder, _: lambda job: replace(job, store=folder),
        OutputError,
        "does not see what the run wrote there. Choose an output folder that all machines share",
    ),
    (
        "images that are not there",
        lambda folder, _: lambda job: replace(job, images=(folder / "a.tiff",)),
        CompetitionError,
        "does not have this image. Put the competition where all machines see it",
    ),
    (
        "models that are not there",
        lambda folder, _: elsewhere(folder / "nowhere"),
        CheckpointError,
        "nowhere: there is no such models folder",
    ),
    (
        "models of other weights",
        lambda folder, small: elsewhere(other_weights(folder / "others", small.models)),
        CheckpointError,
        "found other weights of run/fold_0 there, wanted the 2 members that the run began with",
    ),
    (
        "no such device",
        lambda _, __: lambda job: replace(job, device="cuda:99"),
        DeviceError,
        "cuda:99: ",
    ),
]


@pytest.mark.parametrize(
    ("change", "error", "wanted"), [pytest.param(*row[1:], id=row[0]) for row in SEEN]
)
def test_what_a_process_sees_otherwise_is_found_first(
    small: Small, tmp_path: Path, change: Any, error: type[KernelKitError], wanted: str
) -> None:
    """It is one sentence before any image goes out, and the submission is not written."""
    executor = Elsewhere(change(tmp_path, small))
    with pytest.raises(error) as caught:
        small.predict(executor)
    assert wanted in str(caught.value)
    assert not any(job.tasks for job in executor.jobs)
    assert not (small.output / "submission.csv").exists()
    assert list((small.output / "masks").glob(".unfinished-*")) == []


def test_a_store_that_cannot_be_written_to_is_found_first(small: Small) -> None:
    """Even root cannot write to a folder that is a file."""
    small.output.mkdir()
    (small.output / "masks").touch()
    with pytest.raises(OutputError, match=r"masks: the store cannot be written to \(File exists\)"):
        small.predict(Elsewhere(lambda job: job))


def test_models_that_no_other_process_can_load_are_found_first(small: Small) -> None:
    """A function without a name in a module does not travel."""
    [ensemble] = small.recipe.ensembles
    model = MegaModel(
        small.models, recipe=ensemble, batch=4, preprocess_fn=lambda tiles: tiles.float()
    )
    with pytest.raises(RecipeError, match="cannot be loaded in another process"):
        small.predict(Elsewhere(lambda job: job), one=model)


def test_an_image_that_vanishes_costs_itself(small: Small) -> None:
    """It was there when the run began, and is gone when its job begins."""

    def remove(job: Job) -> Job:
        for task in job.tasks:
            if task.image_id == "a":
                task.paths[0].unlink()
        return job

    done = small.predict(Elsewhere(remove))
    assert {image.image: image.status for image in done.report.images} == {
        "a": "fallback",
        "b": "predicted",
    }
    assert "a.tiff" in done.report.fallbacks[0].note


class FullDisk(Elsewhere):
    """The disk of the process that does the first image takes no byte more."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> "Future[Any]":
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        is_first = [task.image_id for task in args[0].tasks] == ["b"]
        resource.setrlimit(resource.RLIMIT_FSIZE, (0 if is_first else soft, hard))
        try:
            return super().submit(fn, *args, **kwargs)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_on_one_machine_costs_its_images(small: Small) -> None:
    """The reason is the store's sentence. What other machines do is submitted."""
    done = small.predict(FullDisk(lambda job: job))
    assert {image.image: image.status for image in done.report.images} == {
        "a": "predicted",
        "b": "fallback",
    }
    assert "the store's database cannot be written (" in done.report.fallbacks[0].note


def test_a_job_after_the_deadline_says_so(small: Small) -> None:
    """The other process counts by the clock on the wall."""
    executor = Elsewhere(lambda job: replace(job, ends=0.0))
    with pytest.raises(KernelKitError, match="the session's time was over before this image"):
        small.predict(executor)
    assert (small.output / "submission.csv").exists()


def test_an_executor_that_was_shut_down_leaves_a_valid_submission(small: Small) -> None:
    """Each row is the fallback, and the error says why."""
    executor = ThreadPoolExecutor(1)
    executor.shutdown()
    with pytest.raises(KernelKitError, match="the executor is broken .*after shutdown"):
        small.predict(executor)
    assert len((small.output / "submission.csv").read_text().splitlines()) == 3


@pytest.mark.parametrize("executor", [2, "cpu cpu", ["cuda:0"]])
def test_what_is_no_executor_is_refused(small: Small, executor: Any) -> None:
    """Before anything is written, and not once per image."""
    with pytest.raises(DeviceError, match="found a value of type .*, wanted an executor of conc"):
        small.predict(executor)
    assert not small.output.exists()


def test_a_script_that_each_process_runs_once_more_is_refused(
    small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its pool needs a function of the script, so the output of its parent must not be touched."""
    monkeypatch.setattr(multiprocessing.current_process(), "_inheriting", True, raising=False)
    with pytest.raises(DeviceError, match='below: if __name__ == "__main__"'):
        small.predict(ThreadPoolExecutor(1))
    assert not small.output.exists()


@pytest.mark.parametrize(
    ("devices", "wanted"),
    [("", "found no name of a device"), ("gpu7", "there is no device"), ("cuda:99", "cuda:99: ")],
)
def test_devices_that_are_not_there_are_refused(devices: str, wanted: str) -> None:
    """The notebook's parameter is checked before models load."""
    with pytest.raises(DeviceError, match=wanted):
        devices_of(devices)


def test_processes_that_were_shut_down_take_no_call() -> None:
    """No process was started for it."""
    with DeviceProcesses(["cpu"]) as processes:
        pass
    with pytest.raises(DeviceError, match="these processes were shut down"):
        processes.submit(print)
