"""The arithmetic for stored bytes, beside that of the device."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from kernelkit.ensemble.merge import combine, convert
from kernelkit.ensemble.stored_merge import StoredAnswer, merge_answers, merge_bytes
from kernelkit.recipe import MergeStep

STEPS = [
    "mean of probabilities",
    "mean of logits",
    "max of probabilities",
    "max of logits",
    "gmean of probabilities",
    "vote of probabilities",
    "tsharpen(0.5) of probabilities",
    "tsharpen(2.3) of probabilities",
    "tsharpen(0) of probabilities",
]
shapes = st.tuples(st.integers(1, 5), st.integers(1, 3), st.integers(1, 7))
# without 0 and 255, whose logits bytes do not know
inner_bytes = hnp.arrays(np.uint8, shapes, elements=st.integers(1, 254))
positive = st.floats(0.1, 10)


def on_the_device(answers, domain, step, weights, activation):
    """The merge of answers (K, n) by torch."""
    terms = [convert(torch.from_numpy(a)[..., None], domain, step.of, activation) for a in answers]
    merged = combine(
        terms,
        step.how,
        weights=weights,
        temperature=step.temperature,
        activation=activation,
    )
    return merged[..., 0].numpy()


@pytest.mark.parametrize("activation", ["sigmoid", "softmax"])
@pytest.mark.parametrize("phrase", STEPS)
@given(layers=inner_bytes, data=st.data())
def test_bytes_are_merged_as_their_probabilities_are(phrase, activation, layers, data):
    """By each step, for any weights, the result is that of torch for byte / 255."""
    step = MergeStep.model_validate(phrase)
    places = data.draw(st.lists(st.sampled_from(range(len(layers))), min_size=1, unique=True))
    weights = data.draw(st.lists(positive, min_size=len(places), max_size=len(places)))
    found = merge_bytes(layers, places, step, weights, activation)
    probabilities = [layers[place] / np.float32(255) for place in places]
    expected = on_the_device(probabilities, "probabilities", step, weights, activation)
    assert found.domain == step.of
    np.testing.assert_allclose(found.values, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("activation", ["sigmoid", "softmax"])
@pytest.mark.parametrize("domain", ["logits", "probabilities"])
@pytest.mark.parametrize("phrase", STEPS)
@given(layers=inner_bytes, data=st.data())
def test_answers_are_merged_as_on_the_device(phrase, domain, activation, layers, data):
    """From either domain each step gives what torch gives."""
    step = MergeStep.model_validate(phrase)
    weights = data.draw(st.lists(positive, min_size=len(layers), max_size=len(layers)))
    answers = [layer / np.float32(255) for layer in layers]
    if domain == "logits":
        answers = [
            convert(torch.from_numpy(a)[..., None], "probabilities", domain, activation)[
                ..., 0
            ].numpy()
            for a in answers
        ]
    found = merge_answers([StoredAnswer(a, domain) for a in answers], step, weights, activation)
    expected = on_the_device(answers, domain, step, weights, activation)
    values = found.to(step.of, activation)
    np.testing.assert_allclose(values, expected, rtol=1e-4, atol=1e-4)


def test_the_ends_of_the_bytes_have_logits():
    """0 and 255 stand for the middles of what rounds to them, so that logits stay finite."""
    ends = StoredAnswer(np.float32([[0, 1]]), "probabilities").to("logits", "sigmoid")
    np.testing.assert_allclose(ends, [[-np.log(1019), np.log(1019)]], rtol=1e-4)
