"""Faults of `make predict`: folders, devices and schedulers that cannot be meant.

A row is a fault: its name, what it changes of the arguments, and the sentence.
"""

import socket
from pathlib import Path

import pytest

from devkit.predict import connection
from devkit.predict.__main__ import main
from tests.made.competition import RECIPE

FAULTS = [
    (
        "no such folder of images",
        {"--competition": "nowhere"},
        "nowhere: there is no such folder. Name the competition's folder",
    ),
    (
        "a folder without images",
        {"--competition": "empty"},
        "empty: found neither sample_submission.csv, nor images at test as the recipe test says",
    ),
    (
        "no such models folder",
        {"--models": "nowhere"},
        "nowhere: there is no such models folder. Check the path",
    ),
    (
        "a file where the output is to go",
        {"--output": "recipe.yaml"},
        "recipe.yaml: the output folder cannot be written to",
    ),
    (
        "a file system that is read-only",
        {"--output": "/sys/kernelkit"},
        "/sys/kernelkit: the output folder cannot be written to",
    ),
    (
        "a GPU that is not there",
        {"--devices": "cuda:99"},
        "cuda:99",
    ),
    (
        "no name of a device",
        {"--devices": " , "},
        "found no name of a device, wanted auto, cpu, or GPUs such as cuda:0",
    ),
    (
        "a scheduler that does not answer",
        {"--scheduler": "tcp://127.0.0.1:1"},
        "tcp://127.0.0.1:1: no scheduler of dask answered within 1 s. Start one",
    ),
    (
        "an address that is none",
        {"--scheduler": "carrier pigeon"},
        "carrier pigeon: no scheduler of dask answered within 1 s",
    ),
]


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A recipe, a picture, and folders without anything in them."""
    folder = tmp_path_factory.mktemp("place")
    (folder / "recipe.yaml").write_text(RECIPE)
    for name in ("empty", "models", "pictures"):
        (folder / name).mkdir()
    (folder / "pictures" / "a.png").write_bytes(b"no picture, but nobody comes to open it")
    return folder


@pytest.mark.parametrize(
    ("changes", "answer"), [pytest.param(*row[1:], id=row[0]) for row in FAULTS]
)
def test_faults_are_one_sentence(
    place: Path, monkeypatch, capsys, changes: dict[str, str], answer: str
) -> None:
    """The exit code is 1, and one line says what was found, what was wanted and what to do."""
    monkeypatch.chdir(place)
    monkeypatch.setattr(connection, "PATIENCE", 1)
    given = {"--competition": "pictures", "--models": "models", "--output": "out"} | changes
    assert main(["recipe.yaml", *(part for pair in given.items() for part in pair)]) == 1
    [line] = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("predict failed: ")
    assert answer in line
    assert not line.endswith(".")


def test_what_listens_and_is_no_scheduler_is_one_sentence(place: Path, monkeypatch, capsys) -> None:
    """It takes the connection and says nothing, for which a client of dask waits for ever."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = f"tcp://127.0.0.1:{listening.getsockname()[1]}"
        sentence = f"{address}: no scheduler of dask answered within 1 s. "
        test_faults_are_one_sentence(place, monkeypatch, capsys, {"--scheduler": address}, sentence)
