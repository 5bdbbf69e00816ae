"""The search for thresholds and minimum sizes: what is tried, on what, and what is chosen.

`space` says what is tried, and `levels` turns stored probabilities into the thresholds that they
are above. `sweep` finds the areas of one map for all of them, and `table` holds those of all
images. `optimum` chooses, `sharing` says for whom, and `survival` says what holds out of fold.
`stored` reads a store, `weights` weighs its members, and `rewriting` changes a recipe.
"""

from kernelkit.evaluation.search.space import Space
from kernelkit.evaluation.search.table import SweepTable

__all__ = ["Space", "SweepTable"]
