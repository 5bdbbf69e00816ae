"""Run folders as strangers leave them: each row is a folder, and what is loaded from it."""

import gzip
import io
import json
import os
import pickle
import shutil
import socket
import struct
import zipfile
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import save_file
from torch import Tensor, nn

from kernelkit.checkpoints import Member, load_members
from kernelkit.checkpoints.checkpoint_files import checkpoint_stem
from kernelkit.checkpoints.snapshots import Snapshot, choose_snapshot
from kernelkit.errors import CheckpointError
from tests.made.networks import FPN, network

NETWORK = network(FPN, seed=1)
STATE: dict[str, Tensor] = NETWORK.state_dict()
OTHER: dict[str, Tensor] = network(FPN, seed=2).state_dict()
DEEPLAB = {"arch": "DeepLabV3", "encoder_name": "tu-test_resnet", "decoder_channels": 16}


class Names(NamedTuple):
    """Names of a fold's checkpoints, the preference, and which is taken. It is the first."""

    names: str
    prefer: str = "best"
    said: str = ""


NAMES = [
    Names("epoch=29-val_loss=0.12.ckpt epoch=03-val_loss=0.41.ckpt", said="0.12, the lowest loss"),
    Names("epoch=3-val_loss=-0.9.ckpt epoch=2-val_loss=-0.7.ckpt"),
    Names("epoch=9-val_loss=1.5e-05.ckpt epoch=3-val_loss=0.001.ckpt"),
    Names("e9_bce_loss0.2.pth e3_bce_loss0.5.pth"),
    Names("fold0-valloss0.2.pth fold0-valloss0.3.pth"),
    Names("rmse_1.5.pth rmse_2.5.pth"),
    Names("dice_error=0.1.pth dice_error=0.2.pth"),
    Names("train_loss=0.5-val_loss=0.1.ckpt train_loss=0.1-val_loss=0.3.ckpt"),
    Names("e2_dice_0.93.pth e1_dice_0.91.pth", said="0.93, the highest score"),
    Names("loss_0.3_dice_0.93.pth loss_0.1_dice_0.91.pth"),
    Names("dice_0.9.pth loss_0.1.pth"),
    Names("dice0.93_thr0.3.pth dice0.91_thr0.6.pth"),
    Names("dice0.93_lr0.001.pth dice0.91_lr0.01.pth"),
    Names("iou=1.0.pth iou=0.99.pth"),
    Names("best.pth last.pth epoch_10.pth", said="says best. Left out: epoch_10.pth, last.pth"),
    Names("model_best.pth.tar checkpoint.pth.tar"),
    Names("epoch=12-step=900.ckpt last.ckpt", said="its epoch is 12, and no name has a score"),
    Names("epoch=12-step=900.ckpt epoch=9-step=700.ckpt"),
    Names("e10.pth e9.pth"),
    Names("last-v1.ckpt last.ckpt"),
    Names("best_dice_0.91.pth best_loss_0.1.pth"),
    Names("model.safetensors optimizer.pt scheduler.pt training_args.bin"),
    Names("weights.pth rng_state.pth"),
    Names("e1_ema_0.90.pth e1_val_0.95.pth", prefer="ema"),
    Names("e1_val_0.90.pth e1_ema_0.95.pth", prefer="raw"),
    Names("model_ema.pth model.pth", prefer="ema"),
    Names("model.pth model_ema.pth swa.pth", prefer="raw"),
    Names("EMA-0.9.ckpt swa-0.95.ckpt raw-0.99.ckpt", prefer="ema"),
    Names("swa-0.9.ckpt raw-0.99.ckpt", prefer="ema"),
    Names("schema_0.9.pth ema_0.8.pth", prefer="raw"),
    Names("e9_val_0.91.pth e8_val_0.93.pth", prefer="last", said="its epoch is 9, the highest"),
    Names("last.ckpt epoch=12.ckpt", prefer="last", said="its name says last"),
    Names("last-v2.ckpt last-v1.ckpt last.ckpt", prefer="last"),
    Names("e9_val_0.93.pth e9_ema_0.91.pth e8.pth", prefer="last"),
    Names("e3.pth best.pth", prefer="last"),
    Names("model.pth optimizer_e3.pth", prefer="last"),
]


