from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from kernelkit.canvas import Canvas
from kernelkit.competition import CompetitionFolder, read_submission
from kernelkit.errors import SubmissionError
from kernelkit.grid import TileGrid
from kernelkit.mask import BitMask
from kernelkit.predict.hand_in.hand_in import hand_in
from kernelkit.predict.hand_in.stored_image import StoredImage
from kernelkit.recipe import Recipe
from tests.made.handed import Handed, smooth_bytes
from tests.made.stored import overwrite

SIZE = (35, 52)
CLOUDS = """
name: clouds
competition:
  slug: clouds
  suffixes: [.png]
  classes: [Fish, Flower, Gravel]
  rows: "{image}.jpg_{class}"
  size: [35, 52]
tiles: whole
ensembles:
  - name: one
    merge: {views: mean of probabilities, members: tsharpen(0.5) of probabilities}
    thresholds: 0.75
    postprocess: [{remove_small: {min_area: 60, keep: ">"}}]
store: {what: probabilities, level: member}
submissions:
  all: {}
  fpn: {runs: ["fpn*"], postprocess: [{remove_small: {min_area: 90, keep: ">"}}]}
  unet: {runs: ["unet*"], thresholds: [0.7, 0.6, 0.5], postprocess: []}
"""
NAMES = ("fpn/fold_0", "fpn/fold_1", "unet/fold_0")


def reference(
    values: NDArray[np.uint8],
    names: tuple[str, ...],
    *,
    runs: str,
    thresholds: list[float],
    min_area: int,
    missing: NDArray[np.bool_] | None = None,
) -> list[NDArray[np.bool_]]:
    """The clouds solution in numpy and OpenCV: resize, p^0.5, mean, threshold, components."""
    chosen = [v for v, name in zip(values, names, strict=True) if fnmatchcase(name, runs)]
    masks = []
    for label, threshold in enumerate(thresholds):
        planes = [
            cv2.resize(layer[label].astype(np.float32), SIZE[::-1]).round() / 255
            for layer in chosen
        ]
        mask = np.mean([plane**0.5 for plane in planes], axis=0) > threshold
        if missing is not None:
            gone = cv2.resize(missing.astype(np.float32), SIZE[::-1], interpolation=cv2.INTER_AREA)
            mask &= gone <= 0.5
        count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
        large = [n for n in range(1, count) if stats[n, cv2.CC_STAT_AREA] > min_area]
        masks.append(np.isin(labels, large))
    return masks


def read(handed: Handed, path: Path, name: str) -> list[NDArray[np.bool_]]:
    """The masks of one image in a submission, as the competition decodes them."""
    competition = handed.recipe.competition
    ids = [row.id for row in handed.competition.rows if row.image == name]
    sizes = dict.fromkeys(ids, competition.size or handed.sizes[name])
    rows = dict(read_submission(path, handed.competition.ids, sizes, competition))
    return [rows[row_id].to_array().astype(bool) for row_id in ids]


def assert_alike(found: list[NDArray[np.bool_]], wanted: list[NDArray[np.bool_]]) -> None:
    """At a threshold two ways to round may differ, and nowhere else."""
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        assert one.shape == other.shape
        assert (one != other).sum() <= 2
    assert any(mask.any() for mask in wanted), "there is nothing to compare"


