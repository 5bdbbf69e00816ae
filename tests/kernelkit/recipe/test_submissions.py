from typing import Any

import pytest

from kernelkit.recipe import Recipe, StorePlan

RECIPE = """
name: test
competition: {slug: a, size: [35, 52]}
tiles: whole
ensembles: [{name: one, gate: {runs: [nmc]}}]
"""
FLAT = RECIPE.replace("gate: {runs: [nmc]}", "merge: {members: mean of probabilities}")
SLIDE = RECIPE.replace("tiles: whole", "tiles: {core: 8, scale: 2}")


def plan(text: str) -> StorePlan:
    recipe = Recipe.parse(text)
    return recipe.plan_for(recipe.ensembles[0])


# What is added to a recipe, and what of its plan follows.
PLANS: list[tuple[str, dict[str, Any]]] = [
    (RECIPE, {"what": "masks", "size": (35, 52), "ask_gated": False}),
    (RECIPE + "submissions: {all: {}}", {"what": "probabilities", "level": "ensemble"}),
    (RECIPE + "submissions: {all: , other: {thresholds: 0.7}}", {"level": "ensemble"}),
    (RECIPE + "submissions: {all: {}, u: {runs: [u*]}}", {"level": "model", "at": "size"}),
    (FLAT + "submissions: {all: {}, u: {runs: [u*]}}", {"level": "member"}),
    (RECIPE + "submissions: {a: {gate: off}}", {"ask_gated": True}),
    (RECIPE + "submissions: {a: {mask: gate}}", {"ask_gated": False}),
    (RECIPE + "store: {what: probabilities}", {"what": "probabilities", "level": "ensemble"}),
    (RECIPE + "store: {what: probabilities, level: member}", {"level": "member"}),
    (RECIPE + "store: {what: masks}\nsubmissions: {a: {postprocess: []}}", {"what": "masks"}),
    (RECIPE + "store: {at: network}\nsubmissions: {a: }", {"at": "network"}),
    (SLIDE + "submissions: {a: }", {"at": "size", "size": None}),
    (SLIDE + "submissions: {a: }\nstitching: {upsample: band}", {"at": "network"}),
]


@pytest.mark.parametrize(("text", "wanted"), PLANS)
def test_a_store_holds_what_its_submissions_need(text: str, wanted: dict[str, Any]) -> None:
    """What is left out is chosen: bits without submissions, else the coarsest level that serves."""
    found = plan(text)
    assert {name: getattr(found, name) for name in wanted} == wanted


def key(text: str) -> dict[str, Any]:
    recipe = Recipe.parse(text)
    [ensemble] = recipe.ensembles
    return recipe.plan_for(ensemble).key(ensemble)


def test_only_what_changes_the_stored_bytes_is_in_their_key() -> None:
    """Thresholds decide on masks and not on probabilities. Names and steps decide on neither."""
    stored = RECIPE + "submissions: {a: {thresholds: 0.7}}"
    assert key(stored) == key(stored.replace("0.7", "0.8").replace("{a:", "{b:"))
    assert key(stored) == key(stored.replace("{name: one,", "{name: one, thresholds: 0.3,"))
    assert key(RECIPE) != key(RECIPE.replace("{name: one,", "{name: one, thresholds: 0.3,"))
    assert key(RECIPE) != key(stored)
    assert key(RECIPE) != key(RECIPE.replace("52", "53"))
    assert key(stored) != key(stored.replace("52", "53"))
    assert key(stored) != key(stored.replace("thresholds: 0.7", "gate: off"))


def test_submissions_keep_their_order_and_are_described() -> None:
    """The first is submission.csv, so the order of the file counts."""
    recipe = Recipe.parse(RECIPE + "submissions: {z: {}, a: {}, m: {}}")
    assert list(recipe.submissions) == ["z", "a", "m"]
    assert recipe.describe().endswith("submissions z, a, m")
