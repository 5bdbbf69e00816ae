"""Whole pictures: each scale sees its own size, and answers are merged at one size."""

import cv2
import numpy as np
import pytest
import timm
import torch
import yaml
from torch import nn

from kernelkit.ensemble import MegaModel
from kernelkit.errors import DeviceError, NetworkError, RecipeError
from tests.made.ensembles import ensemble, normalised
from tests.made.networks import FPN, answer, checkpoint, tiles, write_run

CLASSES = FPN | {"classes": 4}
SIZES = [(64, 96), (128, 192)]
CLOUDS = {
    "views": {"identity": 2, "hflip": 1},
    "pyramid": [
        {"size": SIZES[0], "runs": ["small"]},
        {"size": SIZES[1], "runs": ["large*"]},
    ],
    "merge": {"views": "mean of probabilities", "members": "tsharpen(0.5) of probabilities"},
    "thresholds": 0.7,
}

TWO_SIZES = [{"size": [64, 64], "runs": ["fpn"]}, {"size": [96, 64], "runs": ["unet"]}]


@pytest.fixture(scope="module")
def clouds(tmp_path_factory):
    """Three runs of two sizes with four classes, and their networks by run."""
    folder = tmp_path_factory.mktemp("clouds")
    return folder, {
        "large_a": write_run(folder / "large_a", CLASSES, seeds=(1, 2)),
        "large_b": write_run(folder / "large_b", CLASSES, seeds=(3,)),
        "small": write_run(folder / "small", CLASSES, seeds=(4, 5)),
    }


@pytest.fixture(scope="module")
def sky():
    """Two pictures (280, 420), and what a reader makes of them at both sizes."""
    pictures = tiles(2, size=(280, 420)).transpose(0, 2, 3, 1)
    pictures = np.stack([cv2.GaussianBlur(picture, (0, 0), 6) for picture in pictures])
    return pictures, [
        np.stack(
            [
                cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA).transpose(
                    2, 0, 1
                )
                for picture in pictures
            ]
        )
        for height, width in SIZES
    ]


def as_opencv(maps, size):
    """Probabilities (N, K, h, w), each resized as the clouds solution does."""
    height, width = size
    resized = [
        [cv2.resize(plane, (width, height), interpolation=cv2.INTER_LINEAR) for plane in planes]
        for planes in maps.numpy()
    ]
    return torch.from_numpy(np.array(resized))


def cloud_maps(networks, inputs, size):
    """Each member's probabilities at the output's size, by a plain loop."""
    maps = {}
    for run, modules in networks.items():
        images = normalised(inputs[0 if run == "small" else 1])
        for fold, module in enumerate(modules):
            seen = answer(module, images).sigmoid()
            mirrored = answer(module, images.flip(-1)).flip(-1).sigmoid()
            maps[f"{run}/fold_{fold}"] = as_opencv((2 * seen + mirrored) / 3, size)
    return maps


@pytest.mark.parametrize("size", [(70, 105), (350, 525)])
def test_the_clouds_solution(clouds, sky, size):
    """Each member's map is resized as by OpenCV, and p^0.5 is averaged once over all members."""
    folder, networks = clouds
    _, inputs = sky
    maps = cloud_maps(networks, inputs, size)
    expected = torch.stack([each**0.5 for each in maps.values()]).mean(0)
    model = MegaModel(folder, recipe=ensemble(**CLOUDS), precision="fp32")
    assert model.sizes(280, 420) == SIZES
    answers = model.predict_pictures(inputs, size=size)
    torch.testing.assert_close(answers.probabilities, expected, atol=1e-5, rtol=1e-4)
    packed = np.stack(answers.whole_bits(model.recipe.thresholds).result())
    bits = np.unpackbits(packed, axis=-1, count=size[1], bitorder="little")
    near = (expected - 0.7).abs().numpy() < 1e-5
    assert np.array_equal(bits[~near], (expected > 0.7).numpy()[~near])


