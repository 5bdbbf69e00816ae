"""How often windows are drawn, and in which order."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from kernelkit.training.crops.sampler import Pool, Sampler

POOLS = st.lists(st.tuples(st.integers(1, 12), st.integers(1, 30)), min_size=1, max_size=4)


def pools_of(sizes: list[tuple[int, int]]) -> list[Pool]:
    """Pools of consecutive windows, given how many there are and how many are drawn."""
    starts = np.cumsum([0, *(size for size, _ in sizes)])
    return [
        Pool(np.arange(start, start + size), count)
        for start, (size, count) in zip(starts, sizes, strict=False)
    ]


@settings(max_examples=100)
@given(sizes=POOLS, batch=st.integers(1, 9), seed=st.integers(0, 9), epoch=st.integers(0, 9))
def test_an_epoch_has_each_window_as_often_as_its_source_says(
    sizes: list[tuple[int, int]], batch: int, seed: int, epoch: int
) -> None:
    """The crops of one pass are counted exactly. What fills the last batch comes on top."""
    pools = pools_of(sizes)
    sampler = Sampler(pools, batch)
    order = sampler.order(seed, epoch)
    assert len(order) == sampler.steps_per_epoch * batch
    total = sum(pool.count for pool in pools)
    assert 0 <= len(order) - total < batch
    once = order[:total]
    for pool in pools:
        counts = np.array([(once == window).sum() for window in pool.windows])
        assert counts.sum() == pool.count
        assert counts.max() - counts.min() <= 1


@settings(max_examples=50)
@given(sizes=POOLS, batch=st.integers(1, 9), steps=st.integers(1, 20))
def test_a_fixed_number_of_steps_draws_in_the_same_proportions(
    sizes: list[tuple[int, int]], batch: int, steps: int
) -> None:
    """Whole passes come one after the other, each complete but for the last."""
    pools = pools_of(sizes)
    sampler = Sampler(pools, batch, steps)
    order = sampler.order(0, 0)
    assert (sampler.steps_per_epoch, len(order)) == (steps, steps * batch)
    total = sum(pool.count for pool in pools)
    for start in range(0, len(order) - total + 1, total):
        drawn = order[start : start + total]
        for pool in pools:
            assert np.isin(drawn, pool.windows).sum() == pool.count


def test_each_epoch_and_each_seed_has_an_order_of_its_own() -> None:
    """The same seed and epoch give the same order, and no others do."""
    sampler = Sampler([Pool(np.arange(50), 50)], 10)
    orders = [tuple(sampler.order(seed, epoch)) for seed in range(3) for epoch in range(3)]
    again = [tuple(sampler.order(seed, epoch)) for seed in range(3) for epoch in range(3)]
    assert orders == again
    assert len(set(orders)) == 9


def test_a_fraction_of_the_windows_changes_with_the_epoch() -> None:
    """With half a crop per window, all windows are seen after some epochs."""
    sampler = Sampler([Pool(np.arange(20), 10)], 5)
    seen = {int(window) for epoch in range(12) for window in sampler.order(1, epoch)}
    assert seen == set(range(20))
