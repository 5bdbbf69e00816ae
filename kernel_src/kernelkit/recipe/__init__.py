"""A recipe: everything that one competition decides, in one YAML file with checked keys.

kernelkit's own recipes lie in this folder, one YAML file per competition.
"""

from kernelkit.recipe.competition import Competition
from kernelkit.recipe.convention import RLEConvention
from kernelkit.recipe.ensemble import (
    EnsembleRecipe,
    ImageKind,
    PostprocessStep,
)
from kernelkit.recipe.gate import Gate
from kernelkit.recipe.labels import LabelsRecipe
from kernelkit.recipe.merge import Merge, MergeStep
from kernelkit.recipe.network import Execution, NetworkInput
from kernelkit.recipe.pyramid import PyramidScale
from kernelkit.recipe.recipe import Recipe
from kernelkit.recipe.submissions import StorePlan, StoreRecipe, Variant
from kernelkit.recipe.tiles import ForegroundRule, Stitching, Tiles

__all__ = [
    "Competition",
    "EnsembleRecipe",
    "Execution",
    "ForegroundRule",
    "Gate",
    "ImageKind",
    "LabelsRecipe",
    "Merge",
    "MergeStep",
    "NetworkInput",
    "PostprocessStep",
    "PyramidScale",
    "RLEConvention",
    "Recipe",
    "Stitching",
    "StorePlan",
    "StoreRecipe",
    "Tiles",
    "Variant",
]
