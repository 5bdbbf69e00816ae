"""Runs over executors: the same submission, whoever does the work and whatever dies."""

import logging
import multiprocessing
import re
import time
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from devkit.demo.layouts import write
from kernelkit.competition import CompetitionFolder
from kernelkit.ensemble import MegaModel
from kernelkit.predict import Prediction, load_models, predict
from kernelkit.predict.deadline import Deadline
from kernelkit.predict.jobs import DeviceProcesses, Job, dealing
from kernelkit.predict.jobs import job as jobs
from kernelkit.predict.work import pace
from kernelkit.recipe import Execution, Recipe
from tests.made.competition import IMAGES, RECIPE, write_competition, write_models
from tests.made.deadly import DEADLY, Deaths, deadly
from tests.made.executors import AnyOrder, Deadly, Elsewhere, Speechless
from tests.made.pictures import Clouds, Salt, run

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def deaths(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deaths]:
    """How many processes the deadly image kills."""
    counted = Deaths(tmp_path_factory.mktemp("deaths"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(*counted.environment)
        yield counted


@pytest.fixture(scope="module")
def two(deaths: Deaths) -> Iterator[DeviceProcesses]:  # noqa: ARG001, children inherit it
    """Two processes with half of the cores each."""
    with DeviceProcesses(["cpu", "cpu"]) as processes:
        yield processes


@pytest.fixture(scope="module")
def pool(deaths: Deaths) -> Iterator[ProcessPoolExecutor]:  # noqa: ARG001, as above
    """A pool of the standard library."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as executor:
        yield executor


@dataclass
class Slides:
    """A small competition in tiles, and its submission by this process alone."""

    recipe: Recipe
    competition: CompetitionFolder
    models: Path
    wanted: bytes

    def predict(self, output: Path, executor: Any = None, **models: MegaModel) -> Prediction:
        loaded = models or load_models(self.recipe, self.models)
        return predict(self.competition, self.recipe, loaded, output, executor=executor)


@pytest.fixture(scope="module")
def slides(tmp_path_factory: pytest.TempPathFactory) -> Slides:
    folder = tmp_path_factory.mktemp("slides")
    recipe = Recipe.parse(RECIPE)
    write_competition(folder / "in")
    competition = CompetitionFolder.read(folder / "in", recipe.competition)
    made = Slides(recipe, competition, write_models(folder / "models"), b"")
    made.wanted = made.predict(folder / "inline").submission.read_bytes()
    return made


def test_slides_are_the_same_on_two_devices(
    slides: Slides, two: DeviceProcesses, tmp_path: Path
) -> None:
    """The submission has the same bytes, and each report says which device did its image."""
    before = two.ticks
    done = slides.predict(tmp_path / "out", two)
    assert two.ticks - before == 12 + 6 + 1  # tiles, each counted once
    assert done.submission.read_bytes() == slides.wanted
    assert {image.device for image in done.report.images} <= {"cpu (1)", "cpu (2)"}
    assert done.report.notes == []
    assert set(done.report.first_tile) == {image.device for image in done.report.images}


def test_slides_are_the_same_in_a_pool(
    slides: Slides, pool: ProcessPoolExecutor, tmp_path: Path
) -> None:
    """Any executor of the standard library does."""
    done = slides.predict(tmp_path / "out", pool)
    assert done.submission.read_bytes() == slides.wanted


@pytest.mark.parametrize("made_of", [Salt, Clouds])
def test_pictures_are_the_same_on_two_devices(
    made_of: Any, two: DeviceProcesses, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Batches, and the bytes of all masks, are those of one process. The plan counts pixels."""
    made = made_of(tmp_path)
    wanted = run(made, tmp_path / "inline")
    with caplog.at_level(logging.INFO, "kernelkit"):
        done = run(made, tmp_path / "out", executor=two)
    assert re.search(r"plan:\ndevice +images +pixels +share\n", caplog.text)
    assert done.submission.read_bytes() == wanted.submission.read_bytes()
    assert done.report.counts == wanted.report.counts


def test_a_picture_that_kills_costs_no_other_of_its_batch(tmp_path: Path) -> None:
    """What went out together twice in vain is tried one by one."""
    made = Salt(tmp_path)
    image = made.paths[1].stem
    done = run(made, tmp_path / "out", executor=Deadly(image))
    [fallback] = done.report.fallbacks
    assert fallback.image == image
    assert "it was tried three times, and the third time: " in fallback.note
    others = [each.note for each in done.report.images if each.note and each is not fallback]
    assert {note.partition(", because")[0] for note in others} == {"it was tried three times"}
    assert done.report.counts["predicted"] == len(made.paths) - 1


@pytest.mark.parametrize("seed", [1, 2])
def test_the_order_of_answers_does_not_matter(slides: Slides, tmp_path: Path, seed: int) -> None:
    """Jobs are done in any order, and the report has that of the submission."""
    executor = AnyOrder(seed, wait_for=len(IMAGES))
    done = slides.predict(tmp_path / "out", executor)
    assert done.submission.read_bytes() == slides.wanted
    assert [image.image for image in done.report.images] == list(IMAGES)


def test_a_process_asks_less_if_much_waits_for_it(
    slides: Slides, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its job says how much, and the clock on the wall says when it has to end."""
    monkeypatch.setattr(pace, "_LEAST_SECONDS", 0.0)
    busy = Elsewhere(lambda job: replace(job, others=10**9) if job.tasks else job)
    done = slides.predict(tmp_path / "busy", busy)
    asked = {image.image: image.asked for image in done.report.images}
    assert asked["a"] == asked["b"] == asked["c"] == 0.25
    assert "the time is short: only" in " ".join(done.report.notes)
    idle = slides.predict(tmp_path / "idle", Elsewhere(lambda job: job))
    assert {image.asked for image in idle.report.images} == {1.0}


def test_clocks_of_two_machines_may_differ(
    slides: Slides, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one is a year ahead, and counts by the clock of the folder that both share."""
    now = time.time

    def a_year_ahead(job: Job) -> Job:
        monkeypatch.setattr(time, "time", lambda: now() + 365 * 86400)
        return job

    done = slides.predict(tmp_path / "out", Elsewhere(a_year_ahead))
    assert done.submission.read_bytes() == slides.wanted


def test_jobs_name_files_as_any_working_folder_does(
    slides: Slides, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The competition and the output were named from here, and a process may be elsewhere."""
    monkeypatch.chdir(slides.competition.folder.parent)
    competition = CompetitionFolder.read("in", slides.recipe.competition)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").symlink_to(slides.competition.folder)
    executor = Elsewhere(lambda job: job)
    models = load_models(slides.recipe, slides.models)
    predict(competition, slides.recipe, models, "out", executor=executor)
    paths = [path for job in executor.jobs for task in job.tasks for path in task.paths]
    stores = {job.store for job in executor.jobs}
    assert all(path.is_absolute() for path in [*paths, *executor.jobs[0].images, *stores])


def test_a_daemon_reads_by_itself(
    slides: Slides, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a worker of dask does, which may start no readers."""
    monkeypatch.setattr(type(multiprocessing.current_process()), "daemon", True)
    executor = Elsewhere(lambda job: replace(job, workers=2))
    assert slides.predict(tmp_path / "out", executor).submission.read_bytes() == slides.wanted


def test_a_forked_process_does_no_job_itself(
    slides: Slides, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each goes to the process that `in_fresh_process` asks, which does it."""
    passed = []

    def pass_on(call: Any, job: Job) -> Any:
        passed.append(job)
        with monkeypatch.context() as there:
            there.setattr(jobs, "is_forked", lambda: False)
            return call(job)

    monkeypatch.setattr(jobs, "is_forked", lambda: True)
    monkeypatch.setattr(jobs, "in_fresh_process", pass_on)
    executor = Elsewhere(lambda job: job)
    assert slides.predict(tmp_path / "out", executor).submission.read_bytes() == slides.wanted
    assert passed == executor.jobs


def test_threads_of_this_process_keep_no_models(slides: Slides, tmp_path: Path) -> None:
    """They end with the run, or an executor of threads would hold them for ever."""
    with ThreadPoolExecutor(2) as threads:
        assert slides.predict(tmp_path / "out", threads).submission.read_bytes() == slides.wanted
    assert jobs._desk._run is None


def test_what_the_store_has_is_not_done_again(slides: Slides, tmp_path: Path) -> None:
    """A second run keeps all images, whoever made them."""
    slides.predict(tmp_path / "out", AnyOrder(0, wait_for=len(IMAGES)))
    again = slides.predict(tmp_path / "out")
    assert again.report.counts["kept"] == len(IMAGES)
    once_more = slides.predict(tmp_path / "out", AnyOrder(0, wait_for=len(IMAGES)))
    assert once_more.report.counts["kept"] == len(IMAGES)
    assert once_more.submission.read_bytes() == slides.wanted


@pytest.fixture(scope="module")
def with_deadly(tmp_path_factory: pytest.TempPathFactory) -> Slides:
    """Slides, and one more over which a process can be made to die. It comes after the first."""
    folder = tmp_path_factory.mktemp("deadly")
    recipe = Recipe.parse(RECIPE)
    images = {**IMAGES, "deadly": ("tiled", 130, 200)}
    write_competition(folder / "in", images)
    pixels = np.full((3, 130, 200), DEADLY, np.uint8)
    write(folder / "in/test/deadly.tiff", pixels, "tiled")
    competition = CompetitionFolder.read(folder / "in", recipe.competition)
    made = Slides(recipe, competition, write_models(folder / "models"), b"")
    made.wanted = made.predict(folder / "inline", one=own(made)).submission.read_bytes()
    return made


def own(slides: Slides) -> MegaModel:
    """The slides' models with the preprocessing that may kill."""
    return MegaModel(
        slides.models, recipe=slides.recipe.ensembles[0], batch=4, preprocess_fn=deadly
    )


def test_an_image_whose_process_is_killed_is_tried_elsewhere(
    with_deadly: Slides, two: DeviceProcesses, deaths: Deaths, tmp_path: Path
) -> None:
    """By `kill -9` in the middle of its tiles. The bytes stay the same, and its note says so."""
    deaths.set(1)
    done = with_deadly.predict(tmp_path / "out", two, one=own(with_deadly))
    assert done.submission.read_bytes() == with_deadly.wanted
    [noted] = [image for image in done.report.images if image.notes]
    assert noted.image == "deadly"
    [note] = noted.notes
    assert note.startswith("it was tried twice, because: the process of cpu (")
    assert noted.device not in note


def test_an_image_that_kills_two_processes_falls_back(
    with_deadly: Slides, two: DeviceProcesses, deaths: Deaths, tmp_path: Path
) -> None:
    """All others are predicted, by processes that are started anew."""
    deaths.set(2)
    done = with_deadly.predict(tmp_path / "out", two, one=own(with_deadly))
    [fallback] = done.report.fallbacks
    assert fallback.image == "deadly"
    assert "it was tried twice, and the second time: the process of cpu (" in fallback.note
    assert done.report.counts["predicted"] == len(IMAGES)
    kept, wanted = done.submission.read_text(), with_deadly.wanted.decode()
    assert kept.splitlines()[: len(IMAGES)] == wanted.splitlines()[: len(IMAGES)]


def test_a_broken_pool_ends_with_a_valid_submission(
    with_deadly: Slides, pool: ProcessPoolExecutor, deaths: Deaths, tmp_path: Path
) -> None:
    """A pool of the standard library starts no process anew. Its sentence is in the report."""
    deaths.set(1)
    done = with_deadly.predict(tmp_path / "out", pool, one=own(with_deadly))
    assert {image.image: image.status for image in done.report.images} == {
        "a": "predicted",
        "b": "fallback",
        "c": "fallback",
        "deadly": "fallback",
    }
    assert "the executor is broken (BrokenProcessPool: " in done.report.images[1].note
    assert len(done.submission.read_text().splitlines()) == 1 + len(done.report.images)


def test_what_was_stored_before_its_process_died_is_not_done_again(
    slides: Slides, tmp_path: Path
) -> None:
    """Its report is lost, and its bytes are not. No other process has to look for them."""
    lost = Speechless(BrokenExecutor("it was killed"))
    done = slides.predict(tmp_path / "out", lost)
    assert len(lost.jobs) == len(IMAGES)
    assert done.submission.read_bytes() == slides.wanted
    assert {image.note for image in done.report.images} == {
        "it was taken from the store, because: BrokenExecutor: it was killed"
    }
    broken = ThreadPoolExecutor(1)
    broken.shutdown()
    again = slides.predict(tmp_path / "out", broken)
    assert again.report.counts["kept"] == len(IMAGES)
    assert again.submission.read_bytes() == slides.wanted


def test_pictures_that_were_stored_are_not_done_again(tmp_path: Path) -> None:
    """Those of a batch, each with a mask of its own."""
    made = Salt(tmp_path)
    wanted = run(made, tmp_path / "inline")
    lost = Speechless(BrokenExecutor("it was killed"))
    done = run(made, tmp_path / "out", executor=lost)
    assert sum(len(job.tasks) for job in lost.jobs) == len(made.paths)
    assert done.report.counts["kept"] == len(made.paths)
    assert done.submission.read_bytes() == wanted.submission.read_bytes()


def test_what_was_asked_less_is_found_though_no_answer_ever_came(
    slides: Slides, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its process told the other key before it was lost with its first image."""
    monkeypatch.setattr(pace, "_LEAST_SECONDS", 0.0)
    lost = Speechless(
        BrokenExecutor("it was killed"), lambda job: replace(job, others=10**9 * len(job.tasks))
    )
    done = slides.predict(tmp_path / "out", lost)
    assert [image.status for image in done.report.images] == ["kept"] * len(IMAGES)
    assert {image.asked for image in done.report.images} == {0.25}
    assert len(lost.jobs) == len(IMAGES)
    assert list((tmp_path / "out/masks").glob(".*")) == []


def test_a_process_that_never_answers_leaves_what_it_stored(
    slides: Slides, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stored under other keys than this process, which it told when it began."""
    monkeypatch.setattr(dealing, "_GRACE", 0.0)
    plain = Execution(fuse_norms=False)

    def elsewhere(job: Job) -> Job:
        models = {name: {**made, "execution": plain} for name, made in job.models.items()}
        return replace(job, ends=job.ends + 3600, models=models)

    late = Speechless(None, elsewhere)
    models = load_models(slides.recipe, slides.models)
    done = predict(
        slides.competition,
        slides.recipe,
        models,
        tmp_path / "out",
        deadline=Deadline(0.0),
        executor=late,
    )
    assert done.report.counts["kept"] == len(IMAGES)
    assert "and its process had not answered" in done.report.images[0].note
