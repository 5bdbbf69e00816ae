"""Folds divide images so that no group leaks, and about the same of each is labelled."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import GroupKFold

from kernelkit.competition import Scene
from kernelkit.errors import TrainingError
from kernelkit.recipe import Competition
from kernelkit.training.divide import divide, strata_of
from kernelkit.training.divided_folds import divided_folds
from kernelkit.training.folds import ALWAYS, Folds
from kernelkit.training.recipe.folds import FoldsRecipe


def folds_of(
    groups: Mapping[str, str],
    keys: dict[str, Any],
    folder: Path = Path("/nowhere"),
    shares: Mapping[str, Sequence[float]] | None = None,
    left_out: Sequence[str] = (),
) -> Folds:
    scenes = {image: Scene(image, (Path(f"{image}.tif"),), g) for image, g in groups.items()}
    recipe = FoldsRecipe.model_validate(keys)
    return divided_folds(recipe, folder, Competition(slug="made"), scenes, shares, left_out)


@settings(max_examples=80)
@given(
    groups=st.lists(st.integers(0, 9), min_size=6, max_size=40),
    count=st.integers(2, 4),
    seed=st.integers(0, 5),
    stratify=st.booleans(),
)
def test_each_image_validates_once_and_no_group_leaks(
    groups: list[int], count: int, seed: int, stratify: bool
) -> None:
    """Whatever the groups, folds part images, and an image's group is never on both sides."""
    named = {f"image_{number}": f"group_{group}" for number, group in enumerate(groups)}
    shares = {image: [number % 5 / 7] for number, image in enumerate(named)}
    keys = {"count": count, "by": "group", "seed": seed, "stratify": stratify}
    if len(set(groups)) < count:
        with pytest.raises(TrainingError, match="Ask for fewer folds"):
            folds_of(named, keys, shares=shares)
        return
    folds = folds_of(named, keys, shares=shares)
    assert sorted(i for fold in range(count) for i in folds.validation(fold)) == sorted(named)
    for fold in range(count):
        validating, training = folds.validation(fold), folds.training(fold)
        assert set(validating) | set(training) == set(named)
        assert not {named[image] for image in validating} & {named[image] for image in training}
        assert all(folds.fold_of(image) == fold for image in validating)


def test_groups_are_divided_as_scikit_learn_divides_them() -> None:
    """Without strata, the folds are those of GroupKFold."""
    groups = [str(n) for n in np.random.default_rng(0).integers(0, 12, 50)]
    images = [str(number) for number in range(50)]
    found = divide(4, images, groups, None, seed=7)
    splitter = GroupKFold(4, shuffle=True, random_state=7)
    for fold, (_, validating) in enumerate(splitter.split(images, groups=groups)):
        assert [i for i, number in enumerate(found) if number == fold] == validating.tolist()


def test_the_same_seed_divides_alike() -> None:
    """The division depends on the seed, and on nothing else."""
    images = [str(number) for number in range(30)]
    assert divide(3, images, None, None, 1) == divide(3, images, None, None, 1)
    assert divide(3, images, None, None, 1) != divide(3, images, None, None, 2)


def test_strata_give_each_fold_the_same_share() -> None:
    """Of 40 images, half of them empty, each fold has as many empty ones and as much target."""
    shares = [[0.0]] * 20 + [[number / 20] for number in range(1, 21)]
    images = [str(number) for number in range(40)]
    found = np.array(divide(4, images, None, shares, seed=0))
    values = np.array(shares)[:, 0]
    for fold in range(4):
        assert (values[found == fold] == 0).sum() == 5
        assert abs(values[found == fold].mean() - values.mean()) < 0.03
    plain = np.array(divide(4, images, None, None, seed=0))
    spread = max(abs(values[plain == fold].mean() - values.mean()) for fold in range(4))
    assert spread > 0.03, "by chance alone it is worse"


def test_each_fold_has_each_class() -> None:
    """A class in an eighth of the images is in each of four folds."""
    shares = [[0.2, 0.1 if number % 8 == 0 else 0.0] for number in range(64)]
    found = np.array(divide(4, [str(n) for n in range(64)], None, shares, seed=3))
    rare = np.array([share[1] > 0 for share in shares])
    assert [(found[rare] == fold).sum() for fold in range(4)] == [2, 2, 2, 2]


