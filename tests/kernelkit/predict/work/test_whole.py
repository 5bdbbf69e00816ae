"""Whole pictures: against plain OpenCV and torch, and whatever goes wrong with some of them."""

import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.image import imread

from kernelkit.ensemble import MegaModel
from kernelkit.errors import DeviceError
from kernelkit.mask import BitMask
from kernelkit.predict.deadline import Deadline
from kernelkit.predict.store.store import Store
from kernelkit.reader import ReaderPool
from tests.made.pictures import NEAR, Clouds, Salt, run, statuses, submitted


@pytest.fixture(scope="module")
def clouds(tmp_path_factory: pytest.TempPathFactory) -> Clouds:
    return Clouds(tmp_path_factory.mktemp("clouds"))


@pytest.fixture(scope="module")
def salt(tmp_path_factory: pytest.TempPathFactory) -> Salt:
    return Salt(tmp_path_factory.mktemp("salt"))


def test_clouds_are_what_opencv_and_torch_make_of_them(clouds: Clouds, tmp_path: Path) -> None:
    """Each row of four sizes, three views and one sharpened mean is the reference's mask."""
    rows = submitted(run(clouds, tmp_path / "out"))
    assert len(rows) == 4 * len(clouds.paths)
    for path in clouds.paths:
        merged = clouds.merged(path)
        for name, plane in zip(clouds.classes, merged, strict=True):
            mask = BitMask.from_rle(rows[f"{path.stem}.jpg_{name}"], clouds.size).to_array()
            differs = mask.astype(bool) != (plane > clouds.threshold)
            assert not (differs & (np.abs(plane - clouds.threshold) > NEAR)).any()
    areas = [clouds.merged(path) > clouds.threshold for path in clouds.paths]
    assert 0.02 < np.mean(areas) < 0.98


def test_salt_is_what_opencv_and_torch_make_of_it(salt: Salt, tmp_path: Path) -> None:
    """Pads, a softmax of snapshots and the gate give the reference's masks, pixel for pixel."""
    rows = submitted(run(salt, tmp_path / "out"))
    empty = 0
    for path in salt.paths:
        mask = BitMask.from_rle(rows[path.stem], salt.size).to_array().astype(bool)
        answer = salt.answer(path)
        differs = mask != salt.mask(path)
        near = np.abs(answer.probabilities[1] - answer.probabilities[0]) < NEAR
        assert not (differs & ~near).any()
        empty += answer.emptiness > 0.5
    assert empty == len(salt.paths) // 2


def test_reader_processes_change_nothing(salt: Salt, clouds: Clouds, tmp_path: Path) -> None:
    """The submission is the same, byte for byte, whether pictures come from 0 or 2 processes."""
    for made in (salt, clouds):
        folder = tmp_path / made.recipe.name
        texts = {run(made, folder / str(n), workers=n).submission.read_bytes() for n in (0, 2)}
        assert len(texts) == 1


def test_every_picture_has_its_own_report(salt: Salt, tmp_path: Path) -> None:
    """The time of a batch is shared out among its pictures."""
    done = run(salt, tmp_path / "out")
    assert [image.image for image in done.report.images] == [path.stem for path in salt.paths]
    for image in done.report.images:
        assert (image.status, image.ensemble, image.layout != "") == ("predicted", "salt", True)
        assert (image.height, image.width, image.tiles, image.asked) == (101, 101, 1, 1.0)
        assert 0 < image.waited + image.network <= image.seconds
        assert image.notes == []


@pytest.mark.parametrize("workers", [0, 2])
def test_a_bad_picture_costs_only_its_own_row(salt: Salt, tmp_path: Path, workers: int) -> None:
    """Files that are cut off, no image, or gone get the fallback row, and the others their own."""
    wanted = submitted(run(salt, tmp_path / "good"))
    folder = Salt(tmp_path / "bad")
    folder.paths[1].write_bytes(folder.paths[1].read_bytes()[:300])
    folder.paths[4].write_text("no image")
    folder.paths[7].unlink()
    done = run(folder, tmp_path / "out", workers=workers)
    rows = submitted(done)
    bad = {folder.paths[number].stem for number in (1, 4, 7)}
    assert {image.image for image in done.report.fallbacks} == bad
    assert all(image.notes[-1] for image in done.report.fallbacks)
    assert rows == {image: "" if image in bad else rle for image, rle in wanted.items()}


def test_many_bad_pictures_are_counted_and_not_all_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Five are named when they are found, and one sentence is about the others."""
    folder = Salt(tmp_path / "bad")
    for path in folder.paths[:8]:
        path.write_text("no image")
    done = run(folder, tmp_path / "out")
    assert len(done.report.fallbacks) == 8
    said = [record.message for record in caplog.records if "fallback row" in record.message]
    assert [message.partition(":")[0] for message in said[:-1]] == [
        path.stem for path in folder.paths[:5]
    ]
    assert said[-1] == "fallback row for 3 more image(s). The report says why"


def test_nan_costs_only_its_own_picture(
    clouds: Clouds, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others of its batch are predicted, as without it."""
    wanted = submitted(run(clouds, tmp_path / "good"))
    plain = MegaModel.predict_pictures

    def spoiled(model: MegaModel, *arguments: Any, **options: Any) -> Any:
        answers = plain(model, *arguments, **options)
        if len(answers.probabilities) > 2:
            answers.probabilities[2, 1, 5, 7] = float("nan")
        return answers

    monkeypatch.setattr(MegaModel, "predict_pictures", spoiled)
    done = run(clouds, tmp_path / "out")
    (fallback,) = done.report.fallbacks
    assert fallback.image == clouds.paths[2].stem
    assert "NaN" in fallback.notes[-1]
    rows = submitted(done)
    assert {row for row in rows if rows[row] != wanted[row]} == {
        f"{fallback.image}.jpg_{name}" for name in clouds.classes
    }


