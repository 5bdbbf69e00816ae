"""A recipe: everything that one competition decides, in one YAML file with checked keys.

kernelkit's own recipes lie in this folder, one YAML file per competition.
"""

from kernelkit.recipe.recipe import Recipe
from kernelkit.recipe.sections import (
    Competition,
    EnsembleRecipe,
    Execution,
    ForegroundRule,
    Gate,
    ImageKind,
    Merge,
    MergeStep,
    NetworkInput,
    PostprocessStep,
    PyramidScale,
    RLEConvention,
    Stitching,
    Tiles,
)

__all__ = [
    "Competition",
    "EnsembleRecipe",
    "Execution",
    "ForegroundRule",
    "Gate",
    "ImageKind",
    "Merge",
    "MergeStep",
    "NetworkInput",
    "PostprocessStep",
    "PyramidScale",
    "RLEConvention",
    "Recipe",
    "Stitching",
    "Tiles",
]
