"""Which sections the pages have, under which headings, in the order in which a user meets them."""

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import BaseModel

from kernelkit.recipe import (
    Competition,
    EnsembleRecipe,
    Execution,
    ForegroundRule,
    Gate,
    ImageKind,
    LabelsRecipe,
    Merge,
    MergeStep,
    NetworkInput,
    PostprocessStep,
    PyramidScale,
    Recipe,
    RLEConvention,
    Stitching,
    StoreRecipe,
    Tiles,
    Variant,
)
from kernelkit.recipe.maps import Groups, Output
from kernelkit.recipe.network import Decibel, MinMax
from kernelkit.training.recipe import (
    AugmentStep,
    BlankRule,
    Crop,
    FoldsRecipe,
    Init,
    Loss,
    NetworkRecipe,
    Optimiser,
    Schedule,
    Source,
    Validate,
    WindowSource,
)
from kernelkit.training.recipe.network import AuxParams
from kernelkit.training.recipe.settings import InputChanges, RunSettings

__all__ = ["PAGES", "Part", "Sections"]

Section = type[BaseModel]


@dataclass(frozen=True)
class Part:
    """A key of a section that chooses among parts by name, such as steps of augmentation.

    Attributes
    ----------
    section
        Has one key per part.
    shared
        The key that all parts have, and what it is.
    """

    section: Section
    shared: tuple[str, str]


@dataclass(frozen=True)
class Sections:
    """The sections of one page.

    Attributes
    ----------
    page
        The name of the page's file.
    title
        The heading above all keys.
    top
        The whole file.
    headings
        The sections in it, by their headings.
    parts
        Those that choose among parts, by their headings.
    """

    page: str
    title: str
    top: Section
    headings: Mapping[str, Section]
    parts: Mapping[str, Part]


_RECIPE: dict[str, Section] = {
    "competition": Competition,
    "competition.rle": RLEConvention,
    "competition.output": Output,
    "tiles": Tiles,
    "foreground": ForegroundRule,
    "ensembles": EnsembleRecipe,
    "ensembles.when": ImageKind,
    "ensembles.input": NetworkInput,
    "ensembles.input.decibel": Decibel,
    "ensembles.input.minmax": MinMax,
    "ensembles.pyramid": PyramidScale,
    "ensembles.merge": Merge,
    "ensembles.merge.LEVEL": MergeStep,
    "ensembles.gate": Gate,
    "ensembles.postprocess": PostprocessStep,
    "stitching": Stitching,
    "execution": Execution,
    "store": StoreRecipe,
    "submissions.NAME": Variant,
    "groups": Groups,
}
_RUN: dict[str, Section] = {
    "labels": LabelsRecipe,
    "folds": FoldsRecipe,
    "input": InputChanges,
    "windows.NAME": WindowSource,
    "blank": BlankRule,
    "sources.NAME": Source,
    "crop": Crop,
    "model": NetworkRecipe,
    "model.aux_params": AuxParams,
    "init": Init,
    "optimiser": Optimiser,
    "schedule": Schedule,
    "validate": Validate,
}
_PARTS = {
    "augment": Part(
        AugmentStep,
        ("p", "It is the share of the crops that the step changes, and 1 if left out."),
    ),
    "loss": Part(Loss, ("weight", "It is what the term is multiplied by, and 1 if left out.")),
}

PAGES = (
    Sections("recipes.md", "All keys of a recipe", Recipe, _RECIPE, {}),
    Sections("training.md", "All keys of a run", RunSettings, _RUN, _PARTS),
)