@pytest.mark.parametrize("row", NAMES, ids=[f"{row.prefer}: {row.names}" for row in NAMES])
def test_a_name(row: Names, tmp_path: Path) -> None:
    """The best by its name is taken, and the rest is named in a note."""
    paths = [tmp_path / name for name in row.names.split()]
    for path in paths:
        path.touch()
    snapshots = [Snapshot.read(path, checkpoint_stem(path)) for path in sorted(paths)]
    choice = choose_snapshot(tmp_path, snapshots, row.prefer)  # type: ignore[arg-type]
    assert choice.snapshot.path == paths[0]
    assert choice.note is not None
    assert row.said in choice.note
    assert choice.note.startswith(f"{tmp_path.parent.name}/{tmp_path.name}: {paths[0].name} is")


class Row(NamedTuple):
    """A fault: how its run folder is made, and the right answer.

    Attributes
    ----------
    name
        What is odd about the folder.
    make
        Writes into the run's folder.
    error
        A pattern of the error's sentence, empty if the run loads.
    cfg
        The network, as cfg.yaml describes it. None writes no cfg.yaml.
    prefer
        As of a recipe's `checkpoints`.
    state
        The weights that the right network has.
    note
        What one of the notes says, empty if there must be none.
    check
        Says of the member whether it is right.
    """

    name: str
    make: Callable[[Path], Any]
    error: str = ""
    cfg: Any = FPN
    prefer: Any = "best"
    state: Any = STATE
    note: str = ""
    check: Callable[[Member], bool] = lambda _: True


def saved(content: Any, name: str = "e1.pth") -> Callable[[Path], None]:
    """A checkpoint of any content."""
    return lambda run: torch.save(content, run / name)


def written(name: str, content: bytes | str) -> Callable[[Path], None]:
    """Any file, beside weights that are right."""

    def make(run: Path) -> None:
        torch.save(STATE, run / "e1.pth")
        path = run / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, str):
            path.write_text(content)
        else:
            path.write_bytes(content)

    return make


def folder(name: str) -> Callable[[Path], None]:
    """A folder of a name that a file should have."""

    def make(run: Path) -> None:
        (run / name).unlink(missing_ok=True)
        (run / name).mkdir(parents=True)
        (run / name / "x").touch()
        if not name.startswith("e1"):
            torch.save(STATE, run / "e1.pth")

    return make


def beside(name: str, make: Callable[[Path], Any]) -> Callable[[Path], None]:
    """Weights that are right, with a score, and something beside them."""

    def write(run: Path) -> None:
        torch.save(STATE, run / "e1_0.5.pth")
        make(run / name)

    return write


def _renamed(name: str, other: str) -> Callable[[Path], None]:
    """Weights that are right, in a file with the suffix of another format."""

    def write(run: Path) -> None:
        _safetensors()(run) if name.endswith("s") else torch.save(STATE, run / name)
        (run / name).rename(run / other)

    return write


def archived(form: str, name: str) -> Callable[[Path], None]:
    """Weights in an archive, whose name is that of a checkpoint."""

    def write(run: Path) -> None:
        torch.save(STATE, run / "weights")
        archive = shutil.make_archive(str(run / "packed"), form, run, "weights")
        Path(archive).rename(run / name)
        (run / "weights").unlink()

    return write


def prefixed(prefix: str, state: dict[str, Tensor] | None = None) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in (state or STATE).items()}


def lightning(**entries: Any) -> dict[str, Any]:
    """What Lightning saves, and other entries."""
    return {
        "epoch": 3,
        "global_step": 100,
        "pytorch-lightning_version": "2.5.0",
        "state_dict": prefixed("model."),
        "loops": {"fit_loop": {"state_dict": {}}},
        "callbacks": {"ModelCheckpoint{}": {"best_model_score": torch.tensor(0.3)}},
        "optimizer_states": [{"state": {0: {"exp_avg": torch.zeros(2)}}}],
        "lr_schedulers": [],
        "hyper_parameters": {"lr": 1e-3, "args": Namespace(path=Path("/data"))},
        **entries,
    }


def described(**changes: Any) -> Any:
    return {**FPN, **changes}


def _replaced(**changes: Tensor) -> dict[str, Tensor]:
    name = next(iter(STATE))
    return {**STATE, name: changes["tensor"]}


def _bomb(run: Path) -> None:
    """Weights of which a member is 200 MB of zeros."""
    torch.save(STATE, run / "e1.pth")
    with (
        zipfile.ZipFile(run / "e1.pth", "a", zipfile.ZIP_DEFLATED) as archive,
        archive.open("e1/data/9999", "w") as file,
    ):
        for _ in range(190):
            file.write(bytes(1 << 20))


