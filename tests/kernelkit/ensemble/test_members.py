"""Gates, classification heads, programs, and recipes that do not fit their members."""

import numpy as np
import pytest
import timm
import torch
import yaml
from torch import nn

from kernelkit.ensemble import MegaModel
from kernelkit.errors import CheckpointError, RecipeError
from tests.made.ensembles import ensemble, normalised
from tests.made.networks import FPN, answer, checkpoint, tiles, write_run


@pytest.fixture(scope="module")
def gated(tmp_path_factory):
    """A segmenter without and one with a classification head, and the latter's network."""
    folder = tmp_path_factory.mktemp("gated")
    write_run(folder / "plain", FPN, seeds=(1,))
    description = FPN | {"aux_params": {"classes": 2, "activation": "softmax2d"}}
    [module] = write_run(folder / "heads", description, seeds=(2,))
    return folder, module


def test_a_gate_answers_with_probability_zero(gated):
    """Tiles that the gate finds empty get probability 0, and no decoder looks at them."""
    folder, module = gated
    pixels = tiles(6) // np.arange(1, 7, dtype=np.uint8)[:, None, None, None]
    with torch.no_grad():
        _, labels = module(normalised(pixels))  # its activation is a softmax
    emptiness = labels[:, 0]
    above = float(emptiness.median())
    recipe = ensemble(runs=["plain"], gate={"runs": ["heads"], "above": above})
    model = MegaModel(folder, recipe=recipe, precision="fp32", batch=4)
    looked = []
    [placed] = model._runner.tree._scales[0].models["plain"]
    placed._module.decoder.register_forward_hook(lambda *_: looked.append(len(_[1][0][0])))
    probabilities = model.predict(pixels).probabilities
    open_model = MegaModel(folder, recipe=ensemble(runs=["plain"]), precision="fp32")
    ungated = open_model.predict(pixels).probabilities
    empty = (emptiness > above).numpy()
    assert 0 < empty.sum() < 6
    assert (probabilities[empty] == 0).all()
    torch.testing.assert_close(probabilities[~empty], ungated[~empty])
    assert sum(looked[1:]) == (~empty).sum()  # the first was the memory plan's
    assert (model.predict(pixels, with_spread=True).spread[empty] == 0).all()


def test_a_head_does_not_disturb_the_masks(gated):
    """A member with a classification head answers with its masks."""
    folder, module = gated
    pixels = tiles(2)
    model = MegaModel(folder, recipe=ensemble(runs=["heads"]), precision="fp32")
    with torch.no_grad():
        expected, _ = module(normalised(pixels))
    torch.testing.assert_close(
        model.predict(pixels).probabilities, expected.sigmoid(), atol=1e-5, rtol=1e-4
    )


def test_a_classifier_as_gate(gated, tmp_path):
    """A classifier of timm can be a gate. It is no member, and without a gate it is an error."""
    folder, _ = gated
    with torch.random.fork_rng():
        module = timm.create_model("test_resnet", num_classes=1)
    gate = tmp_path / "gate"
    gate.mkdir()
    description = {"arch": "timm", "model_name": "test_resnet", "num_classes": 1}
    (gate / "cfg.yaml").write_text(yaml.safe_dump({"MODEL": description}))
    nn.init.constant_(module.get_classifier().weight, 0)
    nn.init.constant_(module.get_classifier().bias, -3)
    torch.save(checkpoint(module), gate / "e1.pth")
    (tmp_path / "plain").symlink_to(folder / "plain")
    recipe = ensemble(gate={"runs": ["gate"]})
    model = MegaModel(tmp_path, recipe=recipe)
    assert [member.name for member in model.members] == ["plain/fold_0"]
    assert model.predict(tiles(2)).probabilities.max() == 0
    with pytest.raises(CheckpointError, match="gate/0: this is a classifier"):
        MegaModel(tmp_path, recipe=ensemble())


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
def test_programs_are_members_too(tmp_path):
    """A TorchScript member answers as the network that was scripted."""
    [module] = write_run(tmp_path / "run", FPN, seeds=(1,))
    [path] = (tmp_path / "run").rglob("*.pth")
    path.unlink()
    with torch.no_grad():
        traced = torch.jit.trace(module, torch.zeros(1, 3, 64, 64))
    torch.jit.save(traced, path.with_suffix(".ts"))
    model = MegaModel(tmp_path, recipe=ensemble(programs=True), precision="fp32")
    pixels = tiles(2)
    expected = answer(module, normalised(pixels)).sigmoid()
    torch.testing.assert_close(model.predict(pixels).probabilities, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("section", "error", "message"),
    [
        ({"runs": ["gone"]}, CheckpointError, "no run matches gone"),
        ({"thresholds": [0.4, 0.5]}, RecipeError, "2 thresholds for 1"),
        ({"input": {"bands": [1], "mean": [0], "std": [1]}}, RecipeError, "takes 3 bands"),
        ({"views": "d5"}, RecipeError, "d5 is no view"),
        ({"pyramid": [{"runs": ["fpn"]}]}, RecipeError, "uses the run.*unet"),
        ({"pyramid": [{"runs": ["fpm"]}]}, RecipeError, "no run matches fpm"),
        ({"weights": {"unet/fold_7": 2}}, RecipeError, "weights name unet/fold_7"),
        ({"gate": {"runs": ["gone"]}}, CheckpointError, "no run matches gone"),
        ({"gate": {"runs": ["unet"]}}, CheckpointError, "have a classification head"),
    ],
)
def test_recipes_that_do_not_fit_their_members(models, section, error, message):
    """If a recipe asks for what the members cannot give, it is refused at the start."""
    folder, _ = models
    with pytest.raises(error, match=message):
        MegaModel(folder, recipe=ensemble(**section))


def test_members_of_other_classes(tmp_path):
    """Members with different numbers of classes are named with their numbers."""
    write_run(tmp_path / "one", FPN, seeds=(1,))
    write_run(tmp_path / "two", FPN | {"classes": 2}, seeds=(2,))
    with pytest.raises(CheckpointError, match=r"one/fold_0 1, two/fold_0 2"):
        MegaModel(tmp_path)


def test_too_few_bands_in_the_image(models):
    """If an image has fewer bands than the recipe names, the error gives both numbers."""
    folder, _ = models
    model = MegaModel(folder, recipe=ensemble(runs=["fpn"]))
    with pytest.raises(RecipeError, match="takes band 3, but the image has only 2"):
        model.predict(tiles(1, bands=2))
