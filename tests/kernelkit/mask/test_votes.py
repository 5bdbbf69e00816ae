"""Masks of one ground vote."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernelkit.errors import MaskError
from kernelkit.mask import BitMask
from kernelkit.mask.votes import Ballot
from kernelkit.recipe.maps import Groups

RULES = ["all", "all but one", "majority", "at least 1", "at least 2", "at least 9"]


def _vote(masks: list[BitMask], rule: str, missing: list[BitMask | None]) -> BitMask:
    ballot = Ballot(*masks[0].shape)
    for mask, lacking in zip(masks, missing, strict=True):
        ballot.add(mask, lacking)
    return ballot.result(Groups(vote=rule).needed)


def _needed(rule: str, voters: np.ndarray) -> np.ndarray:
    """What each rule means, in numpy."""
    if rule == "all":
        return voters
    if rule == "all but one":
        return np.maximum(1, voters - 1)
    if rule == "majority":
        return voters // 2 + 1
    return np.minimum(int(rule.split()[-1]), voters)


@given(st.integers(1, 9), st.sampled_from(RULES), st.integers(0, 2**32 - 1), st.booleans())
def test_votes_are_those_that_numpy_counts(n: int, rule: str, seed: int, some: bool) -> None:
    """A pixel is on if enough of those agree that have data there, and off if none has."""
    rng = np.random.default_rng(seed)
    images = rng.random((n, 300, 70)) < 0.6
    absent = (rng.random((n, 300, 70)) < 0.3) & (rng.random(n) < 0.7)[:, None, None] & some
    missing = [BitMask.from_array(each) if each.any() else None for each in absent]
    found = _vote([BitMask.from_array(image) for image in images], rule, missing)
    voters = (~absent).sum(0)
    votes = (images & ~absent).sum(0)
    expected = (votes >= np.maximum(1, _needed(rule, voters))) & (voters > 0)
    np.testing.assert_array_equal(found.to_array(), expected)


def test_a_single_scene_is_its_own_map() -> None:
    """All but one of one scene would turn every pixel on."""
    mask = BitMask.from_rle("2 3", shape=(2, 5))
    assert _vote([mask], "all but one", [None]) == mask


def test_what_cannot_vote_is_refused() -> None:
    """The sizes are named, of a mask and of its pixels without data."""
    ballot = Ballot(2, 2)
    with pytest.raises(MaskError, match="no masks were to vote"):
        ballot.result(Groups().needed)
    for wrong in ([BitMask.zeros(2, 3)], [BitMask.zeros(2, 2), BitMask.zeros(3, 2)]):
        with pytest.raises(MaskError, match=r"was to vote among masks of \(2, 2\)"):
            ballot.add(*wrong)


def test_memory_grows_by_the_digits_of_the_number() -> None:
    """Twenty masks take five digits, and as many for those that lack data."""
    rows = 4000
    ballot = Ballot(rows, 6400)
    mask = ~BitMask.zeros(rows, 6400)
    tracemalloc.start()
    for _ in range(20):
        ballot.add(mask, mask)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 11 * mask.words.nbytes
    assert ballot.result(Groups().needed).area == 0
