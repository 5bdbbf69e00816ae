"""Training recipes: everything that a training decides, in one YAML file with checked keys.

kernelkit's own lie in this folder, one YAML file per competition.
"""

from kernelkit.training.recipe.augment import AugmentStep
from kernelkit.training.recipe.folds import FoldsRecipe
from kernelkit.training.recipe.network import Init, NetworkRecipe
from kernelkit.training.recipe.objective import Loss
from kernelkit.training.recipe.run import RunRecipe
from kernelkit.training.recipe.steps import Optimiser, Schedule
from kernelkit.training.recipe.training import TrainingRecipe
from kernelkit.training.recipe.validation import Validate
from kernelkit.training.recipe.windows import BlankRule, Crop, Source, WindowSource

__all__ = [
    "AugmentStep",
    "BlankRule",
    "Crop",
    "FoldsRecipe",
    "Init",
    "Loss",
    "NetworkRecipe",
    "Optimiser",
    "RunRecipe",
    "Schedule",
    "Source",
    "TrainingRecipe",
    "Validate",
    "WindowSource",
]
