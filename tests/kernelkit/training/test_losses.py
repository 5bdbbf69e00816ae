"""The loss of a batch, against formulas of its own."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from kernelkit.errors import TrainingError
from kernelkit.training.losses import Objective
from kernelkit.training.recipe import RunRecipe
from tests.made.training_run import MODEL, load_training

TILES = {"core": 64}
CLASSIFIER = {"arch": "timm", "model_name": "resnet18"}
TWO = {"classes": ["a", "b"], "rows": "{image}_{class}"}
# Whether it is of softmax, the term, and its arguments.
Term = tuple[bool, str, dict[str, Any]]
SIGMOID = ("bce", "dice", "jaccard", "tversky", "focal", "lovasz")
SOFTMAX = ("ce", "dice", "jaccard", "tversky", "focal", "lovasz")
TERMS: list[Term] = [
    *((False, term, {}) for term in SIGMOID),
    *((True, term, {}) for term in SOFTMAX),
]
PER_IMAGE: list[Term] = [
    (softmax, term, {"per_image": True})
    for softmax in (False, True)
    for term in ("dice", "jaccard", "tversky", "lovasz")
]


@pytest.fixture(name="objective")
def fixture_objective(tmp_path: Path) -> Any:
    """Make the loss of a run with some terms, for classes by sigmoid or softmax."""

    def make(loss: dict[str, Any], classes: int = 1, softmax: bool = False, **keys: Any) -> Any:
        return Objective(run_of(tmp_path, loss, classes, softmax, **keys))

    return make


def run_of(
    folder: Path, loss: dict[str, Any], classes: int, softmax: bool, **keys: Any
) -> RunRecipe:
    names = ["a", "b", "c"][:classes]
    competition: dict[str, Any] = {}
    if classes > 1:
        competition = {"classes": names, "rows": "{image}_{class}"}
    if softmax:
        competition["submitted"] = list(range(1, classes + 1))
    ensemble = {"activation": "softmax" if softmax else "sigmoid"}
    training = load_training(folder, ensemble, TILES, competition=competition, loss=loss, **keys)
    return training.runs["small"]


def batch(classes: int, outputs: int | None = None, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Logits, hard masks that do not overlap, and where there is data."""
    source = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(3, outputs or classes, 6, 7, generator=source)
    labels = torch.randint(classes + 1, (3, 6, 7), generator=source)
    masks = F.one_hot(labels, classes + 1).movedim(-1, 1)[:, 1:].float()
    held = torch.rand(3, 6, 7, generator=source) > 0.3
    return logits, masks, held


def numbers(tensor: Tensor) -> NDArray[np.float64]:
    return tensor.double().numpy()


