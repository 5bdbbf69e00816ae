"""YAML from users: what is read, and the bounds that refuse the rest."""

from pathlib import Path

import pytest

from kernelkit.errors import CheckpointError, RecipeError
from kernelkit.yamlfile import parse_yaml, read_yaml


def test_a_file_is_read_with_or_without_a_byte_order_mark(tmp_path: Path) -> None:
    """What an editor on Windows puts in front does not matter."""
    for mark in (b"", b"\xef\xbb\xbf"):
        path = tmp_path / "some.yaml"
        path.write_bytes(mark + "name: größe\n".encode())
        assert read_yaml(path, RecipeError) == {"name": "größe"}


def test_words_stay_words_in_version_1_2() -> None:
    """In version 1.1 PyYAML's reading holds, in 1.2 only true, false and decimal numbers are."""
    text = "a: no\nb: 014\nc: 1:30\nd: 1_000\ne: 1e-8\nf: -2.5\ng: true\nh: 2020-01-01\ni: ~\n"
    assert parse_yaml(text, "some.yaml", RecipeError, "1.2") == {
        "a": "no",
        "b": "014",
        "c": "1:30",
        "d": "1_000",
        "e": 1e-8,
        "f": -2.5,
        "g": True,
        "h": "2020-01-01",
        "i": None,
    }
    first = parse_yaml("a: no\nb: 014\nc: 1:30\n", "some.yaml", RecipeError)
    assert first == {"a": False, "b": 12, "c": 90}


def test_aliases_and_merged_sections_are_read_within_their_bounds() -> None:
    """An alias may repeat a value, and a merged section gives way to the keys beside it."""
    text = "base: &base {a: 1, b: 2}\nmore: {<<: *base, b: 3}\nlist: [*base, *base]\n"
    base = {"a": 1, "b": 2}
    wanted = {"base": base, "more": {"a": 1, "b": 3}, "list": [base, base]}
    assert parse_yaml(text, "some.yaml", RecipeError) == wanted


def test_the_error_is_of_the_class_that_was_asked_for(tmp_path: Path) -> None:
    """A run folder's file is a checkpoint's fault, not a recipe's."""
    with pytest.raises(CheckpointError, match="there is no such file"):
        read_yaml(tmp_path / "cfg.yaml", CheckpointError)
    with pytest.raises(CheckpointError, match=r"cfg\.yaml, line 2: found the key a again"):
        parse_yaml("a: 1\na: 2", "cfg.yaml", CheckpointError)
