import json
import os
import re
import shutil
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import timm
import torch
import yaml
from safetensors.torch import save_file
from torch import nn

from kernelkit.checkpoints import load_members
from kernelkit.errors import CheckpointError
from tests.made.networks import FPN, UNET, answer, checkpoint, network, write_run

PIXELS = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def same_answers(members, networks):
    """Whether each member answers, bit for bit, as the network that was saved for it."""
    return all(
        torch.equal(answer(member.module, PIXELS), answer(module, PIXELS))
        for member, module in zip(members, networks, strict=True)
    )


def write_fold(folder, module, name="e1_t1_cmax_val_0.5.pth", prefix="module."):
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(checkpoint(module, prefix), folder / name)


@pytest.fixture
def unet():
    return network(UNET, seed=1)


@pytest.fixture
def run(tmp_path, unet):
    """A run folder without folds yet; the description is the U-Net's."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "cfg.yaml").write_text(yaml.safe_dump({"MODEL": UNET}))
    return folder


def test_four_folds_are_four_networks(tmp_path):
    """Each checkpoint gets a module of its own: four folds answer in four ways, each as saved."""
    networks = write_run(tmp_path / "run", UNET, seeds=(1, 2, 3, 4))
    members = load_members(tmp_path)
    assert same_answers(members, networks)
    answers = [answer(member.module, PIXELS) for member in members]
    for i in range(4):
        assert not any(torch.equal(answers[i], answers[j]) for j in range(i))


def test_members_say_where_they_come_from(tmp_path):
    """A member knows its run, fold, checkpoint, network, size and score; the order is by name."""
    [saved] = write_run(tmp_path / "b", FPN, seeds=(5,))
    write_run(tmp_path / "a", UNET, seeds=(1, 2))
    members = load_members(tmp_path)
    assert [member.name for member in members] == ["a/fold_0", "a/fold_1", "b/fold_0"]
    last = members[-1]
    assert last.path == tmp_path / "b/fold_0/models/e2_t4_cmax_ema_0.95.pth"
    assert (last.architecture, last.score) == ("FPN, tu-test_resnet", 0.95)
    assert last.parameters == sum(p.numel() for p in saved.parameters())
    assert (last.channels, last.classes, last.kind) == (3, 1, "segmenter")
    assert not last.module.training
    assert not any(p.requires_grad for p in last.module.parameters())


@pytest.mark.parametrize("models", ["models", "model", "."])
def test_checkpoints_lie_in_either_folder(tmp_path, models):
    """Checkpoints are found in `models`, as the code has it, `model`, as the README, or neither."""
    networks = write_run(tmp_path / "run", FPN, seeds=(1, 2), models=models)
    assert same_answers(load_members(tmp_path), networks)


def test_a_run_without_folds(tmp_path, run, unet):
    """A run whose checkpoints lie in `model`, without folds, is one member."""
    write_fold(run / "model", unet, "e100.pth")
    [member] = load_members(tmp_path)
    assert (member.name, member.score) == ("run/0", None)
    assert same_answers([member], [unet])


def test_folds_are_ordered_by_number(tmp_path):
    """Fold 10 comes after fold 9."""
    write_run(tmp_path / "run", FPN, seeds=tuple(range(11)))
    assert [m.fold for m in load_members(tmp_path)] == [f"fold_{i}" for i in range(11)]


def test_kaggle_folders_need_no_description(tmp_path):
    """`{Arch}_{encoder}_scse/{n}` describes its network by its name, encoders spelt as in 2021."""
    description = {
        "arch": "Unet",
        "encoder_name": "timm-regnety_002",
        "decoder_attention_type": "scse",
    }
    networks = [network(description, seed) for seed in (1, 2)]
    for index, module in enumerate(networks):
        write_fold(tmp_path / f"Unet_timm-regnety_002_scse/{index}", module)
    members = load_members(tmp_path)
    assert [member.name for member in members] == [
        "Unet_timm-regnety_002_scse/0",
        "Unet_timm-regnety_002_scse/1",
    ]
    assert members[0].architecture == "Unet, timm-regnety_002, scse"
    assert same_answers(members, networks)


def test_encoder_names_of_2021(tmp_path):
    """Weights of an encoder that has since moved to timm load under the names they had in 2021."""
    module = network({"arch": "Unet", "encoder_name": "timm-regnetx_002"}, seed=1)
    state = checkpoint(module)
    state["model_state"] = {
        name.replace("encoder.model.", "encoder."): tensor
        for name, tensor in state["model_state"].items()
    }
    assert "module.encoder.stem.conv.weight" in state["model_state"]
    folder = tmp_path / "Unet_timm-regnetx_002/0"
    folder.mkdir(parents=True)
    torch.save(state, folder / "e1.pth")
    assert same_answers(load_members(tmp_path), [module])


@pytest.mark.parametrize(
    "arch", ["UnetPlusPlus", "PSPNet", "Linknet", "DeepLabV3Plus", "Segformer"]
)
def test_architectures(tmp_path, arch):
    """The other decoders of the library load as they were saved."""
    description = {"arch": arch, "encoder_name": "tu-test_resnet", "in_channels": 2, "classes": 3}
    [module] = write_run(tmp_path / "run", description, seeds=(1,))
    [member] = load_members(tmp_path)
    assert (member.channels, member.classes) == (2, 3)
    pixels = PIXELS[:, :2]
    assert torch.equal(answer(member.module, pixels), answer(module, pixels))


def test_the_best_checkpoint_counts(tmp_path, run):
    """Of several checkpoints the best by the score in its name is taken, EMA or raw."""
    modules = {score: network(FPN, seed=int(score * 100)) for score in (0.91, 0.93, 0.92)}
    (run / "cfg.yaml").write_text(yaml.safe_dump({"MODEL": FPN}))
    for (score, module), kind, epoch in zip(
        modules.items(), ("val", "ema", "val"), (30, 4, 50), strict=True
    ):
        write_fold(run / "fold_0/models", module, f"e{epoch}_t50_cmax_{kind}_{score}.pth")
    assert same_answers(load_members(tmp_path), [modules[0.93]])
    assert same_answers(load_members(tmp_path, prefer="raw"), [modules[0.92]])
    assert same_answers(load_members(tmp_path, prefer="ema"), [modules[0.93]])


def test_the_newest_of_equals_counts(tmp_path, run):
    """Of checkpoints with one score, or none, that of the latest epoch is taken."""
    old, new = network(UNET, seed=1), network(UNET, seed=2)
    write_fold(run / "fold_0/models", old, "e9_t50_cmax_val_0.9.pth")
    write_fold(run / "fold_0/models", new, "e10_t50_cmax_val_0.9.pth")
    write_fold(run / "fold_1/models", network(UNET, seed=3), "e99.pth")
    write_fold(run / "fold_1/models", network(UNET, seed=4), "e100.pth")
    first, second = load_members(tmp_path)
    assert same_answers([first], [new])
    assert second.path.name == "e100.pth"


def test_saved_pretrained_loads_without_fetching(tmp_path, unet, monkeypatch):
    """The library's own saved form loads, though its config.json names weights of ImageNet."""
    unet.save_pretrained(tmp_path / "run")
    config = json.loads((tmp_path / "run/config.json").read_text())
    config["encoder_weights"] = "imagenet"
    (tmp_path / "run/config.json").write_text(json.dumps(config))

    def no_network(*_, **__):
        raise AssertionError("something reached for the network")

    monkeypatch.setattr("socket.socket.connect", no_network)
    [member] = load_members(tmp_path)
    assert same_answers([member], [unet])
    assert member.name == "run/0"


