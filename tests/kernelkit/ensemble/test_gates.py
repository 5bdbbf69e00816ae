"""What gates find empty: tiles, pictures and classes."""

import numpy as np
import pytest
import timm
import torch
import yaml
from torch import nn

from kernelkit.ensemble import MegaModel
from kernelkit.errors import DeviceError, RecipeError
from tests.made.ensembles import ensemble, normalised
from tests.made.networks import FPN, answer, checkpoint, tiles, write_run

FOUR = FPN | {"classes": 4}


def write_classifier(folder, labels, seeds):
    """Write a run of classifiers, one checkpoint per seed in one folder, and return them."""
    folder.mkdir(parents=True)
    description = {"arch": "timm", "model_name": "test_resnet", "num_classes": labels}
    (folder / "cfg.yaml").write_text(yaml.safe_dump({"MODEL": description}))
    modules = []
    for number, seed in enumerate(seeds):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            module = timm.create_model("test_resnet", num_classes=labels).eval()
            nn.init.normal_(module.get_classifier().weight, std=0.5)
        torch.save(
            checkpoint(module), folder / f"e{number + 1}_t{number + 1}_cmax_val_0.{seed}.pth"
        )
        modules.append(module)
    return modules


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A segmenter of four classes, and classifiers of four, two and one label."""
    folder = tmp_path_factory.mktemp("gates")
    write_run(folder / "four", FOUR, seeds=(1,))
    return folder, {
        labels: write_classifier(folder / f"labels_{labels}", labels, (3, 4))
        for labels in (4, 2, 1)
    }


def gated(folder, gate, **section):
    recipe = ensemble(runs=["four"], gate=gate, **section)
    return MegaModel(folder, recipe=recipe, precision="fp32", batch=4)


MERGED = {
    "mean of probabilities": lambda logits, empty: empty(logits).mean(0),
    "max of probabilities": lambda logits, empty: empty(logits).max(0).values,
    "gmean of probabilities": lambda logits, empty: empty(logits).log().mean(0).exp(),
    "vote of probabilities": lambda logits, empty: (empty(logits) > 0.5).float().mean(0),
    "mean of logits": lambda logits, empty: empty(logits.mean(0)),
    "max of logits": lambda logits, empty: empty(logits.max(0).values),
}
EMPTY = {
    4: lambda logits: 1 - logits.sigmoid(),
    2: lambda logits: logits.softmax(-1)[..., 0],
    1: lambda logits: 1 - logits[..., 0].sigmoid(),
}


@pytest.mark.parametrize("labels", [4, 2, 1])
@pytest.mark.parametrize("merge", MERGED)
def test_a_gates_members_are_merged_as_the_recipe_says(runs, merge, labels):
    """By logits of labels or probabilities of emptiness, for classes, two labels and one."""
    folder, networks = runs
    pixels = tiles(5) // np.arange(1, 6, dtype=np.uint8)[:, None, None, None]
    logits = torch.stack([answer(module, normalised(pixels)) for module in networks[labels]])
    gate = {"runs": [f"labels_{labels}"], "checkpoints": "all", "merge": merge}
    model = gated(folder, gate | {"per_class": labels == 4})
    found = model.predict(pixels, ask_gated=True).gate
    expected = MERGED[merge](logits, EMPTY[labels])
    assert found.shape == ((5, 4) if labels == 4 else (5,))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("level", ["ensemble", "member"])
def test_a_gate_per_class_empties_classes(runs, level):
    """Classes that are not there are 0, the others stay, and all empty tiles are not asked."""
    folder, _ = runs
    pixels = tiles(6) // np.arange(1, 7, dtype=np.uint8)[:, None, None, None]
    gate = {"runs": ["labels_4"], "checkpoints": "best", "per_class": True}
    plain = gated(folder, gate).predict(pixels, ask_gated=True)
    # the first tile is empty in all classes, and others in some
    above = float(plain.gate[0].min()) - 1e-4
    model = gated(folder, gate | {"above": above})
    looked = []
    [placed] = model._runner.tree._scales[0].models["four"]
    placed._module.decoder.register_forward_hook(lambda *_: looked.append(len(_[2])))
    answers = model.predict(pixels, level=level, with_spread=True)
    is_full = plain.gate <= above
    assert is_full.any()
    assert not is_full.all()
    expected = plain.probabilities * is_full[..., None, None]
    torch.testing.assert_close(answers.probabilities, expected)
    torch.testing.assert_close(answers.gate, plain.gate)
    assert sum(looked[1:]) == is_full.any(1).sum() < 6  # the first was the memory plan's
    assert (answers.spread[~is_full] == 0).all()


def test_no_gate_has_no_answer(runs):
    """Without a gate there is no answer of one."""
    model = MegaModel(runs[0], recipe=ensemble(runs=["four"]), precision="fp32")
    assert model.predict(tiles(1)).gate is None


def test_batches_do_not_change_what_a_gate_says(runs):
    """The gate's answers of all batches are put together, in the tiles' order."""
    folder, _ = runs
    gate = {"runs": ["labels_2"]}
    pixels = tiles(7)
    small, large = gated(folder, gate), gated(folder, gate)
    small._runner.batch = 2
    torch.testing.assert_close(small.predict(pixels).gate, large.predict(pixels).gate)


def test_a_gate_that_answers_nan_is_an_error(runs):
    """What is compared with NaN would count as full, or as empty."""
    model = gated(runs[0], {"runs": ["labels_2"], "merge": "mean of logits"})
    [placed] = model._runner._gate._placed
    placed._module.get_classifier().bias.data.fill_(torch.nan)
    with pytest.raises(DeviceError, match="NaN or infinity"):
        model.predict(tiles(1))


@pytest.mark.parametrize(
    ("gate", "message"),
    [
        (
            {"runs": ["labels_2"], "per_class": True},
            r"labels_2/0: found 2 labels of a gate that speaks per class, wanted 4",
        ),
        ({"runs": ["labels_2"], "empty_class": 2}, r"empty_class is 2, but its classes are 0 to 1"),
        ({"runs": ["labels_1"], "empty_class": 2}, r"empty_class is 2, but its classes are 0 to 1"),
        (
            {"runs": ["labels_*"], "merge": "mean of logits"},
            r"members of different numbers of labels \(labels_1/0 1, labels_2/0 2, labels_4/0 4\)",
        ),
    ],
)
def test_labels_that_a_gate_cannot_speak_of(runs, gate, message):
    """The member is named, with its labels and what was wanted."""
    with pytest.raises(RecipeError, match=message):
        gated(runs[0], gate)
