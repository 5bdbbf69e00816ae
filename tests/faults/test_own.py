"""Own code that no recipe and no run folder may name, and networks of it that are none.

Each row ends in one sentence.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
import yaml

from kernelkit.checkpoints import load_members
from kernelkit.errors import CheckpointError, OwnCodeError
from kernelkit.own import load_own
from tests.made.own import MODEL, PACKAGE, session_with, write_own


def _module(content: str) -> Callable[[Path], object]:
    """Write a package `mycode_fault` whose module `model` has this content."""

    def make(folder: Path) -> None:
        package = folder / "mycode_fault"
        package.mkdir()
        (package / "model.py").write_text(content)

    return make


_NET = _module("from os import system\nimport math\nLIMIT = 3\nclass Net:\n    pass\n")


class Row(NamedTuple):
    """A name, how its folder is made, and the error's sentence."""

    case: str
    name: str
    make: Callable[[Path], object]
    error: str


ROWS = [
    Row("of the standard library", "os:system", _NET, "os: ?.*os is no code of your own"),
    Row("of the image", "numpy:load", _NET, "numpy is no code of your own"),
    Row("of kernelkit", "kernelkit.own:load_own", _NET, "kernelkit is no code of your own"),
    Row("what it imports", "mycode_fault.model:system", _NET, "system is no class or function"),
    Row("a module in it", "mycode_fault.model:math", _NET, "math is no class or function of your"),
    Row("a constant", "mycode_fault.model:LIMIT", _NET, "LIMIT is no class or function"),
    Row("a dotted attribute", "mycode_fault.model:Net.mro", _NET, "wanted package.module"),
    Row("a path", "../mycode_fault/model.py", _NET, "wanted package.module"),
    Row("a relative name", ".model:Net", _NET, "wanted package.module or package.module:Name"),
    Row("a class that is not there", "mycode_fault.model:Unet", _NET, r"has no Unet \(it has Net"),
    Row("a module that is not there", "mycode_fault.nets:Net", _NET, "no such module in"),
    Row(
        "a module that is broken",
        "mycode_fault.model",
        _module("def broken(:\n"),
        r"mycode_fault.model of .* cannot be imported \(SyntaxError",
    ),
    Row(
        "a module that lacks another",
        "mycode_fault.model",
        _module("import mycode_lacks"),
        "cannot be imported .*No module named 'mycode_lacks'",
    ),
    Row(
        "a module that ends the program",
        "mycode_fault.model",
        _module("raise SystemExit(0)"),
        "cannot be imported .it ends the program",
    ),
    Row(
        "a name of the standard library",
        "random:Net",
        lambda folder: (folder / "random.py").touch(),
        "random has the name of the standard library's, and one would hide the other",
    ),
    Row(
        "a name of the image",
        "torch:Net",
        lambda folder: (folder / "torch.py").touch(),
        "torch has the name of another one at",
    ),
    Row(
        "the name of kernelkit",
        "kernelkit:Net",
        lambda folder: (folder / "kernelkit.py").touch(),
        "kernelkit has the name of kernelkit's",
    ),
    Row(
        "a folder without code",
        "a:B",
        lambda folder: (folder / "models").mkdir(),
        "found no package and no module",
    ),
    Row("a file", "a:B", lambda folder: (folder.rmdir(), folder.touch()), "there is a file"),
    Row("no folder", "a:B", lambda folder: folder.rmdir(), "there is no such folder"),
]