def test_saved_pretrained_a_fold(tmp_path):
    """A run may hold one saved form a fold."""
    networks = [network(UNET, seed) for seed in (1, 2)]
    for index, module in enumerate(networks):
        module.save_pretrained(tmp_path / f"run/fold_{index}")
    assert same_answers(load_members(tmp_path), networks)


def test_the_models_folder_may_be_the_run(tmp_path, unet):
    """Pointed at a run folder itself, its members are loaded."""
    unet.save_pretrained(tmp_path / "mine")
    [member] = load_members(tmp_path / "mine")
    assert member.name == "mine/0"


def test_the_hash_does_not_depend_on_the_format(tmp_path, unet):
    """One network has one hash as .pth with prefixes, as .safetensors and as saved_pretrained."""
    hashes = set()
    for form in ("pth", "safetensors", "pretrained"):
        folder = tmp_path / form / "run"
        if form == "pretrained":
            unet.save_pretrained(folder)
        else:
            folder.mkdir(parents=True)
            (folder / "cfg.yaml").write_text(yaml.safe_dump({"MODEL": UNET}))
            if form == "pth":
                write_fold(folder / "fold_0/models", unet)
            else:
                save_file(unet.state_dict(), folder / "e1.safetensors")
        hashes |= {member.weights_sha256 for member in load_members(folder.parent)}
    assert len(hashes) == 1


