"""Cuts: the pixels that inference sees, made once, and made again only where something changed."""

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest

from kernelkit.errors import OutputError, ReaderError, TrainingError
from kernelkit.grid import TileGrid, Window
from kernelkit.reader import TileReader
from kernelkit.slide import Slide
from kernelkit.training.cuts import CutImage, Cuts, make_cuts
from kernelkit.training.cuts import pixels as pixels_module
from kernelkit.training.cuts import shrunk as shrunk_module
from kernelkit.vocabulary import Fill
from tests.made.cut_competition import CutCompetition, blobs
from tests.made.layouts import picture, window_of

SIZES = {"a": (640, 860), "b": (500, 431)}


@pytest.fixture
def made(tmp_path: Path) -> CutCompetition:
    return CutCompetition(tmp_path, SIZES)


def whole(image: CutImage) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    return image.read(image.bounds)


@pytest.mark.parametrize("fill", ["zero", "reflect", "edge"])
@pytest.mark.parametrize(("scale", "dtype"), [(1, "uint8"), (3, "uint8"), (4, "uint16")])
def test_pixels_and_labels_are_area_means(
    scale: int, dtype: str, fill: Fill, tmp_path: Path
) -> None:
    """They equal OpenCV's on the whole image, padded by numpy to a multiple of the scale."""
    made = CutCompetition(tmp_path, SIZES, dtype=dtype)
    cuts = made.make(tiles={"core": 96 * scale, "scale": scale, "fill": fill})
    for name, image in cuts.images.items():
        height, width = (-(-side // scale) * scale for side in SIZES[name])
        seen = Window(0, 0, height, width)
        pixels, labels, held = whole(image)
        assert np.array_equal(pixels, window_of(made.pixels[name], seen, scale, fill))
        assert np.array_equal(labels, window_of(made.masks[name][None], seen, scale, fill))
        assert held is None
        assert pixels.dtype == dtype


@pytest.mark.parametrize("workers", [0, 2])
def test_networks_see_the_same_pixels_later(made: CutCompetition, workers: int) -> None:
    """Tiles of inference, their context included, are windows of the cuts, byte for byte."""
    cuts = made.make(workers)
    for name, image in cuts.images.items():
        with Slide(made.folder / f"train/{name}.tif") as slide:
            grid = TileGrid(slide.height, slide.width, core=192, pad=48, scale=3)
            for tile, pixels in TileReader(slide, grid):
                row, col, height, width = (side // 3 for side in tile.read)
                assert np.array_equal(image.read_pixels(Window(row, col, height, width)), pixels)


def test_whole_pictures_are_padded_and_resized(made: CutCompetition) -> None:
    """Pixels and labels go the same way, as OpenCV goes it."""
    tiles = {"whole": True, "pad": [14, 13], "fill": "reflect"}
    cuts = made.make(2, tiles=tiles, size=[96, 128], windows=None, crop=None)
    for name, image in cuts.images.items():
        pads = ((14, 13), (14, 13))
        for found, source in (
            (image.read_pixels(image.bounds), made.pixels[name]),
            (image.read_labels(image.bounds), made.masks[name][None]),
        ):
            planes = [
                cv2.resize(np.pad(plane, pads, "reflect"), (128, 96), interpolation=cv2.INTER_AREA)
                for plane in source
            ]
            assert np.abs(found.astype(int) - np.stack(planes)).max() <= 1
    assert cuts.windows[["image", "height", "width"]].to_numpy().tolist() == [
        ["a", 96, 128],
        ["b", 96, 128],
    ]


def test_many_small_pictures_share_a_file(tmp_path: Path) -> None:
    """The pixels of 40 pictures and their labels are two files, not eighty."""
    made = CutCompetition(tmp_path, {f"a{number}": (24, 24) for number in range(40)})
    cuts = made.make(tiles="whole", windows=None, crop=None, folds={"lists": [["a1"]]})
    assert len(cuts.images) == 40
    assert len(list((made.cuts / "packs").iterdir())) == 2


def test_pixels_without_data_are_counted_and_left_out(tmp_path: Path) -> None:
    """A pixel that sees one without data is not held, and no number counts it."""
    made = CutCompetition(tmp_path, SIZES, bands=1, dtype="float32")
    pixels = made.pixels["a"].copy()
    pixels[:, :301, :400] = 0
    made.write("a", pixels)
    cuts = made.make(competition={"nodata": 0})
    held = cuts.images["a"].read_held(cuts.images["a"].bounds)
    assert held is not None
    missing = np.zeros((642, 861), bool)
    missing[:301, :400] = True
    assert np.array_equal(~held, missing.reshape(214, 3, 287, 3).any(axis=(1, 3)))
    assert cuts.images["b"].read_held(cuts.images["b"].bounds) is None
    table = cuts.windows.query("image == 'a'").set_index(["row", "col"])
    assert table.loc[(0, 0), "skip"] == "no data"
    partly = table.loc[(96, 64)]
    values = made.pixels["a"]
    assert 0 < partly["held_share"] < 1
    assert partly["mean"] == pytest.approx(float(values[:, 303:384, 192:288].mean()), rel=0.02)


def test_a_block_that_cannot_be_decoded_is_no_data(made: CutCompetition) -> None:
    """The rest of the slide is used, and a note says so."""
    path = made.folder / "train/a.tif"
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 200] = b"\xff" * 200
    path.write_bytes(bytes(content))
    cuts = made.make()
    held = cuts.images["a"].read_held(cuts.images["a"].bounds)
    assert held is not None
    assert 0.9 < held.mean() < 1
    assert any("cannot be decoded" in note for note in cuts.notes)


def test_a_second_call_decodes_nothing(
    made: CutCompetition, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It gives the same cuts, and no file changes."""
    first = made.make()
    files = [*(made.cuts / "packs").iterdir(), *first.folder.iterdir()]
    states = {path: path.stat().st_mtime_ns for path in files}
    monkeypatch.setattr(pixels_module, "write_slide", None)
    monkeypatch.setattr(shrunk_module, "write_labels", None)
    second = made.make()
    pd.testing.assert_frame_equal(first.windows, second.windows)
    assert first.images == second.images
    assert all(path.stat().st_mtime_ns == before for path, before in states.items())


def test_runs_that_see_alike_share_pixels(made: CutCompetition) -> None:
    """Other windows and other bands need no other pixels. Another scale does."""
    first = made.make()
    files = len(list((made.cuts / "packs").iterdir()))
    windows = {"grid": {"around": "grid", "size": 64}}
    second = made.make(windows=windows)
    assert first.images == second.images
    assert first.folder != second.folder
    assert len(list((made.cuts / "packs").iterdir())) == files
    made.make(tiles={"core": 64, "scale": 2})
    assert len(list((made.cuts / "packs").iterdir())) == 2 * files


def spied(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the slides that are shrunk from now on."""
    shrunk: list[str] = []
    plain = pixels_module.write_slide

    def spy(slide: Slide, *others: Any) -> Any:
        shrunk.append(slide.name)
        return plain(slide, *others)

    monkeypatch.setattr(pixels_module, "write_slide", spy)
    return shrunk


def test_only_a_changed_image_is_made_anew(
    made: CutCompetition, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one stays, and what nobody uses any more is removed once all of its file is."""
    made.make()
    shrunk = spied(monkeypatch)
    changed = picture(3, *SIZES["a"], seed=9)
    made.write("a", changed)
    cuts = made.make()
    assert shrunk == ["a"]
    found = cuts.images["a"].read_pixels(Window(0, 0, 213, 286))
    assert np.array_equal(found, window_of(changed, Window(0, 0, 639, 858), 3, "zero"))
    made.write("b", picture(3, *SIZES["b"], seed=8))
    before = set((made.cuts / "packs").iterdir())
    made.make()
    gone = before - set((made.cuts / "packs").iterdir())
    assert len(gone) == 2  # the first pixels of both images, and the first labels of both


def test_a_changed_mask_leaves_the_pixels(
    made: CutCompetition, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Labels are a file of their own."""
    made.make()
    shrunk = spied(monkeypatch)
    mask = blobs(*SIZES["b"], seed=7)
    made.write_mask("b", mask)
    cuts = made.make()
    assert shrunk == []
    found = cuts.images["b"].read_labels(Window(0, 0, 166, 143))
    assert np.array_equal(found, window_of(mask[None], Window(0, 0, 498, 429), 3, "zero"))


def test_a_file_that_was_only_touched_is_hashed_and_kept(
    made: CutCompetition, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its time says nothing about its content."""
    made.make()
    shrunk = spied(monkeypatch)
    (made.folder / "train/a.tif").touch()
    made.make()
    assert shrunk == []


def test_a_killed_call_goes_on_after_the_last_whole_image(
    made: CutCompetition, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was finished is not made again, and nothing half is left."""
    command = [sys.executable, "-m", "tests.made.killed_cuts", str(made.folder), str(made.cuts)]
    made.run()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "the second image\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    shrunk = spied(monkeypatch)
    cuts = made.make()
    assert shrunk == ["b"]
    assert not list((made.cuts / "packs").glob("*.unfinished"))
    reference = CutCompetition(made.folder.parent / "other", SIZES).make()
    for name, image in cuts.images.items():
        for one, other in zip(whole(image), whole(reference.images[name]), strict=True):
            assert np.array_equal(one, other)


def test_damaged_files_are_made_anew(made: CutCompetition) -> None:
    """Neither a file of pixels nor the table can make a call fail."""
    wanted = made.make()
    for path in [*(made.cuts / "packs").iterdir(), wanted.folder / "windows.parquet"]:
        path.write_bytes(path.read_bytes()[:-30])
    found = made.make()
    pd.testing.assert_frame_equal(found.windows, wanted.windows)


def test_an_image_that_cannot_be_read_is_left_out_and_said(tmp_path: Path) -> None:
    """The others are used. Without any, there is one sentence."""
    made = CutCompetition(tmp_path, SIZES | {"c": (200, 200)})
    (made.folder / "train/b.tif").write_bytes(b"II*\0 no image")
    cuts = made.make()
    assert list(cuts.images) == ["a", "c"]
    assert "b.tif" in cuts.left_out["b"]
    assert any(note.startswith("b is left out: ") for note in cuts.notes)
    assert set(cuts.windows["image"]) == {"a", "c"}
    for name in ("a", "c"):
        (made.folder / f"train/{name}.tif").write_bytes(b"II*\0 no image")
    with pytest.raises(TrainingError, match="none of the 3 images can be read"):
        made.make()


def test_a_copy_of_an_image_that_validates_is_said(tmp_path: Path) -> None:
    """A note names both, unless they are in one fold."""
    made = CutCompetition(tmp_path, SIZES)
    for folder, suffix in (("train", "tif"), ("masks", "png")):
        content = (made.folder / f"{folder}/a.{suffix}").read_bytes()
        (made.folder / f"{folder}/copy.{suffix}").write_bytes(content)
    said = [note for note in made.make().notes if "the same file" in note]
    assert len(said) == 1
    assert "such as a and copy" in said[0]
    together = made.make(folds={"lists": [["a", "copy"]]})
    assert not any("the same file" in note for note in together.notes)


def test_cuts_are_loaded_by_other_processes(made: CutCompetition) -> None:
    """What is loaded equals what was made, with folds and notes."""
    cuts = made.make()
    loaded = Cuts.load(cuts.folder)
    assert (loaded.images, loaded.folds, loaded.index) == (cuts.images, cuts.folds, cuts.index)
    assert loaded.folds.validation(0) == ("a",)
    assert set(loaded.windows.query("fold == 0")["image"]) == {"a"}


def test_cuts_that_are_gone_are_one_sentence(made: CutCompetition) -> None:
    """It says to make them again."""
    cuts = made.make()
    for path in (made.cuts / "packs").iterdir():
        path.unlink()
    with pytest.raises(OutputError, match="the pixels of a are not in .* Make the cuts again"):
        Cuts.load(cuts.folder)
    with pytest.raises(OutputError, match="the cuts cannot be read"):
        Cuts.load(made.folder)


@pytest.fixture(scope="module")
def pool() -> Iterator[Executor]:
    """A process of its own, as a pool of Python starts it."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as executor:
        yield executor


@pytest.mark.parametrize("pictures", [False, True])
def test_an_executor_makes_the_same_cuts(tmp_path: Path, pool: Executor, pictures: bool) -> None:
    """Tables, folds and pixels are those of one process, and a bad image is left out as there."""
    keys = {"tiles": {"whole": True}, "windows": None, "crop": None} if pictures else {}
    found = []
    for name in ("inline", "handed out"):
        made = CutCompetition(tmp_path / name, SIZES)
        (made.folder / "train" / "c.tif").write_bytes(b"II*\0")
        made.write_mask("c", blobs(9, 9))
        run = made.run(**keys)
        chosen = pool if name == "handed out" else None
        found.append(make_cuts(run, made.folder, made.cuts, executor=chosen))
    inline, handed = found
    assert handed.index.images == inline.index.images
    assert list(handed.left_out) == ["c"]
    pd.testing.assert_frame_equal(handed.windows, inline.windows)
    for name, image in inline.images.items():
        for other, own in zip(whole_of(handed.images[name]), whole_of(image), strict=True):
            np.testing.assert_array_equal(other, own)


def test_a_broken_executor_is_one_sentence(made: CutCompetition) -> None:
    """A pool of Python takes no call after one of its processes has died."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as executor:
        with pytest.raises(BrokenProcessPool):
            executor.submit(os._exit, 1).result()
        with pytest.raises(
            ReaderError, match=r"the executor is broken \(.*\). What was made stays"
        ):
            make_cuts(made.run(), made.folder, made.cuts, executor=executor)


class Dying(Executor):
    """Does jobs in this process, and loses some of them.

    Parameters
    ----------
    image
        A process dies of it. None is none.
    is_late
        Whether processes die after their work, but for the first that dies of the image.
    """

    def __init__(self, image: str | None = None, is_late: bool = False) -> None:
        self._image, self._is_late = image, is_late
        self.asked: list[list[str]] = []

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> "Future[Any]":
        future: Future[Any] = Future()
        images = [source.image for source in args[0].sources]
        self.asked.append(images)
        if self._image in images and not (self._is_late and self.asked.count(images) > 1):
            future.set_exception(BrokenExecutor("it was killed"))
            return future
        done = fn(*args, **kwargs)
        if self._is_late:
            future.set_exception(BrokenExecutor("it was killed"))
        else:
            future.set_result(done)
        return future


@pytest.mark.parametrize("pictures", [False, True])
def test_what_processes_die_of_is_no_image_left_out(tmp_path: Path, pictures: bool) -> None:
    """Cuts without it would be others. What was made stays, and this process makes the rest."""
    keys = {"tiles": {"whole": True}, "windows": None, "crop": None} if pictures else {}
    made = CutCompetition(tmp_path, SIZES)
    [first, killer] = SIZES
    with pytest.raises(ReaderError, match=rf"1 image \({killer}\) are not made.* goes on"):
        make_cuts(made.run(**keys), made.folder, made.cuts, executor=Dying(killer))
    assert not list(made.cuts.glob("*/windows*"))
    again = Dying(killer)
    with pytest.raises(ReaderError):
        make_cuts(made.run(**keys), made.folder, made.cuts, executor=again)
    assert again.asked == [[killer]] * 2
    assert list(make_cuts(made.run(**keys), made.folder, made.cuts).images) == [first, killer]


def test_what_was_made_before_a_process_died_is_taken(made: CutCompetition) -> None:
    """No image is made twice if only the report is lost."""
    late = Dying(is_late=True)
    cuts = make_cuts(made.run(), made.folder, made.cuts, executor=late)
    assert [[image] for image in cuts.images] == late.asked


def test_what_was_made_by_the_last_process_that_died_is_taken(made: CutCompetition) -> None:
    """The one before it had died of the image sooner."""
    [first, second] = SIZES
    late = Dying(first, is_late=True)
    cuts = make_cuts(made.run(), made.folder, made.cuts, executor=late)
    assert list(cuts.images) == [first, second]
    assert late.asked == [[first], [second], [first]]


def whole_of(image: CutImage) -> list[np.ndarray]:
    return [part for part in whole(image) if part is not None]