def test_a_batch_that_fails_is_asked_about_picture_by_picture(
    salt: Salt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the picture that the model cannot bear is lost."""
    plain = MegaModel.predict_pictures
    bright = max(salt.paths, key=lambda path: float(salt._inputs(path).mean()))
    worst = float(salt._inputs(bright).mean()) + 125

    def failing(model: MegaModel, inputs: Any, **options: Any) -> Any:
        if (inputs[0].mean(axis=(1, 2, 3)) > worst - 1e-3).any():
            raise DeviceError("too bright")
        return plain(model, inputs, **options)

    monkeypatch.setattr(MegaModel, "predict_pictures", failing)
    done = run(salt, tmp_path / "out")
    assert {image.image: image.notes for image in done.report.fallbacks} == {
        bright.stem: ["too bright"]
    }


def test_a_second_run_keeps_what_the_first_one_found(tmp_path: Path) -> None:
    """A picture that changed is predicted, and so is one that the store lost."""
    made = Salt(tmp_path / "made")
    first = run(made, tmp_path / "out")
    store = Store(tmp_path / "out/masks")
    store.entry_named(first.report.images[3].stored).remove()
    store.close()
    made.paths[5].write_bytes(made.paths[6].read_bytes())
    second = run(made, tmp_path / "out", workers=2)
    predicted = [image.image for image in second.report.predicted]
    assert predicted == [made.paths[3].stem, made.paths[5].stem]
    assert statuses(second) == {"predicted": 2, "kept": len(made.paths) - 2}
    rows, before = submitted(second), submitted(first)
    assert rows.pop(made.paths[5].stem) == before[made.paths[6].stem]
    assert rows == {name: before[name] for name in rows}


class Clock:
    """Moves on by what is asked of the models."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    plain = MegaModel.predict_pictures

    def timed(model: MegaModel, inputs: Any, **options: Any) -> Any:
        clock.now += 10 * model.cost * len(inputs[0])
        return plain(model, inputs, **options)

    monkeypatch.setattr(MegaModel, "predict_pictures", timed)
    return clock


def test_pictures_after_the_deadline_get_their_fallback(
    salt: Salt, tmp_path: Path, clock: Clock
) -> None:
    """Of 12 pictures of 10 s each, in batches of 5, two batches are begun within 55 s."""
    recipe = salt.recipe.override(give_up=[])
    deadline = Deadline(55 / 3600, reserve=0, clock=clock)
    done = run(salt, tmp_path / "out", recipe, deadline=deadline)
    assert [image.is_fallback for image in done.report.images] == [False] * 10 + [True] * 2
    assert "time was over before this picture was begun" in done.report.fallbacks[0].notes[-1]
    again = run(salt, tmp_path / "out", recipe)
    assert statuses(again) == {"predicted": 2, "kept": 10}


def test_less_is_asked_if_the_time_runs_short(clouds: Clouds, tmp_path: Path, clock: Clock) -> None:
    """Half of the views are left out before any picture is."""
    recipe = clouds.recipe.override(batch=1)
    done = run(clouds, tmp_path / "out", recipe, deadline=Deadline(41 / 3600, 0, clock))
    assert statuses(done) == {"predicted": len(clouds.paths)}
    asked = [image.asked for image in done.report.images]
    assert asked[0] == 1.0
    assert asked[-1] < 1.0
    assert "because the time ran short" in done.report.images[-1].notes[-1]


def test_disagreement_is_drawn_on_request(salt: Salt, tmp_path: Path) -> None:
    """There is a picture for each, and the submission is the same."""
    without = run(salt, tmp_path / "without")
    done = run(salt, tmp_path / "with", salt.recipe.override(disagreement=True))
    assert done.submission.read_bytes() == without.submission.read_bytes()
    assert list(done.disagreement) == [path.stem for path in salt.paths]
    drawn = [imread(path)[..., :3] for path in done.disagreement.values()]
    assert {picture.shape[:2] for picture in drawn} == {salt.size}
    assert max(picture.std() for picture in drawn) > 0.01  # of a gated picture there is none


@pytest.mark.timeout(120)
def test_a_picture_that_kills_its_reader_costs_only_its_own_row(
    salt: Salt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every process that decodes it dies. The notebook does not decode it, and goes on."""
    submit = ReaderPool.submit
    bad = salt.paths[3]

    def deadly(pool: ReaderPool, task: Any) -> Any:
        pictures = [(Deadly(),) if bad in paths else paths for paths in task.pictures]
        return submit(pool, task._replace(pictures=pictures))

    monkeypatch.setattr(ReaderPool, "submit", deadly)
    done = run(salt, tmp_path / "out", workers=2)
    assert [image.image for image in done.report.fallbacks] == [salt.paths[3].stem]
    assert "was lost" in done.report.fallbacks[0].notes[-1]
    assert any("a reader process was lost" in note for note in done.report.notes)


class Deadly:
    """Kills the process that unpickles it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return signal.raise_signal, (signal.SIGKILL,)