def test_equal_weights_under_two_names_are_refused(tmp_path, unet):
    """Two members with the same weights are an error that names both files."""
    for index in range(2):
        write_fold(tmp_path / f"run/fold_{index}", unet, f"e{index}.pth")
    (tmp_path / "run/cfg.yaml").write_text(yaml.safe_dump({"MODEL": UNET}))
    with pytest.raises(CheckpointError, match=r"fold_1/e1.pth.*fold_0/e0.pth"):
        load_members(tmp_path)


@pytest.mark.parametrize("flat", [False, True])
def test_a_checkpoint_that_was_unpacked(tmp_path, run, unet, flat):
    """A .pth that the upload turned into a folder loads, with or without its inner folder."""
    packed = tmp_path / "e3_t9_cmax_ema_0.97.pth"
    torch.save(checkpoint(unet), packed)
    folder = run / "fold_0/models" / packed.name
    with zipfile.ZipFile(packed) as archive:
        archive.extractall(folder)
    if flat:
        [inner] = folder.iterdir()
        shutil.copytree(inner, folder, dirs_exist_ok=True)
        shutil.rmtree(inner)
    [member] = load_members(tmp_path)
    assert member.score == 0.97
    assert same_answers([member], [unet])


@pytest.mark.parametrize("name", ["state_dict", "model", None])
def test_states_of_other_training_codes(tmp_path, run, unet, name):
    """State dicts under the usual keys, or bare, load; Lightning's prefix is taken off."""
    state = unet.state_dict()
    if name == "state_dict":
        state = {f"model.{key}": tensor for key, tensor in state.items()}
    torch.save({name: state} if name else state, run / "last.pth")
    assert same_answers(load_members(tmp_path), [unet])


def test_an_averaged_model_has_a_counter(tmp_path, run, unet):
    """The step counter of torch's AveragedModel is no weight."""
    torch.save(torch.optim.swa_utils.AveragedModel(unet).state_dict(), run / "e1.pth")
    assert same_answers(load_members(tmp_path), [unet])


def test_numpy_scalars_of_both_generations(tmp_path, run, unet):
    """Numpy scalars pickled by numpy 1, which names its core otherwise, load as well."""
    path = run / "e1.pth"
    torch.save(checkpoint(unet), path)
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    assert b"numpy._core.multiarray" in files["e1/data.pkl"]
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content.replace(b"numpy._core.", b"numpy.core."))
    assert same_answers(load_members(tmp_path), [unet])


def test_code_in_a_checkpoint_never_runs(tmp_path, run):
    """A pickle that would run code is refused, and the code does not run."""
    trace = tmp_path / "trace"

    class Trap:
        def __reduce__(self):
            return open, (str(trace), "w")

    torch.save({"model_state": Trap()}, run / "e1.pth")
    with pytest.raises(CheckpointError, match=r"e1\.pth: it holds objects of .*open"):
        load_members(tmp_path)
    assert not trace.exists()


def test_other_weights_are_listed(tmp_path, run):
    """Missing, unexpected and mismatched weights are all counted and named."""
    other = network(UNET | {"decoder_channels": [16, 16, 8, 8, 8]}, seed=1)
    state = other.state_dict()
    del state["segmentation_head.0.bias"]
    state["classifier.weight"] = torch.zeros(2)
    torch.save(state, run / "e1.pth")
    with pytest.raises(CheckpointError) as error:
        load_members(tmp_path)
    message = str(error.value)
    assert "e1.pth: these weights do not fit Unet, mobilenet_v2" in message
    assert "1 missing (segmentation_head.0.bias)" in message
    assert "1 unexpected (classifier.weight)" in message
    assert re.search(r"\d+ of another shape \(.* is 16x\d+x3x3, not 32x\d+x3x3.* more\)", message)
    assert len(message) < 700


