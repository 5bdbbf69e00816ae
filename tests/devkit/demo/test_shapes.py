"""The small competitions of other shapes: their layout, their labels and an honest split."""

import csv
import itertools
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from devkit.demo import clouds, salt
from devkit.demo.cuts import TEST_ROW, TRAIN_ROWS, Part, parts_of_he, windows
from devkit.demo.ids import clouds_id, salt_id
from devkit.demo.prepare import Demo
from devkit.demo.shapes import SHAPES, write_shape
from devkit.demo.sources import read_he_kinds, read_pictures
from devkit.demo.train import training_recipe
from devkit.dryrun.__main__ import _SHAPES
from devkit.tools import REPOSITORY
from kernelkit.competition import CompetitionFolder
from kernelkit.grid import Window
from kernelkit.recipe import Recipe
from kernelkit.training.cuts import make_cuts

DOWNLOADS = REPOSITORY / "build" / "demo" / "downloads"
CLOUDS_IDS = tuple(clouds_id("0b", number) for number in range(1, 10))
SALT_IDS = tuple(salt_id("a", number) for number in range(1, 551))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Demo]:
    made = {name: Demo(tmp_path_factory.mktemp(name)) for name in SHAPES}
    for name, demo in made.items():
        write_shape(name, DOWNLOADS, demo.competition, demo.solution)
        write_shape(name, DOWNLOADS, demo.hidden_competition, demo.hidden_solution, is_hidden=True)
    return made


def rows(path: Path) -> list[list[str]]:
    with path.open(newline="") as file:
        return list(csv.reader(file))


def decode(encoding: str, shape: tuple[int, int]) -> np.ndarray:
    """Decode an RLE of columns, counted from 1, in the plainest way there is."""
    flat = np.zeros(shape[0] * shape[1], bool)
    for start, length in itertools.batched(map(int, encoding.split()), 2):
        flat[start - 1 : start - 1 + length] = True
    return flat.reshape(shape, order="F")


def test_the_command_knows_every_shape() -> None:
    """Its list is written out, since the demo takes seconds to import."""
    assert {*_SHAPES} == {"nuclei", *SHAPES}


def test_no_row_of_the_picture_trains_and_tests() -> None:
    """Both parts lie where those of the competition `nuclei` do, with a gap between them."""
    pixels, kinds = read_pictures(DOWNLOADS)["he"].pixels, read_he_kinds(DOWNLOADS)
    training, test = parts_of_he(pixels, kinds)
    assert TRAIN_ROWS < TEST_ROW
    assert np.array_equal(training.pixels, pixels[:, :TRAIN_ROWS])
    assert np.array_equal(test.pixels, pixels[:, TEST_ROW:])
    assert np.array_equal(test.kinds > 0, read_pictures(DOWNLOADS)["he"].nuclei[TEST_ROW:])


def test_windows_of_a_part_do_not_overlap() -> None:
    """Side by side, from any start, inside of the part."""
    training, _ = parts_of_he(read_pictures(DOWNLOADS)["he"].pixels, read_he_kinds(DOWNLOADS))
    hits = np.zeros(training.kinds.shape, int)
    for window in windows(training, (288, 432), (2, 100)):
        assert (window.height, window.width) == (288, 432)
        hits[window.slices] += 1
    assert hits.max() == 1


@pytest.mark.parametrize("name", SHAPES)
def test_the_recipe_fits_the_folder(name: str, made: dict[str, Demo]) -> None:
    """Every id of the sample has its file, in the public test and in the larger hidden one."""
    competition = Recipe.load(name).competition
    public = CompetitionFolder.read(made[name].competition, competition)
    hidden = CompetitionFolder.read(made[name].hidden_competition, competition)
    for folder in (public, hidden):
        assert len(folder.problems) == (name == "unosat")  # one acquisition lacks a band
        assert not folder.unlisted
        assert folder.scenes.keys() == set(folder.images) - folder.problems.keys()
    assert len(hidden.images) > len(public.images)
    assert not set(public.images) & set(hidden.images)