def _declared(run: Path) -> None:
    """A zip file whose directory declares more than it has."""
    torch.save(STATE, run / "e1.pth")
    data = bytearray((run / "e1.pth").read_bytes())
    at = data.find(b"PK\1\2")
    struct.pack_into("<I", data, at + 24, 0xFFFF0000)
    (run / "e1.pth").write_bytes(data)


def _broken_directory(run: Path) -> None:
    torch.save(STATE, run / "e1.pth")
    data = bytearray((run / "e1.pth").read_bytes())
    at = data.find(b"PK\1\2")
    data[at : at + 4] = b"XXXX"
    (run / "e1.pth").write_bytes(data)


def _pickled(run: Path) -> None:
    buffer = io.BytesIO()
    pickle.dump({"weights": [1, 2, 3]}, buffer, protocol=2)
    (run / "e1.pkl").write_bytes(buffer.getvalue())


class Runs:
    """An object that runs a command when it is unpickled."""

    def __reduce__(self) -> Any:
        return os.system, ("touch /tmp/ran",)


def _safetensors(**changes: Tensor) -> Callable[[Path], None]:
    return lambda run: save_file({**STATE, **changes}, run / "model.safetensors")


def _config(content: Any) -> Callable[[Path], None]:
    return written("config.json", json.dumps(content))


MANY = {f"key{i}": i for i in range(10_000)}
LAUGHS = "a: &a [1,1,1,1,1,1,1,1,1]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 9)}]\n" for i in range(9)
)

