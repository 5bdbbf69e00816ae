"""Every block of shell on the pages runs as it is written, in a fresh copy of the repository.

The table says for each block how it is run. A block that stands in no row is a failure.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
import torch
import yaml

from devkit.demo import train as demo_training
from devkit.demo.prepare import prepare
from devkit.demo.sources import download
from devkit.tools import REPOSITORY
from kernelkit.own import load_own
from tests.made import own as package
from tests.made.competition import RECIPE, write_competition, write_models
from tests.made.kaggle_home import Home
from tests.made.once import made_once
from tests.made.runtime import proved_runtime

PAGES = [
    REPOSITORY / "README.md",
    REPOSITORY / "CONTRIBUTING.md",
    *sorted((REPOSITORY / "docs").rglob("*.md")),
]


def shell_blocks() -> list[str]:
    """The blocks of shell of all pages, without their indentation, each once."""
    blocks: dict[str, None] = {}
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for indent, block in re.findall(r"^( *)```sh\n(.*?)^ *```", text, re.S | re.M):
            blocks[re.sub(f"^{indent}", "", block, flags=re.M)] = None
    return list(blocks)


@dataclass(frozen=True)
class Copy:
    """A fresh copy of the repository, and what a block may name beside it.

    Attributes
    ----------
    folder
        The copy. It has the environment, and what a first run downloads.
    data
        What stands for `/data` in a block.
    factory
        Of the folders that several blocks share.
    """

    folder: Path
    data: Path
    factory: pytest.TempPathFactory

    def run(self, block: str, **environment: str) -> None:
        """Run a block as a shell does that stops at the first failure."""
        block = block.replace("/data/", f"{self.data}/")
        done = subprocess.run(
            ["bash", "-euc", block],
            cwd=self.folder,
            env={**os.environ, **self.variables, **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]

    @property
    def variables(self) -> dict[str, str]:
        """Nothing of the tests' own reaches a block."""
        clean = ("MAKEFLAGS", "PYTHONPATH", "KERNELKIT_RECIPES")
        return {**dict.fromkeys(clean, ""), "PYTEST_ADDOPTS": "-m 'not slow'"}


@pytest.fixture
def copy(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Copy:
    folder = tmp_path / "fresh copy"
    tracked = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, tracked.stdout.split("\0")):
        if (REPOSITORY / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPOSITORY / name, folder / name)
    for lock in (folder / "requirements").iterdir():
        os.utime(lock, (0, 0))  # or make would make the environment anew
    for name in (".venv", ".tools", ".mypy_cache", "build/twins", "wheels/downloads"):
        if (REPOSITORY / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).symlink_to((REPOSITORY / name).resolve())
    return Copy(folder, tmp_path / "data", tmp_path_factory)


def write_dataset(copy: Copy) -> None:
    """The kernel dataset, as an earlier `make dry-run` proved it."""
    proved = proved_runtime(copy.factory).dataset.folder
    shutil.copytree(proved, copy.folder / "build/kernel-kaggle-py312")


def write_own(copy: Copy) -> None:
    """A competition, models and a recipe as a user has them."""
    write_competition(copy.data / "my-competition")
    write_models(copy.data / "my-runs")
    (copy.folder / "my-recipe.yaml").write_text(RECIPE)


def write_code(copy: Copy) -> None:
    """Code of the user's own, and a run whose network is a class of it."""
    code = package.write_own(copy.folder / "my-code")
    run = copy.data / "my-runs" / "mine"
    run.mkdir()
    with package.session_with(code):
        name = f"{package.PACKAGE}.model:Net"
        torch.save(load_own(name)().state_dict(), run / "e1.pth")
    (run / "cfg.yaml").write_text(f"MODEL: {{network: '{name}'}}")


def write_probe(copy: Copy) -> None:
    """What the probe notebook leaves on Kaggle."""
    notebook = "-m papermill notebooks/probe.ipynb - -p output ."
    copy.run(f".venv/bin/python {notebook} > /dev/null")


def write_demo(copy: Copy) -> None:
    """What `make dry-run` leaves: the demo's competition and its networks."""
    demo, _ = made_once(copy.factory, "demo", make_demo)
    (copy.folder / "build").mkdir(exist_ok=True)
    (copy.folder / "build" / "demo").symlink_to(demo)


