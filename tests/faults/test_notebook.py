"""Faults seen from the notebook: it ends well, with a valid submission, and says what went wrong.

The first table spoils what a finished run left, between the cell that predicts and those that show.
The second one gives the notebook odd inputs, folders and outputs.
"""

import json
import os
import shutil
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kernelkit.predict
from devkit.demo.layouts import write
from devkit.dryrun.notebook import run_notebook as run_notebook_offline
from devkit.dryrun.runtime import Runtime
from devkit.dryrun.scenario import Scenario
from devkit.sandbox.run import Mount, Sandbox
from devkit.tools import REPOSITORY
from kernelkit.competition import CompetitionFolder, check_submission
from kernelkit.ensemble import MegaModel
from kernelkit.predict import Prediction, load_models, look, predict
from kernelkit.predict.hand_in.hand_in import FinishedMasks
from kernelkit.predict.hand_in.maps import Maps
from kernelkit.predict.report import Report
from kernelkit.predict.store.store import Store
from kernelkit.recipe import Recipe
from kernelkit.slide import Slide
from tests.made.competition import RECIPE, write_competition, write_models
from tests.made.layouts import spoil_block
from tests.made.notebook import run_cells, sent
from tests.made.stored import Column, forget, names, overwrite

SMALL = {"a": ("tiled", 90, 270), "b": ("strips", 40, 50)}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe, models and a competition of two small images."""
    folder = tmp_path_factory.mktemp("inputs")
    (folder / "recipe.yaml").write_text(RECIPE + "disagreement: true\n")
    write_models(folder / "models")
    write_competition(folder / "competition", SMALL)
    return folder


@pytest.fixture(scope="module")
def finished(inputs: Path) -> Prediction:
    """What a run on the two images left behind."""
    kept: list[Prediction] = []
    run_notebook(inputs, inputs / "competition", inputs / "out", kept.append)
    return kept[0]


@pytest.fixture
def loaded(inputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the notebook find its models in memory, as those of the finished run."""
    monkeypatch.setattr(kernelkit.predict, "load_models", lambda *_, **__: models_of(inputs))


@cache
def models_of(inputs: Path) -> dict[str, MegaModel]:
    return load_models(Recipe.load(inputs / "recipe.yaml"), inputs / "models")


def run_notebook(
    inputs: Path,
    competition: Path,
    output: Path,
    after_predict: Callable[[Prediction], None] = lambda _done: None,
    **parameters: object,
) -> str:
    chosen: dict[str, Any] = {
        "competition": str(competition),
        "models": str(inputs / "models"),
        "recipe": str(inputs / "recipe.yaml"),
        "output": str(output),
        "workers": 0,
    }
    return run_cells(after_predict, **chosen | parameters)


# ---- after a valid submission


@dataclass
class Left:
    """A copy of what a finished run left, to be spoiled."""

    done: Prediction
    folder: Path

    @property
    def a(self) -> Path:
        return self.done.images["a"][0]

    @property
    def store(self) -> Path:
        return self.folder / "out/masks"

    @property
    def doubt(self) -> Path:
        return self.done.disagreement["a"]

    def set_seconds(self, seconds: float) -> None:
        first, *others = self.done.report.images
        images = [replace(first, seconds=seconds), *others]
        self.done = replace(self.done, report=replace(self.done.report, images=images))

    def rename(self, image_id: str) -> None:
        """Give the image `a` another id, everywhere."""
        self.note("", image_id)
        self.done.images[image_id] = self.done.images.pop("a")
        self.done.disagreement[image_id] = self.done.disagreement.pop("a")
        self.done = replace(self.done, masks=finished_masks(self.done.report, self.folder))

    def spoil(self, column: Column) -> None:
        overwrite(self.store, "a", column, b"{")

    def note(self, text: str, image_id: str = "a") -> None:
        first, *others = self.done.report.images
        renamed = replace(first, image=image_id, notes=[text] if text else [])
        self.done = replace(self.done, report=replace(self.done.report, images=[renamed, *others]))


def finished_masks(report: Report, folder: Path) -> FinishedMasks:
    paths: dict[str, tuple[Path, ...]] = {image.image: () for image in report.images}
    return FinishedMasks(report, paths, Recipe.parse(RECIPE), Store(folder / "out/masks"))