ROWS = [
    # how training codes save
    Row("buffers beside the network", saved({"state_dict": prefixed("model.")
        | {"mean": torch.rand(1, 3, 1, 1), "std": torch.rand(1, 3, 1, 1) + 0.1}}, "last.ckpt"),
        note="2 are not the network's (mean, std)",
        check=lambda m: len(m.trained_with.mean or ()) == 3),
    Row("a loss with weights", saved(prefixed("model.") | {"loss.weight": torch.ones(2)}),
        note="1 are not the network's (loss.weight)"),
    Row("three wrappers", saved(prefixed("module._orig_mod.model."))),
    Row("another attribute", saved({"state_dict": prefixed("segmenter.")})),
    Row("Lightning", saved(lightning(), "epoch=3-val_loss=0.3.ckpt")),
    Row("Lightning's average", saved(lightning(current_model_state=prefixed("model.", OTHER),
        averaging_state={"n_averaged": torch.tensor(3)})), note="averaged weights are taken"),
    Row("Lightning's average, raw", saved(lightning(current_model_state=prefixed("model."),
        state_dict=prefixed("model.", OTHER))), prefer="raw", note="plain weights are taken"),
    Row("Lightning's SWA", saved(lightning(state_dict=prefixed("model.", OTHER), callbacks={
        "StochasticWeightAveraging": {"average_model_state": prefixed("model.")}})),
        prefer="ema", note="averaged weights are taken"),
    Row("an EMA beside the network", saved(lightning(state_dict=prefixed("model.")
        | prefixed("ema_model.module.", OTHER))), note='write "checkpoints: ema"'),
    Row("an EMA beside the network, taken", saved(lightning(state_dict=prefixed("model.", OTHER)
        | prefixed("ema.module."))), prefer="ema", note='write "checkpoints: raw"'),
    Row("timm's EMA", saved({"state_dict": STATE, "state_dict_ema": OTHER}), note="state_dict_ema"),
    Row("timm's EMA, taken", saved({"state_dict": OTHER, "state_dict_ema": STATE}), prefer="ema",
        note="averaged weights are taken", check=lambda m: m.is_averaged),
    Row("torchvision's EMA", saved({"model": OTHER, "model_ema": {"module": STATE}}), prefer="ema",
        note="averaged weights are taken"),
    Row("both, in a file named ema", saved({"model": OTHER, "model_ema": STATE}, "best_ema.pth"),
        note="averaged weights are taken"),
    Row("no EMA in it", saved(STATE), prefer="ema", error="no ema weights in it"),
    Row("only an EMA in it", saved({"state_dict_ema": STATE}), prefer="raw",
        error="no raw weights in it, as the recipe wants"),
    Row("only an EMA in it, taken", saved({"state_dict_ema": STATE})),
    Row("teacher and student", saved({"teacher": STATE, "student": OTHER}),
        error=r"several networks in it fit \(teacher, student\)"),
    Row("a discriminator too", saved({"generator": STATE, "critic": {"fc.weight": torch.ones(2)}})),
    Row("under an unusual key", saved({"weights_of_fold": STATE, "epoch": 3})),
    Row("a .pkl", saved(STATE, "e1.pkl")),
    Row("a .pth.tar", saved({"state_dict": STATE, "best_acc1": torch.tensor(0.9)}, "best.pth.tar")),
    Row("DeepLabV3 of 0.1.3", lambda run: _deeplab(run), cfg=DEEPLAB, state=None),
    # files that are no weights
    Row("a .pkl of a list", _pickled, error="written by pickle itself"),
    Row("many keys", saved(MANY), error="key0, .* and 9994 more"),
    Row("a list", saved([STATE]), error="it has no keys"),
    Row("a web page", lambda r: (r / "e1.pth").write_text("<!DOCTYPE html>"), error="a web page"),
    Row("a Git LFS pointer", lambda r: (r / "e1.pth").write_text("version https://git-lfs.github"),
        error="pointer of Git LFS"),
    Row("no last", lambda r: (r / "a.pth").touch() or (r / "b.pth").touch(), prefer="last",
        error=r"no name says which checkpoint is the last \(there is a.pth, b.pth\). Write the ep"),
    Row("only averaged, as last and raw", saved(STATE, "e1_ema.pth"), prefer=["last", "raw"],
        error="there is no raw checkpoint, as the recipe wants"),
    Row("the last of one", saved(STATE, "model.pth"), prefer="last"),
    Row("a .pkl that runs code", lambda r: (r / "e1.pkl").write_bytes(pickle.dumps(Runs())),
        error="reading it could run code. Save the state dict of the network by torch.save"),
    Row("a .pkl of a whole network", saved(Runs(), "e1.pkl"),
        error="objects of posix.system that are no weights, and loading them could run code"),
    Row("a .pkl of torch before 1.6", lambda r: torch.save(STATE, r / "e1.pkl",
        _use_new_zipfile_serialization=False)),
    Row("an empty file", lambda r: (r / "e1.pth").touch(), error="truncated"),
    Row("an empty safetensors", lambda r: (r / "m.safetensors").touch(), error="truncated"),
    Row("noise", lambda r: (r / "e1.pth").write_bytes(np.random.default_rng(0).bytes(9999)),
        error="e1.pth: "),
    Row("a broken zip directory", _broken_directory, error="truncated"),
    Row("a zip that declares 4 GB", _declared, error=r"4\.\d+ GB packed into \d\.\d+ MB"),
    Row("a zip of 200 MB of zeros", _bomb, error=r"0\.20 GB packed into"),
    Row("a folder as checkpoint", folder("e1.pth"), error="e1.pth: found a folder, wanted"),
    Row("a folder as safetensors", folder("e1.safetensors"), error="found a folder, wanted"),
    # files that are called otherwise than they are
    Row("safetensors named .pth", _renamed("model.safetensors", "e1.pth"),
        error="this is a safetensors file. Rename it to .safetensors"),
    Row("safetensors named .bin", _renamed("model.safetensors", "pytorch_model.bin"),
        error="this is a safetensors file"),
    Row("a .pth named safetensors", _renamed("e1.pth", "model.safetensors"),
        error="written by torch.save. Rename it to .pth"),
    Row("a tar archive", archived("tar", "e1.pth.tar"), error="this is a tar archive. Unpack it"),
    Row("a zip archive", archived("zip", "e1.pth"), error="a zip archive of weights. Unpack it"),
    Row("packed by gzip", lambda r: (r / "e1.pth").write_bytes(gzip.compress(bytes(999))),
        error="packed by gzip. Unpack it"),
    Row("one of two parts", lambda r: torch.save(STATE, r / "model-00001-of-00002.bin"),
        error="this is part 1 of 2 of a checkpoint"),
    Row("a better folder beside", beside("e2_0.9.pth", lambda path: path.mkdir()),
        error="e2_0.9.pth: found a folder, wanted a checkpoint"),
    Row("a better link that leads nowhere", beside("e2_0.9.pth", lambda p: p.symlink_to("gone")),
        error="e2_0.9.pth: found a link that leads nowhere"),
    Row("a hidden file beside", beside(".e2_0.9.pth", lambda path: torch.save(OTHER, path))),
    Row("what macOS packs beside", beside("._e1_0.5.pth", lambda path: path.write_bytes(bytes(9)))),
    # tensors that are none
    Row("whole numbers", saved(_replaced(tensor=next(iter(STATE.values())).to(torch.int8))),
        error=r"another kind of numbers \(.*weight \(int8\)\), wanted floating point"),
    Row("complex numbers", saved(_replaced(tensor=next(iter(STATE.values())).to(torch.complex64))),
        error=r"\(complex64\)"),
    Row("float64", saved({name: t.double() for name, t in STATE.items()})),
    Row("a sparse tensor", saved(_replaced(tensor=torch.eye(4).to_sparse())),
        error="e1.pth: found a sparse tensor"),
    Row("a meta tensor", saved(_replaced(tensor=torch.empty(4, device="meta"))),
        error="e1.pth: found a tensor without data"),
    Row("a quantised tensor", saved(_replaced(
        tensor=torch.quantize_per_tensor(torch.ones(4), 0.1, 0, torch.qint8))), error="quantised"),
    Row("weights that diverged", saved(_replaced(
        tensor=torch.full_like(next(iter(STATE.values())), torch.nan))),
        error="1 of .* weights are not numbers"),
    Row("a variance beyond float16", saved({n: t.half() * (1e6 if n.endswith("running_var") else 1)
        for n, t in STATE.items()}), error="weights are infinite, such as .*running_var. Float16"),
    Row("NaN in safetensors", _safetensors(**{next(iter(STATE)):
        torch.full_like(next(iter(STATE.values())), torch.nan)}), error="not numbers"),
    # descriptions
    Row("MODEL is a list", saved(STATE), cfg=["Unet"], error=r"MODEL is \['Unet'\], wanted keys"),
    Row("MODEL is a word", saved(STATE), cfg="Unet", error="MODEL is Unet, wanted keys"),
    Row("classes is a word", saved(STATE), cfg=described(classes="two"), error="classes is two"),
    Row("no classes", saved(STATE), cfg=described(classes=0), error="classes is 0"),
    Row("10^9 classes", saved(STATE), cfg=described(classes=10**9), error="classes is 1000000000"),
    Row("channels of gigabytes", saved(STATE), cfg=described(decoder_pyramid_channels=10**6),
        error="1000000 for decoder_pyramid_channels"),
    Row("arch is a number", saved(STATE), cfg=described(arch=3), error="arch is 3"),
    Row("no arch", saved(STATE), cfg={"encoder_name": "resnet18"}, error="no network can be built"),
    Row("a number as a key", saved(STATE), cfg={**FPN, 3: 4}, error="found 3 as a key"),
    Row("a misspelt argument", saved(STATE), cfg=described(clases=1), error="no network can be"),
    Row("cfg.yaml is a list", written("cfg.yaml", "- a\n"), error="cfg.yaml: found"),
    Row("cfg.yaml is empty", written("cfg.yaml", ""), error="cfg.yaml: found nothing"),
    Row("cfg.yaml is a folder", folder("cfg.yaml"), error="cfg.yaml: found a folder"),
    Row("cfg.yaml of a billion laughs", written("cfg.yaml", LAUGHS), error="cfg.yaml, line"),
    Row("cfg.yaml with code", written("cfg.yaml", "MODEL: !!python/object/apply:os.getcwd []"),
        error="found the tag"),
    Row("cfg.yaml in Latin-1", written("cfg.yaml", "MODEL: {arch: é}".encode("latin-1")),
        error="not UTF-8"),
    Row("config.json is a list", _config([1]), error="config.json: found"),
    Row("config.json nested deep", written("config.json", "[" * 100_000), error="not valid JSON"),
    Row("config.json nested 60 levels", written("config.json", '{"a":' * 60 + "1" + "}" * 60),
        error="more than 50"),
    Row("config.json of 2 MB", written("config.json", " " * (2 << 20)), error="wanted at most"),
    Row("config.json is a folder", folder("config.json"), error="config.json: found a folder"),
    Row("config.json in UTF-16", written("config.json", "{}".encode("utf-16")), error="not valid"),
    # names that would ask the network
    Row("an encoder of a hub", saved(STATE), cfg=described(encoder_name="tu-hf-hub:timm/resnet18"),
        error='found "tu-hf-hub:timm/resnet18" for encoder_name'),
    Row("another spelling", saved(STATE), cfg=described(encoder_name="tu-hf_hub:a/b"), error="hub"),
    Row("a hub without a colon", saved(STATE), cfg=described(encoder_name="tu-timm/resnet18"),
        error="wanted the name of an architecture"),
    Row("a folder of weights", saved(STATE), cfg=described(encoder_name="tu-local-dir:/tmp/x"),
        error="wanted the name"),
    Row("an address", saved(STATE), cfg=described(arch="https://example.com/x"), error="address"),
    Row("a classifier of a hub", saved(STATE), cfg={"arch": "timm", "model_name": "hf-hub:a/b"},
        error="wanted the name"),
    Row("a checkpoint to open", saved(STATE), cfg=described(checkpoint_path="x.pth"),
        error="checkpoint_path would open"),
    Row("a configuration with a hub", saved(STATE),
        cfg=described(pretrained_cfg_overlay={"hf_hub_id": "a"}), error="would open or fetch"),
    Row("a URL below", saved(STATE), cfg=described(aux_params={"classes": 2, "x": "http://a/b"}),
        error="for x, wanted the name"),
    Row("a hub in config.json", _config({"_model_class": "FPN", "encoder_name": "tu-hf-hub:a/b"}),
        cfg=None, error="config.json: found"),
    Row("a hub as timm saves it", _config({"architecture": "hf-hub:a/b"}), cfg=None,
        error="config.json: found"),
    Row("pretrained weights", saved(STATE), cfg=described(encoder_weights="imagenet")),
    Row("pretrained weights of a hub", saved(STATE), cfg=described(encoder_weights="hf-hub:a/b")),
]  # fmt: skip