@given(
    shares=st.lists(st.lists(st.sampled_from([0.0, 0.1, 0.5]), min_size=2, max_size=2), min_size=4),
    count=st.integers(2, 4),
)
def test_strata_are_large_enough_for_scikit_learn(shares: list[list[float]], count: int) -> None:
    """One stratum at least has an image for each fold, so the division never fails."""
    strata = strata_of(shares, range(len(shares)), count)
    assert max(map(strata.count, strata)) >= min(count, len(shares))


def test_images_of_no_list_always_train() -> None:
    """Pairs validate, as HuBMAP's second place had it, and the rest trains in each fold."""
    folds = folds_of(dict.fromkeys("abcdef", ""), {"lists": [["a", "c"], ["f", "b"]]})
    assert folds.count == 2
    assert folds.validation(0) == ("a", "c")
    assert folds.training(0) == ("b", "d", "e", "f")
    assert folds.fold_of("d") == ALWAYS


def test_lists_take_patterns_of_a_shell() -> None:
    """A list may name the scenes of a city together."""
    cities = {"mosul/1": "mosul", "mosul/2": "mosul", "najaf/1": "najaf"}
    folds = folds_of(cities, {"lists": [["mosul/*"], ["najaf/*"]]})
    assert folds.validation(0) == ("mosul/1", "mosul/2")


def test_lists_may_name_images_that_cannot_be_read() -> None:
    """An image that was left out with a note of its own is no unknown id."""
    folds = folds_of(dict.fromkeys("abc", ""), {"lists": [["a", "x"], ["b"]]}, left_out=["x"])
    assert folds.validation(0) == ("a",)


def test_a_column_of_a_table_says_the_group(tmp_path: Path) -> None:
    """Images of one patient are in one fold, by a table with the submission's id column."""
    pd.DataFrame({"id": list("abcdef"), "patient": list("ppqqrr")}).to_csv(
        tmp_path / "info.csv", index=False
    )
    keys = {"count": 3, "by": "patient", "groups": "info.csv"}
    folds = folds_of(dict.fromkeys("abcdef", ""), keys, tmp_path)
    assert dict(folds.groups) == dict(zip("abcdef", "ppqqrr", strict=True))
    assert {folds.validation(n) for n in range(3)} == {("a", "b"), ("c", "d"), ("e", "f")}


NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1).map(str.strip)


@settings(max_examples=60)
@given(
    names=st.lists(NAMES.filter(bool), min_size=2, max_size=9, unique=True),
    others=st.lists(st.integers(ALWAYS, 1), min_size=9, max_size=9),
)
def test_a_table_is_read_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], others: list[int]
) -> None:
    """Any id comes back from folds.csv, and pandas reads the same."""
    path = tmp_path_factory.getbasetemp() / "folds.csv"
    numbers = [0, 1, *others[: len(names) - 2]]
    folds = Folds(dict(zip(names, numbers, strict=True)), dict.fromkeys(names, ""))
    folds.write(path)
    assert Folds.read(path, names) == folds
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    assert list(table["image"]) == names


def test_a_table_by_hand_needs_no_group(tmp_path: Path) -> None:
    """A table with image and fold is enough, in any order of rows, from a spreadsheet too."""
    (tmp_path / "folds.csv").write_bytes("\ufeffimage,fold\r\nb, 1\r\na,0\r\nc,-1\r\n".encode())
    folds = folds_of(dict.fromkeys("abc", ""), {"table": "folds.csv"}, tmp_path)
    assert dict(folds.folds) == {"a": 0, "b": 1, "c": ALWAYS}


def test_a_fold_that_is_not_there_is_refused() -> None:
    """So is an image that is in no fold."""
    folds = folds_of(dict.fromkeys("abc", ""), {"lists": [["a"], ["b"]]})
    with pytest.raises(TrainingError, match="found fold 2, wanted one of 0 to 1"):
        folds.validation(2)
    with pytest.raises(TrainingError, match="the image 'x' is in no fold"):
        folds.fold_of("x")