@pytest.mark.parametrize("shape", [SIZE, (32, 48), (64, 96)], ids=["size", "smaller", "larger"])
def test_submissions_are_those_of_a_plain_loop(tmp_path: Path, shape: tuple[int, int]) -> None:
    """Three files in one pass, at the submitted size or another, as numpy and OpenCV make them."""
    handed = Handed(tmp_path, Recipe.parse(CLOUDS), {"a": (140, 208), "b": (140, 208)})
    values = {name: smooth_bytes((3, 3, *shape), seed) for seed, name in enumerate("ab")}
    hole = np.zeros((140, 208), bool)
    hole[:60, :100] = True
    handed.put("a", NAMES, values["a"])
    handed.put("b", NAMES, values["b"], BitMask.from_array(hole))
    path = handed.hand_in()
    asked: dict[str, dict[str, Any]] = {
        "all": {"runs": "*", "thresholds": [0.75] * 3, "min_area": 60},
        "fpn": {"runs": "fpn*", "thresholds": [0.75] * 3, "min_area": 90},
        "unet": {"runs": "unet*", "thresholds": [0.7, 0.6, 0.5], "min_area": 0},
    }
    for name, arguments in asked.items():
        file = path.parent / f"submissions/{name}.csv"
        for image, missing in (("a", None), ("b", hole)):
            wanted = reference(values[image], NAMES, missing=missing, **arguments)
            assert_alike(read(handed, file, image), wanted)
    assert path.read_bytes() == (path.parent / "submissions/all.csv").read_bytes()
    assert [image.area for image in handed.report.images] == [
        sum(int(mask.sum()) for mask in read(handed, path, name)) for name in "ab"
    ]


def test_the_masks_of_a_run_are_those_of_its_first_submission(tmp_path: Path) -> None:
    """What pictures and scores are made of is submission.csv."""
    handed = Handed(tmp_path, Recipe.parse(CLOUDS), {"a": (140, 208)})
    handed.put("a", NAMES, smooth_bytes((3, 3, *SIZE), 0))
    path = handed.hand_in()
    [masks] = handed.masks().values()
    wanted = read(handed, path, "a")
    assert [np.array_equal(m.to_array(), w) for m, w in zip(masks, wanted, strict=True)] == [
        True
    ] * 3


SALT = """
name: salt
competition: {slug: salt, suffixes: [.png], submitted: [1], rle_column: rle_mask}
tiles: {whole: true, pad: [14, 13], fill: reflect}
ensembles:
  - name: one
    activation: softmax
    gate: {runs: ["nmc-*"], empty_class: 0}
submissions:
  nmc: {mask: gate}
  seg: {gate: off, postprocess: []}
  nmc_seg: {}
"""


def test_a_gate_is_a_mask_or_on_or_off(tmp_path: Path) -> None:
    """Salt's files: the first pixel if something is there, the segmenter's mask, and both."""
    handed = Handed(tmp_path, Recipe.parse(SALT), {"full": (101, 101), "empty": (101, 101)})
    salt = smooth_bytes((1, 1, 101, 101), 3)
    layers = np.concatenate([255 - salt, salt], axis=1)
    for name, emptiness in (("full", 0.2), ("empty", 0.8)):
        handed.put(name, [""], layers, gate=np.array([emptiness], np.float32))
    folder = handed.hand_in().parent / "submissions"
    assert (folder / "nmc.csv").read_text() == "id,rle_mask\nempty,\nfull,1 1\n"
    likelier = layers[0, 1] > layers[0, 0]
    for file, image, wanted in (
        ("seg.csv", "full", likelier),
        ("seg.csv", "empty", likelier),
        ("nmc_seg.csv", "full", likelier),
        ("nmc_seg.csv", "empty", np.zeros_like(likelier)),
    ):
        assert np.array_equal(read(handed, folder / file, image)[0], wanted)


def test_a_gate_per_class_empties_its_own_classes(tmp_path: Path) -> None:
    """Class-wise gates leave the masks of the other classes as they are."""
    text = CLOUDS.replace(
        "    thresholds", "    gate: {runs: [g], per_class: true}\n    thresholds"
    )
    text = text.replace("  all: {}", "  all: {}\n  off: {gate: off}\n  there: {mask: gate}")
    handed = Handed(tmp_path, Recipe.parse(text), {"a": (140, 208)})
    values = smooth_bytes((3, 3, *SIZE), 0)
    handed.put("a", NAMES, values, gate=np.array([0.1, 0.9, 0.4], np.float32))
    folder = handed.hand_in().parent / "submissions"
    gated, free = (read(handed, folder / f"{name}.csv", "a") for name in ("all", "off"))
    assert not gated[1].any()
    assert free[1].any()
    assert all(np.array_equal(gated[label], free[label]) for label in (0, 2))
    assert [mask.sum() for mask in read(handed, folder / "there.csv", "a")] == [1, 0, 1]


