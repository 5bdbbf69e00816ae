"""New values in a recipe's YAML file, in their places, so that its comments stay.

PyYAML says where each value stands. Only that stretch of the text is replaced. The new text must be
read as the recipe that was meant, or nothing is written.
"""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from kernelkit.errors import EvaluationError, OutputError, RecipeError
from kernelkit.files import open_atomically
from kernelkit.recipe import EnsembleRecipe, PostprocessStep, Recipe

__all__ = ["as_written", "rewrite", "with_values"]

_STEP = "remove_small"
# The place of a new item of a list, before the others.
_NEW = -1
# What is a string without quotes, and words that YAML takes for something else.
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_OTHER_WORDS = ("true", "false", "null", "yes", "no", "on", "off", "y", "n")


def with_values(
    ensemble: EnsembleRecipe,
    thresholds: Sequence[float],
    sizes: Sequence[int],
    keep: str = ">=",
) -> EnsembleRecipe:
    """An ensemble with other thresholds and minimum sizes, one per class or one for all.

    Without a step `remove_small`, one is put before the others, unless all sizes are 0.
    """
    area = sizes[0] if len(sizes) == 1 else list(sizes)
    steps = [
        PostprocessStep(step=step.step, arguments={**step.arguments, "min_area": area})
        if step.step == _STEP
        else step
        for step in ensemble.postprocess
    ]
    if any(sizes) and not any(step.step == _STEP for step in steps):
        steps.insert(0, PostprocessStep(step=_STEP, arguments={"min_area": area, "keep": keep}))
    changes: dict[str, Any] = {"thresholds": tuple(thresholds)}
    if tuple(steps) != ensemble.postprocess:
        changes["postprocess"] = tuple(steps)
    return ensemble.model_copy(update=changes)


def as_written(path: Path, wanted: Mapping[str, EnsembleRecipe]) -> dict[str, EnsembleRecipe]:
    """The ensembles of a recipe's file with new values, and all else as the file has it.

    Parameters
    ----------
    wanted
        Ensembles whose thresholds, steps and weights are taken, by name.

    Raises
    ------
    EvaluationError
        The file has no such ensemble.
    """
    own = {ensemble.name: ensemble for ensemble in Recipe.load(path).ensembles}
    for name in wanted:
        if name not in own:
            raise EvaluationError(
                f"{path}: it has no ensemble {name}, for which values were found. Name the recipe "
                "that predicted"
            )
    names = ("thresholds", "postprocess", "weights")
    return {
        name: own[name].model_copy(update={each: getattr(new, each) for each in names})
        for name, new in wanted.items()
    }


def rewrite(path: Path, ensembles: Mapping[str, EnsembleRecipe]) -> Recipe:
    """Write the thresholds, minimum sizes and weights of ensembles into a recipe's file.

    Parameters
    ----------
    path
        The YAML file. It is replaced at once, or stays as it is.
    ensembles
        As they are wanted, by name.

    Returns
    -------
    The recipe as it is now.

    Raises
    ------
    RecipeError
        The file is no recipe.
    EvaluationError
        A value stands where it cannot be replaced, as behind an alias.
    OutputError
        The file cannot be written.
    """
    old = Recipe.load(path)
    wanted = [ensembles.get(ensemble.name, ensemble) for ensemble in old.ensembles]
    text = path.read_bytes().decode("utf-8-sig")
    for number, (before, after) in enumerate(zip(old.ensembles, wanted, strict=True)):
        for place, value in _changes(before, after):
            text = _replaced(text, ("ensembles", number, *place), value, path)
    expected = old.model_copy(update={"ensembles": tuple(wanted)})
    try:
        new = Recipe.parse(text, str(path))
    except RecipeError as error:
        raise EvaluationError(f"{error}. {_by_hand(wanted)}") from error
    if new.model_dump() != expected.model_dump():
        raise EvaluationError(
            f"{path}: the new values could not be written without changing others. "
            f"{_by_hand(wanted)}"
        )
    try:
        with open_atomically(path) as file:
            file.write(text)
    except OSError as error:
        raise OutputError(
            f"{path}: the recipe cannot be written ({error.strerror}). Choose a file in a folder "
            "that is writable"
        ) from error
    return new


type _Place = tuple[str | int, ...]