@pytest.fixture
def left(finished: Prediction, inputs: Path, tmp_path: Path) -> Left:
    for name in ("competition", "out"):
        shutil.copytree(inputs / name, tmp_path / name)

    def moved(path: Path) -> Path:
        return tmp_path / path.relative_to(inputs)

    done = Prediction(
        submission=tmp_path / "out/submission.csv",
        submissions=[tmp_path / "out/submission.csv"],
        report=finished.report,
        images={name: tuple(map(moved, paths)) for name, paths in finished.images.items()},
        masks=finished_masks(finished.report, tmp_path),
        disagreement={name: moved(path) for name, path in finished.disagreement.items()},
        maps=Maps([], [], []),
        recipe=Recipe.parse(RECIPE),
    )
    return Left(done, tmp_path)


def write_pixels(path: Path, *shape: int, value: float | None = None) -> None:
    dtype = np.uint8 if value is None else np.float32
    write(path, np.full(shape, 7 if value is None else value, dtype), "none")


def replaced_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def break_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.setitem(sys.modules, name, None)


def out_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def thumbnail(_slide: Slide, _side: int) -> np.ndarray:
        raise MemoryError

    monkeypatch.setattr(Slide, "thumbnail", thumbnail)


Spoil = Callable[[Left, pytest.MonkeyPatch], object]

# name, what happens after the submission was written, and a word of what the notebook then says
AFTERWARDS: list[tuple[str, Spoil, str]] = [
    ("nothing", lambda *_: None, "a figure"),
    ("image deleted", lambda left, _: left.a.unlink(), "a: no picture"),
    ("image empty", lambda left, _: left.a.write_bytes(b""), "a: no picture"),
    ("image overwritten by text", lambda left, _: left.a.write_text("no image"), "a: no picture"),
    ("image truncated", lambda left, _: os.truncate(left.a, 300), "a: no picture"),
    ("image a folder", lambda left, _: replaced_by_folder(left.a), "a: no picture"),
    ("block undecodable", lambda left, _: spoil_block(left.a, 0, 0), "a: no picture"),
    ("image smaller", lambda left, _: write_pixels(left.a, 3, 5, 5), "found 5 x 5 pixels"),
    ("image larger", lambda left, _: write_pixels(left.a, 3, 99, 99), "found 99 x 99 pixels"),
    ("image of one band", lambda left, _: write_pixels(left.a, 1, 90, 270), "a figure"),
    ("image of two bands", lambda left, _: write_pixels(left.a, 2, 90, 270), "a figure"),
    ("image NaN", lambda left, _: write_pixels(left.a, 3, 90, 270, value=np.nan), "a figure"),
    ("image infinite", lambda left, _: write_pixels(left.a, 3, 90, 270, value=np.inf), "a figure"),
    ("all images deleted", lambda left, _: shutil.rmtree(left.a.parent), "b: no picture"),
    ("mask deleted", lambda left, _: forget(left.store, "a"), "masks are gone or damaged"),
    ("mask damaged", lambda left, _: left.spoil("payload"), "masks are gone or damaged"),
    ("label damaged", lambda left, _: left.spoil("label"), "masks are gone or damaged"),
    ("store deleted", lambda left, _: shutil.rmtree(left.store), "masks are gone or damaged"),
    ("disagreement deleted", lambda left, _: left.doubt.unlink(), "a: no picture"),
    ("disagreement garbage", lambda left, _: left.doubt.write_bytes(b"x"), "a: no picture"),
    ("no disagreement", lambda left, _: left.done.disagreement.clear(), "no disagreement"),
    ("submission deleted", lambda left, _: left.done.submission.unlink(), "no preview"),
    ("submission empty", lambda left, _: left.done.submission.write_bytes(b""), "no preview"),
    ("submission no text", lambda left, _: left.done.submission.write_bytes(b"\xff"), "no preview"),
    ("output deleted", lambda left, _: shutil.rmtree(left.folder / "out"), "no preview"),
    ("note no text", lambda left, _: left.note("found \udcff"), "found \\\\udcff"),
    ("note half a character", lambda left, _: left.note("found \ud800"), "found \\\\ud800"),
    ("note of math", lambda left, _: left.note("cost $_{"), "cost $_{"),
    ("note of lines", lambda left, _: left.note("one\ntwo\r\x00\x1b[31m"), "two"),
    ("note of a page", lambda left, _: left.note("<script>&"), "&lt;script&gt;&amp;"),
    ("note without end", lambda left, _: left.note("x" * 100_000), "xxx"),
    ("id of math", lambda left, _: left.rename("$_{"), "$_{"),
    ("id of lines", lambda left, _: left.rename('a\n"b\t\x00'), "a figure"),
    ("id no text", lambda left, _: left.rename("\udcff"), "\\\\udcff"),
    ("id half a character", lambda left, _: left.rename("\ud800"), "\\\\ud800"),
    ("id without end", lambda left, _: left.rename("long " * 400), "long long"),
    ("id of no font", lambda left, _: left.rename("\U0001f52c\u0e01\u202e"), "\U0001f52c"),
    ("id empty", lambda left, _: left.rename(""), "a figure"),
    ("id of a page", lambda left, _: left.rename("<b>"), "&lt;b&gt;"),
    ("no matplotlib", lambda _, monkeypatch: break_matplotlib(monkeypatch), "no pictures"),
    ("out of memory", lambda _, monkeypatch: out_of_memory(monkeypatch), "a: no picture"),
    ("seconds NaN", lambda left, _: left.set_seconds(float("nan")), "nan Mpx/s"),
]