SLIDE = """
name: slide
competition: {slug: slide, suffixes: [.png]}
tiles: {core: 24, pad: 6, scale: 3, fill: edge}
ensembles: [{name: one, thresholds: 0.4}]
stitching: {blend: hann, upsample: band}
submissions: {a: {}}
"""


def test_layers_at_the_networks_scale_become_the_masks_of_the_canvas(tmp_path: Path) -> None:
    """What the canvas writes as bytes is enlarged and thresholded as the canvas itself does."""
    handed = Handed(tmp_path, Recipe.parse(SLIDE), {"a": (100, 143)})
    grid = TileGrid(100, 143, core=24, pad=6, scale=3)
    path = handed.store.new_file()
    canvas = Canvas(grid, blend="hann", upsample="band", thresholds=[0.4], probabilities=path)
    for tile in grid:
        canvas.add(tile, smooth_bytes((1, 1, 12, 12), tile.index, detail=4)[0])
    [wanted] = canvas.finish()
    handed.put("a", [""], np.load(path)[None])
    [found] = handed.masks()["a"]
    difference = (found ^ wanted).area
    assert difference <= 0.01 * wanted.area  # the canvas thresholds before it rounds to bytes
    assert wanted.area > 500


def test_a_slide_at_another_size_is_resized_before_the_threshold(tmp_path: Path) -> None:
    """A submitted size of its own works for tiles too, as one resize from the network's scale."""
    text = SLIDE.replace("[.png]", "[.png], size: [50, 70]")
    handed = Handed(tmp_path, Recipe.parse(text), {"a": (99, 141)})
    values = smooth_bytes((1, 1, 33, 47), 0)
    handed.put("a", [""], values)
    [found] = handed.masks()["a"]
    wanted = cv2.resize(values[0, 0].astype(np.float32), (70, 50)).round() > 0.4 * 255
    assert (found.to_array() != wanted).sum() <= 2


def test_stored_masks_serve_submissions_of_other_steps(tmp_path: Path) -> None:
    """Bits know one threshold, and any minimum area. They are resized if a size is submitted."""
    text = CLOUDS.partition("store:")[0].replace("tsharpen(0.5)", "mean") + (
        "store: {what: masks}\nsubmissions: {raw: {postprocess: []}, all: {}}"
    )
    handed = Handed(tmp_path, Recipe.parse(text), {"a": (70, 104)})
    masks = [BitMask.from_array(p, 190) for p in smooth_bytes((1, 3, 70, 104), 0)[0]]
    handed.put_masks("a", masks)
    folder = handed.hand_in().parent / "submissions"
    half = [
        cv2.resize(m.to_array().astype(np.float32), SIZE[::-1], interpolation=cv2.INTER_AREA) > 0.5
        for m in masks
    ]
    raw = read(handed, folder / "raw.csv", "a")
    assert [np.array_equal(one, other) for one, other in zip(raw, half, strict=True)] == [True] * 3
    large = [BitMask.from_array(m).remove_small(60, ">").to_array() for m in raw]
    found = read(handed, folder / "all.csv", "a")
    assert [np.array_equal(one, other) for one, other in zip(found, large, strict=True)] == [
        True
    ] * 3