def sigmoid(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1 / (1 + np.exp(-values))


def kept(values: NDArray[np.float64], held: Tensor) -> NDArray[np.float64]:
    """The values (C, n) of the pixels with data."""
    return np.moveaxis(values, 1, 0)[:, held.numpy()]


def distribution(masks: Tensor) -> Tensor:
    """The labels with the background first."""
    return torch.cat([1 - masks.sum(1, keepdim=True), masks], 1)


def test_binary_cross_entropy_is_the_mean_over_pixels_with_data(objective: Any) -> None:
    """Labels may be shares of a pixel. The library's own mean counts pixels without data too."""
    logits, _, held = batch(2)
    soft = torch.rand(3, 2, 6, 7, generator=torch.Generator().manual_seed(1))
    p, y = kept(sigmoid(numbers(logits)), held), kept(numbers(soft), held)
    wanted = -(y * np.log(p) + (1 - y) * np.log(1 - p)).mean()
    assert objective({"bce": 1}, 2)(logits, soft, held).item() == pytest.approx(wanted, rel=1e-5)


def test_labels_are_smoothed_and_labelled_pixels_weighed(objective: Any) -> None:
    """`smooth` moves labels towards each other, and `positive` weighs what is labelled."""
    logits, masks, held = batch(2)
    p, y = kept(sigmoid(numbers(logits)), held), kept(numbers(masks), held)
    y = y * 0.9 + (1 - y) * 0.1
    weights = np.array([[2.0], [3.0]])
    wanted = -(weights * y * np.log(p) + (1 - y) * np.log(1 - p)).mean()
    made = objective({"bce": {"smooth": 0.1, "positive": [2, 3]}}, 2)
    assert made(logits, masks, held).item() == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("softmax", [False, True], ids=["sigmoid", "softmax"])
@pytest.mark.parametrize(
    ("term", "alpha", "beta"), [("dice", 0.5, 0.5), ("jaccard", 1, 1), ("tversky", 0.3, 0.7)]
)
def test_overlaps_are_counted_over_the_batch(
    objective: Any, term: str, alpha: float, beta: float, softmax: bool
) -> None:
    """One minus the index of all pixels with data, as the mean over the classes."""
    logits, masks, held = batch(2, 3 if softmax else 2)
    p = numbers(logits.softmax(1) if softmax else logits.sigmoid())
    found = kept(p, held)
    true = kept(numbers(distribution(masks) if softmax else masks), held)
    both = (found * true).sum(1)
    wrong, missed = (found * (1 - true)).sum(1), ((1 - found) * true).sum(1)
    wanted = (1 - both / (both + alpha * wrong + beta * missed)).mean()
    arguments = {"alpha": alpha, "beta": beta} if term == "tversky" else {}
    made = objective({term: {"weight": 1, **arguments}}, 2, softmax)
    assert made(logits, masks, held).item() == pytest.approx(wanted, rel=1e-5)


def test_dice_of_each_crop_is_their_mean(objective: Any) -> None:
    """With `per_image` each crop has an index of its own."""
    logits, masks, held = batch(1)
    each = objective({"dice": {"per_image": True}})
    alone = [each(logits[i : i + 1], masks[i : i + 1], held[i : i + 1]) for i in range(3)]
    together = objective({"dice": 1})(logits, masks, held)
    assert each(logits, masks, held).item() == pytest.approx(torch.stack(alone).mean().item())
    assert together.item() != pytest.approx(each(logits, masks, held).item())


def test_the_background_may_be_left_out_of_an_overlap(objective: Any) -> None:
    """With `background: false` the first output has no index of its own."""
    logits, masks, held = batch(1, 2)
    found = kept(numbers(logits.softmax(1)), held)[1]
    true = kept(numbers(masks), held)[0]
    wanted = 1 - 2 * (found * true).sum() / (found.sum() + true.sum())
    made = objective({"dice": {"background": False}}, 1, True)
    assert made(logits, masks, held).item() == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("smooth", [0.0, 0.2])
def test_cross_entropy_is_that_of_torch(objective: Any, smooth: float) -> None:
    """With whole labels, weights of classes and smoothing it is torch's, pixels left out too."""
    logits, masks, held = batch(2, 3)
    labels = torch.where(held, distribution(masks).argmax(1), -100)
    weights = torch.tensor([0.75, 1.5, 0.4])
    wanted = F.cross_entropy(logits, labels, weights, label_smoothing=smooth)
    made = objective({"ce": {"class_weights": [0.75, 1.5, 0.4], "smooth": smooth}}, 2, True)
    assert made(logits, masks, held).item() == pytest.approx(wanted.item(), rel=1e-5)


def test_cross_entropy_takes_shares_of_a_pixel(objective: Any) -> None:
    """Labels between 0 and 1 are probabilities, as torch takes them."""
    logits, masks, _ = batch(2, 3)
    shares = 0.8 * masks
    wanted = F.cross_entropy(logits, distribution(shares))
    made = objective({"ce": 1}, 2, True)
    assert made(logits, shares).item() == pytest.approx(wanted.item(), rel=1e-5)


def test_classes_that_overlap_share_a_pixel(objective: Any) -> None:
    """With softmax a pixel of two classes is half of each, and none is background."""
    logits, masks, _ = batch(2, 3)
    both = torch.ones_like(masks)
    wanted = F.cross_entropy(logits, torch.tensor([0, 0.5, 0.5])[:, None, None].expand(3, 3, 6, 7))
    made = objective({"ce": 1}, 2, True)
    assert made(logits, both).item() == pytest.approx(wanted.item(), rel=1e-5)


def test_the_focal_loss_of_softmax_is_of_one_distribution(objective: Any) -> None:
    """It is `(1 - p)^gamma` times the cross-entropy, with p of the pixel's own class."""
    logits, masks, held = batch(2, 3)
    p = (numbers(logits.softmax(1)) * numbers(distribution(masks))).sum(1)[held.numpy()]
    wanted = ((1 - p) ** 1.5 * -np.log(p)).mean()
    made = objective({"focal": {"gamma": 1.5}}, 2, True)
    assert made(logits, masks, held).item() == pytest.approx(wanted, rel=1e-5)


def test_the_focal_loss_of_sigmoid_weighs_what_is_labelled(objective: Any) -> None:
    """It is the same of each class against all else, times alpha or one minus it."""
    logits, masks, held = batch(2)
    p, y = kept(sigmoid(numbers(logits)), held), kept(numbers(masks), held)
    right = np.where(y == 1, p, 1 - p)
    wanted = (np.where(y == 1, 0.25, 0.75) * (1 - right) ** 2 * -np.log(right)).mean()
    made = objective({"focal": {"gamma": 2, "alpha": 0.25}}, 2)
    assert made(logits, masks, held).item() == pytest.approx(wanted, rel=1e-4)


def lovasz(errors: NDArray[np.float64], truth: NDArray[np.bool_]) -> float:
    """Lovász' extension of the Jaccard loss, by its definition over growing sets of errors."""
    order = np.argsort(-errors, kind="stable")
    wrong = np.zeros(len(errors), bool)
    last = total = 0.0
    for place in order:
        wrong[place] = True
        found = truth ^ wrong
        union = (found | truth).sum()
        loss = 1 - (found & truth).sum() / union if union else 0.0
        total += errors[place] * (loss - last)
        last = loss
    return total


def test_lovasz_of_softmax_is_the_extension_of_each_class(objective: Any) -> None:
    """It is the mean over the classes that are there, of the errors of probabilities."""
    logits, masks, held = batch(2, 3)
    p, y = kept(numbers(logits.softmax(1)), held), kept(numbers(distribution(masks)), held)
    wanted = np.mean([lovasz(np.abs(t - q), t == 1) for q, t in zip(p, y, strict=True)])
    made = objective({"lovasz": 1}, 2, True)
    assert made(logits, masks, held).item() == pytest.approx(wanted, rel=1e-5)


def test_lovasz_of_sigmoid_sorts_each_class_by_itself(objective: Any) -> None:
    """It is the mean over the classes of the hinge's errors, not below 0."""
    logits, masks, held = batch(2)
    p, y = kept(numbers(logits), held), kept(numbers(masks), held)
    errors = np.maximum(0, 1 - p * (2 * y - 1))
    wanted = np.mean([lovasz(e, t == 1) for e, t in zip(errors, y, strict=True)])
    made = objective({"lovasz": 1}, 2)
    assert made(logits, masks, held).item() == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize(("softmax", "term", "arguments"), [*TERMS, *PER_IMAGE])
def test_pixels_without_data_change_nothing(
    objective: Any, softmax: bool, term: str, arguments: dict[str, Any]
) -> None:
    """Other logits and labels there give the same loss, and no gradient."""
    loss = objective({term: arguments}, 2, softmax)
    logits, masks, held = batch(2, 3 if softmax else 2)
    held[1] = False  # a crop without any
    others, other_masks, _ = batch(2, 3 if softmax else 2, seed=5)
    there = held[:, None]
    logits.requires_grad_(True)
    first = loss(logits, masks, held)
    first.backward()
    second = loss(
        torch.where(there, logits.detach(), others), torch.where(there, masks, other_masks), held
    )
    assert first.item() == pytest.approx(second.item(), rel=1e-6)
    assert first.item() > 0
    assert logits.grad is not None
    assert not logits.grad[~there.expand_as(logits)].any()


@pytest.mark.parametrize(("softmax", "term", "arguments"), TERMS)
def test_a_batch_without_data_teaches_nothing(
    objective: Any, softmax: bool, term: str, arguments: dict[str, Any]
) -> None:
    """The loss is 0 and so is every gradient."""
    logits, masks, held = batch(2, 3 if softmax else 2)
    logits.requires_grad_(True)
    loss = objective({term: arguments}, 2, softmax)(logits, masks, torch.zeros_like(held))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None
    assert not logits.grad.any()


def test_terms_are_weighed_and_added(objective: Any) -> None:
    """The loss is the sum of each term times its weight."""
    logits, masks, held = batch(1)
    alone = [objective({term: 1})(logits, masks, held).item() for term in ("bce", "dice")]
    both = objective({"bce": 0.5, "dice": {"weight": 2}})(logits, masks, held).item()
    assert both == pytest.approx(0.5 * alone[0] + 2 * alone[1])


def test_crops_of_a_weight_are_judged_together(objective: Any) -> None:
    """The loss is the mean over the crops, each times its weight."""
    logits, masks, _ = batch(1)
    made = objective({"bce": 1}, sources={"grid": {"loss_weight": 0.5}})
    weights = torch.tensor([0.5, 1, 0.5])
    alone = [made(logits[i : i + 1], masks[i : i + 1]).item() for i in range(3)]
    wanted = (0.5 * alone[0] + alone[1] + 0.5 * alone[2]) / 3
    assert made(logits, masks, None, weights).item() == pytest.approx(wanted)


def test_a_common_weight_multiplies_the_loss(objective: Any) -> None:
    """Even the index of a whole batch is multiplied by it."""
    logits, masks, held = batch(1)
    made = objective({"dice": 1}, sources={"grid": {"loss_weight": 0.5}})
    halved = made(logits, masks, held, torch.full((3,), 0.5)).item()
    assert halved == pytest.approx(0.5 * made(logits, masks, held).item())


@pytest.mark.parametrize(("softmax", "term", "arguments"), TERMS)
def test_a_network_in_16_bits_has_its_loss_in_32(
    objective: Any, softmax: bool, term: str, arguments: dict[str, Any]
) -> None:
    """Within autocast the loss of the same logits is the same."""
    logits, masks, held = batch(2, 3 if softmax else 2)
    loss = objective({term: arguments}, 2, softmax)
    rounded = logits.bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        found = loss(rounded, masks, held)
    assert found.dtype == torch.float32
    assert found.item() == loss(rounded.float(), masks, held).item()


def with_masks() -> Tensor:
    """A crop without a label, and two with one."""
    masks = torch.zeros(3, 1, 8, 8)
    masks[1:, 0, 2, 2] = 1
    return masks


@pytest.mark.parametrize("empty_class", [0, 1])
def test_a_classifier_learns_which_masks_are_empty(tmp_path: Path, empty_class: int) -> None:
    """The gate's empty class is that of a crop without a label."""
    logits = torch.tensor([[1.0, -1.0], [0.5, 2.0], [0.0, 0.3]])
    gate = {"runs": ["small"], "empty_class": empty_class}
    run = load_training(
        tmp_path,
        {"gate": gate, "runs": ["other"]},
        "whole",
        task="classify",
        model=CLASSIFIER,
        loss={"ce": 1},
    ).runs["small"]
    labels = torch.tensor([empty_class, 1 - empty_class, 1 - empty_class])
    wanted = F.cross_entropy(logits, labels).item()
    assert Objective(run)(logits, with_masks()).item() == pytest.approx(wanted)


def test_a_gate_per_class_learns_each_class(tmp_path: Path) -> None:
    """Each output is the logit of its class being anywhere in the crop."""
    run = load_training(
        tmp_path,
        {"gate": {"runs": ["small"], "per_class": True}, "runs": ["other"]},
        "whole",
        competition=TWO,
        task="classify",
        model=CLASSIFIER,
        loss={"bce": 1},
    ).runs["small"]
    masks = torch.cat([with_masks(), torch.zeros(3, 1, 8, 8)], 1)
    logits = torch.tensor([[1.0, -1.0], [0.5, 2.0], [0.0, 0.3]])
    there = torch.tensor([[0.0, 0], [1, 0], [1, 0]])
    wanted = F.binary_cross_entropy_with_logits(logits, there).item()
    assert Objective(run)(logits, masks).item() == pytest.approx(wanted)


@pytest.mark.parametrize("classes", [1, 2])
def test_a_classification_head_learns_beside_the_masks(objective: Any, classes: int) -> None:
    """Its cross-entropy is added with the weight of `aux`."""
    model = {**MODEL, "aux_params": {"classes": classes}}
    made = objective({"bce": 1, "aux": 0.5}, model=model)
    logits = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([[0.2, -1], [0.7, 1], [-0.4, 2]])[:, :classes]
    there = torch.tensor([0, 1, 1])
    if classes == 1:
        head = F.binary_cross_entropy_with_logits(labels[:, 0], there.float())
    else:
        head = F.cross_entropy(labels, there)
    masks = F.binary_cross_entropy_with_logits(logits, with_masks())
    wanted = masks.item() + 0.5 * head.item()
    assert made((logits, labels), with_masks()).item() == pytest.approx(wanted)


def test_a_network_that_answers_otherwise_is_refused(objective: Any) -> None:
    """The message has both shapes, and what to correct."""
    _, masks, _ = batch(1)
    with pytest.raises(TrainingError, match=r"an array \(3, 2, 6, 7\), wanted \(3, 1, 6, 7\)"):
        objective({"bce": 1})(torch.zeros(3, 2, 6, 7), masks)
    aux = objective({"bce": 1, "aux": 1}, model={**MODEL, "aux_params": {"classes": 1}})
    with pytest.raises(TrainingError, match="without the labels of a classification head"):
        aux(torch.zeros(3, 1, 6, 7), masks)
