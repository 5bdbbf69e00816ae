"""Engines that cannot be used: each row is what lies in a run folder, and the sentence it gets."""

import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
import yaml

from kernelkit.checkpoints import load_members
from kernelkit.checkpoints.compiled import TORCH_KEY
from kernelkit.ensemble.merged import MergedNetwork
from kernelkit.errors import CheckpointError, KernelKitError, RecipeError
from kernelkit.recipe import EnsembleRecipe, Recipe
from tests.made.networks import FPN, network, write_run

CODE = "network/data/aotinductor/model/a.wrapper.so"
HERE = {"AOTI_DEVICE_KEY": "cpu", "AOTI_CPU_ISA": "", TORCH_KEY: torch.__version__}
RECORD = {
    "weights": "../eager/e1.safetensors",
    "weights_sha256": "0" * 64,
    "engine_sha256": "0" * 64,
    "made_of": "run/0",
    "made_on": "CPU",
    "made_by": "torch",
    "largest_difference": 0.0,
}


def package(**said: str) -> Callable[[Path], None]:
    """A package that says something of itself, and whose code is none."""

    def write(path: Path) -> None:
        with zipfile.ZipFile(path / "network.pt2", "w") as archive:
            name = "network/data/aotinductor/model/a.wrapper_metadata.json"
            archive.writestr(name, json.dumps({**HERE, **said}))
            archive.writestr(CODE, b"")

    return write


def words(text: str, code: str = CODE) -> Callable[[Path], None]:
    """A package with other words of itself, or with its code elsewhere."""

    def write(path: Path) -> None:
        with zipfile.ZipFile(path / "network.pt2", "w") as archive:
            archive.writestr("network/data/aotinductor/model/a.wrapper_metadata.json", text)
            archive.writestr(code, b"")

    return write


def flipped(path: Path) -> None:
    """A package with a byte that is not what its checksum says."""
    package(made_by="somebody")(path)
    content = bytearray((path / "network.pt2").read_bytes())
    content[content.index(b"somebody")] ^= 1
    (path / "network.pt2").write_bytes(content)


def record(**changes: Any) -> Callable[[Path], None]:
    """An engine that does not load, with a record beside it."""

    def write(path: Path) -> None:
        package(AOTI_DEVICE_KEY="cuda")(path)
        content = {key: value for key, value in {**RECORD, **changes}.items() if value is not None}
        (path / "network.pt2.json").write_text(json.dumps(content))

    return write


def text(content: str) -> Callable[[Path], None]:
    """An engine with another file where its record should be."""

    def write(path: Path) -> None:
        package()(path)
        (path / "network.pt2.json").write_text(content)

    return write


class Row(NamedTuple):
    """What lies in a run folder, and a pattern of the error."""

    name: str
    write: Callable[[Path], None]
    error: str


ROWS = [
    Row("for a GPU", package(AOTI_DEVICE_KEY="cuda"),
        "compiled for cuda, but the device is cpu. Compile it for cpu, or choose the device cuda"),
    Row("for another accelerator", package(AOTI_DEVICE_KEY="xpu"), "compiled for xpu, but"),
    Row("by another torch", package(**{TORCH_KEY: "2.9.1"}),
        r"compiled by torch 2\.9\.1, and this is torch .* Compile it by this version"),
    Row("for another processor", package(AOTI_CPU_ISA="AVX512_FUTURE SVE9"),
        "a processor with AVX512_FUTURE, SVE9, which this one lacks"),
    Row("without code", words("{}", "a.txt"), "this package is damaged, or has no code"),
    Row("with words that are no JSON", words("{"), "cannot load this program"),
    Row("with a list of words", words("[1]"), "this package is damaged"),
    Row("with a flipped byte", flipped, "this package is damaged"),
    Row("a record that is no JSON", text("{"), "not valid JSON"),
    Row("a record that is a list", text("[]"), "wanted keys with values"),
    Row("a record without weights", record(weights=None), "found no weights, so this is no record"),
    Row("a record of numbers", record(made_of=3), "found no made_of, so"),
    Row("weights in /etc", record(weights="/etc/passwd"), "wanted a place in the same fold"),
    Row("weights above", record(weights="../../../a.pth"), "wanted a place in the same fold"),
    Row("weights that are not there", record(), r"e1\.safetensors: the file is truncated or"),
    Row("an ensemble that is not there", record(weights="../eager"), "ensemble are not there"),
]  # fmt: skip


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_an_engine(row: Row, tmp_path: Path) -> None:
    """It is one sentence that names a file, before the library in it is opened."""
    folder = tmp_path / "run/models"
    folder.mkdir(parents=True)
    (tmp_path / "run/cfg.yaml").write_text(yaml.safe_dump({"MODEL": FPN}))
    row.write(folder)
    with pytest.raises(CheckpointError, match=row.error) as caught:
        load_members(tmp_path, programs=True)
    assert str(tmp_path) in str(caught.value)
    assert not str(caught.value).endswith(".")


