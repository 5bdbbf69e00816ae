"""Sizes of whole pictures: read from run folders, held against the recipe's, and refused."""

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import yaml

from kernelkit.ensemble import MegaModel
from kernelkit.errors import RecipeError
from tests.made.ensembles import ensemble
from tests.made.networks import FPN, write_run


def write(models: Path, name: str, seed: int, **said: Any) -> None:
    """A run whose cfg.yaml says what its pictures were."""
    write_run(models / name, FPN, (seed,))
    (models / name / "cfg.yaml").write_text(yaml.safe_dump({"MODEL": FPN, "DATA": said}))


def load(models: Path, whole: bool = True, **section: Any) -> MegaModel:
    return MegaModel(models, recipe=ensemble(**section), device="cpu", whole=whole)


def test_each_run_looks_at_the_size_of_its_training(tmp_path):
    """A recipe that leaves out its pyramid gets one of the sizes in the run folders."""
    write(tmp_path, "a", 1, size=[64, 96])
    write(tmp_path, "b", 2, img_size=[32, 64])
    write(tmp_path, "c[1]", 3, size=[64, 96])
    model = load(tmp_path)
    assert [(s.size, s.runs) for s in model.recipe.pyramid] == [
        ((64, 96), ("a", "c[[]1]")),
        ((32, 64), ("b",)),
    ]
    assert model.sizes(1400, 2100) == [(64, 96), (32, 64)]
    assert any(
        "say that pictures were of 64 x 96. The recipe says nothing" in n for n in model.notes
    )


def test_tiles_have_no_size_of_pictures(tmp_path):
    """The crops that a network of tiles was trained on do not change the pyramid."""
    write(tmp_path, "a", 1, size=[64, 96])
    model = load(tmp_path, whole=False)
    assert [(scale.zoom, scale.size) for scale in model.recipe.pyramid] == [(1, None)]


def test_a_recipe_that_gives_the_same_size_is_right(tmp_path):
    """A size need not be a multiple of anything."""
    write(tmp_path, "a", 1, size=[61, 95])
    assert load(tmp_path, pyramid=[{"size": [61, 95]}]).sizes(101, 101) == [(61, 95)]


def test_how_pictures_came_to_their_size_is_read_too(tmp_path):
    """OpenCV's own words are known."""
    write(tmp_path, "a", 1, size=[64, 96], interpolation="INTER_CUBIC")
    assert load(tmp_path).recipe.input.resample == "bicubic"


def test_a_gate_has_the_size_of_its_own_training(tmp_path):
    """It need not be one of the pyramid."""
    write(tmp_path, "a", 1, size=[64, 96])
    _gate(tmp_path, "resnet18", [48, 48])
    model = load(tmp_path, runs=["a"], gate={"runs": ["gate"]})
    assert model.recipe.gate.size == (48, 48)
    assert model.sizes(101, 101) == [(64, 96), (48, 48)]


def _gate(models: Path, name: str, size: list[int] | None = None) -> None:
    (models / "gate").mkdir()
    described = {"arch": "timm", "model_name": name, "num_classes": 2}
    content: dict[str, Any] = {"MODEL": described, **({"DATA": {"size": size}} if size else {})}
    (models / "gate/cfg.yaml").write_text(yaml.safe_dump(content))
    torch.save(timm.create_model(name, num_classes=2).state_dict(), models / "gate/e1.pth")


@pytest.mark.parametrize(
    ("said", "section", "error"),
    [
        (
            {"size": [64, 96]},
            {"pyramid": [{"size": [96, 64]}]},
            r"a/fold_0 was trained at size 64 x 96, as .*cfg\.yaml says, but the recipe's pyramid "
            r"gives 96 x 64\. Correct its size",
        ),
        (
            {"size": [64, 96]},
            {"pyramid": [{"size": [96, 64]}, {"size": [32, 32]}]},
            "pyramid gives 96 x 64 and 32 x 32",
        ),
    ],
)
def test_another_size_than_that_of_the_training_is_refused(tmp_path, said, section, error):
    """The run's file and the recipe's section are named."""
    write(tmp_path, "a", 1, **said)
    with pytest.raises(RecipeError, match=error):
        load(tmp_path, **section)


def test_one_of_several_sizes_may_be_that_of_the_training(tmp_path):
    """Looking at other sizes too is what a pyramid is for."""
    write(tmp_path, "a", 1, size=[64, 96])
    load(tmp_path, pyramid=[{"size": [64, 96]}, {"size": [32, 32]}])


def test_a_run_that_says_no_size_beside_one_that_does_is_refused(tmp_path):
    """Nobody knows at which size it should look."""
    write(tmp_path, "a", 1, size=[64, 96])
    write(tmp_path, "b", 2)
    with pytest.raises(RecipeError, match=r"and the folder of b/fold_0 says none. Write the sizes"):
        load(tmp_path)


def test_a_size_that_a_network_cannot_take_is_refused_when_it_is_loaded(tmp_path):
    """A program that was exported for one size takes no other."""
    (tmp_path / "a").mkdir()
    program = torch.export.export(torch.nn.Conv2d(3, 1, 1).eval(), (torch.rand(2, 3, 64, 64),))
    torch.export.save(program, tmp_path / "a/network.pt2")
    with pytest.raises(RecipeError, match=r"takes pictures of 64 x 64 only, .* gives 64 x 96"):
        load(tmp_path, programs=True, pyramid=[{"size": [64, 96]}])