def test_weights_of_another_architecture(tmp_path):
    """A checkpoint of another architecture is one short sentence, not a list of all its keys."""
    write_run(tmp_path / "run", FPN, seeds=(1,))
    (tmp_path / "run/cfg.yaml").write_text(yaml.safe_dump({"MODEL": UNET}))
    with pytest.raises(CheckpointError, match="do not fit Unet, mobilenet_v2: .* missing") as error:
        load_members(tmp_path)
    assert len(str(error.value)) < 900


def test_a_classifier_loads(tmp_path):
    """A run may hold a classifier of timm, for a gate."""
    with torch.random.fork_rng():
        module = timm.create_model("test_resnet", num_classes=2).eval()
    folder = tmp_path / "gate"
    folder.mkdir()
    settings = {"arch": "timm", "model_name": "test_resnet", "num_classes": 2}
    (folder / "cfg.yaml").write_text(yaml.safe_dump({"MODEL": settings}))
    torch.save(checkpoint(module), folder / "e1.pth")
    [member] = load_members(tmp_path)
    assert (member.kind, member.classes) == ("classifier", 2)
    assert same_answers([member], [module])


class Doubling(nn.Module):
    """A network small enough to be scripted in a moment."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 1, 3, padding=1)

    def forward(self, x):
        return 2 * self.conv(x)


def write_program(folder, form):
    folder.mkdir(parents=True)
    module = Doubling().eval()
    if form == ".pt2":
        batch = torch.export.Dim("batch")
        program = torch.export.export(module, (PIXELS,), dynamic_shapes=({0: batch},))
        torch.export.save(program, folder / "network.pt2")
    else:
        torch.jit.save(torch.jit.script(module), folder / f"network{form}")
    return module


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:The given buffer")
@pytest.mark.parametrize("form", [".ts", ".pt", ".pt2"])
def test_programs_only_when_asked_for(tmp_path, form):
    """TorchScript and torch.export archives load when asked for, and are refused otherwise."""
    module = write_program(tmp_path / "run", form)
    with pytest.raises(CheckpointError, match=r"network\.pt2?|network\.ts.*can run code"):
        load_members(tmp_path)
    [member] = load_members(tmp_path, programs=True)
    assert member.kind == "program"
    assert same_answers([member], [module])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_program_in_disguise(tmp_path):
    """TorchScript under the name of a checkpoint is still only loaded when asked for."""
    write_program(tmp_path / "run", ".ts")
    (tmp_path / "run/network.ts").rename(tmp_path / "run/e1.pth")
    (tmp_path / "run/cfg.yaml").write_text(yaml.safe_dump({"MODEL": UNET}))
    with pytest.raises(CheckpointError, match=r"e1\.pth: this is a program"):
        load_members(tmp_path)
    assert load_members(tmp_path, programs=True)[0].kind == "program"


def test_onnx_without_its_runtime(tmp_path, monkeypatch):
    """An ONNX file where onnxruntime is missing says what is missing."""
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    (tmp_path / "run").mkdir()
    (tmp_path / "run/network.onnx").write_bytes(b"onnx")
    with pytest.raises(CheckpointError, match="needs onnxruntime"):
        load_members(tmp_path)


@pytest.fixture(scope="module")
def onnx_models(tmp_path_factory):
    """A models folder with a run that is an ONNX file, and the network that was exported."""
    module = Doubling().eval()
    folder = tmp_path_factory.mktemp("onnx")
    (folder / "run").mkdir()
    shapes = ({0: torch.export.Dim("batch")},)
    path = folder / "run/network.onnx"
    torch.onnx.export(module, (PIXELS,), path, dynamic_shapes=shapes, dynamo=True)
    return folder, module


def test_onnx_where_its_runtime_is(onnx_models):
    """An ONNX file runs in onnxruntime, and answers as the network that was exported."""
    folder, module = onnx_models
    [member] = load_members(folder)
    np.testing.assert_allclose(
        answer(member.module, PIXELS[:1]).numpy(), answer(module, PIXELS[:1]).numpy(), atol=1e-5
    )


REACHES_OUT = """
import os, socket, sys
listener = socket.create_server(("127.0.0.1", 0))
for name in ("http_proxy", "https_proxy"):
    os.environ[name] = "http://127.0.0.1:%d" % listener.getsockname()[1]
