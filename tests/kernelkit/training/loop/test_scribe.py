import io
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from kernelkit.errors import OutputError
from kernelkit.grid import Window
from kernelkit.mask import BitMask
from kernelkit.training.fold_folder import FoldFolder
from kernelkit.training.loop.drawing import strip, thumbnail
from kernelkit.training.loop.fold import fit
from kernelkit.training.loop.rounds import Progress
from kernelkit.training.loop.scribe import FoldScribe
from kernelkit.training.loop.validation import Look, Seen
from tests.made.small_fold import Squares, normalised, small_fold


def events(folder: Path) -> EventAccumulator:
    """What TensorBoard itself reads."""
    found = EventAccumulator(str(folder / "logs"), size_guidance={"images": 0, "scalars": 0})
    found.Reload()
    return found


def train(tmp_path: Path, stop: int = 0) -> Path:
    """Train a fold, and perhaps stop it after an epoch."""
    fold = small_fold(tmp_path / "fold_0", epochs=3)

    class Stopping(FoldScribe):
        def write(self, epoch: int, numbers: dict[str, float]) -> None:  # type: ignore[override]
            super().write(epoch, numbers)
            if epoch == stop:
                raise KeyboardInterrupt

    def scribe(progress: Progress) -> FoldScribe:
        folder = FoldFolder(tmp_path, 0)
        first = progress.epoch + 1
        return Stopping(folder, ["tensorboard"], fold.pictures, fold.look, first)

    fit(fold, [torch.device("cpu")], lambda _: None, scribe)
    return fold.files.folder


def test_tensorboard_reads_curves_and_pictures(tmp_path: Path) -> None:
    """It finds a value per epoch, and strips of each validation image for both weights."""
    folder = train(tmp_path)
    found = events(folder)
    names = {"loss", "learning rate", "score/raw", "score/ema", "crops per second"}
    assert names < set(found.Tags()["scalars"])
    table = pd.read_csv(folder / "metrics.csv")
    for column, name in (("loss", "loss"), ("val", "score/raw"), ("ema", "score/ema")):
        curve = found.Scalars(name)
        assert [event.step for event in curve] == [1, 2, 3]
        np.testing.assert_allclose([event.value for event in curve], table[column], rtol=1e-6)
    assert set(found.Tags()["images"]) == {
        f"{kind}/v{i}" for kind in ("val", "ema") for i in (0, 1)
    }
    encoded = found.Images("val/v0")[-1].encoded_image_string
    shown = np.asarray(Image.open(io.BytesIO(encoded)))
    saved = cv2.imread(str(folder / "pictures" / "val_v0.png"))
    np.testing.assert_array_equal(shown[..., ::-1], saved)
    assert shown.shape == (70, 5 * 100 + 4 * 2, 3)


def test_a_resumed_curve_has_each_epoch_once(tmp_path: Path) -> None:
    """What was written after the file to resume from is forgotten."""
    with pytest.raises(BaseException):  # noqa: B017, PT011  # Lightning wraps what interrupts it
        train(tmp_path, stop=2)
    folder = train(tmp_path)
    assert [event.step for event in events(folder).Scalars("loss")] == [1, 2, 3]
    assert pd.read_csv(folder / "metrics.csv")["epoch"].tolist() == [1, 2, 3]


def test_no_file_of_settings_is_left(tmp_path: Path) -> None:
    """Lightning's logger would write one."""
    folder = train(tmp_path)
    assert {path.name[:18] for path in (folder / "logs").iterdir()} == {"events.out.tfevents"[:18]}


def test_pictures_that_cannot_be_written_are_an_error(tmp_path: Path) -> None:
    """A folder lies where a picture would."""
    picture = Squares.made(40, 60, 3)
    scribe = FoldScribe(FoldFolder(tmp_path, 0), [], {"v0": picture}, Look(normalised, core=32), 1)
    (tmp_path / "fold_0" / "pictures" / "val_v0.png").mkdir()
    mask = BitMask.zeros(40, 60)
    with pytest.raises(OutputError, match="logs and pictures cannot be written"):
        scribe.show(1, "v0", Seen({"val": [mask]}, [mask]))


def test_a_strip_shows_what_was_found_and_what_is_there() -> None:
    """The third panel is white where something was found, and the last where it is labelled."""
    picture = Squares.made(40, 60, 3)
    image = thumbnail(picture, Window(0, 0, 40, 60))
    np.testing.assert_array_equal(image, np.moveaxis(picture.pixels, 0, 2))
    truth = BitMask.from_array(picture.labels[0])
    drawn = strip(image, [BitMask.zeros(40, 60)], [truth])
    panels = [drawn[:, start : start + 60] for start in range(0, 5 * 62, 62)]
    np.testing.assert_array_equal(panels[0], image)
    assert not panels[2].any()
    np.testing.assert_array_equal(panels[4].max(2) > 0, picture.labels[0] > 0)


def test_a_thumbnail_is_the_mean_of_squares() -> None:
    """It is that of OpenCV, although it is read some rows at a time."""
    picture = Squares.made(640, 960, 4)
    small = thumbnail(picture, Window(0, 0, 640, 960))
    whole = np.moveaxis(picture.pixels, 0, 2).astype(np.float32)
    assert small.shape == (214, 320, 3)
    wanted = cv2.resize(whole[:639], (320, 213), interpolation=cv2.INTER_AREA)
    assert np.abs(small[:213].astype(int) - wanted).max() <= 1
