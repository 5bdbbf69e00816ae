"""`make engine`: members as ONNX files, which answer as their weights and stand beside them."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import yaml

from bootstrap import Dataset
from devkit.dataset.weights import pack_weights
from devkit.engine.__main__ import main
from kernelkit.checkpoints import load_members
from kernelkit.competition import CompetitionFolder
from kernelkit.engines import checking
from kernelkit.ensemble import MegaModel
from kernelkit.ensemble.fingerprints import fingerprint_of
from kernelkit.ensemble.merged import ENSEMBLE_FILE, load_merged
from kernelkit.errors import CheckpointError
from kernelkit.predict.jobs import Job
from kernelkit.predict.run import load_models, predict
from kernelkit.recipe import Recipe
from tests.made.competition import IMAGES, RECIPE, write_competition, write_models
from tests.made.executors import Elsewhere
from tests.made.networks import FPN, tiles

ENGINE = "run/fold_0/models/e1_t2_cmax_val_0.9.onnx"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A competition, two folds of a small network, and a recipe with two views."""
    folder = tmp_path_factory.mktemp("engine")
    write_competition(folder / "competition")
    write_models(folder / "models", FPN)
    (folder / "test.yaml").write_text(RECIPE)
    return folder


def make(place: Path, output: Path, *options: str) -> int:
    """Run the command on the CPU."""
    return main(
        [
            str(place / "test.yaml"),
            *("--competition", str(place / "competition")),
            *("--models", str(place / "models")),
            *("--output", str(output)),
            *("--device", "cpu"),
            *options,
        ]
    )


@pytest.fixture(scope="module")
def engines(place: Path) -> Path:
    """Engines of both folds."""
    assert make(place, place / "engines") == 0
    return place / "engines"


@pytest.fixture(scope="module")
def as_one(place: Path) -> Path:
    """One engine of both folds, with views and merging."""
    assert make(place, place / "as_one", "--one") == 0
    return place / "as_one"


def model_of(recipe: Path, models: Path) -> MegaModel:
    """The model of the recipe's one ensemble, in float32."""
    loaded = load_models(Recipe.load(recipe).override(precision="fp32"), models, "cpu")
    return loaded["one"]


def difference(place: Path, engines: Path) -> float:
    """The largest difference of a probability, by inference with engines and with weights."""
    pixels = tiles(3, (128, 128), seed=3)
    one = model_of(place / "test.yaml", place / "models").predict(pixels).probabilities
    other = model_of(engines / "recipe.yaml", engines).predict(pixels).probabilities
    return float((one - other).abs().max())


def test_inference_by_engines_is_that_by_weights(place: Path, engines: Path, as_one: Path) -> None:
    """The written recipe reads the written folder, each member alone or all as one graph."""
    assert difference(place, engines) < 1e-5
    assert difference(place, as_one) < 1e-5
    [member] = load_members(as_one)
    assert (member.kind, member.size) == ("program", (128, 128))
    assert [m.name for m in load_members(engines)] == ["run/fold_0", "run/fold_1"]


def test_a_run_folder_says_what_it_is_made_of(place: Path, engines: Path) -> None:
    """The training's settings are carried over. The record has weights, device and versions."""
    own, carried = place / "models/run/cfg.yaml", engines / "run/cfg.yaml"
    assert carried.read_text() == own.read_text()
    record = json.loads((engines / f"{ENGINE}.json").read_text())
    first, _ = load_members(place / "models")
    assert record["weights_sha256"] == first.weights_sha256
    assert record["made_of"] == "run/fold_0"
    assert record["made_on"].startswith("CPU")
    assert "onnxruntime" in record["made_by"]
    assert 0 <= record["largest_difference"] < 1e-3
    assert not list(engines.glob(".*"))


@pytest.fixture
def one_fold(place: Path, tmp_path: Path) -> Path:
    """The same with one fold, which takes half of the time."""
    shutil.copytree(place / "competition", tmp_path / "competition")
    shutil.copytree(place / "models", tmp_path / "models")
    shutil.rmtree(tmp_path / "models/run/fold_1")
    shutil.copy(place / "test.yaml", tmp_path)
    return tmp_path