@pytest.mark.parametrize(
    ("spoil", "said"), [row[1:] for row in AFTERWARDS], ids=[r[0] for r in AFTERWARDS]
)
@pytest.mark.filterwarnings("ignore::UserWarning")  # of glyphs that the font lacks
def test_nothing_after_a_submission_fails_the_notebook(
    spoil: Spoil, said: str, left: Left, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every cell shows something that Jupyter can send, or says in a line why it cannot."""
    spoil(left, monkeypatch)
    cells = (look.overlays, look.disagreement, look.report, look.submission, look.submissions)
    shown = [sent(cell(left.done)) for cell in cells]
    assert said in "\n".join(shown)
    assert all("Traceback" not in text for text in shown)


# ---- odd inputs


def submitted(competition: Path, output: Path) -> dict[str, str]:
    """The status of each image, once its submission has been checked as the competition would."""
    recipe = Recipe.parse(RECIPE)
    test_set = CompetitionFolder.read(competition, recipe.competition)
    images = Report.load(output / "report.json").images
    sizes = {i.image: (i.height, i.width) for i in images if not i.is_fallback}
    check_submission(output / "submission.csv", test_set.ids, sizes, recipe.competition)
    return {image.image: image.status for image in images}


def rename_file(folder: Path, old: str, new: bytes) -> None:
    tests = folder / "competition/test"
    os.rename(tests / old, os.fsencode(tests) + b"/" + new)  # noqa: PTH104 - a name in bytes


def rename_id(folder: Path, new: str) -> None:
    """Call the image `b` otherwise, in the sample and on disk."""
    rename_file(folder, "b.tiff", f"{new}.tiff".encode())
    quoted = new.replace('"', '""')
    (folder / "competition/sample_submission.csv").write_text(f'id,predicted\na,\n"{quoted}",\n')


def without_sample(folder: Path) -> None:
    (folder / "competition/sample_submission.csv").unlink()


def in_turn(*steps: Callable[[Path], object]) -> Callable[[Path], object]:
    def prepare(folder: Path) -> None:
        for step in steps:
            step(folder)

    return prepare


B = "competition/test/b.tiff"
BOTH = ["predicted", "predicted"]
FIRST = ["predicted", "fallback"]

# name, what is done to the inputs, and what becomes of the images
INPUTS: list[tuple[str, Callable[[Path], object], list[str]]] = [
    ("a block undecodable", lambda f: spoil_block(f / "competition/test/a.tiff", 0, 0), BOTH),
    ("an image empty", lambda f: (f / B).write_bytes(b""), FIRST),
    ("an image truncated", lambda f: os.truncate(f / B, 200), FIRST),
    ("an image a folder", lambda f: replaced_by_folder(f / B), FIRST),
    ("an image missing", lambda f: (f / B).unlink(), FIRST),
    (
        "an image a dangling link",
        in_turn(lambda f: (f / B).unlink(), lambda f: (f / B).symlink_to("nowhere")),
        FIRST,
    ),
    (
        "an image a pipe",
        in_turn(lambda f: (f / B).unlink(), lambda f: os.mkfifo(f / B)),
        FIRST,
    ),
    ("a name no text", lambda f: rename_file(f, "b.tiff", b"\xff.tiff"), FIRST),
    (
        "a name no text, no sample",
        in_turn(without_sample, lambda f: rename_file(f, "b.tiff", b"\xff.tiff")),
        ["predicted"],
    ),
    ("an id of math", lambda f: rename_id(f, "$_{"), BOTH),
    ("an id of lines", lambda f: rename_id(f, "b\nc"), BOTH),
    ("an id of quotes", lambda f: rename_id(f, "b\"',;"), BOTH),
    ("an id of a page", lambda f: rename_id(f, "<b>&amp;"), BOTH),
    ("an id of a pattern", lambda f: rename_id(f, "b[c]*?"), BOTH),
    ("an id of spaces", lambda f: rename_id(f, " b "), BOTH),
    ("an id of another script", lambda f: rename_id(f, "\u7ec6\u80de\U0001f52c"), BOTH),
    ("an id of a dash", lambda f: rename_id(f, "-b"), BOTH),
    ("an id of 200 characters", lambda f: rename_id(f, "b" * 200), BOTH),
    (
        "an id of lines, no sample",
        in_turn(without_sample, lambda f: rename_file(f, "b.tiff", b"b\n\"'.tiff")),
        BOTH,
    ),
]


@pytest.mark.usefixtures("loaded")
@pytest.mark.parametrize(
    ("prepare", "statuses"), [row[1:] for row in INPUTS], ids=[row[0] for row in INPUTS]
)
def test_an_odd_input_costs_at_most_its_own_image(
    prepare: Callable[[Path], object], statuses: list[str], inputs: Path, tmp_path: Path
) -> None:
    """The notebook runs to its last cell, and the submission is valid."""
    shutil.copytree(inputs / "competition", tmp_path / "competition")
    prepare(tmp_path)
    shown = run_notebook(inputs, tmp_path / "competition", tmp_path / "out")
    assert list(submitted(tmp_path / "competition", tmp_path / "out").values()) == statuses
    assert "rows are fallbacks" in shown


# ---- odd folders and outputs

# name, and the folder that the notebook works in
FOLDERS = [
    ("relative", "here"),
    ("deep", "/".join(["ten letter"] * 18)),
    ("named in another script", "\u7ec6 \u80de"),
    ("named with quotes", 'it\'s "so" $HOME;'),
]


@pytest.mark.parametrize("name", [row[1] for row in FOLDERS], ids=[row[0] for row in FOLDERS])
def test_any_folder_does(
    name: str, inputs: Path, finished: Prediction, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Relative paths in a folder of any name give the same submission."""
    working = tmp_path / name
    working.mkdir(parents=True)
    for entry in ("competition", "models", "recipe.yaml"):
        (working / entry).symlink_to(inputs / entry)
    monkeypatch.chdir(working)
    run_cells(
        competition="competition", models="models", recipe="recipe.yaml", output="out", workers=0
    )
    assert (working / "out/submission.csv").read_bytes() == finished.submission.read_bytes()


# name, where standard output goes, and its encoding
OUTPUTS = [
    ("ASCII", "{folder}/printed", "ascii"),
    ("Latin-1", "{folder}/printed", "latin-1"),
    ("full", "/dev/full", "utf-8"),
    ("closed", "", "utf-8"),
]


@pytest.mark.parametrize(
    ("place", "encoding"), [row[1:] for row in OUTPUTS], ids=[row[0] for row in OUTPUTS]
)
def test_any_output_does(
    place: str, encoding: str, inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The images are predicted, whatever becomes of the progress bars and lines."""
    names = {"\u7ec6\u80de": ("tiled", 90, 70), "b": ("strips", 40, 50)}
    competition = write_competition(tmp_path / "competition", names)
    recipe = Recipe.load(inputs / "recipe.yaml")
    test_set = CompetitionFolder.read(competition, recipe.competition)
    path = Path(place.format(folder=tmp_path) or os.devnull)
    with suppress(OSError), path.open("w", 1, encoding) as printed:
        if not place:
            printed.close()
        monkeypatch.setattr(sys, "stdout", printed)
        predict(test_set, recipe, models_of(inputs), tmp_path / "out")
        monkeypatch.undo()
    assert list(submitted(competition, tmp_path / "out").values()) == BOTH


# ---- odd machines

CELLS = """
import json, sys
from tests.made.notebook import run_cells
run_cells(**json.loads(sys.argv[1]))
"""
READ_ONLY = "/kaggle/input/nothing"

# name, what differs in the environment, what else is mounted read-only, and the size of /dev/shm.
# A start takes long, so each row has several faults. The last row has all that is read-only.
MACHINES: list[tuple[str, dict[str, str], list[str], int | None]] = [
    (
        "TMPDIR and HOME missing, /dev/shm of 4 kB",
        {"HOME": "/nowhere", "TMPDIR": "/nowhere"},
        [],
        4096,
    ),
    (
        "TMPDIR too long for a socket, HOME and /dev/shm read-only",
        {"HOME": READ_ONLY, "TMPDIR": "/kaggle/working/" + "deep/" * 60},
        ["/dev/shm"],
        None,
    ),
    (
        "nothing but the output",
        {"HOME": READ_ONLY, "TMPDIR": READ_ONLY},
        ["/dev/shm", "/tmp", "/var/tmp"],
        None,
    ),
]


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("environment", "read_only", "shm_bytes"),
    [row[1:] for row in MACHINES],
    ids=[row[0] for row in MACHINES],
)
def test_any_machine_gives_the_same_submission(
    environment: dict[str, str],
    read_only: list[str],
    shm_bytes: int | None,
    inputs: Path,
    finished: Prediction,
    tmp_path: Path,
) -> None:
    """Without shared memory, a temporary folder or a home, the images are predicted as well."""
    sources = "/kaggle/input/sources"
    mounts = [
        Mount(tmp_path / "nothing", READ_ONLY),
        Mount(REPOSITORY, sources),
        Mount(inputs, "/kaggle/input/inputs"),
        Mount(tmp_path / "working", "/kaggle/working", writable=True),
        *(Mount(Path(place), place) for place in read_only),
    ]
    if "deep/" in environment.get("TMPDIR", ""):
        (tmp_path / "working" / ("deep/" * 60)).mkdir(parents=True)
    sandbox = Sandbox(tmp_path / "sandbox", mounts, shm_bytes)
    if not sandbox.is_isolated:
        pytest.skip("this system allows no namespaces")
    parameters = {name: f"/kaggle/input/inputs/{name}" for name in ("competition", "models")}
    parameters |= {"recipe": "/kaggle/input/inputs/recipe.yaml", "output": "/kaggle/working"}
    python = [sys.executable, "-c", CELLS, json.dumps(parameters | {"workers": 2})]
    words = [f"{name}={value}" for name, value in environment.items()]
    variables = {"PATH": os.environ["PATH"], "PYTHONPATH": f"{sources}/kernel_src:{sources}"}
    variables["OMP_NUM_THREADS"] = "1"  # as all tests have
    done = sandbox.run(["env", "-C", READ_ONLY, *words, *python], variables)
    assert done.exit_code == 0
    submission = tmp_path / "working/submission.csv"
    assert submission.read_bytes() == finished.submission.read_bytes()


# ---- the real notebook, in Jupyter, as the hidden rerun would run it


# the last image is still at work when the others are spoiled
RERUN = {name: ("tiled", 90 + 7 * i, 300) for i, name in enumerate("abcde")} | {
    "last": ("tiled", 600, 700)
}


def spoil_inputs(folder: Path) -> None:
    """Damage two images, and give four names that are odd in a title, in a CSV file, on a disk."""
    tests = folder / "competition/test"
    spoil_block(tests / "b.tiff", 0, 256)
    (tests / "c.tiff").write_bytes(b"no image")
    ids = ["a", "$_{", "b\nc", "b\"',", "\u7ec6\u80de", "last"]
    for old, new in zip("bcde", ids[1:-1], strict=True):
        rename_file(folder, f"{old}.tiff", f"{new}.tiff".encode())
    rows = "".join('"{}",\n'.format(i.replace('"', '""')) for i in ids)
    (folder / "competition/sample_submission.csv").write_text(f"id,predicted\n{rows}")
    write_pixels(tests / os.fsdecode(b"\xff.tiff"), 3, 9, 9)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.xdist_group("twin")
def test_the_hidden_rerun_ends_with_a_valid_submission(
    inputs: Path, runtime: Runtime, tmp_path: Path
) -> None:
    """An image is deleted after it was predicted, and before its picture is drawn."""
    tests = write_competition(tmp_path / "competition", RERUN) / "test"
    spoil_inputs(tmp_path)
    working = tmp_path / "run/working"
    scenario = Scenario(
        str(inputs / "recipe.yaml"),
        tmp_path / "competition",
        inputs / "models",
        working,
        None,
        True,
    )
    spoiled: list[Path] = []

    def spoil_finished(_: object) -> None:
        stored = names(working / "masks")
        if not spoiled and any(name.startswith("a-") for name in stored):
            spoiled.append(tests / "a.tiff")
            spoiled[0].unlink()

    result = run_notebook_offline(scenario, runtime, 1, on_sample=spoil_finished)
    assert result.exit_code == 0
    assert spoiled
    write_pixels(spoiled[0], 3, 9, 9)  # the check below lists the files
    statuses = submitted(tmp_path / "competition", working)
    assert list(statuses.values()) == ["predicted"] * 2 + ["fallback"] + ["predicted"] * 3
    page = (working / "inference.ipynb").read_text()
    assert "a: no picture" in page
    assert "kernelkit: end of the run" in page
