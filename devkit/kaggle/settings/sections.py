"""The sections of `kaggle.toml` about further notebooks: those that train, validate, compile."""

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict
from slugify import slugify

from devkit.kaggle.settings.types import Hours, KernelSlug, ModelReference, Parameter, Reference

__all__ = [
    "OF_NOTEBOOK",
    "EngineSettings",
    "NotebookSettings",
    "TrainSettings",
    "ValidationSettings",
    "check_names",
]

# What the section of a notebook says in place of the keys above it.
OF_NOTEBOOK = ("kernel", "title", "accelerator", "datasets", "models", "kernels", "parameters")


class NotebookSettings(BaseModel):
    """The keys of a section about a further notebook, where it differs from the first.

    Attributes
    ----------
    kernel
        The notebook's slug.
    title
        Its title. Empty, it is the slug in words.
    recipe
        The recipe's name, for training where it trains. Empty, it is that of the same name.
    accelerator
        The GPU. "NvidiaTeslaT4" is two T4. Empty, there is none.
    hours
        How long a session may last.
    datasets
        More datasets, such as one of pretrained weights.
    models
        Kaggle's models, "owner/model/framework/variation/version".
    kernels
        Notebooks of which the output is read, such as its own last one, to go on from.
    parameters
        The notebook's parameters, over those that are baked in.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kernel: KernelSlug
    title: str = ""
    recipe: str = ""
    accelerator: str = "NvidiaTeslaT4"
    hours: Hours = 9.0
    datasets: tuple[Reference, ...] = ()
    models: tuple[ModelReference, ...] = ()
    kernels: tuple[Reference, ...] = ()
    parameters: dict[str, Parameter] = {}


class TrainSettings(NotebookSettings):
    """The keys of the section `train`: the training notebook."""

    kernel: KernelSlug = "kernelkit-train"


class ValidationSettings(NotebookSettings):
    """The keys of the section `validation`: the notebook that validates what was trained."""

    kernel: KernelSlug = "kernelkit-validate"


class EngineSettings(NotebookSettings):
    """The keys of the section `engine`: the notebook that compiles what inference runs."""

    kernel: KernelSlug = "kernelkit-engine"


def check_names(notebooks: Mapping[str, tuple[str, str]]) -> None:
    """Refuse titles that become other slugs, and two notebooks of one slug.

    Parameters
    ----------
    notebooks
        The slug and the title of each notebook, by where the settings say them.

    Raises
    ------
    ValueError
        It names both.
    """
    for kernel, title in notebooks.values():
        slug = slugify(title)
        if title and slug != kernel:
            raise ValueError(
                f"the title {title!r} becomes the slug {slug!r} on Kaggle, but kernel is "
                f"{kernel!r}. Change one of them"
            )
    owners: dict[str, str] = {}
    for where, (kernel, _) in notebooks.items():
        if kernel in owners:
            raise ValueError(
                f"found the kernel {kernel!r} twice, {owners[kernel]} and {where}. Give each "
                "notebook a slug of its own"
            )
        owners[kernel] = where