def test_large_layers_are_merged_some_rows_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The masks are the same, bit for bit, whatever fits into memory at once."""
    handed = Handed(tmp_path, Recipe.parse(CLOUDS), {"a": (140, 208)})
    handed.put("a", NAMES, smooth_bytes((3, 3, 64, 96), 0))
    at_once = handed.masks()["a"]
    monkeypatch.setattr("kernelkit.predict.hand_in.stored_image._KEPT", 0)
    monkeypatch.setattr("kernelkit.canvas.stored._AT_ONCE", 500)
    assert handed.masks()["a"] == at_once


def test_what_fails_in_one_submission_costs_its_own_row(tmp_path: Path) -> None:
    """The others are as they would be without it, and the report says which row is the fallback."""
    handed = Handed(tmp_path, Recipe.parse(CLOUDS), {"a": (140, 208), "b": (140, 208)})
    values = smooth_bytes((3, 3, *SIZE), 0)
    handed.put("a", NAMES, values)
    handed.put("b", NAMES[:2], values[:2])  # no run matches unet*
    path = handed.hand_in()
    a, b = handed.report.images
    assert not a.notes
    assert b.status == "predicted"
    [note] = b.notes
    assert note.startswith("fallback row in unet, because: ")
    assert not any(mask.any() for mask in read(handed, path.parent / "submissions/unet.csv", "b"))
    assert any(mask.any() for mask in read(handed, path.parent / "submissions/fpn.csv", "b"))


def test_an_image_that_falls_back_has_no_masks_any_more(tmp_path: Path) -> None:
    """So pictures are drawn without it, and its group votes without it."""
    handed = Handed(tmp_path, Recipe.parse(CLOUDS), {"a": (140, 208), "b": (140, 208)})
    for name in "ab":
        handed.put(name, NAMES, smooth_bytes((3, 3, *SIZE), 0))
    masks = handed.masks()
    assert list(masks) == ["a", "b"]
    handed.store.close()
    overwrite(tmp_path / "out/masks", "a", "payload", b"damaged")
    hand_in(handed.report, handed.competition, handed.recipe, masks, tmp_path / "out/s.csv")
    assert (list(masks), len(masks), "a" in masks) == (["b"], 1, False)


@pytest.mark.parametrize(("failing", "is_fallback"), [(1, True), (2, False)])
def test_an_image_has_all_its_rows_or_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int, is_fallback: bool
) -> None:
    """If the second row of an image fails in a submission, its first is the fallback there too."""
    text = CLOUDS.replace("  size: [35, 52]", "  size: [35, 52]\n  rle: {form: coco}")
    handed = Handed(tmp_path, Recipe.parse(text), {"a": (140, 208)})
    handed.put("a", NAMES, smooth_bytes((3, 3, *SIZE), 0))
    asked: list[int] = []
    probabilities = StoredImage.probabilities

    def fail(self: StoredImage, way: Any, label: int) -> NDArray[Any]:
        asked.append(label)
        if asked.count(1) == failing and label == 1:
            raise MemoryError("no room")
        return probabilities(self, way, label)

    monkeypatch.setattr(StoredImage, "probabilities", fail)
    folder = handed.hand_in().parent / "submissions"
    [image] = handed.report.images
    assert image.is_fallback == is_fallback
    for number, name in enumerate(("all", "fpn", "unet"), 1):
        masks = read(handed, folder / f"{name}.csv", "a")
        assert any(mask.any() for mask in masks) == (number != failing)


def test_all_files_are_proved_before_one_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the third is refused, the first two are those of the run before."""
    handed = Handed(tmp_path, Recipe.parse(CLOUDS), {"a": (140, 208)})
    handed.put("a", NAMES, smooth_bytes((3, 3, *SIZE), 0))
    path = handed.hand_in()
    before = {p: p.read_bytes() for p in path.parent.rglob("*.csv")}
    assert len(before) == 4
    checked: list[Path] = []

    def refuse(file: Path, *_: Any) -> None:
        checked.append(file)
        if len(checked) == 3:
            raise SubmissionError("refused")

    monkeypatch.setattr("kernelkit.predict.hand_in.hand_in.check_submission", refuse)
    handed.recipe = handed.recipe.override(
        submissions={name: {"thresholds": 0.9} for name in ("all", "fpn", "unet")}
    )
    with pytest.raises(SubmissionError, match="refused"):
        handed.hand_in()
    assert {p: p.read_bytes() for p in path.parent.rglob("*.csv")} == before


