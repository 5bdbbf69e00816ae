"""Fixtures: a user's machine with built datasets, and Kaggle on a loopback port.

Time limits are generous, so that a busy machine fails no test. A test that needs a limit to run out
sets its own.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from devkit.kaggle.__main__ import main
from devkit.tools import REPOSITORY
from tests.made.kaggle_server import KaggleServer
from tests.made.kaggle_service import KEY, TOKEN, USER

KERNEL, DATASET = f"{USER}/kernelkit-inference", f"{USER}/kernelkit-kaggle-py312"
WEIGHTS = f"{USER}/kernelkit-weights"
FINGERPRINT = "fedcba9876543210" * 4

# in seconds: for what a process of its own is to do, within pytest's own limit for a test
PATIENCE = 240

# nothing of the user's own may reach the client, nor may it reach past the loopback port
_CLEAN = ("no_proxy", "NO_PROXY", "XDG_CONFIG_HOME", "KAGGLE_KEY", "KAGGLE_USERNAME", "VERBOSE")
_PACE = {
    **{"poll_seconds": 0.02, "answer_seconds": 120, "patience_seconds": 0.2},
    **{"ready_seconds": 120, "kernel_seconds": 120, "score_seconds": 120, "settle_seconds": 0.3},
}


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str


@dataclass
class Home:
    """A project below `folder`. Its commands run here or as a process of their own."""

    folder: Path
    server: KaggleServer
    capture: pytest.CaptureFixture[str]
    environment: dict[str, str]
    settings: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.settings = {
            "owner": USER,
            "notebook": str(REPOSITORY / "notebooks/inference.ipynb"),
            "state": str(self.folder / "s"),
            **_PACE,
        }
        self.write_dataset(FINGERPRINT)
        self.write_weights("0a1b2c3d" * 8)

    @property
    def service(self) -> Any:
        return self.server.service

    @property
    def kernel_dataset(self) -> Path:
        return self.folder / "build/kernel-kaggle-py312"

    @property
    def weights_dataset(self) -> Path:
        return self.folder / "build/weights"

    def write_dataset(self, fingerprint: str) -> None:
        self.kernel_dataset.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(self.kernel_dataset / "one-1.0-py3-none-any.whl", "w") as wheel:
            wheel.writestr("one.py", f"made = '{fingerprint}'")
        (self.kernel_dataset / "bootstrap.py").write_text("print('hello')\n")
        manifest = {"fingerprint": fingerprint, "target": {"profile": "kaggle-py312"}}
        (self.kernel_dataset / "kernelkit-manifest.json").write_text(json.dumps(manifest))
        metadata = {"id": "your-name/other", "title": "kernelkit wheels"}
        marks = {"proved": fingerprint, "sources": []}
        metadata |= {"licenses": [{"name": "apache-2.0"}], "kernelkit": marks}
        (self.kernel_dataset / "dataset-metadata.json").write_text(json.dumps(metadata))

    def write_weights(self, fingerprint: str) -> None:
        folder = self.weights_dataset
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "unet__fold_0.safetensors").write_bytes(bytes(range(256)) * 100)
        files = [{"name": "unet/fold_0/models/e1.safetensors"}]
        manifest = {"fingerprint": fingerprint, "target": {}, "files": files}
        (folder / "kernelkit-weights.json").write_text(json.dumps(manifest))
        noted = {"weights": {"folder": str(self.folder / "models"), "files": {}}}
        (folder / "dataset-metadata.json").write_text(json.dumps({"kernelkit": noted}))

    def make(self, target: str) -> str:
        """A command of make as it is printed here."""
        return f"make {target} SETTINGS={self.folder}/kaggle.toml"

    def write_settings(self) -> Path:
        path = self.folder / "kaggle.toml"
        lines = []
        for key, value in sorted(self.settings.items(), key=lambda item: isinstance(item[1], dict)):
            section = value.items() if isinstance(value, dict) else [(key, value)]
            lines += [f"[{key}]\n"] if isinstance(value, dict) else []
            lines += [f"{name} = {_toml(one)}\n" for name, one in section]
        path.write_text("".join(lines))
        return path

    def run(self, *arguments: str) -> Result:
        """Run a command here. What it prints may hold no credential."""
        self.capture.readouterr()
        code = main(["--settings", str(self.write_settings()), *arguments])
        out, err = self.capture.readouterr()
        return _without_credentials(Result(code, out, err))

    def run_own(self, name: str, *arguments: str) -> Result:
        """Run a command for a competition of the user's own below `competitions`."""
        self.capture.readouterr()
        code = main(["--name", name, *arguments])
        out, err = self.capture.readouterr()
        return _without_credentials(Result(code, out, err))

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a command as a process of its own, which Ctrl-C can end."""
        command = [sys.executable, "-m", "devkit.kaggle", "--settings", str(self.write_settings())]
        return subprocess.Popen(
            [*command, *arguments],
            cwd=REPOSITORY,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def finish(self, process: subprocess.Popen[str]) -> Result:
        out, err = process.communicate(timeout=PATIENCE)
        return _without_credentials(Result(process.returncode, out, err))

    def entries(self) -> list[dict[str, Any]]:
        """The lines of the ledger."""
        path = self.folder / "submissions.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def pushed_text(self) -> str:
        """The notebook as it was pushed last."""
        return str(self.server.bodies["SaveKernel"][-1]["text"])


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key} = {_toml(one)}' for key, one in value.items())}}}"
    return json.dumps(value)


def until(condition: Callable[[], object]) -> None:
    """Wait for something that a process of its own is about to do."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _without_credentials(result: Result) -> Result:
    for secret in (KEY, TOKEN):
        assert secret not in result.out + result.err
    return result


@contextmanager
def signed_in(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Home]:
    """A home signed in with a token. At the end, nothing else was reached and nothing leaked."""
    with tempfile.TemporaryDirectory(prefix="kk-") as name, KaggleServer() as server:
        folder = Path(name)
        variables = {
            **{"HOME": str(folder / "h"), "TMPDIR": str(folder / "t")},
            **{"KAGGLE_API_ENVIRONMENT": "LOCALHOST", "KAGGLE_API_TOKEN": TOKEN},
            **{"http_proxy": server.address, "https_proxy": server.address},
            "KAGGLE_CONFIG_DIR": str(folder / "h/.kaggle"),
            "KERNELKIT_RECIPES": str(folder / "competitions"),
        }
        for place in ("h", "t"):
            (folder / place).mkdir()
        for variable in list(os.environ):
            if variable in _CLEAN or variable.startswith("KERNELKIT_"):
                monkeypatch.delenv(variable)
        for variable, value in variables.items():
            monkeypatch.setenv(variable, value)
        paths = os.pathsep.join([str(REPOSITORY / "kernel_src"), str(REPOSITORY)])
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": paths, **variables}
        yield Home(folder, server, capsys, environment)
        assert server.strangers == []
        for path in folder.rglob("*"):
            if path.is_file():
                content = path.read_bytes()
                assert KEY.encode() not in content, path
                assert TOKEN.encode() not in content, path
