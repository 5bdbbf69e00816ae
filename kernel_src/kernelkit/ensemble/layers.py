"""`merge_layers`: the rest of a merge, from the layers of an answer that a store kept as bytes.

No network and no device is needed. What stands above the layers' level is merged as the recipe
says, with the same arithmetic as on the device.

>>> recipe = EnsembleRecipe(name="two", thresholds=(0.5,))
>>> layers = np.array([[[[51]]], [[[153]]]], np.uint8)  # 0.2 and 0.6
>>> merge_layers(recipe, ["unet/0", "fpn/0"], layers)
array([[[0.4]]], dtype=float32)

A byte stands for the probabilities that round to it. So a merge of probabilities by the mean or the
maximum is off by half of 1/255 at most. Logits, and the logarithms of `gmean`, grow without end
near 0 and 1, where bytes cannot follow. There 0 counts as 1/1020 and 255 as 1 - 1/1020, the middles
of what rounds to them. `rounding_note` says where that matters. A pixel at which all layers are 0
stays 0, as what a gate found empty.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache, partial
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from kernelkit.ensemble.stored_merge import StoredAnswer, highest, merge_answers, merge_bytes
from kernelkit.ensemble.weights import flat_weight, weight_of
from kernelkit.errors import RecipeError
from kernelkit.recipe import EnsembleRecipe, Merge, MergeStep
from kernelkit.vocabulary import Level

__all__ = ["gated_out", "level_of", "merge_layers", "rounding_note", "runs_of"]

# Pixels that are merged at once. Their sums stay in the cache, and no memory is asked for.
_BLOCK = 8192


@dataclass(frozen=True)
class _Layer:
    """One layer: whose answer it is, at which scale of the pyramid, and where it lies."""

    place: int
    run: str
    member: str
    scale: int


def merge_layers(
    recipe: EnsembleRecipe,
    names: Sequence[str],
    layers: NDArray[np.uint8],
    *,
    runs: Sequence[str] | None = None,
    gate: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Merge stored layers into probabilities, float32 (K, h, w).

    Each pixel is merged by itself. So bands of rows can be merged one after the other.

    Parameters
    ----------
    names
        The layers' names, as `MegaModel.layers` gives them for any level.
    layers
        `255 p`, rounded, (L, K, h, w).
    runs
        Glob patterns. Only the layers of runs that match one are merged. None merges all.
    gate
        The gate's probability that the image is empty, of no axis or (1,), or that each class is,
        (K,). What the recipe's gate calls empty is 0 then. None leaves the gate out.

    Raises
    ------
    RecipeError
        No layer matches `runs`, or no scale of the pyramid looks at a layer's run. Or there is one
        layer of the whole ensemble, which cannot be parted into runs.
    """
    layers = np.ascontiguousarray(layers)
    if level_of(names) == "ensemble":
        if runs is not None:
            raise RecipeError(
                f"{recipe.name}: the store holds one answer of the whole ensemble, which cannot "
                f"be parted into the runs {', '.join(runs)}. Store at the level model or member"
            )
        probabilities: NDArray[np.float32] = layers[0] / np.float32(255)
    else:
        chosen = _chosen(recipe, names, runs)
        probabilities = _in_blocks(recipe, layers, chosen, level_of(names))
    if gate is not None and recipe.gate is not None:
        probabilities[np.broadcast_to(gated_out(recipe, gate), len(probabilities))] = 0
    return probabilities


