"""`make tensorboard`: which folder it shows, before TensorBoard takes over."""

import re
from pathlib import Path

import pytest

from devkit.training.tensorboard import _parse, main


def test_the_only_competition_needs_no_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its models folder is shown. Without any competition, it is that of `make train`."""
    monkeypatch.setenv("KERNELKIT_RECIPES", str(tmp_path))
    assert _parse([]).models == Path("build/models")
    for name in ("my-slides", "others"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "recipe.yaml").touch()
        assert _parse(["--name", name]).models == tmp_path / name / "models"
        if name == "my-slides":
            assert _parse([]).models == tmp_path / name / "models"
    assert _parse(["mine"]).models == Path("mine")


def test_a_competition_without_trainings_is_told_how_to_train(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command is complete."""
    monkeypatch.setenv("KERNELKIT_RECIPES", str(tmp_path))
    (tmp_path / "my-slides").mkdir()
    (tmp_path / "my-slides/recipe.yaml").touch()
    assert main([]) == 1
    said = capsys.readouterr().err
    assert f"{tmp_path / 'my-slides/models'}: there is no such models folder" in said
    assert "or make one with make train NAME=my-slides" in said


@pytest.mark.parametrize("lock", ["dev", "dev-py313", "notebook"])
def test_the_environment_has_what_tensorboard_imports(lock: str) -> None:
    """It imports `pkg_resources`, which setuptools has no longer from version 82 on."""
    text = Path(f"requirements/{lock}.txt").read_text()
    [version] = re.findall(r"^setuptools==(\d+)", text, re.M)
    assert int(version) < 82
