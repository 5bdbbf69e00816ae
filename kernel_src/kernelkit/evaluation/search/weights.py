"""The weights of an ensemble's runs, found one run at a time over stored probabilities.

Nothing is predicted again. Each step merges what is stored with other weights, and sweeps it. So a
weight is judged with the threshold that is best for it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from kernelkit.ensemble.weights import weight_of
from kernelkit.recipe import EnsembleRecipe

__all__ = ["Weighed", "weigh_runs"]

# A run's weight is tried at so many times what it is.
_FACTORS = (0.5, 2.0, 0.25, 4.0)
# A smaller gain is no reason for another weight.
_LEAST_GAIN = 1e-4


@dataclass(frozen=True, slots=True)
class Weighed:
    """What came of a search for weights.

    Attributes
    ----------
    ensemble
        The recipe's ensemble with the weights.
    before, after
        The score with the old weights and with the new ones, at the best threshold of each.
    tried
        How many weightings were scored.
    """

    ensemble: EnsembleRecipe
    before: float
    after: float
    tried: int


def weigh_runs(
    ensemble: EnsembleRecipe,
    runs: Sequence[str],
    score: Callable[[EnsembleRecipe], float],
    rounds: int = 3,
) -> Weighed:
    """Change one run's weight at a time, as long as the score grows.

    Parameters
    ----------
    ensemble
        Where the search begins.
    runs
        The names of the runs.
    score
        The score of the ensemble with other weights.
    rounds
        How often each run's turn comes, at most.
    """
    weights = {run: weight_of(ensemble, run) for run in runs}
    best = before = score(ensemble)
    tried = 1
    for _ in range(rounds if len(runs) > 1 else 0):
        last = best
        for run in runs:
            now = weights[run]
            for factor in _FACTORS:
                found = score(_weighed(ensemble, {**weights, run: now * factor}))
                tried += 1
                if found > best + _LEAST_GAIN:
                    best, weights[run] = found, now * factor
        if best == last:
            break
    if best == before:
        return Weighed(ensemble, before, before, tried)
    return Weighed(_weighed(ensemble, weights), before, best, tried)


def _weighed(ensemble: EnsembleRecipe, weights: dict[str, float]) -> EnsembleRecipe:
    """The ensemble with these weights of runs, and its own weights of members."""
    of_members = {name: weight for name, weight in ensemble.weights.items() if "/" in name}
    largest = max(weights.values())
    of_runs = {run: round(weight / largest, 6) for run, weight in weights.items()}
    return ensemble.model_copy(update={"weights": {**of_runs, **of_members}})