def test_a_failed_check_writes_nothing(
    one_fold: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The error has the difference, the tile, the class and the pixel. Old engines stay."""
    output = one_fold / "engines"
    (output / "run").mkdir(parents=True)
    (output / "run/old.onnx.json").write_text("{}")
    monkeypatch.setattr(checking, "LIMIT", 1e-6)
    assert make(one_fold, output, "--half", "--tiles", "2") == 1
    said = capsys.readouterr().err
    assert "run/fold_0: the engine's probability differs by " in said
    assert ", class 0, row " in said
    assert [path.name for path in output.rglob("*")] == ["run", "old.onnx.json"]


def damaged(engines: Path, folder: Path, name: str) -> Path:
    """A copy of engines, of which one is cut off."""
    shutil.copytree(engines, folder)
    path = folder / name
    path.write_bytes(path.read_bytes()[:-100])
    return folder


def test_weights_answer_for_an_engine_that_does_not_load(
    place: Path, engines: Path, tmp_path: Path
) -> None:
    """A note says so, with the reason. The other fold stays an engine."""
    folder = damaged(engines, tmp_path / "engines", ENGINE)
    model = model_of(folder / "recipe.yaml", folder)
    assert [member.is_program for member in model.members] == [False, True]
    [note] = [note for note in model.notes if "does not load here" in note]
    assert "so the weights answer that it was made of. The reason: " in note
    first, _ = load_members(place / "models")
    assert model.members[0].weights_sha256 == first.weights_sha256
    assert difference(place, folder) < 1e-5


def test_an_engine_that_was_not_compared_does_not_answer(
    place: Path, engines: Path, tmp_path: Path
) -> None:
    """It loads, but it is another file than the one that was compared with the weights."""
    shutil.copytree(engines, tmp_path / "engines")
    shutil.copy(engines / ENGINE.replace("fold_0", "fold_1"), tmp_path / "engines" / ENGINE)
    first, second = load_members(tmp_path / "engines")
    assert not first.is_program
    assert second.is_program
    assert "this is not the file that was compared with its weights. Copy it" in first.notes[0]
    assert difference(place, tmp_path / "engines") < 1e-5


def test_an_engine_and_its_weights_are_no_two_members(
    place: Path, engines: Path, tmp_path: Path
) -> None:
    """One network would count twice."""
    shutil.copytree(engines / "run", tmp_path / "engine")
    shutil.copytree(place / "models/run", tmp_path / "weights")
    with pytest.raises(CheckpointError, match="these are the weights of .* again"):
        load_members(tmp_path)


def test_an_engine_may_load_on_a_worker_alone(place: Path, engines: Path, tmp_path: Path) -> None:
    """The run's own process has the weights alone, as one without a GPU has."""
    here = damaged(engines, tmp_path / "engines", ENGINE)
    recipe = Recipe.load(engines / "recipe.yaml").override(precision="fp32")
    competition = CompetitionFolder.read(place / "competition", recipe.competition)

    def on_a_gpu(job: Job) -> Job:
        models = {name: {**made, "folder": engines} for name, made in job.models.items()}
        return replace(job, models=models)

    models = load_models(recipe, here, "cpu")
    worker = Elsewhere(on_a_gpu)
    done = predict(competition, recipe, models, tmp_path / "out", executor=worker)
    assert done.report.counts["predicted"] == len(IMAGES)
    again = predict(competition, recipe, models, tmp_path / "out")  # by the weights
    assert again.report.counts["predicted"] == len(IMAGES)


def test_an_ensemble_answers_for_its_graph(place: Path, as_one: Path, tmp_path: Path) -> None:
    """All members, merged by torch, give what the graph gives."""
    folder = damaged(as_one, tmp_path / "as_one", "one_as_one/models/ensemble.onnx")
    model = model_of(folder / "recipe.yaml", folder)
    assert model.members[0].architecture == "an ensemble of run/fold_0, run/fold_1"
    assert difference(place, folder) < 1e-5


def test_engines_are_packed_with_what_lies_beside_them(
    place: Path, engines: Path, as_one: Path, tmp_path: Path
) -> None:
    """A dataset of weights has engines, their records and weights, and gives them back."""
    for number, folder in enumerate((engines, as_one)):
        packed = pack_weights(folder, tmp_path / f"packed-{number}", programs=True, say=str)
        session = Dataset(tmp_path, tmp_path, "f" * 64, tmp_path / f"work-{number}")
        found = session.models(packed.folder)
        assert inside(found) == inside(folder) - {"recipe.yaml"}
        [damage] = sorted(found.rglob("*.onnx"))[:1]
        damage.unlink()
        damage.write_bytes(b"damaged")
        shutil.copy(folder / "recipe.yaml", found)
        assert difference(place, found) < 1e-5


def inside(folder: Path) -> set[str]:
    """The names of the files in a folder."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_other_weights_beside_an_engine_are_refused(engines: Path, tmp_path: Path) -> None:
    """They would answer otherwise than the engine did."""
    folder = damaged(engines, tmp_path / "engines", ENGINE)
    eager = folder / "run/fold_0/eager/e1_t2_cmax_val_0.9.safetensors"
    shutil.copy(folder / "run/fold_1/eager/e1_t2_cmax_val_0.9.safetensors", eager)
    with pytest.raises(CheckpointError, match="not the weights that .*onnx was made of"):
        load_members(folder)


def test_engines_replace_engines(
    one_fold: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In float16 they differ more, and what is printed says by how much and how fast they are."""
    output = one_fold / "engines"
    (output / "run").mkdir(parents=True)
    (output / "run/old.onnx.json").write_text("{}")
    monkeypatch.setattr(checking, "LIMIT", 1e-2)
    assert make(one_fold, output, "--half", "--tiles", "2") == 0
    printed = capsys.readouterr().out
    assert "run/fold_0: becomes onnx for CPU" in printed
    assert "run/fold_0: differs by " in printed
    assert "ms by the weights" in printed
    assert not (output / "run/old.onnx.json").exists()
    assert 1e-7 < difference(one_fold, output) < 1e-2


def test_a_folder_of_trained_runs_is_never_replaced(
    one_fold: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command ends before anything is exported."""
    assert make(one_fold, one_fold / "models") == 1
    printed = capsys.readouterr()
    assert "found a folder without an engine, which would be replaced" in printed.err
    assert printed.out == ""


def test_files_that_training_writes_make_no_engine(
    one_fold: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run with a config.json, or with weights beside an engine, is not replaced."""
    run = one_fold / "models/run"
    (run / "config.json").write_text("{}")
    assert make(one_fold, one_fold / "models") == 1
    assert "found a folder without an engine" in capsys.readouterr().err
    (run / "fold_0/old.onnx.json").write_text("{}")
    assert make(one_fold, one_fold / "models") == 1
    said = capsys.readouterr().err
    assert "e1_t2_cmax_val_0.9.pth: found a checkpoint that is no engine, and its folder" in said
    assert list(run.rglob("*.pth"))


def test_a_recipe_without_engines_is_never_replaced(
    one_fold: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder may be one of the user's own competitions, which holds a recipe of that name."""
    (one_fold / "recipe.yaml").write_text(RECIPE)
    assert make(one_fold, one_fold) == 1
    assert "found a recipe without an engine beside it, which" in capsys.readouterr().err
    assert (one_fold / "recipe.yaml").read_text() == RECIPE


def test_engines_from_before_do_not_answer_with_those_of_a_recipe(
    engines: Path, as_one: Path, tmp_path: Path
) -> None:
    """The recipe names its runs, and not a pattern that they match."""
    shutil.copytree(engines, tmp_path / "engines")
    shutil.copytree(as_one / "one_as_one", tmp_path / "engines/one_as_one")
    model = model_of(tmp_path / "engines/recipe.yaml", tmp_path / "engines")
    assert [member.name for member in model.members] == ["run/fold_0", "run/fold_1"]


def test_another_provider_answers_otherwise(engines: Path) -> None:
    """TensorRT in float16 is not CUDA, so what is stored of one does not answer for the other."""
    recipe = Recipe.load(engines / "recipe.yaml").ensembles[0]
    found = [
        fingerprint_of(
            recipe, [replace(member, runs_by=f"onnxruntime 1, {name}")], ("member", True)
        )
        for member in load_members(engines)[:1]
        for name in ("TensorrtExecutionProvider", "CUDAExecutionProvider")
    ]
    assert len(set(found)) == 2


def test_another_merge_of_the_same_weights_is_another_network(as_one: Path, tmp_path: Path) -> None:
    """It has another hash, so nothing stored answers for it, and no graph is replaced by it."""
    folder = damaged(as_one, tmp_path / "as_one", "one_as_one/models/ensemble.onnx")
    path = folder / "one_as_one/eager" / ENSEMBLE_FILE
    *_, before = load_merged(path.parent)
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {"views": ["identity"]}))
    *_, after = load_merged(path.parent)
    assert before != after
    with pytest.raises(CheckpointError, match=r"not the weights that ensemble\.onnx was made of"):
        model_of(folder / "recipe.yaml", folder)


def test_an_engine_of_a_classifier_gates(one_fold: Path) -> None:
    """A gate's classifier becomes an engine of its own, and lets the same tiles pass."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        network = timm.create_model("test_resnet", num_classes=2).eval()
    gate = one_fold / "models/gate"
    gate.mkdir()
    description = {"arch": "timm", "model_name": "test_resnet", "num_classes": 2}
    (gate / "cfg.yaml").write_text(yaml.safe_dump({"MODEL": description}))
    torch.save(network.state_dict(), gate / "e1.pth")
    recipe = yaml.safe_load(RECIPE)
    recipe["ensembles"][0] |= {"runs": ["run"], "gate": {"runs": ["gate"], "empty_class": 0}}
    (one_fold / "test.yaml").write_text(yaml.safe_dump(recipe))
    assert make(one_fold, one_fold / "engines", "--one") == 0
    pixels = tiles(4, (128, 128), seed=5)
    gates = [
        model_of(folder, models).predict(pixels, ask_gated=True).gate
        for folder, models in (
            (one_fold / "test.yaml", one_fold / "models"),
            (one_fold / "engines/recipe.yaml", one_fold / "engines"),
        )
    ]
    np.testing.assert_allclose(gates[0].numpy(), gates[1].numpy(), atol=1e-5)
