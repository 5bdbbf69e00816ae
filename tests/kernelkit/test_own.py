"""Code of the user's own: what can be named, and what cannot."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kernelkit.own import OwnCode, load_own


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a package, whose modules are forgotten afterwards."""
    folder = tmp_path / "my code"
    package = folder / "mycode_test" / "inner"
    package.mkdir(parents=True)
    (package.parent / "__init__.py").write_text("")
    (package / "model.py").write_text(
        "from os import system\nfrom mycode_test.parts import Part\nLIMIT = 3\n"
        "class Net(Part):\n    pass\ndef build():\n    return Net()\n"
    )
    (package.parent / "parts.py").write_text("class Part:\n    size = 7\n")
    monkeypatch.setenv("KERNELKIT_OWN", str(folder))
    monkeypatch.setattr(sys, "path", sys.path.copy())
    yield folder
    for name in [name for name in sys.modules if name.split(".")[0].startswith("mycode_test")]:
        del sys.modules[name]


@pytest.mark.usefixtures("own")
def test_a_class_of_a_package_is_loaded_by_its_name() -> None:
    """The module may import others of its package, and the package needs no __init__ below it."""
    assert load_own("mycode_test.inner.model:Net").size == 7


def test_a_module_is_loaded_by_its_name(own: Path) -> None:
    """Without a colon, the module itself is returned."""
    module = load_own("mycode_test.parts")
    assert Path(module.__file__).is_relative_to(own.resolve())


def test_the_folder_goes_last_on_the_path(own: Path) -> None:
    """So nothing that the session has is hidden by it."""
    load_own("mycode_test.parts")
    assert sys.path[-1] == str(own.resolve())


def test_tests_and_hidden_folders_are_no_own_code(own: Path) -> None:
    """Neither are folders without a module, such as those of checkpoints."""
    for name in ("tests", ".venv", "fold_0", "no-name"):
        (own / name).mkdir()
        if name != "fold_0":
            (own / name / "a.py").touch()
    (own / "setup.py").touch()
    (own / "single.py").touch()
    assert OwnCode.below(own).modules == ("mycode_test", "single")


def test_the_fingerprint_changes_with_any_file_of_a_package(own: Path) -> None:
    """What Python caches beside the modules does not count."""
    before = OwnCode.below(own).fingerprint("mycode_test")
    cache = own / "mycode_test" / "__pycache__"
    cache.mkdir()
    (cache / "parts.cpython-312.pyc").touch()
    assert OwnCode.below(own).fingerprint("mycode_test") == before
    (own / "mycode_test" / "words.json").write_text("{}")
    assert OwnCode.below(own).fingerprint("mycode_test") != before