def _deeplab(run: Path) -> None:
    """Weights of DeepLabV3 under the names of 2020."""
    names = {"aspp.": "0.", "conv.": "1.", "bn.": "2."}
    state = network(DEEPLAB, seed=1).state_dict()
    for new, old in names.items():
        state = {n.replace(f"decoder.{new}", f"decoder.{old}"): t for n, t in state.items()}
    assert "decoder.0.convs.0.0.weight" in state
    torch.save(state, run / "e1.pth")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The addresses that are asked while a test runs."""
    addresses: list[Any] = []

    def refuse(*arguments: Any, **_: Any) -> Any:
        addresses.append(arguments)
        raise OSError("this test has no network")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket.socket, "connect_ex", refuse)
    return addresses


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_a_run(row: Row, tmp_path: Path, asked: list[Any]) -> None:
    """It loads as it is meant, or is refused in a sentence. No address is asked."""
    run = tmp_path / "run"
    run.mkdir()
    if row.cfg is not None:
        (run / "cfg.yaml").write_text(yaml.safe_dump({"MODEL": row.cfg}))
    row.make(run)
    if row.error:
        with pytest.raises(CheckpointError, match=row.error) as caught:
            load_members(tmp_path, checkpoints=row.prefer)
        message = str(caught.value)
        assert message.startswith(str(run))
        assert len(message) < 700
        assert not message.endswith(".")
        assert "\n" not in message
        assert not any(word in message for word in ("KeyError", "NoneType", "object has no"))
    else:
        [member] = load_members(tmp_path, checkpoints=row.prefer)
        module: nn.Module = member.module
        if row.state is not None:
            loaded = module.state_dict()
            assert all(torch.equal(loaded[name], tensor) for name, tensor in row.state.items())
        said = " | ".join(member.notes)
        assert row.note in said
        assert bool(row.note) == bool(said), said
        assert row.check(member)
    assert asked == []


def test_a_file_as_models_folder(tmp_path: Path) -> None:
    """A file in place of the models folder is called a file."""
    (tmp_path / "models").touch()
    with pytest.raises(CheckpointError, match="models: found a file, wanted the models folder"):
        load_members(tmp_path / "models")


def test_brackets_in_the_name_of_a_run(tmp_path: Path) -> None:
    """They are a pattern's, and the sentence says how the name is written."""
    (tmp_path / "unet[1]").mkdir()
    torch.save(STATE, tmp_path / "unet[1]/e1.pth")
    (tmp_path / "unet[1]/cfg.yaml").write_text(yaml.safe_dump({"MODEL": FPN}))
    with pytest.raises(CheckpointError, match=r"no run matches unet\[1\] .*Write unet\[\[\]1\] in"):
        load_members(tmp_path, ["unet[1]"])
    assert len(load_members(tmp_path, ["unet[[]1]"])) == 1


def test_less_memory_than_the_weights_take(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights that do not fit into the memory are refused before they are read."""
    torch.save(STATE, tmp_path / "e1.pth")
    (tmp_path / "cfg.yaml").write_text(yaml.safe_dump({"MODEL": FPN}))
    monkeypatch.setattr("kernelkit.checkpoints.weights.available_memory", lambda: 1000)
    with pytest.raises(CheckpointError, match=r"e1\.pth: found .* GB of weights, but 0\.00 GB"):
        load_members(tmp_path)
