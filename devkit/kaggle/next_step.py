"""The next step on the way to a score, as one line: the first thing that is not done yet.

What lies at home is looked at first, in the order of the work. Then Kaggle is asked.
"""

from collections.abc import Callable

from devkit.competitions import OwnCompetition
from devkit.kaggle.built import (
    build_command,
    build_weights_command,
    check_sources,
    check_weights,
    other_weights,
)
from devkit.kaggle.manifest import check_proved, find_manifest, read_manifest
from devkit.kaggle.notebook.kernel import find_pushed
from devkit.kaggle.notebook.kernel_folder import prepare_folder
from devkit.kaggle.service.client import Client
from devkit.kaggle.settings import Settings
from devkit.kaggle.submissions.submit import was_submitted
from devkit.kaggle.trained import trained_runs
from devkit.make import make_command
from kernelkit.errors import KernelKitError, as_sentence
from kernelkit.recipe import Recipe
from mounted import MANIFEST, WEIGHTS_MANIFEST

__all__ = ["next_step"]


def next_step(settings: Settings, client: Client | None) -> str:
    """Say what is to be done next.

    Parameters
    ----------
    settings
        The settings to push with.
    client
        The client. None if nobody is signed in, and Kaggle is not asked.

    Raises
    ------
    KaggleError
        Kaggle does not answer.
    """
    at_home: list[Callable[[], str | None]] = []
    if (own := settings.own_competition) is not None:
        at_home += [lambda: _data(own), lambda: _recipes(own)]
        if settings.weights:
            at_home += [lambda: _folds(own), lambda: _runs(own)]
    at_home += [lambda: _kernel_dataset(settings), lambda: _weights_dataset(settings)]
    for step in at_home:
        if said := step():
            return said
    if client is None:
        return "sign in with .venv/bin/kaggle auth login"
    return _on_kaggle(settings, client)


def _make(target: str, own: OwnCompetition, why: str) -> str:
    return f"{make_command(target, NAME=own.name)} ({why})"


def _named(settings: Settings, target: str, why: str) -> str:
    return f"{settings.command(target)} ({why})"


def _data(own: OwnCompetition) -> str | None:
    folder = own.data_folder
    if folder.is_dir() and any(folder.iterdir()):
        return None
    return _make("download-data", own, f"{folder} has no files. A link to a folder does as well")


def _recipes(own: OwnCompetition) -> str | None:
    """Whether both recipes load, and find images of the data."""
    # torch takes seconds to import
    from kernelkit.competition import CompetitionFolder
    from kernelkit.training.cuts.scenes import training_scenes
    from kernelkit.training.recipe import TrainingRecipe

    try:
        CompetitionFolder.read(own.data_folder, Recipe.load(own.recipe).competition)
        for run in TrainingRecipe.load(own.training_recipe).runs.values():
            training_scenes(run, own.data_folder)
    except KernelKitError as error:
        return f"correct the recipes of {own.folder} ({as_sentence(error)})"
    return None


def _folds(own: OwnCompetition) -> str | None:
    if own.folds_file.is_file() or trained_runs(own.models_folder):
        return None
    return _make("folds", own, "nobody has looked at what each fold holds")


def _runs(own: OwnCompetition) -> str | None:
    """Whether each run that the recipe names is trained, all its folds to the end."""
    from kernelkit.checkpoints.run_folders import matching_runs

    trained = trained_runs(own.models_folder)
    if not trained:
        return _make("train", own, f"no run in {own.models_folder} has a checkpoint")
    patterns = [run for ensemble in Recipe.load(own.recipe).ensembles for run in ensemble.runs]
    try:
        matching_runs(own.models_folder, patterns)
    except KernelKitError as error:
        return _make("train", own, as_sentence(error))
    return None


def _kernel_dataset(settings: Settings) -> str | None:
    build = build_command(settings)
    path = settings.dataset_folder / MANIFEST
    if find_manifest(path) is None:
        return f"{build} (there is no {settings.dataset_folder})"
    try:
        check_proved(settings.dataset_folder, read_manifest(path, build), build)
        check_sources(settings)
    except KernelKitError as error:
        return f"{build} ({as_sentence(error)})"
    return None


def _weights_dataset(settings: Settings) -> str | None:
    if not settings.weights:
        return None
    command = build_weights_command(settings)
    if find_manifest(settings.weights_folder / WEIGHTS_MANIFEST) is None:
        return f"{command} (there is no {settings.weights_folder})"
    try:
        check_weights(settings)
    except KernelKitError as error:
        return f"{command} ({as_sentence(error)})"
    others = other_weights(settings)
    if others is not None and others.not_packed:
        return f"{command} ({', '.join(others.not_packed)} is trained, and is not packed)"
    return None


def _on_kaggle(settings: Settings, client: Client) -> str:
    """What is left once all is built: the push, the run, the submission."""
    pushed = find_pushed(client, prepare_folder(settings, client.owner))
    if pushed is None:
        return _named(settings, "push", "Kaggle does not have this notebook with these datasets")
    if pushed.state != "COMPLETE":
        why = f"version {pushed.number} is {pushed.state}"
        return _named(settings, "logs", why)
    if settings.section is not None:
        return _named(settings, "logs", f"version {pushed.number} has ended")
    if not was_submitted(client, pushed):
        return _named(settings, "submit", f"version {pushed.number} has run and is not submitted")
    return _named(settings, "submissions", f"version {pushed.number} is submitted")