def make_demo(folder: Path) -> None:
    """Prepare the demo, all of its folds, in one step of training each."""
    (folder / "downloads").mkdir()
    for wheel in download(REPOSITORY / "build" / "demo" / "downloads"):
        (folder / "downloads" / wheel.name).symlink_to(wheel)
    recipe = yaml.safe_load((demo_training.RECIPES / "nuclei.yaml").read_text())
    recipe |= {"epochs": 1, "steps": 1, "batch": 2, "validate": {"floor": 0}}
    for run in recipe["runs"].values():
        run.pop("epochs", None)
    (folder / "nuclei.yaml").write_text(yaml.safe_dump(recipe))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo_training, "RECIPES", folder)
        # this process trains, since it has torch
        in_this_process = partial(demo_training.train_networks, devices="cpu")
        patch.setattr(demo_training, "train_networks", in_this_process)
        prepare(folder)


# ---- the ways to run a block

Way = Callable[[str, Copy, Home], None]


def runs(*prepare: Callable[[Copy], None]) -> Way:
    """The block runs as it is, once the files that it names are there."""

    def way(block: str, copy: Copy, _: Home) -> None:
        for step in prepare:
            step(copy)
        copy.run(block)

    return way


def on_kaggle(block: str, copy: Copy, home: Home) -> None:
    """The block runs against a server on this machine."""
    write_dataset(copy)
    write_models(copy.folder / "my-runs")
    names = {key: value for key, value in home.settings.items() if key != "notebook"}
    settings = {f"KERNELKIT_{key.upper()}": str(value) for key, value in names.items()}
    copy.run(block, **{**home.environment, **settings})


def on_cluster(block: str, copy: Copy, _: Home) -> None:
    """The first two lines run until the third is done, all on this machine."""
    write_own(copy)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    block = block.replace("//head:8786", f"//127.0.0.1:{port}").replace("\\\n", "")
    scheduler, worker, last = block.strip().splitlines()
    log = copy.folder / "cluster.log"
    servers = []
    try:
        for line, said in ((f"PORT={port} {scheduler}", " at:"), (worker, "Registered to:")):
            with log.open("a") as out:
                servers.append(
                    subprocess.Popen(
                        ["bash", "-c", line],
                        cwd=copy.folder,
                        env={**os.environ, **copy.variables},
                        stderr=out,
                        start_new_session=True,
                    )
                )
            end = time.monotonic() + 120
            while said not in log.read_text():
                assert servers[-1].poll() is None, log.read_text()
                assert time.monotonic() < end, log.read_text()
                time.sleep(0.1)
        copy.run(last)
        submission = copy.data / "out" / "submission.csv"
        assert submission.read_text().startswith("id,predicted")
    finally:
        for server in servers:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def long(*tests: str) -> Way:
    """The block takes minutes: its commands are checked, and these tests run what they run."""

    def way(block: str, copy: Copy, _: Home) -> None:
        for test in tests:
            path, name = test.split("::")
            assert f"def {name}(" in (REPOSITORY / path).read_text()
        for line in block.replace("\\\n", "").splitlines():
            copy.run(line.replace("make ", "make -n ", 1))

    return way


DRY_RUN = "tests/devkit/dryrun/test_dryrun.py::test_both_ways_of_reading_give_one_submission"
DEVICES = "tests/devkit/dryrun/test_dryrun.py::test_two_devices_share_the_images"
SHAPES = "tests/devkit/dryrun/test_variants.py::test_a_shape_goes_the_whole_way"
RADAR = "tests/devkit/dryrun/test_variants.py::test_radar_goes_the_whole_way"
HOUSE = "tests/test_house.py::test_examples_run"
TRAINED = "tests/kernelkit/training/test_train.py::test_its_folds_are_the_members_of_an_ensemble"
RUNS = "tests/devkit/training/test_runs.py::test_a_table_has_a_row_per_run"
VALIDATED = "tests/devkit/evaluation/test_commands.py::test_validation_writes_scores_and_a_report"
TUNED = "tests/devkit/evaluation/test_commands.py::test_tuning_writes_the_recipe_and_the_total"
SHIFT = "tests/devkit/evaluation/test_shift.py::test_a_training_recipe_says_where_both_sets_are"
MASKS = "tests/devkit/predict/test_command.py::test_mask_files_hold_what_is_submitted"
WORKERS = "tests/devkit/predict/test_cluster.py::test_workers_write_what_one_process_writes"
LOOK = "tests/devkit/training/test_look.py::test_each_image_is_measured"
NEW = "tests/devkit/new/test_new.py::test_the_folder_is_looked_at"
OWN_WALK = "tests/devkit/new/test_walk.py::test_the_notebook_finds_the_recipe_in_the_twin"
SEAMS = "tests/devkit/dryrun/test_seams.py::test_a_difference_at_a_seam_is_found_there"
TWIN = "tests/devkit/wheels/test_registry.py::test_the_real_dataset_installs_in_the_images_twin"
SUBMIT = "tests/devkit/kaggle/test_submissions.py::test_submit_goes_from_the_datasets_to_a_score"
ENGINE = "tests/devkit/engine/test_engine.py::test_inference_by_engines_is_that_by_weights"
ON_KAGGLE_ENGINE = "tests/devkit/kaggle/test_engine_notebook.py::test_it_has_weights_and_a_gpu"
GPU = "tests/devkit/gpu/test_check.py::test_what_is_missing_comes_from_the_folder"