def _changes(before: EnsembleRecipe, after: EnsembleRecipe) -> list[tuple[_Place, Any]]:
    """The places in an ensemble that change, and their new values."""
    changes: list[tuple[_Place, Any]] = []
    if before.thresholds != after.thresholds and after.thresholds is not None:
        values = list(after.thresholds)
        changes.append((("thresholds",), values[0] if len(values) == 1 else values))
    if before.weights != after.weights:
        changes.append((("weights",), dict(after.weights)))
    if len(after.postprocess) > len(before.postprocess):
        new = {_STEP: dict(after.postprocess[0].arguments)}
        changes.append((("postprocess", _NEW), new))
    else:
        for number, (old, step) in enumerate(
            zip(before.postprocess, after.postprocess, strict=True)
        ):
            if old != step:
                place = ("postprocess", number, _STEP, "min_area")
                changes.append((place, step.arguments["min_area"]))
    return changes


def _replaced(text: str, place: _Place, value: Any, path: Path) -> str:
    """The text with another value at a place. If a section lacks it, it is added."""
    node: yaml.Node = yaml.compose(text, yaml.SafeLoader)  # type: ignore[assignment]  # it is a recipe
    uses = _uses(node)
    for depth, key in enumerate(place):
        if isinstance(node, yaml.MappingNode) and key == _STEP and _child(node, "step"):
            key = "arguments"  # the long form of a step
        found = _child(node, key)
        if found is None:
            return _added(text, node, key, _nested(place[depth + 1 :], value))
        node = found
        if uses[id(node)] > 1:
            raise EvaluationError(
                f"{path}, line {node.start_mark.line + 1}: the value stands behind an alias, so "
                "other places would change too. Write it out"
            )
    return text[: node.start_mark.index] + _flow(value) + text[_end(node) :]


def _uses(root: yaml.Node) -> Counter[int]:
    """How often each node is used. An alias is the very node that it names."""
    uses: Counter[int] = Counter()
    waiting = [root]
    while waiting:
        node = waiting.pop()
        uses[id(node)] += 1
        if isinstance(node, yaml.CollectionNode) and uses[id(node)] == 1:
            waiting += [part for each in node.value for part in _parts(each)]
    return uses


def _parts(item: Any) -> tuple[yaml.Node, ...]:
    return item if isinstance(item, tuple) else (item,)


def _child(node: yaml.Node, key: str | int) -> yaml.Node | None:
    if isinstance(node, yaml.MappingNode):
        return next((value for name, value in node.value if name.value == key), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key >= 0:
        found: yaml.Node = node.value[key]
        return found
    return None


def _nested(place: _Place, value: Any) -> Any:
    """The value inside of what its place needs: `_NEW` is an item of a list."""
    for key in reversed(place):
        value = [value] if key == _NEW else {key: value}
    return value


def _added(text: str, node: yaml.Node, key: str | int, value: Any) -> str:
    """The text with a new last key of a section, or a new first item of a list."""
    item = _flow(value) if key == _NEW else f"{key}: {_flow(value)}"
    is_empty = not node.value
    if not isinstance(node, yaml.CollectionNode):  # a key without a value
        at, new = node.start_mark.index, f" {_flow([value] if key == _NEW else {key: value})}"
    elif node.flow_style and key == _NEW:
        at, new = node.start_mark.index + 1, item + ("" if is_empty else ", ")
    elif node.flow_style:
        at, new = node.end_mark.index - 1, ("" if is_empty else ", ") + item
    elif key == _NEW:
        at, new = node.start_mark.index, f"- {item}\n{' ' * node.start_mark.column}"
    else:
        end = text.find("\n", _end(node))
        at = len(text) if end < 0 else end
        new = f"\n{' ' * node.start_mark.column}{item}"
    return text[:at] + new + text[at:]


def _end(node: yaml.Node) -> int:
    """Where the last value of a node ends. What follows, as a comment, is not of it."""
    while isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        node = _parts(node.value[-1])[-1]
    return int(node.end_mark.index)


def _flow(value: Any) -> str:
    """A value as one line of YAML. All strings but plain words are quoted."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_flow(key)}: {_flow(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_flow, value)) + "]"
    if isinstance(value, str) and (not _WORD.fullmatch(value) or value.lower() in _OTHER_WORDS):
        text: str = yaml.safe_dump(value, default_style='"', width=math.inf)
        return text.removesuffix("\n")
    return str(value)


def _by_hand(ensembles: Sequence[EnsembleRecipe]) -> str:
    values = "; ".join(
        f"{each.name}: thresholds {list(each.thresholds or ())}, steps "
        f"{_flow([{step.step: step.arguments} for step in each.postprocess])}"
        for each in ensembles
    )
    return f"Write them by hand ({values})"