def gated_out(recipe: EnsembleRecipe, gate: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which probabilities of emptiness the recipe's gate calls empty. It lets pass all others."""
    limit = np.inf if recipe.gate is None else recipe.gate.above
    return np.asarray(gate) > limit


def level_of(names: Sequence[str]) -> Level:
    """Whose answers layers of these names are."""
    if list(names) == [""]:
        return "ensemble"
    return "member" if all("/" in name for name in names) else "model"


def runs_of(recipe: EnsembleRecipe, names: Sequence[str]) -> list[str]:
    """The run of each layer.

    Raises
    ------
    RecipeError
        No scale of the pyramid looks at a layer's run.
    """
    return [_layer(recipe, place, name).run for place, name in enumerate(names)]


def rounding_note(recipe: EnsembleRecipe, level: Level) -> str | None:
    """What is lost if layers of a level are stored as bytes, in a sentence. None if very little."""
    lossy = _lossy_steps(recipe, level)
    if not lossy:
        return None
    return (
        f"stored probabilities are merged by {lossy[0]}. Bytes take none nearer to 0 or 1 than "
        "0.001, so very sure members weigh less than if nothing was stored"
    )


def _chosen(
    recipe: EnsembleRecipe, names: Sequence[str], runs: Sequence[str] | None
) -> list[_Layer]:
    """The layers that are merged, those of a scale and of a run next to each other."""
    layers = [_layer(recipe, place, name) for place, name in enumerate(names)]
    patterns = ("*",) if runs is None else runs
    chosen = [x for x in layers if any(fnmatchcase(x.run, pattern) for pattern in patterns)]
    if not chosen:
        known = ", ".join(sorted({layer.run for layer in layers}))
        raise RecipeError(
            f"{recipe.name}: no stored run matches {', '.join(patterns)} (there are {known}). "
            "Correct 'runs'"
        )
    order = {run: number for number, run in enumerate(dict.fromkeys(x.run for x in layers))}
    return sorted(chosen, key=lambda layer: (layer.scale, order[layer.run]))


def _layer(recipe: EnsembleRecipe, place: int, name: str) -> _Layer:
    member, _, label = name.rpartition("@")
    labels = [scale.label for scale in recipe.pyramid]
    if label not in labels or not member:  # `@` is a part of the run's own name
        member, label = name, ""
    run = member.partition("/")[0]
    for number, scale in enumerate(recipe.pyramid):
        is_seen = any(fnmatchcase(run, pattern) for pattern in scale.runs)
        if is_seen and label in ("", scale.label):
            return _Layer(place, run, member, number)
    raise RecipeError(
        f"{recipe.name}: the store holds an answer of {name}, which no scale of the pyramid looks "
        "at. Name its run in one, or leave it out by 'runs'"
    )


def _in_blocks(
    recipe: EnsembleRecipe, layers: NDArray[np.uint8], chosen: Sequence[_Layer], level: Level
) -> NDArray[np.float32]:
    count, classes, height, width = layers.shape
    flat = layers.reshape(count, classes, height * width)
    merged = np.empty(flat.shape[1:], np.float32)
    weights = _Weights(recipe)
    for start in range(0, height * width, _BLOCK):
        block = np.ascontiguousarray(flat[..., start : start + _BLOCK])
        merged[:, start : start + _BLOCK] = _Merge(recipe, block, weights).of(chosen, level)
    return merged.reshape(classes, height, width)


class _Weights:
    """What runs and members weigh. Each is looked up once, and not for each block of pixels."""

    def __init__(self, recipe: EnsembleRecipe) -> None:
        self.of = cache(partial(weight_of, recipe))
        self.flat = cache(partial(flat_weight, recipe))


@dataclass(frozen=True)
class _Merge:
    """Layers (L, K, n) of n pixels, and the recipe by which they are merged."""

    recipe: EnsembleRecipe
    layers: NDArray[np.uint8]
    weights: _Weights

    def of(self, chosen: Sequence[_Layer], level: Level) -> NDArray[np.float32]:
        """The probabilities (K, n) of some of the layers."""
        recipe, merge = self.recipe, self.recipe.merge
        if merge.members is not None:
            weights = [
                recipe.pyramid[x.scale].weight * self.weights.flat(x.run, x.member) for x in chosen
            ]
            answer = self._of_layers(chosen, merge.members, weights)
        else:
            by_scale = {number: list(g) for number, g in groupby(chosen, key=lambda x: x.scale)}
            scales = [self._at_scale(group, level) for group in by_scale.values()]
            weights = [recipe.pyramid[number].weight for number in by_scale]
            answer = merge_answers(scales, merge.scales, weights, recipe.activation)
        probabilities = answer.to("probabilities", recipe.activation)
        if _lossy_steps(recipe, level):
            return self._with_zeros(probabilities, chosen)
        return probabilities

    def _at_scale(self, chosen: Sequence[_Layer], level: Level) -> StoredAnswer:
        recipe, merge = self.recipe, self.recipe.merge
        by_run = {run: list(group) for run, group in groupby(chosen, key=lambda x: x.run)}
        weights = [self.weights.of(run) for run in by_run]
        if level == "model":
            return self._of_layers(chosen, merge.models, weights)
        models = []
        for members in by_run.values():
            own = [self.weights.of(layer.member) for layer in members]
            models.append(self._of_layers(members, merge.folds, own))
        return merge_answers(models, merge.models, weights, recipe.activation)

    def _of_layers(
        self, chosen: Sequence[_Layer], step: MergeStep, weights: Sequence[float]
    ) -> StoredAnswer:
        places = [layer.place for layer in chosen]
        return merge_bytes(self.layers, places, step, weights, self.recipe.activation)

    def _with_zeros(
        self, probabilities: NDArray[np.float32], chosen: Sequence[_Layer]
    ) -> NDArray[np.float32]:
        """The probabilities, with 0 at pixels at which all layers are 0, of all classes."""
        flat = self.layers.reshape(len(self.layers), -1)
        most = highest(flat, np.array([layer.place for layer in chosen]))
        is_on = most.reshape(probabilities.shape) > 0
        if self.recipe.activation == "softmax":
            is_on = is_on.any(0, keepdims=True)
        return np.where(is_on, probabilities, np.float32(0))


def _lossy_steps(recipe: EnsembleRecipe, level: Level) -> list[MergeStep]:
    """The steps above a level that bytes cannot follow."""
    below: dict[Level, set[str]] = {
        "member": {"views"},
        "model": {"views", "folds"},
        "ensemble": set(Merge.model_fields),
    }
    steps = [step for name, step in recipe.merge.steps.items() if name not in below[level]]
    return [step for step in steps if step.of == "logits" or step.how == "gmean"]
