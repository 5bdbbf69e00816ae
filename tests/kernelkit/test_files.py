"""Files and folders that take the place of others: one of both is always there."""

from pathlib import Path

import pytest

from kernelkit import files
from kernelkit.files import replace_folder


def folder_of(path: Path, text: str) -> Path:
    """A folder with one file."""
    path.mkdir()
    (path / "file").write_text(text)
    return path


@pytest.fixture(params=[True, False])
def can_exchange(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether the disk can exchange two names."""
    if not request.param:
        monkeypatch.setattr(files, "_exchanged", lambda *_: False)
    return bool(request.param)


def test_a_folder_takes_the_place_of_another(tmp_path: Path, can_exchange: bool) -> None:
    """The old one lies where the new one was, whatever a killed run left."""
    new, folder = folder_of(tmp_path / "new", "new"), tmp_path / "folder"
    replace_folder(new, folder)
    assert (folder / "file").read_text() == "new"
    assert not new.exists()
    if not can_exchange:
        folder_of(tmp_path / ".old-folder", "of a killed run")
    replace_folder(folder_of(new, "newer"), folder)
    assert (folder / "file").read_text() == "newer"
    assert (new / "file").read_text() == "new"
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"folder", "new"}


@pytest.mark.usefixtures("can_exchange")
def test_a_folder_that_a_kill_left_aside_comes_back(tmp_path: Path) -> None:
    """It is what is replaced then."""
    folder_of(tmp_path / ".old-folder", "old")
    replace_folder(folder_of(tmp_path / "new", "new"), tmp_path / "folder")
    assert (tmp_path / "folder/file").read_text() == "new"
    assert (tmp_path / "new/file").read_text() == "old"


@pytest.mark.usefixtures("can_exchange")
def test_a_folder_that_cannot_be_replaced_stays(tmp_path: Path) -> None:
    """There is nothing that could take its place."""
    folder = folder_of(tmp_path / "folder", "old")
    with pytest.raises(FileNotFoundError):
        replace_folder(tmp_path / "nowhere", folder)
    assert (folder / "file").read_text() == "old"
