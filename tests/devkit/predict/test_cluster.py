"""Work on workers of dask: real processes, one of them killed, and the scheduler too."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from pathlib import Path
from threading import Thread

import psutil
import pytest
from distributed import Client, LocalCluster

from devkit.errors import ClusterError
from devkit.predict import connection, fit_workers, waiting
from devkit.predict.__main__ import main
from devkit.predict.cluster import local_cluster, remote_cluster
from devkit.predict.cluster_executor import ClusterExecutor
from devkit.predict.run import predict_at_home
from devkit.tools import REPOSITORY
from kernelkit.competition import CompetitionFolder
from kernelkit.evaluation.held_out import HeldOut
from kernelkit.evaluation.out_of_fold import predict_out_of_fold
from kernelkit.recipe import Recipe
from tests.made.competition import RECIPE, write_competition, write_models

pytestmark = pytest.mark.slow

IMAGES = {
    **dict.fromkeys("abde", ("tiled", 150, 201)),
    "c": ("strips", 40, 50),
    "f": ("subdatasets", 300, 260),
}


# What keeps the processes that tests start to this machine, without a page of their own.
_HERE = ("--host", "127.0.0.1", "--no-dashboard")


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A competition, two models, a recipe, and a run of this process over them."""
    folder = tmp_path_factory.mktemp("place")
    write_competition(folder / "competition", IMAGES)
    write_models(folder / "models")
    (folder / "recipe.yaml").write_text(RECIPE)
    predict(folder, folder / "inline")
    return folder


@pytest.fixture(scope="module")
def workers() -> Iterator[ClusterExecutor]:
    """Two processes on this machine."""
    with local_cluster(2) as executor:
        yield executor