def test_a_submission_that_the_recipe_dropped_is_not_left_behind(tmp_path: Path) -> None:
    """A queue of all files in the folder takes none of an older recipe."""
    handed = Handed(tmp_path, Recipe.parse(CLOUDS), {"a": (140, 208)})
    handed.put("a", NAMES, smooth_bytes((3, 3, *SIZE), 0))
    folder = handed.hand_in().parent / "submissions"
    handed.recipe = Recipe.parse(CLOUDS.replace("  fpn: {", "  other: {"))
    handed.hand_in()
    assert sorted(path.name for path in folder.iterdir()) == ["all.csv", "other.csv", "unet.csv"]


def test_steps_see_probabilities_and_pixels_at_the_masks_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step that asks for them gets those of its own class, whatever they are stored at."""
    seen: dict[str, NDArray[Any]] = {}

    def look(mask: BitMask, *, probabilities: Any, image: Any, label: int) -> BitMask:
        seen[f"probabilities {label}"], seen["image"] = probabilities, image
        return mask

    monkeypatch.setattr(
        "kernelkit.predict.hand_in.finished_masks.known_steps", lambda _: {"look": look}
    )
    recipe = Recipe.parse(CLOUDS.replace('{remove_small: {min_area: 60, keep: ">"}}', "look"))
    handed = Handed(tmp_path, recipe, {"a": (140, 208)})
    values = smooth_bytes((3, 3, *SIZE), 0)
    handed.put("a", NAMES, values)
    assert len(handed.masks()["a"]) == 3
    assert seen["image"].shape == (1, *SIZE)
    for label in range(3):
        wanted = np.sqrt(values[:, label] / 255).mean(axis=0)
        assert np.allclose(seen[f"probabilities {label}"], wanted, atol=1e-5)


def test_steps_see_pixels_of_any_dtype_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenCV does not resize uint32, and three submissions need not read a file three times."""
    seen: list[NDArray[Any]] = []

    def look(mask: BitMask, *, image: Any) -> BitMask:
        seen.append(image)
        return mask

    monkeypatch.setattr(
        "kernelkit.predict.hand_in.finished_masks.known_steps", lambda _: {"look": look}
    )
    text = CLOUDS.replace('{remove_small: {min_area: 60, keep: ">"}}', "look")
    text = text.replace(
        'fpn*"], postprocess: [{remove_small: {min_area: 90, keep: ">"}}]', 'fpn*"]'
    )
    handed = Handed(tmp_path, Recipe.parse(text.replace(".png", ".png, .tif")), {"a": (140, 208)})
    (tmp_path / "competition/test/a.png").unlink()
    pixels = np.full((140, 208), 70_000, np.uint32)
    tifffile.imwrite(tmp_path / "competition/test/a.tif", pixels)
    handed.competition = CompetitionFolder.read(tmp_path / "competition", handed.recipe.competition)
    handed.put("a", NAMES, smooth_bytes((3, 3, *SIZE), 0))
    handed.hand_in()
    assert len(seen) == 6
    assert {id(image) for image in seen} == {id(seen[0])}
    assert (seen[0].dtype, seen[0].shape) == (np.uint32, (1, *SIZE))
    assert (seen[0] == 70_000).all()


def test_threads_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files are the same, byte for byte, from one thread or from four."""
    handed = Handed(tmp_path, Recipe.parse(CLOUDS), {f"i{n}": (140, 208) for n in range(20)})
    for number in range(20):
        handed.put(f"i{number}", NAMES, smooth_bytes((3, 3, *SIZE), number))
    texts: set[bytes] = set()
    for count in (1, 4):
        monkeypatch.setattr("os.cpu_count", lambda count=count: count)
        texts.add(handed.hand_in().read_bytes())
    assert len(texts) == 1
