"""Which windows hold too little to learn from: the blank rules of a training."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from kernelkit.training.cuts.draws import draw
from kernelkit.training.cuts.numbers import WindowNumbers

if TYPE_CHECKING:
    from kernelkit.training.recipe import BlankRule

__all__ = ["why_skipped"]


def why_skipped(
    numbers: WindowNumbers, rules: Sequence["BlankRule"], seed: int, name: str, *about: object
) -> str:
    """Why a window is left out, or nothing if it is kept.

    Parameters
    ----------
    numbers
        What was counted in the window.
    rules
        The blank rules.
    seed, name, about
        What the chance to be dropped is drawn for: the name of the windows is among it.
    """
    if not numbers.held_share:
        return "no data"
    for rule in rules:
        is_judged = rule.windows is None or name in rule.windows
        if is_judged and is_blank(rule, numbers) and draw(seed, "blank", name, *about) < rule.drop:
            return in_words(rule)
    return ""


def is_blank(rule: "BlankRule", numbers: WindowNumbers) -> bool:
    """Whether all limits of a rule hold for a window."""
    limits = (
        (rule.mean_below, lambda limit: numbers.mean < limit),
        (rule.mean_above, lambda limit: numbers.mean > limit),
        (rule.std_below, lambda limit: numbers.std < limit),
        (rule.dark, lambda limit: numbers.dark_shares[limit] > (rule.share_above or 0)),
    )
    return all(holds(limit) for limit, holds in limits if limit is not None)


def in_words(rule: "BlankRule") -> str:
    """What a rule asks for, in a few words."""
    words = [
        f"{name.replace('_', ' ')} {value:g}"
        for name, value in (
            ("mean_below", rule.mean_below),
            ("mean_above", rule.mean_above),
            ("std_below", rule.std_below),
        )
        if value is not None
    ]
    if rule.dark is not None:
        words.append(f"more than {rule.share_above or 0:.0%} below {rule.dark:g}")
    return " and ".join(words)
