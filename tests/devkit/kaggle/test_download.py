"""`make download-data`: a competition's files, fetched and unpacked."""

import io
import stat
import zipfile
from pathlib import Path

import pytest

from tests.made.kaggle_home import Home
from tests.made.kaggle_service import COMPETITION

FILES = {"train.csv": b"id,encoding\n" * 9000, "train/a.tiff": bytes(range(256)) * 5000}
# what the client writes at once
MEBIBYTE = 1 << 20


def packed(files: dict[str, bytes] = FILES) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return file.getvalue()


@pytest.fixture(autouse=True)
def without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client waits for a minute before it gives up a download."""
    monkeypatch.setenv("KAGGLE_API_ENVIRONMENT", "LOCALHOST")
    module = pytest.importorskip("kaggle.api.kaggle_api_extended")
    monkeypatch.setattr(module.time, "sleep", lambda _: None)


def fetch(home: Home) -> Path:
    folder = home.folder / "data"
    result = home.run("download-data", "-o", str(folder))
    assert result.code == 0, result.err
    assert f"2 files of {COMPETITION}" in result.out
    return folder


def unpacked(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file() and path.name[0] != "."]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_a_competitions_files_are_fetched_and_unpacked(home: Home) -> None:
    """Nothing is left of the archive, and the same command again fetches nothing."""
    home.service.data = packed()
    folder = fetch(home)
    assert unpacked(folder) == FILES
    fetch(home)
    assert home.server.downloaded == [f"data/{COMPETITION}.zip"]


def test_an_interrupted_download_goes_on_where_it_was(home: Home) -> None:
    """The client gives up after some attempts. The next command asks for the rest alone."""
    home.service.data = packed()
    home.server.cut_download(MEBIBYTE + 5)
    home.server.cut_download(10, times=5)
    result = home.run("download-data", "-o", str(home.folder / "data"))
    assert result.code == 1
    assert "could not fetch the files" in result.err
    assert unpacked(fetch(home)) == FILES
    assert home.server.downloaded[-1] == f"data/{COMPETITION}.zip bytes={MEBIBYTE}-"


def test_an_interrupted_unpacking_goes_on_where_it_was(home: Home) -> None:
    """A file that is whole stays, and one that was cut off is written again."""
    home.service.data = packed()
    folder = home.folder / "data"
    (folder / "train").mkdir(parents=True)
    (folder / "train.csv").write_bytes(FILES["train.csv"])
    (folder / "train/a.tiff").write_bytes(FILES["train/a.tiff"][:-1] + b"x")
    before = (folder / "train.csv").stat().st_mtime_ns
    assert unpacked(fetch(home)) == FILES
    assert (folder / "train.csv").stat().st_mtime_ns == before


def linking() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        link = zipfile.ZipInfo("train")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc")
        archive.writestr("train/passwd", b"x")
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (packed({"../outside.csv": b"x"}), "names '../outside.csv', outside of its folder"),
        (packed({"a/../../outside.csv": b"x"}), "outside of its folder. Nothing was unpacked"),
        (packed({"/outside.csv": b"x"}), "outside of its folder. Nothing was unpacked"),
        (linking(), "'train' in it is a link, which could lead anywhere"),
        (b"no archive", "the archive is damaged"),
        (packed()[:5000], "the archive is damaged"),
        (packed().replace(b"id,encoding", b"id,encodinG", 3), "the archive is damaged"),
    ],
)
def test_an_archive_that_is_not_safe_is_refused(home: Home, content: bytes, problem: str) -> None:
    """Nothing lies outside of the folder afterwards."""
    home.service.data = content
    before = {path for path in home.folder.rglob("*") if not {"data", "s"} & set(path.parts)}
    result = home.run("download-data", "-o", str(home.folder / "data"))
    assert result.code == 1
    assert problem in result.err
    after = {path for path in home.folder.rglob("*") if not {"data", "s"} & set(path.parts)}
    assert {path.name for path in after - before} <= {"kaggle.toml"}


def test_a_competition_that_kaggle_does_not_know_is_an_error(home: Home) -> None:
    """The sentence says what could not be done."""
    home.settings["competition"] = "other"
    result = home.run("download-data", "-o", str(home.folder / "data"))
    assert result.code == 1
    assert "could not fetch the files of other" in result.err