from kernelkit.checkpoints import load_members
load_members(sys.argv[1])
listener.settimeout(15)  # it would report after nine
try:
    print(listener.accept()[0].recv(100))
except TimeoutError:
    print("nothing")
"""


def test_onnx_members_do_not_report_home(onnx_models):
    """What onnxruntime tells its makers by default is not sent."""
    environment = {k: v for k, v in os.environ.items() if k not in ("CI", "ORT_DISABLE_TELEMETRY")}
    done = subprocess.run(
        [sys.executable, "-c", REACHES_OUT, onnx_models[0]],
        env=environment | {"PYTHONPATH": "kernel_src"},
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    assert done.stdout == "nothing\n"


def _no_folder(tmp_path):
    return tmp_path / "nowhere", ("*",), "no such models folder"


def _empty_folder(tmp_path):
    return tmp_path, ("*",), r"no run matches \* \(no run folder at all"


def _no_match(tmp_path):
    write_run(tmp_path / "he_unet", FPN, seeds=(1,))
    return tmp_path, ("he_*", "fluo_*"), "no run matches fluo_.*only he_unet"


def _empty_fold(tmp_path):
    write_run(tmp_path / "run", FPN, seeds=(1,))
    (tmp_path / "run/fold_1/models").mkdir(parents=True)
    return tmp_path, ("*",), "fold_1: there is no checkpoint in it"


def _no_description(tmp_path):
    write_run(tmp_path / "run", FPN, seeds=(1,))
    (tmp_path / "run/cfg.yaml").write_text("TRAIN: {EPOCHS: 4}\n")
    return tmp_path, ("*",), "run: nothing says which network"


def _unknown_encoder(tmp_path):
    write_run(tmp_path / "run", FPN, seeds=(1,))
    description = FPN | {"encoder_name": "resnet999"}
    (tmp_path / "run/cfg.yaml").write_text(yaml.safe_dump({"MODEL": description}))
    return tmp_path, ("*",), "cfg.yaml: no network can be built from FPN, resnet999"


def _unknown_attention(tmp_path):
    write_run(tmp_path / "run", FPN, seeds=(1,))
    description = UNET | {"decoder_attention_type": "cbam"}
    (tmp_path / "run/cfg.yaml").write_text(yaml.safe_dump({"MODEL": description}))
    return tmp_path, ("*",), "cfg.yaml: no network can be built from Unet, mobilenet_v2, cbam"


def _truncated(tmp_path):
    write_run(tmp_path / "run", FPN, seeds=(1,))
    [path] = (tmp_path / "run").rglob("*.pth")
    path.write_bytes(path.read_bytes()[:20_000])
    return tmp_path, ("*",), r"e2_t4_cmax_ema_0\.91\.pth: the file is truncated"


def _truncated_safetensors(tmp_path):
    network(UNET, seed=1).save_pretrained(tmp_path / "run")
    path = tmp_path / "run/model.safetensors"
    path.write_bytes(path.read_bytes()[:20_000])
    return tmp_path, ("*",), r"model\.safetensors: the file is truncated"


def _no_weights(tmp_path):
    write_run(tmp_path / "run", FPN, seeds=(1,))
    [path] = (tmp_path / "run").rglob("*.pth")
    torch.save({"epoch": 3, "loss": 0.1}, path)
    return tmp_path, ("*",), "no weights were found in it .*epoch, loss"


def _bad_yaml(tmp_path):
    write_run(tmp_path / "run", FPN, seeds=(1,))
    (tmp_path / "run/cfg.yaml").write_text("MODEL: {arch: [")
    return tmp_path, ("*",), r"cfg\.yaml: this is not valid YAML"


@pytest.mark.parametrize(
    "make",
    [
        _no_folder,
        _empty_folder,
        _no_match,
        _empty_fold,
        _no_description,
        _unknown_encoder,
        _unknown_attention,
        _truncated,
        _truncated_safetensors,
        _no_weights,
        _bad_yaml,
    ],
)
def test_what_is_wrong_is_one_sentence(tmp_path, make):
    """Each fault of a models folder is one sentence that names the file and what to do."""
    folder, runs, message = make(tmp_path)
    with pytest.raises(CheckpointError, match=message) as error:
        load_members(folder, runs)
    assert str(error.value).endswith(".")
    assert "\n" not in str(error.value)
