"""New values in a recipe's file: in their places, with its comments, or not at all."""

import difflib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kernelkit
from kernelkit.errors import EvaluationError, OutputError, RecipeError
from kernelkit.evaluation.search import rewriting
from kernelkit.evaluation.search.rewriting import rewrite, with_values
from kernelkit.recipe import EnsembleRecipe, Recipe

HEAD = """\
name: test  # a comment
competition: {slug: a-test-competition}
tiles: {core: 64}
ensembles:
"""


def packaged(name: str) -> str:
    return (Path(kernelkit.__file__).parent / "recipe" / f"{name}.yaml").read_text()


def written(folder: Path, text: str) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(text)
    return path


def wanted(path: Path, thresholds, sizes, **changes) -> dict[str, EnsembleRecipe]:
    return {
        each.name: with_values(each, thresholds, sizes, ">").model_copy(update=changes)
        for each in Recipe.load(path).ensembles
    }


def changed_lines(before: str, after: str) -> list[str]:
    """What a diff of both texts shows, without its head."""
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), n=0, lineterm="")
    return [line for line in list(lines)[2:] if not line.startswith("@@")]


@pytest.mark.parametrize("name", Recipe.names())
def test_own_recipes_take_new_values(tmp_path: Path, name: str) -> None:
    """Each changes by these values alone, and nothing of its text is lost but the old ones."""
    text = packaged(name)
    path = written(tmp_path, text)
    new = wanted(path, (0.61,), (1234,), weights={"unet*": 2.0})
    expected = Recipe.load(path).model_copy(update={"ensembles": tuple(new.values())})
    assert rewrite(path, new) == Recipe.load(path) == expected
    removed = [line for line in changed_lines(text, path.read_text()) if line.startswith("-")]
    assert all("thresholds" in line or "min_area" in line for line in removed)


def test_a_value_is_replaced_where_it_stands(tmp_path: Path) -> None:
    """Two lines of the clouds change, in two places of them."""
    path = written(tmp_path, packaged("clouds"))
    rewrite(path, wanted(path, (0.5, 0.6, 0.7, 0.8), (1, 2, 3, 4)))
    assert changed_lines(packaged("clouds"), path.read_text()) == [
        "-    thresholds: 0.75",
        '-    postprocess: [{remove_small: {min_area: 15000, keep: ">"}}]',
        "+    thresholds: [0.5, 0.6, 0.7, 0.8]",
        '+    postprocess: [{remove_small: {min_area: [1, 2, 3, 4], keep: ">"}}]',
    ]


def test_the_same_values_change_nothing(tmp_path: Path) -> None:
    """Not a byte."""
    path = written(tmp_path, packaged("clouds"))
    rewrite(path, wanted(path, (0.75,), (15000,)))
    assert path.read_text() == packaged("clouds")


STEP = '{remove_small: {min_area: 12, keep: ">"}}'
# What stands below `- name: one`, before and after.
FORMS = {
    "block": (
        """
    thresholds:  # why
      - 0.3  # first
    # below
    views: [hflip]
""",
        f"""
    thresholds:  # why
      0.61  # first
    # below
    views: [hflip]
    postprocess: [{STEP}]
""",
    ),
    "steps in a block": (
        """
    postprocess:
      # first this
      - fill_holes
      - smooth: {radius: 1}
""",
        f"""
    postprocess:
      # first this
      - {STEP}
      - fill_holes
      - smooth: {{radius: 1}}
    thresholds: 0.61
""",
    ),
    "steps in a line": (
        """
    postprocess: [fill_holes]  # holes
""",
        f"""
    postprocess: [{STEP}, fill_holes]  # holes
    thresholds: 0.61
""",
    ),
    "no steps": (
        """
    postprocess: []
""",
        f"""
    postprocess: [{STEP}]
    thresholds: 0.61
""",
    ),
    "the long form of a step, without a line's end": (
        """
    thresholds: .2
    postprocess:
    - step: remove_small
      arguments:
        min_area: 5  # small
        keep: '>'""",
        """
    thresholds: 0.61
    postprocess:
    - step: remove_small
      arguments:
        min_area: 12  # small
        keep: '>'""",
    ),
}


@pytest.mark.parametrize(("before", "after"), FORMS.values(), ids=FORMS)
def test_values_are_written_in_every_form(tmp_path: Path, before: str, after: str) -> None:
    """Blocks, lines, lists and comments stay as the user wrote them."""
    path = written(tmp_path, f"{HEAD}  - name: one{before}")
    rewrite(path, wanted(path, (0.61,), (12,)))
    assert path.read_text() == f"{HEAD}  - name: one{after}"


def test_values_are_written_in_one_line(tmp_path: Path) -> None:
    """An ensemble between braces gets its new keys before the last of them."""
    path = written(tmp_path, HEAD + "  [{name: one, views: [hflip]}]  # all\n")
    rewrite(path, wanted(path, (0.61,), (12,)))
    new = f"  [{{name: one, views: [hflip], thresholds: 0.61, postprocess: [{STEP}]}}]  # all\n"
    assert path.read_text() == HEAD + new


@settings(max_examples=40)
@given(
    st.lists(st.floats(0.001, 0.999), min_size=1, max_size=1),
    st.lists(st.integers(0, 10**9), min_size=1, max_size=1),
    st.dictionaries(st.text(min_size=1, max_size=8), st.floats(0.01, 100), max_size=3),
    st.sampled_from(["clouds", "hubmap", "salt"]),
)
def test_any_values_are_read_as_they_were_meant(
    tmp_path_factory, thresholds: list[float], sizes: list[int], weights: dict, name: str
) -> None:
    """Numbers of many digits and patterns of odd letters come back."""
    path = written(tmp_path_factory.mktemp("recipe"), packaged(name))
    new = wanted(path, thresholds, sizes, weights=weights)
    rewrite(path, new)
    assert Recipe.load(path).ensembles == tuple(new.values())


def test_a_value_behind_an_alias_is_refused(tmp_path: Path) -> None:
    """Another place would change too, so nothing is written."""
    text = HEAD + (
        "  - {name: one, when: {bands: 3}, thresholds: &same [0.4]}\n"
        "  - {name: two, when: {bands: 4}, thresholds: *same}\n"
    )
    path = written(tmp_path, text)
    with pytest.raises(EvaluationError, match=r"recipe.yaml, line 5: the value stands behind an"):
        rewrite(path, wanted(path, (0.61,), (0,)))
    assert path.read_text() == text


def test_a_text_that_reads_otherwise_is_not_written(tmp_path: Path, monkeypatch) -> None:
    """The file stays as it is, and the values are named."""
    path = written(tmp_path, packaged("clouds"))
    new = wanted(path, (0.61,), (12,))
    monkeypatch.setattr(rewriting, "_end", lambda node: node.start_mark.index)
    with pytest.raises(EvaluationError, match=r"Write them by hand \(clouds: thresholds \[0.61\]"):
        rewrite(path, new)
    assert path.read_text() == packaged("clouds")


def test_a_file_that_is_no_recipe_is_refused(tmp_path: Path) -> None:
    """As by every reader of recipes."""
    with pytest.raises(RecipeError, match="missing"):
        rewrite(tmp_path / "missing.yaml", {})


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch) -> None:
    """The recipe stays as it is."""
    path = written(tmp_path, packaged("clouds"))

    def refuse(*_args, **_more):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("kernelkit.files.tempfile.mkstemp", refuse)
    with pytest.raises(OutputError, match=r"cannot be written \(Permission denied\)"):
        rewrite(path, wanted(path, (0.61,), (12,)))
    assert path.read_text() == packaged("clouds")