def test_members_weigh_by_run_member_and_size_in_a_flat_merge(clouds, sky):
    """A member's weight is its size's times its run's times its own."""
    folder, networks = clouds
    _, inputs = sky
    pyramid = [CLOUDS["pyramid"][0] | {"weight": 3}, CLOUDS["pyramid"][1]]
    weights = {"large*": 2, "*/fold_1": 0.5}
    recipe = CLOUDS | {"pyramid": pyramid, "weights": weights}
    maps = cloud_maps(networks, inputs, (70, 105))
    shares = {
        "small/fold_0": 3,
        "small/fold_1": 1.5,
        "large_a/fold_0": 2,
        "large_a/fold_1": 1,
        "large_b/fold_0": 2,
    }
    expected = sum(maps[name] ** 0.5 * share for name, share in shares.items()) / 9.5
    model = MegaModel(folder, recipe=ensemble(**recipe), precision="fp32")
    found = model.predict_pictures(inputs, size=(70, 105)).probabilities
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


@pytest.fixture(scope="module")
def salt(tmp_path_factory):
    """Two snapshots of a segmenter with two classes and three of a classifier, and the networks."""
    folder = tmp_path_factory.mktemp("salt")
    segmenters = write_run(folder / "seg-a", FPN | {"classes": 2}, seeds=(1,))
    segmenters += write_run(folder / "seg-b", FPN | {"classes": 2}, seeds=(2,))
    gate = folder / "nmc-a"
    gate.mkdir()
    description = {"arch": "timm", "model_name": "test_resnet", "num_classes": 2}
    (gate / "cfg.yaml").write_text(yaml.safe_dump({"MODEL": description}))
    classifiers = []
    for seed in range(3):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            module = timm.create_model("test_resnet", num_classes=2).eval()
            nn.init.normal_(module.get_classifier().weight, std=0.002)
        torch.save(checkpoint(module), gate / f"e{seed + 1}.pth")
        classifiers.append(module)
    return folder, segmenters, classifiers


SALT = {
    "runs": ["seg-*"],
    "checkpoints": "all",
    "input": {"bands": [1, 1, 1], "divide": 1, "mean": [125] * 3, "std": [1] * 3},
    "activation": "softmax",
    "merge": {"views": "mean of logits", "members": "mean of logits"},
    "gate": {"runs": ["nmc-*"], "checkpoints": "all", "merge": "mean of logits"},
}


def salt_loop(segmenters, classifiers, pictures):
    """Mean logits without pads, and the gate's probability of class 0, by a plain loop."""
    padded = np.pad(pictures, ((0, 0), (0, 0), (14, 13), (14, 13)), mode="reflect")
    inputs = torch.from_numpy(padded.astype(np.float32) - 125).repeat(1, 3, 1, 1)
    logits = torch.stack([answer(module, inputs) for module in segmenters]).mean(0)
    labels = torch.stack([answer(module, inputs) for module in classifiers]).mean(0)
    return padded, logits[..., 14:115, 14:115], labels.softmax(1)[:, 0]


def test_the_salt_solution(salt):
    """Padded pictures go in, logits are averaged, cropped, and gated by averaged logits."""
    folder, segmenters, classifiers = salt
    pictures = tiles(9, size=(101, 101), bands=1)
    padded, logits, emptiness = salt_loop(segmenters, classifiers, pictures)
    above = float(emptiness.median())
    recipe = SALT | {"gate": SALT["gate"] | {"above": above}}
    model = MegaModel(folder, recipe=ensemble(**recipe), precision="fp32", batch=4)
    answers = model.predict_pictures([padded], crop=(14, 13))
    assert answers.probabilities.shape == (9, 2, 101, 101)
    torch.testing.assert_close(answers.gate, emptiness, atol=1e-5, rtol=1e-4)
    is_empty = emptiness > above
    assert 0 < is_empty.sum() < 9
    expected = logits.softmax(1) * ~is_empty[:, None, None, None]
    torch.testing.assert_close(answers.probabilities, expected, atol=1e-5, rtol=1e-4)
    likeliest = logits.argmax(1) == 1
    tied = (logits[:, 0] - logits[:, 1]).abs() < 1e-3
    masks = answers.masks(model.recipe.thresholds)
    assert np.array_equal(masks[:, 1][~tied], (likeliest & ~is_empty[:, None, None])[~tied].numpy())


