from pathlib import Path

import psutil
import pytest

from kernelkit import memory


def test_the_memory_is_that_of_the_machine_or_of_its_container() -> None:
    """psutil knows the machine's. A container may have less."""
    assert 0 < memory.total_memory() <= psutil.virtual_memory().total
    assert memory.available_memory() <= memory.total_memory()


def test_the_limit_of_a_container_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a large machine it is the smaller number that kills."""
    (tmp_path / "memory.max").write_text(f"{3 << 29}\n")
    monkeypatch.setattr(memory, "_CONTAINER", ((str(tmp_path / "memory.max"), "nothing"),))
    assert memory.total_memory() == 3 << 29
    assert memory.killed_in_words("a reader process") == (
        "a reader process died, as processes do that are killed or run out of memory. There are "
        "1.5 GiB"
    )


def test_a_container_without_a_limit_is_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file says max then."""
    (tmp_path / "memory.max").write_text("max\n")
    monkeypatch.setattr(memory, "_CONTAINER", ((str(tmp_path / "memory.max"), "nothing"),))
    assert memory.total_memory() == psutil.virtual_memory().total