def test_clouds_are_in_kaggles_layout(made: dict[str, Demo]) -> None:
    """Pictures of 1400 x 2100 as JPEG, four rows each, and labels of both sizes."""
    folder = made["clouds"].competition
    header, *train = rows(folder / "train.csv")
    assert header == ["Image_Label", "EncodedPixels"] == rows(folder / "sample_submission.csv")[0]
    assert [row[0] for row in train] == [f"{i}.jpg_{c}" for i in CLOUDS_IDS for c in clouds.CLASSES]
    for path in [*(folder / "train_images").iterdir(), *(folder / "test_images").iterdir()]:
        with Image.open(path) as picture:
            assert (picture.format, picture.size) == ("JPEG", (2100, 1400))
    _, *labels = rows(made["clouds"].solution)
    masks = np.stack([decode(encoding, clouds.SUBMITTED) for _, encoding in labels])
    by_class = masks.reshape(-1, 4, *clouds.SUBMITTED)
    assert by_class.any(axis=(0, 2, 3)).all()
    assert by_class.sum(1).max() <= 2  # enlarged borders may touch
    assert 0 < (~masks.any(axis=(1, 2))).sum() < len(masks)


def test_regions_follow_the_kinds_of_nuclei() -> None:
    """Where one kind lies close together its class is. Without nuclei it is Fish, or glass."""
    kinds = np.zeros((300, 600), np.uint8)
    kinds[::3, :150:3] = kinds[1::3, :150:3] = 3
    kinds[::3, 250:400:3] = kinds[1::3, 250:400:3] = 2
    pixels = np.full((3, *kinds.shape), 150, np.uint8)
    pixels[:, :, 500:] = 240
    fish, flower, gravel, sugar = clouds.regions(Part(pixels, kinds))
    assert flower[100:200, 40:110].all()
    assert gravel[100:200, 290:360].all()
    assert fish[100:200, 195:205].all()
    assert sugar[:, 510:].all()
    assert not (fish | flower | gravel)[:, 510:].any()


def test_salt_is_in_kaggles_layout(made: dict[str, Demo]) -> None:
    """Grey PNG pictures of 101 x 101 with three equal bands, a good part of them without salt."""
    folder = made["salt"].competition
    header, *train = rows(folder / "train.csv")
    assert header == ["id", "rle_mask"] == rows(folder / "sample_submission.csv")[0]
    assert tuple(row[0] for row in train) == SALT_IDS
    for path in sorted((folder / "test" / "images").iterdir())[:20]:
        with Image.open(path) as picture:
            assert (picture.format, picture.size) == ("PNG", (101, 101))
            bands = np.asarray(picture)
        assert (bands == bands[..., :1]).all()
    empty = np.mean([not encoding for _, encoding in rows(made["salt"].solution)[1:]])
    assert 0.1 < empty < 0.4


@pytest.mark.parametrize("name", ["clouds", "salt"])
def test_a_run_sees_what_its_network_will_see(
    name: str, made: dict[str, Demo], tmp_path: Path
) -> None:
    """Pictures at the run's own size, padded as the recipe pads, with the masks of its classes."""
    for run in training_recipe(name).runs.values():
        cuts = make_cuts(run, made[name].competition, tmp_path)
        height, width = run.size or (128, 128)
        pixels, labels, _ = next(iter(cuts.images.values())).read(Window(0, 0, height, width))
        assert pixels.shape == (3, height, width)
        assert labels.shape == (4 if run.size else 1, height, width)
        assert set(cuts.images) == set(CLOUDS_IDS if name == "clouds" else SALT_IDS)
        if name == "salt":
            before, after = run.tiles.pads
            assert (before, after) == salt.PADS
            inner = pixels[:, before:-after, before:-after]
            assert np.array_equal(pixels, np.pad(inner, ((0, 0), salt.PADS, salt.PADS), "reflect"))
