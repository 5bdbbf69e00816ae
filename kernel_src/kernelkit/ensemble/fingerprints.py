"""`fingerprint_of`: a hash of all that the probabilities of a level depend on."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from kernelkit.checkpoints import Member
from kernelkit.recipe import EnsembleRecipe
from kernelkit.vocabulary import Level

__all__ = ["fingerprint_of"]

# What happens to the answers afterwards.
_NOT_ASKED = {"name", "when", "thresholds", "postprocess"}


def fingerprint_of(
    recipe: EnsembleRecipe, members: Sequence[Member], request: tuple[Level, bool], **how: Any
) -> str:
    """Return a short hash of what the layers of a level depend on.

    Parameters
    ----------
    members
        All of them, also those of the gate.
    request
        The level, and whether members are asked about what the gate finds empty.
    how
        What else the answers depend on, such as the precision. It can be written as JSON.
    """
    content = {
        "members": [_answering(member) for member in members],
        "recipe": _asked_of(recipe, *request),
        **how,
    }
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]


def _answering(member: Member) -> list[str]:
    """Which weights answer. Of a program also by what, since providers round otherwise."""
    by = [member.runs_by] if member.is_program else []
    return [member.name, member.weights_sha256, *by]


def _asked_of(recipe: EnsembleRecipe, level: Level, ask_gated: bool) -> dict[str, Any]:
    """The part of a recipe that decides on the layers of a level, as of JSON.

    What only merges the layers is not in it: steps above the level, and weights there. Nor is the
    gate's limit, if the gate leaves all probabilities as they are.
    """
    asked = recipe.model_dump(mode="json", exclude=_NOT_ASKED)
    if level != "ensemble":
        merge = {"views": asked["merge"]["views"], "of": recipe.merge.of_members.of}
        if level == "model":
            merge["folds"] = asked["merge"]["folds"]
        else:
            del asked["weights"]
        asked["merge"] = merge
        asked["pyramid"] = [
            {key: value for key, value in scale.items() if key != "weight"}
            for scale in asked["pyramid"]
        ]
    if ask_gated and asked["gate"]:
        del asked["gate"]["above"]
    return asked
