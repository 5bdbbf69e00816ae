"""From the images of training and test to what tells them apart."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kernelkit.competition import Scene
from kernelkit.console import progress
from kernelkit.errors import EvaluationError, SlideError
from kernelkit.evaluation.scored import Interval
from kernelkit.evaluation.shift.likeness import measure_likeness
from kernelkit.evaluation.shift.thumbnails import alike_images, thumbnail

__all__ = ["Features", "Shift", "measure_shift"]

# Of fewer images nothing can be learnt.
_FEWEST = 3
# So many pictures of each set say how bands are normalised.
_SAMPLE = 32
# So many named features are listed.
_DIFFERENCES = 5
# An AUC below these is called so.
_WORDS = ((0.7, "a slight"), (0.9, "a clear"), (2.0, "a strong"))
# An interval that is wider says little.
_WIDE = 0.4


class Features(Protocol):
    """What makes numbers of a small picture."""

    name: str

    def prepare(self, pictures: Sequence[NDArray[np.float32]], /) -> None:
        """Look at some pictures of both sets, before the first of all."""

    def of(self, picture: NDArray[np.float32], /) -> NDArray[np.float64]:
        """The features of a picture, float64 (features,)."""

    def names(self, bands: int, /) -> list[str]:
        """The name of each feature. Without names, nothing."""


@dataclass(frozen=True, eq=False)
class Shift:
    """How test images differ from training images.

    Attributes
    ----------
    auc
        The share of pairs of a test and a training image that are told apart, with its interval.
    table
        One row per image: its id, part (training or test), group, and how test-like it is. The
        most test-like come first.
    differences
        The named features that differ most: their means of both sets, and the difference in
        standard deviations. It has no row if features have no names.
    features
        What the features are.
    problems
        For each image that was left out, the reason why.
    notes
        What is to be known about the result, a sentence each.
    """

    auc: Interval
    table: pd.DataFrame
    differences: pd.DataFrame
    features: str
    problems: Mapping[str, str]
    notes: tuple[str, ...]

    @property
    def sentence(self) -> str:
        """What the AUC means."""
        auc = f"AUC {self.auc.value:.2f} ({self.auc.low:.2f} to {self.auc.high:.2f})"
        if self.auc.low > 0.5:
            word = next(word for limit, word in _WORDS if self.auc.value < limit)
            return (
                f"{auc}: {word} shift, since in {self.auc.value:.0%} of all pairs the test image "
                "is told from the training image"
            )
        if self.auc.high - self.auc.low > _WIDE:
            return f"{auc}: no difference is seen, but so few images could hide one"
        return f"{auc}: no difference between training and test images is seen"

    def of_part(self, part: str) -> pd.DataFrame:
        """The rows of one part, `training` or `test`."""
        return self.table[self.table["part"] == part].reset_index(drop=True)


def measure_shift(
    training: Mapping[str, Scene],
    test: Mapping[str, Scene],
    features: Features,
    *,
    nodata: float | None = None,
    bands: int | None = None,
) -> Shift:
    """Compare training images with test images.

    An image that cannot be read is left out, with its reason. One picture is in memory at a time.

    Parameters
    ----------
    training, test
        The images by their ids.
    features
        What they are compared by.
    nodata
        The value of pixels without data. None takes each file's own.
    bands
        How many bands images must have. None takes the number that most have.

    Raises
    ------
    EvaluationError
        Too few images can be compared, or a file is in both sets.
    """
    _refuse_common(training, test)
    # both sets may have an image of one name
    both = {
        (part, image): scene
        for part, scenes in (("training", training), ("test", test))
        for image, scene in scenes.items()
    }
    alike = alike_images(both, nodata, bands)
    kept = alike.scenes
    problems = {" ".join(key): reason for key, reason in alike.problems.items()}
    _refuse_few(kept, problems)
    features.prepare(_sample(kept, nodata))
    values = {}
    bar = {"leave": False, "disable": None}
    for key, scene in progress(kept.items(), description="pictures", unit="image", **bar):
        try:
            values[key] = features.of(thumbnail(scene, nodata))
        except SlideError as error:
            problems[" ".join(key)] = str(error)
    _refuse_few(values, problems)
    matrix = np.stack(list(values.values()))
    is_test = np.array([part == "test" for part, _ in values])
    groups = [kept[key].group for key in values]
    found = measure_likeness(matrix, is_test, _named(groups) if any(groups) else None)
    table = pd.DataFrame(
        {
            "image": [image for _, image in values],
            "part": [part for part, _ in values],
            "group": groups,
            "likeness": found.values,
        }
    ).sort_values("likeness", ascending=False, kind="stable", ignore_index=True)
    notes = _notes(alike.dtypes, any(groups), found.by_group)
    names = features.names(alike.bands)
    differences = _differences(matrix, is_test, names)
    return Shift(found.auc, table, differences, features.name, problems, tuple(notes))


def _refuse_common(training: Mapping[str, Scene], test: Mapping[str, Scene]) -> None:
    own = {path.absolute(): image for image, scene in training.items() for path in scene.paths}
    for image, scene in test.items():
        for path in scene.paths:
            if path.absolute() in own:
                raise EvaluationError(
                    f"{path}: it is the training image {own[path.absolute()]} and the test image "
                    f"{image}. Give both sets patterns of their own"
                )


def _refuse_few(kept: Mapping[tuple[str, str], object], problems: Mapping[str, str]) -> None:
    counts = {part: sum(key[0] == part for key in kept) for part in ("training", "test")}
    if min(counts.values()) >= _FEWEST:
        return
    some = next(iter(problems.items()), None)
    left = f" {len(problems)} were left out, such as {some[0]} ({some[1]})." if some else ""
    hint = (
        "Name the training images with --images"
        if counts["training"] < _FEWEST
        else "A hidden test set is compared in a notebook, where it is mounted"
    )
    raise EvaluationError(
        f"found {counts['training']} training and {counts['test']} test image(s) to compare, "
        f"wanted {_FEWEST} or more of each.{left} {hint}"
    )


def _sample(
    kept: Mapping[tuple[str, str], Scene], nodata: float | None
) -> list[NDArray[np.float32]]:
    """Pictures of both sets that lie evenly among them. What cannot be read is not among them."""
    pictures = []
    for part in ("training", "test"):
        scenes = [scene for key, scene in kept.items() if key[0] == part]
        step = -(-len(scenes) // _SAMPLE)
        for scene in scenes[::step]:
            try:
                pictures.append(thumbnail(scene, nodata))
            except SlideError:  # it is named when its features are made
                continue
    if not pictures:
        raise EvaluationError(
            f"found {len(kept)} images of which no pixel can be read. Fetch them again"
        )
    return pictures


def _named(groups: Sequence[str]) -> list[str]:
    """The groups, with one of its own for each image without a group."""
    return [f"group {name}" if name else f"image {row}" for row, name in enumerate(groups)]


def _notes(dtypes: frozenset[str], has_groups: bool, by_group: bool) -> list[str]:
    notes = []
    if len(dtypes) > 1:
        notes.append(f"pixels are {' and '.join(sorted(dtypes))}, which is a difference already")
    if by_group:
        notes.append("images of one group were held out together")
    elif has_groups:
        notes.append(
            "there are too few groups to hold them out together. So the AUC also counts what "
            "images of one group have in common"
        )
    return notes


def _differences(
    matrix: NDArray[np.float64], is_test: NDArray[np.bool_], names: Sequence[str]
) -> pd.DataFrame:
    """The named features that differ most."""
    columns = ["feature", "training", "test", "deviations"]
    if not names:
        return pd.DataFrame(columns=columns)
    own, other = matrix[~is_test], matrix[is_test]
    spread = np.sqrt((own.var(0) + other.var(0)) / 2)
    gap = other.mean(0) - own.mean(0)
    deviations = np.divide(gap, spread, out=np.zeros_like(gap), where=spread > 0)
    order = np.argsort(-np.abs(deviations), kind="stable")[:_DIFFERENCES]
    rows = [(names[i], own[:, i].mean(), other[:, i].mean(), deviations[i]) for i in order]
    return pd.DataFrame(rows, columns=columns)
