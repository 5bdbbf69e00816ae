"""Weights of runs, found over stored layers."""

from collections.abc import Callable

import numpy as np

from kernelkit.evaluation.search.sharing import choose
from kernelkit.evaluation.search.space import Space
from kernelkit.evaluation.search.stored import Pair, sweep_stored
from kernelkit.evaluation.search.weights import weigh_runs
from kernelkit.mask import BitMask
from kernelkit.predict.hand_in.postprocess import STEPS
from kernelkit.predict.hand_in.stored_image import StoredImage
from kernelkit.predict.hand_in.variants import Way
from kernelkit.predict.store.store import Layers
from kernelkit.recipe import EnsembleRecipe, Recipe

RECIPE = Recipe.parse(
    "{name: test, competition: {slug: a-test-competition}, tiles: whole,"
    " ensembles: [{name: one, weights: {'good*': 1, '*/fold_0': 1}}]}"
)
SPACE = Space.between(0.2, 0.8, 0.05)
NAMES = "good/fold_0", "noise/fold_0"


def pair(number: int) -> Pair:
    """An image that one run knows, and of which the other knows nothing."""
    rng = np.random.default_rng(number)
    truth = np.kron(rng.random((5, 5)) > 0.6, np.ones((8, 8))).astype(bool)
    good = np.where(truth, 150, 90) + rng.integers(-25, 26, truth.shape)
    values = np.stack([good, rng.integers(0, 256, truth.shape)]).astype(np.uint8)
    layers = Layers(NAMES, values[:, None])
    return Pair(
        str(number),
        lambda: StoredImage(RECIPE, truth.shape, None, [layers], (), STEPS),
        lambda: [BitMask.from_array(truth)],
    )


def scorer(pairs: list[Pair]) -> Callable[[EnsembleRecipe], float]:
    def score(ensemble: EnsembleRecipe) -> float:
        way = Way(ensemble, None, (0.5,), ())
        return choose(sweep_stored(pairs, lambda _: way, SPACE, (0,), ("",))).value

    return score


def test_a_run_of_noise_loses_weight() -> None:
    """The run that knows the images outweighs the other, and the score grows by it."""
    score = scorer([pair(number) for number in range(6)])
    found = weigh_runs(RECIPE.ensembles[0], ["good", "noise"], score)
    assert found.ensemble.weights["good"] >= 4 * found.ensemble.weights["noise"]
    assert found.after == score(found.ensemble) > found.before + 0.05
    assert found.ensemble.weights["*/fold_0"] == 1
    assert found.tried <= 1 + 3 * 2 * 4


def test_weights_that_gain_nothing_are_not_changed() -> None:
    """The recipe keeps its own weights."""
    ensemble = RECIPE.ensembles[0]
    found = weigh_runs(ensemble, ["good", "noise"], lambda _: 0.5)
    assert found.ensemble is ensemble
    assert (found.before, found.after, found.tried) == (0.5, 0.5, 9)
    assert weigh_runs(ensemble, ["good"], lambda _: 0.5).tried == 1
