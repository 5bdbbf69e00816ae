"""Names of own code that no recipe and no run folder may use: each row ends in one sentence."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from kernelkit.errors import OwnCodeError
from kernelkit.own import load_own


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
