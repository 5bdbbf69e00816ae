"""`SettingsKeys`: what `kaggle.toml` may say."""

from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, model_validator

from devkit.kaggle.settings.sections import (
    EngineSettings,
    TrainSettings,
    ValidationSettings,
    check_names,
)
from devkit.kaggle.settings.types import (
    CompetitionSlug,
    DatasetSlug,
    KernelSlug,
    Limit,
    ModelReference,
    Parameter,
    Pause,
    Reference,
    UserName,
)

__all__ = ["PINNING", "SettingsKeys"]

# Which image a new kernel gets. The py313 image is the newest. The py312 image has to be pinned.
PINNING: dict[str, Literal["original", "latest"]] = {
    "kaggle-py312": "original",
    "kaggle-py313": "latest",
}


class SettingsKeys(BaseModel):
    """The keys of `kaggle.toml`, as `load_settings` reads them.

    Folders and files are relative to the folder of the settings file. `{profile}` in them stands
    for the profile. Times are in seconds.

    Attributes
    ----------
    owner
        Your name on Kaggle. Empty, it is the user who is signed in.
    kernel
        The slug of the notebook that predicts.
    title
        Its title. Empty, it is the slug in words.
    dataset
        The slug of the code and wheels. Empty, it is `kernelkit-{profile}`.
    weights
        The slug of the weights. Empty, there are none, such as with one of Kaggle's models.
    recipe
        The recipe's name.
    competition
        The competition's slug. Empty, it is the recipe's.
    own
        The folder of your own packages, with networks and steps. Empty, there is none.
    profile
        The image that the dataset was built for.
    pinning
        The image to run in: "original" is that of the notebook's first version, "latest" is the
        newest. Left out, the profile says it.
    docker_image
        An exact image. Empty, it is the one that the pinning picks.
    accelerator
        The GPU. "NvidiaTeslaT4" is two T4. Empty, there is none.
    datasets
        More datasets, "owner/slug".
    models
        Kaggle's models, "owner/model/framework/variation/version".
    kernels
        Notebooks of which the output is read, and utility scripts, "owner/slug".
    parameters
        The notebook's parameters, over those that are baked in.
    train, validation, engine
        The notebooks that train, that validate, and that compile what inference runs.
    notebook
        The notebook that is pushed.
    dataset_folder, weights_folder, kernel_folder
        Where the datasets and the notebook are prepared.
    output_folder
        Where the output of a run is fetched to.
    ledger
        What was submitted, with what score.
    state
        Where uploads that can be resumed are kept. Keep the path short.
    poll_seconds
        The pause between two questions while waiting.
    answer_seconds
        The limit for one answer.
    patience_seconds
        How long to go on while Kaggle has trouble.
    upload_seconds
        The limit for an upload.
    ready_seconds
        The limit for a dataset version to be ready.
    kernel_seconds
        The limit for a run and its time in the queue.
    score_seconds
        The limit for scoring.
    settle_seconds
        How long it may take until Kaggle lists what was submitted.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    # whose things they are, and what they are called on Kaggle
    owner: UserName = ""
    kernel: KernelSlug = "kernelkit-inference"
    title: str = ""
    dataset: DatasetSlug = ""
    weights: DatasetSlug = "kernelkit-weights"

    # what runs, and on what
    recipe: str = "hubmap"
    competition: CompetitionSlug = ""
    own: str = ""
    profile: str = "kaggle-py312"
    pinning: Literal["original", "latest"] | None = None
    docker_image: str = ""
    accelerator: str = "NvidiaTeslaT4"
    datasets: tuple[Reference, ...] = ()
    models: tuple[ModelReference, ...] = ()
    kernels: tuple[Reference, ...] = ()
    parameters: dict[str, Parameter] = {}
    train: TrainSettings = TrainSettings()
    validation: ValidationSettings = ValidationSettings()
    engine: EngineSettings = EngineSettings()

    # where things lie at home
    notebook: Path = Path("notebooks/inference.ipynb")
    dataset_folder: Path = Path("build/kernel-{profile}")
    weights_folder: Path = Path("build/weights")
    kernel_folder: Path = Path("build/kernel")
    output_folder: Path = Path("build/kaggle-output")
    ledger: Path = Path("submissions.jsonl")
    state: Path = Path("~/.cache/kernelkit")

    # how long to wait, and how often to ask
    poll_seconds: Pause = 20
    answer_seconds: Pause = 120
    patience_seconds: Limit = 600
    upload_seconds: Pause = 12 * 3600
    ready_seconds: Pause = 3600
    kernel_seconds: Pause = 13 * 3600
    score_seconds: Pause = 24 * 3600
    settle_seconds: Limit = 60

    @model_validator(mode="after")
    def _title_names_the_kernel(self) -> Self:
        check_names(
            {
                "for inference": (self.kernel, self.title),
                "in train": (self.train.kernel, self.train.title),
                "in validation": (self.validation.kernel, self.validation.title),
                "in engine": (self.engine.kernel, self.engine.title),
            }
        )
        if self.pinning is None and not self.docker_image and self.profile not in PINNING:
            raise ValueError(
                f"the profile {self.profile!r} needs a pinning. Set pinning to original or latest"
            )
        return self
