"""Credentials and proxies that cannot work: one sentence says which, before Kaggle is asked."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from devkit.kaggle.service.credentials import found_credentials
from devkit.kaggle.service.secrets import known_secrets
from tests.made.kaggle_home import Home

PASSWORD = "hunter2secret"
NO_KEY = "kaggle.json: found no username and key in it. Fetch the file again"


def text(name: str, content: bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes(content) and None


def folder_at(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).mkdir()


# name, what lies in ~/.kaggle, part of the sentence
FILES = [
    ("nothing", text("notes.txt", b"x"), "there are no Kaggle credentials that work. Run"),
    ("garbage", text("kaggle.json", b"{"), NO_KEY),
    ("a list", text("kaggle.json", b"[]"), NO_KEY),
    ("no key", text("kaggle.json", b'{"username": "alice"}'), NO_KEY),
    ("a NUL", text("kaggle.json", b"\0"), NO_KEY),
    ("a folder", folder_at("kaggle.json"), "kaggle.json: found a folder, wanted a file"),
    ("a token of bytes", text("access_token", b"\xff\xfe"), "access_token: it is no text"),
    (
        "a folder of tokens",
        folder_at("access_token"),
        "access_token: found a folder, wanted a file",
    ),
]


@pytest.mark.parametrize(
    ("prepare", "said"), [row[1:] for row in FILES], ids=[row[0] for row in FILES]
)
def test_a_file_that_cannot_sign_in_is_named(
    home: Home, monkeypatch: pytest.MonkeyPatch, prepare: Callable[[Path], None], said: str
) -> None:
    """Kaggle is not blamed for it."""
    monkeypatch.delenv("KAGGLE_API_TOKEN")
    folder = home.folder / "h/.kaggle"
    folder.mkdir(parents=True, exist_ok=True)
    prepare(folder)
    result = home.run("status")
    assert result.code == 1
    assert said in result.err
    assert result.err.count("\n") == 1


@pytest.mark.parametrize(
    ("token", "said"),
    [
        ("/nowhere/token", "KAGGLE_API_TOKEN: found a path, and there is no such file"),
        ("/", "KAGGLE_API_TOKEN: found a folder, wanted a file"),
        ("KGAT_" + "0" * 32, "that work. Found KAGGLE_API_TOKEN. Run"),
    ],
)
def test_a_variable_that_cannot_sign_in_is_named(
    home: Home, monkeypatch: pytest.MonkeyPatch, token: str, said: str
) -> None:
    """It is a token, or the path of a file with one."""
    monkeypatch.setenv("KAGGLE_API_TOKEN", token)
    assert said in home.run("status").err


def test_an_old_variable_over_a_good_file_is_named(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new token in a file would change nothing."""
    content = {"username": "alice", "key": "no-key-of-kaggle"}
    folder = home.folder / "h/.kaggle"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "kaggle.json").write_text(json.dumps(content))
    monkeypatch.setenv("KAGGLE_API_TOKEN", "KGAT_" + "0" * 32)
    assert found_credentials() == ["KAGGLE_API_TOKEN", str(folder / "kaggle.json")]
    said = f"Found KAGGLE_API_TOKEN, then {folder}/kaggle.json. Run"
    assert said in home.run("status").err


@pytest.mark.parametrize("address", ["127.0.0.1:1", "", "[::"])
@pytest.mark.parametrize("scheme", ["http", "socks5"])
def test_a_proxy_that_does_not_work_is_named_without_its_password(
    home: Home, monkeypatch: pytest.MonkeyPatch, scheme: str, address: str
) -> None:
    """It is not taken for an answer of Kaggle's."""
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, f"{scheme}://bob:{PASSWORD}@{address}")
    result = home.run("status")
    assert result.code == 1
    assert "the proxy of http_proxy or https_proxy" in result.err
    assert PASSWORD not in result.err


def test_the_password_of_a_proxy_is_a_secret() -> None:
    """No line of output shows it."""
    assert PASSWORD in known_secrets({"https_proxy": f"http://bob:{PASSWORD}@proxy:3128"})