@pytest.fixture
def scheduler(tmp_path: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A scheduler that somebody started by hand, and one worker."""
    with started(["scheduler", "--port", "0"], tmp_path / "scheduler.log") as (process, address):
        worker = ["worker", address, "--nthreads", "1", "--memory-limit", "0"]
        with started(worker, tmp_path / "worker.log"):
            yield address, process


class started:  # noqa: N801, it reads as a verb
    """Start a process of dask, and give it with the address that it prints."""

    def __init__(self, command: list[str], log: Path, **environment: str) -> None:
        self._command, self._log = command, log
        self._environment = {**os.environ, "PYTHONPATH": "kernel_src", **environment}

    def __enter__(self) -> tuple[subprocess.Popen[bytes], str]:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "dask", *self._command, *_HERE],
                cwd=REPOSITORY,
                env=self._environment,
                stderr=log,
                start_new_session=True,
            )
        said = " at:" if self._command[0] == "scheduler" else "Registered to:"
        until(lambda: said in self._log.read_text() or self._process.poll() is not None)
        line = next(line for line in self._log.read_text().splitlines() if said in line)
        return self._process, line.split(said)[1].strip()

    def __exit__(self, *_: object) -> None:
        for process in [*psutil.Process(self._process.pid).children(recursive=True)]:
            process.kill()
        self._process.kill()
        self._process.wait()


def until(is_so: Callable[[], object], seconds: float = 150) -> None:
    """Wait until something is so."""
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.02)


def predict(place: Path, output: Path, executor: Executor | None = None) -> dict[str, str]:
    """Predict the competition, and give the status of each image."""
    recipe = Recipe.load(place / "recipe.yaml")
    images = CompetitionFolder.read(place / "competition", recipe.competition)
    done = predict_at_home(
        recipe, images, place / "models", output, device="cpu", form="png", executor=executor
    ).done
    return {image.image: image.status for image in done.report.images}


def assert_same_files(found: Path, wanted: Path) -> None:
    for name in ("submission.csv", *(f"png/{image}.png" for image in IMAGES)):
        assert (found / name).read_bytes() == (wanted / name).read_bytes(), name


@pytest.mark.timeout(180)
def test_workers_write_what_one_process_writes(
    place: Path, tmp_path: Path, workers: ClusterExecutor
) -> None:
    """The submission and all masks are the same bytes, and both workers did some of them."""
    assert set(predict(place, tmp_path, workers).values()) == {"predicted"}
    assert_same_files(tmp_path, place / "inline")
    report = json.loads((tmp_path / "report.json").read_text())
    assert len({image["device"] for image in report["images"]}) == 2


@pytest.mark.timeout(180)
def test_a_killed_worker_costs_a_repeat(
    place: Path, tmp_path: Path, workers: ClusterExecutor
) -> None:
    """Its image is predicted by another process, with the same bytes."""
    killed = []

    def kill(client: Client) -> None:
        pids = client.run(os.getpid)
        until(lambda: (tmp_path / "masks").is_dir() and stored(tmp_path) >= 1)
        until(lambda: any(client.processing().values()))
        busy = next(name for name, tasks in client.processing().items() if tasks)
        os.kill(pids[busy], signal.SIGKILL)
        killed.append(pids[busy])

    with Client(workers.address, set_as_default=False) as client:
        killer = Thread(target=kill, args=(client,))
        killer.start()
        statuses = predict(place, tmp_path, workers)
        killer.join()
        assert killed[0] not in client.run(os.getpid).values()
    assert set(statuses.values()) <= {"predicted", "kept"}
    assert_same_files(tmp_path, place / "inline")


def stored(output: Path) -> int:
    """How many images are in a store."""
    count = 0
    for path in (output / "masks").glob("*.sqlite*"):
        try:
            with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as database:
                count += database.execute("SELECT count(*) FROM entries").fetchone()[0]
        except sqlite3.Error:  # it is being made
            continue
    return count


@pytest.mark.timeout(180)
def test_workers_predict_out_of_fold(place: Path, tmp_path: Path, workers: ClusterExecutor) -> None:
    """Each image has the masks of this process, by the fold that held it out."""
    recipe = Recipe.load(place / "recipe.yaml")
    competition = CompetitionFolder.read(place / "competition", recipe.competition)
    held = HeldOut({"run": {image: number % 2 for number, image in enumerate(IMAGES)}})
    found = [
        predict_out_of_fold(
            recipe,
            place / "models",
            competition,
            held,
            tmp_path / str(number),
            device="cpu",
            executor=executor,
        )
        for number, executor in enumerate((None, workers))
    ]
    assert {image.status for image in found[1].report.images} == {"predicted"}
    for image in IMAGES:
        assert found[0].masks[image] == found[1].masks[image]
    assert not list((tmp_path / "1").glob(".folds-*"))


@pytest.mark.timeout(180)
def test_a_lost_scheduler_ends_the_run_in_one_sentence(
    place: Path, tmp_path: Path, scheduler: tuple[str, subprocess.Popen[bytes]], capfd
) -> None:
    """What was stored is submitted, and the same command without a scheduler goes on with it."""
    address, process = scheduler
    output = tmp_path / "output"

    def kill() -> None:
        # the report of the first one has come by then
        until(lambda: output.is_dir() and stored(output) >= 2)
        process.kill()

    killer = Thread(target=kill)
    killer.start()
    command = [str(place / "recipe.yaml"), "--competition", str(place / "competition")]
    command += ["--models", str(place / "models"), "--output", str(output), "--masks", "png"]
    assert main([*command, "--scheduler", address]) == 1
    killer.join()
    said = capfd.readouterr()
    last = said.err.strip().splitlines()[-1]
    assert last.startswith(f"predict failed: {address}: the scheduler is gone"), said.err
    assert "the same command goes on" in last
    assert "Traceback" not in said.err
    rows = (output / "submission.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows[1:]] == list(IMAGES)
    assert 1 <= len(list((output / "png").iterdir())) < len(IMAGES)
    assert "kept" in predict(place, output).values()
    assert_same_files(output, place / "inline")


@pytest.mark.timeout(180)
def test_workers_that_cannot_do_the_work_are_refused(tmp_path: Path, monkeypatch) -> None:
    """There is none, or one hangs, has threads, no kernelkit, or another torch."""
    monkeypatch.setattr(connection, "PATIENCE", 1)
    (tmp_path / "torch-9.9.dist-info").mkdir()
    (tmp_path / "torch-9.9.dist-info" / "METADATA").write_text("Name: torch\nVersion: 9.9\n")
    with started(["scheduler", "--port", "0"], tmp_path / "scheduler.log") as (_, address):
        with pytest.raises(ClusterError, match="the scheduler has no workers. Start some"):
            refuse(address)
        monkeypatch.setattr(connection, "PATIENCE", 30)
        for threads, path, sentence in (
            ("2", "kernel_src", "found a worker with 2 threads, wanted one"),
            ("1", "", "the worker cannot import kernelkit"),
            ("1", f"kernel_src:{tmp_path}", r"found torch 9.9 at tcp://\S+, wanted 2\..* as here"),
        ):
            worker = ["worker", address, "--no-nanny", "--nthreads", threads]
            with started(worker, tmp_path / "worker.log", PYTHONPATH=path) as (process, _):
                with pytest.raises(ClusterError, match=sentence):
                    refuse(address)
                if not path:
                    process.send_signal(signal.SIGSTOP)
                    monkeypatch.setattr(fit_workers, "_PATIENCE", 1)
                    with pytest.raises(ClusterError, match="the worker did not answer within 1 s"):
                        refuse(address)
                    monkeypatch.setattr(fit_workers, "_PATIENCE", 30)


@pytest.mark.timeout(120)
def test_only_workers_with_a_gpu_are_asked_if_there_are_some(
    tmp_path: Path, scheduler: tuple[str, subprocess.Popen[bytes]], monkeypatch
) -> None:
    """Of two workers one has the resource, and all calls go to its process."""
    monkeypatch.setattr(connection, "PATIENCE", 30)
    address, _ = scheduler
    worker = ["worker", address, "--no-nanny", "--nthreads", "1", "--resources", "GPU=1"]
    with (
        started(worker, tmp_path / "gpu.log") as (process, _),
        remote_cluster(address) as executor,
    ):
        assert executor.lanes == 1
        calls = [executor.submit(os.getpid) for _ in range(4)]
        assert {call.result() for call in calls} == {process.pid}


@pytest.mark.timeout(60)
def test_a_run_without_workers_says_that_it_waits(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Once, with what to do. It goes on when a worker is there, and says so."""
    monkeypatch.setattr(waiting, "_LOOK", 0.01)
    said = []

    def heard(text: str) -> bool:
        said.extend(capsys.readouterr().err.splitlines())
        return any(text in line for line in said)

    with (
        LocalCluster(
            n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None
        ) as here,
        remote_cluster(here.scheduler_address) as executor,
    ):
        here.scale(0)
        until(lambda: not here.scheduler.workers)
        assert not heard("no worker is left")  # nothing waits for one
        call = executor.submit(os.getpid)
        until(lambda: heard("no worker is left"))
        here.scale(1)
        assert call.result() == os.getpid()
        until(lambda: heard("are back"))
        address = here.scheduler_address
        [worker] = here.scheduler.workers
        with pytest.raises(ClusterError, match="found a worker of dask, wanted a scheduler"):
            refuse(worker)
    assert said == [
        f"{address}: no worker is left, and the run waits for one. Start some with make worker "
        f"SCHEDULER={address}, and it goes on by itself. Ctrl-C loses nothing that is stored",
        f"{address}: 1 worker(s) are back, and the run goes on",
    ]


def refuse(address: str) -> None:
    with remote_cluster(address):
        raise AssertionError("it was taken")


def test_no_process_outlives_its_cluster(tmp_path: Path) -> None:
    """The command is killed by -9 in the middle, and its workers end too."""
    script = "from devkit.predict.cluster import local_cluster\nimport os, time\n"
    script += "if __name__ == '__main__':\n    with local_cluster(1) as workers:\n"
    script += "        print('pid', workers.submit(os.getpid).result(), flush=True)\n"
    script += "        time.sleep(60)\n"
    (tmp_path / "script.py").write_text(script)
    environment = {**os.environ, "PYTHONPATH": "kernel_src:."}
    with subprocess.Popen(
        [sys.executable, str(tmp_path / "script.py")],
        cwd=REPOSITORY,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        worker = next(int(line.split()[1]) for line in process.stdout if line.startswith("pid"))
        process.kill()
    until(lambda: not psutil.pid_exists(worker), 20)
