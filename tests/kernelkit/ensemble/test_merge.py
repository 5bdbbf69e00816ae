import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import special, stats

from kernelkit.ensemble.merge import combine, convert
from kernelkit.errors import RecipeError

probabilities = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 5), st.just(2), st.just(3), st.just(3)),
    elements=st.floats(2**-10, 1 - 2**-10, width=32),
)


def _tensors(array):
    return [torch.from_numpy(part.copy()) for part in array]


@given(probabilities)
def test_means_agree_with_numpy_and_scipy(stack):
    """Mean, gmean, max and vote agree with numpy and scipy for the stacked answers."""
    answers = _tensors(stack)
    expected = {
        "mean": stack.mean(0),
        "gmean": stats.gmean(stack, axis=0),
        "max": stack.max(0),
        "vote": (stack > 0.5).mean(0),
    }
    for how, values in expected.items():
        np.testing.assert_allclose(combine(answers, how).numpy(), values, rtol=1e-5, atol=1e-6)


@given(probabilities, st.floats(0.1, 3))
def test_sharpening_is_a_power_then_the_mean(stack, temperature):
    """tsharpen(t) is the mean of p^t."""
    merged = combine(_tensors(stack), "tsharpen", temperature=temperature)
    np.testing.assert_allclose(merged.numpy(), (stack**temperature).mean(0), rtol=1e-4)


def test_sharpening_by_the_clouds_example():
    """A temperature of 0.5 takes 0.25 to 0.5, and 0 leaves probabilities as they are."""
    quarter = [torch.full((1, 1, 1, 1), 0.25)]
    assert combine(quarter, "tsharpen", temperature=0.5).item() == 0.5
    assert combine(quarter, "tsharpen", temperature=0.0).item() == 0.25


@given(probabilities, st.data())
def test_weights_need_not_sum_to_one(stack, data):
    """A weighted mean and gmean agree with numpy's and scipy's for any positive weights."""
    weights = data.draw(st.lists(st.floats(0.1, 10), min_size=len(stack), max_size=len(stack)))
    merged = combine(_tensors(stack), "mean", weights=weights).numpy()
    np.testing.assert_allclose(merged, np.average(stack, axis=0, weights=weights), rtol=1e-4)
    merged = combine(_tensors(stack), "gmean", weights=weights).numpy()
    expected = stats.gmean(stack, axis=0, weights=np.array(weights)[:, None, None, None])
    np.testing.assert_allclose(merged, expected, rtol=1e-4)


@given(probabilities, st.randoms())
def test_order_does_not_matter(stack, random):
    """Merging the answers in another order gives the same, to rounding."""
    answers = _tensors(stack)
    shuffled = random.sample(answers, len(answers))
    for how in ("mean", "gmean", "max", "vote"):
        torch.testing.assert_close(combine(answers, how), combine(shuffled, how))


@pytest.mark.parametrize("how", ["mean", "gmean", "max"])
def test_equal_answers_stay_as_they_are(how):
    """Merging copies of one answer gives that answer."""
    answer = torch.rand(2, 3, 4, 4)
    torch.testing.assert_close(combine([answer] * 5, how), answer)


@pytest.mark.parametrize("how", ["mean", "gmean", "max", "vote", "tsharpen"])
def test_answers_are_not_changed(how):
    """The answers are left as they were, the first one too."""
    answers = [torch.rand(1, 2, 4, 4) for _ in range(3)]
    copies = [answer.clone() for answer in answers]
    temperature = 0.5 if how == "tsharpen" else None
    combine(answers, how, temperature=temperature)
    combine(answers[:1], how, temperature=temperature).zero_()
    assert all(torch.equal(a, b) for a, b in zip(answers, copies, strict=True))


def test_answers_are_asked_for_one_by_one():
    """An answer is asked for only when the one before it can be freed."""
    alive = 0

    class Counted(torch.Tensor):
        def __del__(self):
            nonlocal alive
            alive -= 1

    most = 0

    def answers():
        nonlocal alive, most
        for _ in range(6):
            alive += 1
            most = max(most, alive)
            yield torch.rand(1, 1, 2, 2).as_subclass(Counted)

    with torch._C.DisableTorchFunctionSubclass():
        combine(answers(), "mean")
    assert most <= 2


def test_a_gated_zero_stays_zero_in_a_geometric_mean():
    """A probability of exactly 0 makes the geometric mean 0, not NaN."""
    answers = [torch.zeros(1, 1, 1, 1), torch.full((1, 1, 1, 1), 0.9)]
    assert combine(answers, "gmean").item() == 0


def test_softmax_votes_go_to_the_likeliest_class():
    """Under softmax each answer gives its whole vote to one class."""
    first = torch.tensor([0.4, 0.35, 0.25]).reshape(1, 3, 1, 1)
    second = torch.tensor([0.1, 0.3, 0.6]).reshape(1, 3, 1, 1)
    shares = combine([first, second, second], "vote", activation="softmax")
    torch.testing.assert_close(shares.flatten(), torch.tensor([1 / 3, 0, 2 / 3]))


@pytest.mark.parametrize(("how", "temperature"), [("gmean", None), ("tsharpen", 0.5)])
def test_softmax_merges_sum_to_one(how, temperature):
    """Under softmax the results of gmean and tsharpen are scaled, so that classes sum to one."""
    answers = [torch.rand(2, 3, 4, 4).softmax(1) for _ in range(3)]
    merged = combine(answers, how, temperature=temperature, activation="softmax")
    torch.testing.assert_close(merged.sum(1), torch.ones(2, 4, 4))


@given(
    hnp.arrays(np.float32, (2, 3, 2, 2), elements=st.floats(-12, 12, width=32)),
    st.sampled_from(["sigmoid", "softmax"]),
)
def test_domains_convert_there_and_back(logits, activation):
    """Logits become scipy's probabilities, and logits of these give the same probabilities."""
    there = convert(torch.from_numpy(logits), "logits", "probabilities", activation)
    expected = special.expit(logits) if activation == "sigmoid" else special.softmax(logits, 1)
    np.testing.assert_allclose(there.numpy(), expected, atol=1e-6)
    back = convert(there, "probabilities", "logits", activation)
    again = convert(back, "logits", "probabilities", activation)
    np.testing.assert_allclose(again.numpy(), there.numpy(), atol=2e-7)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_certain_probabilities_have_finite_logits(value):
    """A probability of exactly 0 or 1 becomes a finite logit of its sign."""
    logit = convert(torch.full((1, 1, 1, 1), value), "probabilities", "logits", "sigmoid").item()
    assert 15 < abs(logit) < 17
    assert (logit > 0) == (value > 0)


def test_half_precision_is_merged_in_float32():
    """Answers in half precision are summed in float32, so that small terms are not lost."""
    answers = [torch.full((1, 1, 1, 1), 1e-4, dtype=torch.float16)] * 3
    merged = combine(answers, "mean")
    assert merged.dtype == torch.float32
    torch.testing.assert_close(merged, answers[0].float())


def test_nothing_to_merge_is_an_error():
    """No answers are refused, and so is a way to merge that does not exist."""
    with pytest.raises(RecipeError, match="at least one member"):
        combine([], "mean")
    with pytest.raises(RecipeError, match='no way to merge "median". Choose'):
        combine([torch.rand(1, 1, 1, 1)], "median")
    with pytest.raises(ValueError, match="zip"):
        combine([torch.rand(1, 1, 1, 1)] * 2, "mean", weights=[1.0])