def test_gated_pictures_are_asked_about_on_request(salt):
    """With `ask_gated` the members answer for all pictures, and the gate's answer stays."""
    folder, segmenters, classifiers = salt
    pictures = tiles(5, size=(101, 101), bands=1)
    padded, logits, emptiness = salt_loop(segmenters, classifiers, pictures)
    model = MegaModel(folder, recipe=ensemble(**SALT), precision="fp32")
    answers = model.predict_pictures([padded], crop=(14, 13), ask_gated=True)
    torch.testing.assert_close(answers.probabilities, logits.softmax(1), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(answers.gate, emptiness, atol=1e-5, rtol=1e-4)


def test_a_gate_may_see_a_size_of_its_own(salt):
    """The gate's size comes last among the sizes, unless a scale has it."""
    folder, segmenters, classifiers = salt
    gate = SALT["gate"] | {"size": [64, 64]}
    model = MegaModel(folder, recipe=ensemble(**SALT | {"gate": gate}), precision="fp32")
    assert model.sizes(128, 128) == [(128, 128), (64, 64)]
    pictures = tiles(3, size=(101, 101), bands=1)
    padded, logits, _ = salt_loop(segmenters, classifiers, pictures)
    small = tiles(3, size=(64, 64), bands=1, seed=1)
    seen = torch.from_numpy(small.astype(np.float32) - 125).repeat(1, 3, 1, 1)
    labels = torch.stack([answer(module, seen) for module in classifiers]).mean(0)
    answers = model.predict_pictures([padded, small], crop=(14, 13), ask_gated=True)
    torch.testing.assert_close(answers.gate, labels.softmax(1)[:, 0], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(answers.probabilities, logits.softmax(1), atol=1e-5, rtol=1e-4)
    sized = SALT | {"gate": gate, "pyramid": [{"size": [64, 64]}]}
    assert MegaModel(folder, recipe=ensemble(**sized)).sizes(128, 128) == [(64, 64)]


def test_pads_that_end_between_pixels_are_cut_off_at_the_sources_size(models):
    """At another size than the source's the answer comes back to it before its pads are cut."""
    folder, networks = models
    recipe = ensemble(runs=["fpn"], pyramid=[{"size": [64, 64]}])
    model = MegaModel(folder, recipe=recipe, precision="fp32")
    seen = tiles(2)
    probabilities = answer(networks["fpn"][0], normalised(seen)).sigmoid()
    expected = as_opencv(as_opencv(probabilities, (128, 128))[..., 13:115, 13:115], (51, 60))
    found = model.predict_pictures([seen], crop=(13, 13), source=(102, 102), size=(51, 60))
    torch.testing.assert_close(found.probabilities, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("shape", "crop", "source", "size"),
    [
        ((101, 115), (0, 0), None, (101, 115)),
        ((128, 128), (14, 13), None, (101, 101)),
        ((128, 128), (14, 13), (101, 101), (101, 101)),
        ((256, 256), (14, 13), (101, 101), (202, 202)),
        ((64, 96), (13, 13), (102, 166), (51, 83)),
    ],
)
def test_without_a_size_answers_have_that_of_the_first_input(models, shape, crop, source, size):
    """Pads scale with the picture. The answer is the first input's, without its own pads."""
    model = MegaModel(models[0], recipe=ensemble(runs=["fpn"]))
    answers = model.predict_pictures([tiles(1, size=shape)], crop=crop, source=source)
    assert answers.probabilities.shape == (1, 1, *size)


def test_any_number_of_pictures_is_asked_about_in_batches(models):
    """The model splits pictures by its own batch, and their answers do not depend on it."""
    folder, _ = models
    recipe = ensemble(pyramid=TWO_SIZES)
    inputs = [tiles(5, size=(64, 64)), tiles(5, size=(96, 64))]
    whole = MegaModel(folder, recipe=recipe, precision="fp32", batch=8)
    parts = MegaModel(folder, recipe=recipe, precision="fp32", batch=2)
    torch.testing.assert_close(
        parts.predict_pictures(inputs).probabilities, whole.predict_pictures(inputs).probabilities
    )
    assert (parts.batch, whole.batch) == (2, 8)


def test_a_whole_picture_of_zoom_1_is_a_tile(models):
    """Without pads and sizes a picture gets the answer of a tile."""
    folder, _ = models
    model = MegaModel(folder, recipe=ensemble(views="flips"), precision="fp32")
    pixels = tiles(2, size=(50, 70))
    assert model.sizes(50, 70) == [(50, 70)]
    torch.testing.assert_close(
        model.predict_pictures([pixels]).probabilities, model.predict(pixels).probabilities
    )


def test_zooms_of_whole_pictures_come_at_their_size(models):
    """A zoom of the pyramid becomes a size of the source, and each input is one scale's."""
    folder, networks = models
    pyramid = [{"zoom": 0.5, "runs": ["unet"]}, {"zoom": 1.5, "runs": ["fpn"]}]
    recipe = ensemble(pyramid=pyramid, merge={"scales": "max of probabilities"})
    model = MegaModel(folder, recipe=recipe, precision="fp32")
    assert model.sizes(64, 128) == [(32, 64), (96, 192)]
    inputs = [tiles(1, size=size) for size in model.sizes(64, 128)]
    small = torch.stack([answer(m, normalised(inputs[0])).sigmoid() for m in networks["unet"]])
    small = as_opencv(small.mean(0), (64, 128))
    large = as_opencv(answer(networks["fpn"][0], normalised(inputs[1])).sigmoid(), (64, 128))
    found = model.predict_pictures(inputs, size=(64, 128)).probabilities
    torch.testing.assert_close(found, torch.maximum(small, large), atol=1e-5, rtol=1e-4)


def test_logits_are_merged_after_probabilities_were_resized(models):
    """What is resized are probabilities. A merge of logits takes their logits."""
    folder, networks = models
    merge = {"views": "mean of logits", "members": "mean of logits"}
    recipe = ensemble(runs=["unet"], merge=merge)
    model = MegaModel(folder, recipe=recipe, precision="fp32")
    pixels = tiles(2)
    maps = [answer(m, normalised(pixels)).sigmoid() for m in networks["unet"]]
    resized = [as_opencv(each, (40, 50)).logit() for each in maps]
    expected = torch.stack(resized).mean(0).sigmoid()
    found = model.predict_pictures([pixels], size=(40, 50)).probabilities
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_rotating_views_follow_the_pictures_numbers(models):
    """A picture is seen in the view of its own number."""
    folder, _ = models
    model = MegaModel(folder, recipe=ensemble(runs=["fpn"], views="rotating"), precision="fp32")
    pixels = tiles(2)
    by_number = model.predict_pictures([pixels], indices=[3, 6]).probabilities
    assert torch.equal(by_number, model.predict(pixels, indices=[3, 6]).probabilities)


def test_the_spread_of_pictures_is_the_members_deviation(clouds, sky):
    """The spread is measured at the output's size, beside answers that stay the same."""
    folder, networks = clouds
    _, inputs = sky
    maps = cloud_maps(networks, inputs, (70, 105))
    model = MegaModel(folder, recipe=ensemble(**CLOUDS), precision="fp32")
    spread = model.predict_pictures(inputs, size=(70, 105), with_spread=True).spread
    expected = torch.stack(list(maps.values())).std(0, correction=0)
    torch.testing.assert_close(spread, expected, atol=5e-4, rtol=0)


def test_memory_that_runs_out_costs_no_picture(models):
    """If memory runs out, the same pictures are tried again in halves."""
    folder, _ = models

    class Greedy(nn.Module):
        def __init__(self, network):
            super().__init__()
            self.network, self.limit = network, 2

        def forward(self, x):
            if len(x) > self.limit:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB.")
            return self.network(x)

    recipe = ensemble(pyramid=TWO_SIZES)
    inputs = [tiles(5, size=(64, 64)), tiles(5, size=(96, 64))]
    expected = MegaModel(folder, recipe=recipe, precision="fp32").predict_pictures(inputs)
    model = MegaModel(folder, recipe=recipe, precision="fp32", batch=8)
    for placed in model._placement.placed:
        placed._module = Greedy(placed._module)
    found = model.predict_pictures(inputs)
    torch.testing.assert_close(found.probabilities, expected.probabilities)
    assert model.batch == 2
    for placed in model._placement.placed:
        placed._module.limit = 0
    with pytest.raises(DeviceError, match="too little memory for one tile"):
        model.predict_pictures(inputs)


def test_the_memory_plan_counts_every_size_and_layer(clouds):
    """Inputs at all sizes, and the layers that are kept apart, are in the plan."""
    folder, _ = clouds
    shapes = [(3, *size) for size in SIZES]
    model = MegaModel(folder, recipe=ensemble(**CLOUDS), precision="fp32")
    model.get_ready_for_pictures(shapes, np.dtype("uint8"), size=(70, 105))
    merged = model.memory.answers
    model.get_ready_for_pictures(shapes, np.dtype("uint8"), size=(70, 105), level="member")
    inputs = 3 * (64 * 96 + 2 * 128 * 192)
    assert merged == 4 * (inputs + 6 * 4 * 128 * 192)
    assert model.memory.answers - merged == 4 * 4 * 4 * 70 * 105


def test_pictures_that_a_network_does_not_take_are_found_before_the_first(tmp_path):
    """The network is named, and the size that it cannot look at."""
    write_run(tmp_path / "run", FPN | {"encoder_depth": 5}, seeds=(1,))
    model = MegaModel(tmp_path, recipe=ensemble(pyramid=[{"size": [64, 64]}]))

    class Narrow(nn.Module):
        def forward(self, x):
            raise RuntimeError(f"wanted 224 x 224, not {x.shape[-1]}")

    model._placement.placed[0]._module = Narrow()
    with pytest.raises(NetworkError, match=r"run.*cannot look at tiles of 64 x 64"):
        model.get_ready_for_pictures([(3, 64, 64)], np.dtype("uint8"))


def test_less_is_asked_of_whole_pictures_too(clouds, sky):
    """The lighter size is left out, and the reader may go on to bring both."""
    folder, networks = clouds
    _, inputs = sky
    pyramid = [CLOUDS["pyramid"][0], CLOUDS["pyramid"][1] | {"weight": 2}]
    model = MegaModel(folder, recipe=ensemble(**CLOUDS | {"pyramid": pyramid}), precision="fp32")
    assert model.ask_less("scales")
    assert model.cost == pytest.approx(3 * 128 * 192 / (3 * 128 * 192 + 2 * 64 * 96))
    assert model.sizes(280, 420) == SIZES
    assert model.layers("member") == ("large_a/fold_0", "large_a/fold_1", "large_b/fold_0")
    maps = cloud_maps(networks, inputs, (70, 105))
    large = torch.stack([each**0.5 for name, each in maps.items() if name[0] == "l"]).mean(0)
    found = model.predict_pictures(inputs, size=(70, 105)).probabilities
    torch.testing.assert_close(found, large, atol=1e-5, rtol=1e-4)


def test_another_size_or_resampling_is_another_fingerprint(clouds):
    """Both decide on what the networks see."""
    folder, _ = clouds
    other = [CLOUDS["pyramid"][0], {"size": [64, 96], "runs": ["large*"]}]
    changes = [{}, {"input": {"resample": "bilinear"}}, {"pyramid": other}, {"views": ["identity"]}]
    prints = {MegaModel(folder, recipe=ensemble(**CLOUDS | c)).fingerprint for c in changes}
    assert len(prints) == 4


@pytest.mark.parametrize(
    ("inputs", "keywords", "message"),
    [
        ([(2, 64, 96)], {}, r"found pictures at 1 sizes, wanted 2, one per scale of the pyramid"),
        ([(2, 64, 96), (1, 128, 192)], {}, r"found 1, 2 pictures at the sizes of one batch"),
        (
            [(1, 64, 96), (1, 128, 192)],
            {"crop": (40, 30)},
            r"found pads of 40 and 30 on pictures of 64 x 96",
        ),
        ([(1, 64, 96), (1, 128, 192)], {"level": "fold"}, r'there is no level "fold"'),
        ([(1, 64, 96), (1, 128, 192)], {"level": "model"}, r"so there is no answer per model"),
    ],
)
def test_pictures_that_the_pyramid_does_not_look_at(clouds, inputs, keywords, message):
    """What was found is said, and what was wanted."""
    arrays = [np.zeros((count, 3, *size), np.uint8) for count, *size in inputs]
    model = MegaModel(clouds[0], recipe=ensemble(**CLOUDS))
    with pytest.raises(RecipeError, match=message):
        model.predict_pictures(arrays, **keywords)
