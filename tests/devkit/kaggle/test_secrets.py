import shutil
import zipfile
from pathlib import Path

import pytest

from devkit.errors import DatasetError
from devkit.kaggle.service.secrets import known_secrets, refuse_secrets, scrub
from devkit.tools import REPOSITORY

NONE: frozenset[str] = frozenset()
HEX = "0f" * 16

LOOKS_LIKE_SECRETS = {
    "a Kaggle API token": f"token = os.environ.get('X', 'KGAT_{HEX}')",
    "the key of a kaggle.json": '{"username":"alice","key":"' + HEX + '"}',
    "a Kaggle key": f"%env KAGGLE_KEY={HEX}",
    "a Hugging Face token": "login('hf_" + "aB3" * 12 + "')",
    "a GitHub token": "ghp_" + "a1B2" * 9,
    "an AWS key": "AKIA" + "ABCD" * 4,
    "a Google key": "AIza" + "a" * 35,
    "a Slack token": "xoxb-" + "1" * 12,
    "a W&B key": "WANDB_API_KEY=" + "0a" * 20,
    "an API key": "sk-" + "a1" * 16,
    "a private key": "-----BEGIN RSA PRIVATE KEY-----",
    "a web token": "eyJ" + "a" * 12 + ".eyJ" + "b" * 12 + "." + "c" * 12,
    "a password or token in the code": "password = '" + "Ab1" * 8 + "'",
}


@pytest.mark.parametrize(("kind", "text"), LOOKS_LIKE_SECRETS.items(), ids=list(LOOKS_LIKE_SECRETS))
def test_what_looks_like_a_secret_is_refused_by_file_line_and_kind(
    tmp_path: Path, kind: str, text: str
) -> None:
    """The message names the place, but never the secret itself."""
    (tmp_path / "a.py").write_text(f"import os\n{text}\n")
    with pytest.raises(DatasetError, match=r"a\.py, line 2, looks like") as caught:
        refuse_secrets(tmp_path, NONE)
    assert kind in str(caught.value)
    assert text not in str(caught.value)


def test_a_secret_in_a_notebook_is_found_behind_its_escapes(tmp_path: Path) -> None:
    """In a notebook every quote of the code is written with a backslash."""
    source = '{\\"key\\": \\"' + HEX + '\\"}'
    (tmp_path / "n.ipynb").write_text('{"cells": [{"source": "' + source + '"}]}')
    with pytest.raises(DatasetError, match="kaggle.json"):
        refuse_secrets(tmp_path, NONE)


@pytest.mark.parametrize("name", ["kaggle.json", "access_token", ".netrc", ".env", "id_rsa"])
def test_files_for_credentials_are_refused_whatever_they_hold(tmp_path: Path, name: str) -> None:
    """Their names are enough."""
    (tmp_path / name).write_text("")
    with pytest.raises(DatasetError, match="is a file for credentials"):
        refuse_secrets(tmp_path, NONE)


def test_a_large_file_is_searched_for_the_users_own_credential(tmp_path: Path) -> None:
    """It is found even across two of the pieces that are read."""
    secret = "my-own-secret-0123"
    piece = 5 * 2**20
    content = bytearray(2 * piece + 100)
    content[piece - 9 : piece + 9] = secret.encode()
    (tmp_path / "weights.safetensors").write_bytes(content)
    refuse_secrets(tmp_path, NONE)
    with pytest.raises(DatasetError, match="your own Kaggle credential"):
        refuse_secrets(tmp_path, frozenset({secret}))


def test_the_wheels_of_others_are_not_refused_for_their_examples(tmp_path: Path) -> None:
    """In an archive only a Kaggle token and the user's own credentials count."""
    with zipfile.ZipFile(tmp_path / "w.whl", "w") as wheel:
        wheel.writestr("docs.py", "password = '" + "Ab1" * 8 + "'")
    refuse_secrets(tmp_path, NONE)
    with zipfile.ZipFile(tmp_path / "w.whl", "a") as wheel:
        wheel.writestr("more.py", f"x = 'KGAT_{HEX}'")
    with pytest.raises(DatasetError, match=r"w\.whl \(more\.py, line 1\)"):
        refuse_secrets(tmp_path, NONE)


def test_the_notebooks_and_modules_of_this_project_are_not_refused(tmp_path: Path) -> None:
    """No rule is so broad that it stops an honest push. What Python caches is not pushed."""
    cache = shutil.ignore_patterns("__pycache__")
    for folder in ("notebooks", "kernel_src"):
        shutil.copytree(REPOSITORY / folder, tmp_path / folder, ignore=cache)
        refuse_secrets(tmp_path / folder, NONE)


def test_known_secrets_are_those_that_the_client_would_use(tmp_path: Path) -> None:
    """They come from the environment, from files, and as Basic authentication sends them."""
    (tmp_path / "kaggle.json").write_text('{"username": "alice", "key": "' + HEX + '"}')
    token = tmp_path / "token"
    token.write_text("from-a-file-0123\n")
    environment = {"KAGGLE_CONFIG_DIR": str(tmp_path), "KAGGLE_API_TOKEN": str(token)}
    secrets = known_secrets(environment)
    assert {HEX, "from-a-file-0123"} <= secrets
    text = scrub(f"{HEX} YWxpY2U6MGYwZjBmMGYwZjBmMGYwZjBmMGYwZjBmMGYwZjBmMGY= rest", secrets)
    assert text == "*** *** rest"
    assert "KGAT_" not in scrub(f"another KGAT_{HEX}", NONE)