@pytest.mark.parametrize("row", ROWS, ids=[row.case for row in ROWS])
def test_a_name(row: Row, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One sentence says what the name is of, and which names there are."""
    folder = tmp_path / "own"
    folder.mkdir()
    row.make(folder)
    monkeypatch.setenv("KERNELKIT_OWN", str(folder))
    monkeypatch.setattr(sys, "path", sys.path.copy())
    try:
        with pytest.raises(OwnCodeError, match=row.error) as caught:
            load_own(row.name)
    finally:
        for name in [name for name in sys.modules if name.startswith("mycode_fault")]:
            del sys.modules[name]
    assert "\n" not in str(caught.value)
    assert not str(caught.value).endswith(".")


def test_no_own_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """If no folder is given, the error says where to give one."""
    monkeypatch.delenv("KERNELKIT_OWN", raising=False)
    with pytest.raises(OwnCodeError, match=r"has no code of your own\. Give its folder"):
        load_own("mycode_fault.model:Net")


class Network(NamedTuple):
    """A section MODEL of a run folder, its class's module, and the error's sentence."""

    case: str
    described: dict[str, object]
    error: str
    model: str = MODEL


NET = {"network": f"{PACKAGE}.model:Net"}
HEAD = "self.head(self.body(x))"
NETWORKS = [
    Network("any importable name", {"network": "os:system"}, "os is no code of your own"),
    Network("a class of torch", {"network": "torch.nn:Linear"}, "torch is no code of your own"),
    Network(
        "a class that it imports", {"network": f"{PACKAGE}.model:nn"}, "nn is no class or function"
    ),
    Network("a function", {"network": f"{PACKAGE}.parts:block"}, "block is no class of torch.nn"),
    Network("a module", {"network": f"{PACKAGE}.model"}, "is no class of torch.nn.Module"),
    Network("an address", {"network": "https://a.b/c:Net"}, "wanted package.module"),
    Network("not a text", {"network": ["a"]}, r"network is \['a'\]"),
    Network(
        "no such class", {"network": f"{PACKAGE}.model:Nets"}, r"has no Nets \(it has block, Net"
    ),
    Network("arch too", {**NET, "arch": "Unet"}, "found arch Unet and network .*one of them"),
    Network("an argument that is not taken", {**NET, "depth": 3}, "cannot be made with depth .*de"),
    Network("a path as argument", {**NET, "width": "/etc/passwd"}, 'found "/etc/passwd" for width'),
    Network("a file to open", {**NET, "checkpoint_path": "a"}, "checkpoint_path would open or"),
    Network("another width", {**NET, "width": 6}, "these weights do not fit .*of another shape"),
    Network(
        "another number of classes",
        {**NET, "classes": 2},
        "answers with 1 classes, but its description says 2. Correct the section MODEL",
        MODEL.replace("classes=1,", "classes=1, *,").replace(
            "(width, classes, 1)", "(width, 1, 1)"
        ),
    ),
    Network(
        "smaller masks",
        NET,
        "answers with masks of 32 x 32 for tiles of 64 x 64, wanted one value per pixel",
        MODEL.replace(HEAD, f"{HEAD}[..., ::2, ::2]"),
    ),
    Network(
        "no masks",
        NET,
        r"answers with an array \(2, 1, 64\)",
        MODEL.replace(HEAD, f"{HEAD}[..., 0]"),
    ),
    Network(
        "names that say nothing",
        NET,
        "the network answers under a, b, and none of them is known",
        MODEL.replace(HEAD, f'{{"a": {HEAD}, "b": {HEAD}}}'),
    ),
    Network(
        "another answer each time",
        NET,
        "answers differently if it is asked again, as with a dropout",
        MODEL.replace(HEAD, f"nn.functional.dropout({HEAD})"),
    ),
    Network(
        "no tiles at all",
        NET,
        r"takes no tiles of 32 to 1024 pixels \(never\). Write its in_channels",
        MODEL.replace(f"return {HEAD}", "raise ValueError('never')"),
    ),
    Network(
        "a constructor that fails",
        NET,
        r"cannot be made with no arguments \(ValueError: never\). Correct the section MODEL",
        MODEL.replace("super().__init__()", "raise ValueError('never')"),
    ),
]


@pytest.mark.parametrize("row", NETWORKS, ids=[row.case for row in NETWORKS])
def test_a_network(row: Network, tmp_path: Path) -> None:
    """The run folder and the class are named, and nothing else of the session runs."""
    run = tmp_path / "models/run"
    run.mkdir(parents=True)
    (run / "cfg.yaml").write_text(yaml.safe_dump({"MODEL": row.described}))
    own = write_own(tmp_path / "own")
    with session_with(own):
        torch.save(load_own(f"{PACKAGE}.model:Net")().state_dict(), run / "e1.pth")
    write_own(own, row.model)
    with session_with(own), pytest.raises(CheckpointError, match=row.error) as caught:
        load_members(tmp_path / "models")
    message = str(caught.value)
    assert message.startswith(str(run))
    assert "\n" not in message
    assert not message.endswith(".")


def test_a_network_without_own_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says where the folder is given."""
    monkeypatch.delenv("KERNELKIT_OWN", raising=False)
    (tmp_path / "run").mkdir()
    (tmp_path / "run/e1.pth").touch()
    (tmp_path / "run/cfg.yaml").write_text(yaml.safe_dump({"MODEL": NET}))
    with pytest.raises(CheckpointError, match=r"cfg\.yaml: .* no code of your own. Give"):
        load_members(tmp_path)
