"""`MergedNetwork`: the members of an ensemble and their merging, as one network.

It is what `make engine ONE=1` exports. It merges by the tree that inference merges by. So the views
and the steps of a recipe are in its graph.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError
from torch import Tensor, nn

from kernelkit.checkpoints import Member, load_groups
from kernelkit.ensemble.merge import convert
from kernelkit.ensemble.questions import TileQuestion
from kernelkit.ensemble.tree import MergeTree
from kernelkit.errors import CheckpointError, RecipeError
from kernelkit.files import file_sha256
from kernelkit.recipe import EnsembleRecipe
from kernelkit.yamlfile import read_yaml

__all__ = ["ENSEMBLE_FILE", "MergedNetwork", "load_merged", "merged_sha256"]

# Beside the runs of the members: what the recipe says of their ensemble.
ENSEMBLE_FILE = "ensemble.yaml"


class MergedNetwork(nn.Module):
    """All members of an ensemble as one network. It answers in logits, as each of them does.

    Parameters
    ----------
    members
        Those that answer with masks.
    recipe
        Says how they are merged, and in which views they see a tile.

    Raises
    ------
    RecipeError
        Members look at several scales, their views differ from tile to tile, or a program is one
        of them.
    """

    def __init__(self, members: Sequence[Member], recipe: EnsembleRecipe) -> None:
        super().__init__()
        _refuse_more(members, recipe)
        self.networks = nn.ModuleList(member.module for member in members)
        self._activation = recipe.activation
        # who calls it has brought the tiles to the scale already
        scale = recipe.pyramid[0].model_copy(update={"zoom": 1.0, "size": None})
        own = recipe.model_copy(update={"pyramid": (scale,), "gate": None})
        asked = [_Asked(m, module) for m, module in zip(members, self.networks, strict=True)]
        self._tree = MergeTree(asked, own)

    def forward(self, tiles: Tensor) -> Tensor:
        """Logits (N, K, h, w) of normalised tiles (N, C, h, w), whose sides the networks take."""
        probabilities = self._tree(TileQuestion((tiles,), range(0)))
        return convert(probabilities, "probabilities", "logits", self._activation)


@dataclass(frozen=True)
class _Asked:
    """A member that is asked without more ado."""

    member: Member
    module: nn.Module
    stride: int = 1

    def __call__(self, tiles: Tensor) -> Tensor:
        answer = self.module(tiles)
        masks: Tensor = answer[0] if isinstance(answer, tuple) else answer
        return masks


def _refuse_more(members: Sequence[Member], recipe: EnsembleRecipe) -> None:
    if len(recipe.pyramid) > 1:
        scales = ", ".join(scale.label for scale in recipe.pyramid)
        raise RecipeError(
            f"{recipe.name}: found the scales {scales}, and one graph sees one. Make an engine of "
            "each member"
        )
    if recipe.views == "rotating":
        raise RecipeError(
            f"{recipe.name}: found rotating views, which differ from tile to tile. Make an engine "
            "of each member, or name the views"
        )
    programs = [member for member in members if member.is_program]
    if programs:
        raise RecipeError(
            f"{recipe.name}: {programs[0].path} is a program already. Name runs with weights"
        )


def load_merged(folder: Path) -> tuple[nn.Module, int, int, str]:
    """The network of an ensemble from its runs and its `ensemble.yaml`, in eval mode.

    Returns
    -------
    The network, its channels, its classes, and a hash of all weights and of how they are merged.

    Raises
    ------
    CheckpointError, RecipeError
        A member cannot be loaded, or `ensemble.yaml` is not what `make engine` wrote.
    """
    path = folder / ENSEMBLE_FILE
    try:
        recipe = EnsembleRecipe.model_validate(read_yaml(path, CheckpointError))
    except ValidationError as error:
        raise CheckpointError(
            f"{path}: this is no ensemble of a recipe. Make the engine again"
        ) from error
    [loaded] = load_groups(folder, [(recipe.runs, recipe.checkpoints)])
    members = [member for member in loaded if member.kind != "classifier"]
    network = MergedNetwork(members, recipe).eval()
    return network, members[0].channels, members[0].classes, merged_sha256(members, folder)


def merged_sha256(members: Sequence[Member], folder: Path) -> str:
    """A hash of the weights of all members, and of how `ensemble.yaml` in `folder` merges them."""
    hashes = sorted(f"{member.run}/{member.fold} {member.weights_sha256}" for member in members)
    said = "\n".join([*hashes, file_sha256(folder / ENSEMBLE_FILE)])
    return hashlib.sha256(said.encode()).hexdigest()
