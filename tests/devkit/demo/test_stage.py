from pathlib import Path

import pytest

from devkit.demo.prepare import data_key, models_key
from devkit.demo.shapes import SHAPES
from devkit.demo.stage import Stage, fingerprint


def test_each_competition_has_keys_of_its_own() -> None:
    """The models of a competition are trained again if what they depend on changes."""
    names = ("nuclei", *SHAPES)
    keys = [key(name) for key in (data_key, models_key) for name in names]
    assert len(set(keys)) == 2 * len(names)


def test_a_changed_source_changes_the_key(tmp_path: Path) -> None:
    """A fingerprint is of what the files hold."""
    source = tmp_path / "source.py"
    source.write_text("a = 1")
    before = fingerprint([source])
    source.write_text("a = 2")
    assert fingerprint([source]) != before


def test_a_finished_stage_is_done_until_key_or_files_change(tmp_path: Path) -> None:
    """Another key, a file that is gone and a file that was cut short each undo a stage."""
    stage = Stage(tmp_path, "cook", key="k1")
    assert not stage.is_done()
    with stage.draft() as draft:
        (draft / "pots").mkdir()
        (draft / "pots" / "one.txt").write_text("soup")
    assert stage.is_done()
    assert not Stage(tmp_path, "cook", key="k2").is_done()
    (tmp_path / "pots" / "one.txt").write_text("sou")
    assert not stage.is_done()
    (tmp_path / "pots" / "one.txt").unlink()
    assert not stage.is_done()


def test_a_failed_stage_leaves_what_was_there(tmp_path: Path) -> None:
    """What a stage made before stays until a later draft is complete."""
    with Stage(tmp_path, "cook", key="k1").draft() as draft:
        (draft / "one.txt").write_text("soup")

    def burn() -> None:
        with Stage(tmp_path, "cook", key="k2").draft() as draft:
            (draft / "one.txt").write_text("coal")
            raise RuntimeError("burnt")

    with pytest.raises(RuntimeError, match="burnt"):
        burn()
    assert (tmp_path / "one.txt").read_text() == "soup"
    assert Stage(tmp_path, "cook", key="k1").is_done()


@pytest.mark.parametrize("was_folder", [True, False])
def test_a_kill_while_a_stage_is_put_in_place_leaves_what_was_there(
    was_folder: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not done then, and the next run replaces it."""
    soup = tmp_path / "pots/one.txt" if was_folder else tmp_path / "pots"

    def cook(words: str) -> None:
        with Stage(tmp_path, "cook", key=words).draft() as draft:
            place = draft / soup.relative_to(tmp_path)
            place.parent.mkdir(exist_ok=True)
            place.write_text(words)

    def killed(*_: Path) -> bool:
        raise KeyboardInterrupt

    cook("soup")
    with monkeypatch.context() as patched:
        patched.setattr("kernelkit.files._exchanged", killed)
        with pytest.raises(KeyboardInterrupt):
            cook("coal")
    assert soup.read_text() == "soup"
    assert not Stage(tmp_path, "cook", key="soup").is_done()
    cook("stew")
    assert soup.read_text() == "stew"
    assert sorted(path.name for path in tmp_path.iterdir()) == [".stages", "pots"]