# how a block begins, and how it is run
WAYS: list[tuple[str, Way]] = [
    # README, and the first page
    ("make dry-run     # environment", long(DRY_RUN, HOUSE)),
    ("make dry-run    # environment", long(DRY_RUN, HOUSE)),
    ("make dry-run RECIPE=clouds    # whole", long(SHAPES, RADAR)),
    ("make new NAME=my-competition", long(NEW, LOOK, TRAINED, VALIDATED, DRY_RUN)),
    ("make kernel-dataset                    # the code", on_kaggle),
    # training and tuning
    ("make look COMPETITION=", long(LOOK, TRAINED, RUNS, DRY_RUN, SUBMIT)),
    ("make validate RECIPE=my-train.yaml", long(VALIDATED, TUNED, SHIFT)),
    ("make validate RECIPE=devkit", runs(write_demo)),
    # a competition of your own
    ("make new NAME=nuclei-again", runs(write_demo)),
    ("make train NAME=nuclei-again", long(TRAINED, RUNS, VALIDATED)),
    ("make kernel-dataset NAME=nuclei-again", long(OWN_WALK)),
    ("make doctor NAME=nuclei-again", long(SUBMIT)),
    # devices
    ('make dry-run DEVICES="cpu cpu"', long(DEVICES)),
    ("make predict RECIPE=my-recipe.yaml", long(MASKS, WORKERS)),
    ("make scheduler", on_cluster),
    # engines
    ("make engine RECIPE=", long(ENGINE)),
    ("make push NOTEBOOK=engine", long(ON_KAGGLE_ENGINE)),
    # wheels
    ("make kernel-dataset PROFILE=", long(TWIN)),
    ("make dry-run OWN=", runs(write_own, write_code)),
    ("PYTHONPATH=kernel_src .venv/bin/python -m devkit.image.add_profile", runs(write_probe)),
    # on Kaggle, and coming from elsewhere
    ("make kernel-dataset\n.venv/bin/python -m papermill", runs(write_dataset, write_own)),
    ("# here: only what the image lacks", long(TWIN, SUBMIT)),
    ("make forget", runs()),
    # the competitions
    ("make dry-run SIZE=large", long(DRY_RUN, SEAMS)),
    ("make train RECIPE=hubmap", long(TRAINED, DRY_RUN)),
    ("make dry-run RECIPE=clouds    # a small", long(SHAPES)),
    ("make dry-run RECIPE=salt", long(SHAPES)),
    ("make dry-run RECIPE=unosat", long(RADAR)),
    # on a GPU, whose machine is another one
    ("make gpu-wheels", long(GPU, DRY_RUN)),
    ("make gpu-check", long(GPU)),
    # taking part
    ("make test FAST=1", long(HOUSE)),
    ("export PYTHONPATH=kernel_src\n", runs()),
]


def test_every_block_has_one_way_to_be_run() -> None:
    """No block is left out in silence, and no way is left over."""
    blocks = shell_blocks()
    assert [len([b for b in blocks if b.startswith(start)]) for start, _ in WAYS] == [1] * len(WAYS)
    assert [len([s for s, _ in WAYS if block.startswith(s)]) for block in blocks] == [1] * len(
        blocks
    )


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.xdist_group("twin")
@pytest.mark.parametrize(("start", "way"), WAYS, ids=[" ".join(s.split()[:3]) for s, _ in WAYS])
def test_a_block_runs_as_it_is_written(start: str, way: Way, copy: Copy, home: Home) -> None:
    """Each command of it ends with exit code 0."""
    [block] = [block for block in shell_blocks() if block.startswith(start)]
    way(block, copy, home)