def test_a_package_is_a_program(tmp_path: Path) -> None:
    """Whatever it was compiled for, a recipe that allows no programs loads none."""
    (tmp_path / "run").mkdir()
    record()(tmp_path / "run")
    with pytest.raises(CheckpointError, match="this is a program, which can run code"):
        load_members(tmp_path)


@pytest.mark.parametrize(
    ("providers", "error"),
    [
        ("gpu", "Did you mean cpu"),
        ([], "at least one value"),
        (["cuda", "cuda"], "found cuda twice"),
        ({"cuda": {"device_id": [1]}}, r"found \[1\], wanted text, a number, true or false"),
        ({"cuda": {"device_id": float("inf")}}, "found inf, wanted text, a number"),
        (3, "wanted keys with values"),
    ],
)
def test_providers_of_a_recipe(providers: Any, error: str) -> None:
    """Each is one of three, named once, with plain options."""
    with pytest.raises(RecipeError, match=rf"execution\.providers.*{error}"):
        Recipe.load("hubmap").override(execution={"providers": providers})


@pytest.mark.parametrize(
    ("section", "error"),
    [
        ({"views": "rotating"}, "found rotating views, which differ from tile to tile"),
        (
            {"pyramid": [{"zoom": 1, "runs": ["a"]}, {"zoom": 0.5, "runs": ["b"]}]},
            "found the scales .*, and one graph sees one",
        ),
    ],
)
def test_an_ensemble_that_is_no_graph(
    tmp_path: Path, section: Mapping[str, Any], error: str
) -> None:
    """It says to make an engine of each member."""
    write_run(tmp_path / "a", FPN, seeds=(1,))
    write_run(tmp_path / "b", FPN, seeds=(2,))
    recipe = EnsembleRecipe.model_validate({"name": "test", **section})
    with pytest.raises(RecipeError, match=error):
        MergedNetwork(load_members(tmp_path), recipe)


def test_engines_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No such form, no compiler, no image of the kind, no tile: nothing is written."""
    from kernelkit.competition import CompetitionFolder
    from kernelkit.engines import make_engines
    from tests.made.competition import RECIPE, write_competition

    write_run(tmp_path / "models/a", FPN, seeds=(1,))
    recipe = Recipe.parse(RECIPE)
    folder = write_competition(tmp_path / "c", {"a": ("strips", 40, 50)})
    images = CompetitionFolder.read(folder, recipe.competition)
    output = tmp_path / "engines"

    def refused(changed: Recipe = recipe, form: Any = "onnx") -> str:
        with pytest.raises(KernelKitError) as caught:
            make_engines(changed, images, tmp_path / "models", output, form=form, device="cpu")
        assert not output.exists()
        return str(caught.value)

    assert "found the form 'trt', wanted onnx or aoti" in refused(form="trt")
    other = recipe.override(ensembles=[{"name": "one", "when": {"dtype": "uint16"}}])
    assert "found no image for one to check an engine on" in refused(other)
    (folder / "test/a.tiff").write_bytes(b"II*\0")
    assert "a.tiff" in refused()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "needs g++, which is not installed" in refused(form="aoti")


def test_weights_beside_an_engine_may_be_anything(tmp_path: Path) -> None:
    """Weights of another network are refused by their hash."""
    folder = tmp_path / "run/models"
    folder.mkdir(parents=True)
    (tmp_path / "run/cfg.yaml").write_text(yaml.safe_dump({"MODEL": FPN}))
    record()(folder)
    (tmp_path / "run/eager").mkdir()
    torch.save(network(FPN, 1).state_dict(), tmp_path / "run/eager/e1.pth")
    content = RECORD | {"weights": "../eager/e1.pth"}
    (folder / "network.pt2.json").write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match="not the weights that network.pt2 was made of"):
        load_members(tmp_path, programs=True)
