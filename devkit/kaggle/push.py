"""The steps of `make push`, from the built datasets to a run, and those of `make submit`."""

from devkit.errors import KaggleError
from devkit.kaggle.built import build_command, build_weights_command, other_weights
from devkit.kaggle.datasets.upload import Built, upload_datasets
from devkit.kaggle.notebook.follow import check_log, follow_run
from devkit.kaggle.notebook.kernel import (
    KernelVersion,
    Pushed,
    find_pushed,
    find_version,
    push_kernel,
)
from devkit.kaggle.notebook.kernel_folder import KernelFolder, prepare_folder
from devkit.kaggle.service.client import Client
from devkit.kaggle.submissions.account import check_competition, check_gpu_hours, check_submissions
from devkit.kaggle.submissions.check import fetch_checked
from devkit.kaggle.submissions.ledger import Entry, Ledger
from devkit.kaggle.submissions.submit import submit_kernel, was_submitted
from mounted import MANIFEST, WEIGHTS_MANIFEST

__all__ = ["newest_version", "push", "push_and_submit"]

# Builds of torch for CUDA 12.8, as both images have them, begin with sm_70.
_OLD_GPU = "P100"


def push(client: Client) -> Pushed:
    """Upload both datasets, wait until they are ready, prepare the kernel's folder and push it.

    A step does nothing if Kaggle has its result already. So an interrupted push goes on where it
    was. Before the first step, the account is asked for what the run will need.

    Raises
    ------
    SettingsError
        There is no owner, no notebook, or the notebook lacks a parameter.
    DatasetError
        A folder is not built, or must not be pushed.
    KaggleError
        Kaggle refused something, or took too long. Or it would refuse the run.
    """
    folder = prepare_folder(client.settings, client.owner)
    _warn_of_gpu(client)
    _warn_of_weights(client)
    check_competition(client)
    if find_pushed(client, folder) is None:
        client.say(f"GPU hours: {check_gpu_hours(client)}")
    return _push(client, folder)


def push_and_submit(client: Client, message: str, *, again: bool = False) -> Entry:
    """Push like `push`, wait for the run, check it, submit its output and wait for the score.

    Parameters
    ----------
    client
        The client, signed in.
    message
        The user's words about it.
    again
        As for `submit_kernel`.

    Returns
    -------
    The entry in the ledger, with the score.

    Raises
    ------
    KaggleError
        The run failed, or did not do its work. Or Kaggle would refuse the submission.
    SubmissionError
        It wrote a submission that the competition would refuse.
    """
    folder = prepare_folder(client.settings, client.owner)
    _warn_of_gpu(client)
    _warn_of_weights(client)
    Ledger(client.settings.ledger).prove_writable()
    check_competition(client)
    pushed = find_pushed(client, folder)
    if pushed is None:
        client.say(f"GPU hours: {check_gpu_hours(client)}")
    if pushed is None or again or not was_submitted(client, pushed):
        check_submissions(client)
    pushed = _push(client, folder)
    version = find_version(client, pushed.ref, pushed.number)
    if version is None:
        raise KaggleError(
            f"Kaggle does not show {pushed.ref} version {pushed.number}, though it was pushed. Run "
            "the same command again"
        )
    check_log(follow_run(client, version, quietly=True), version, client.settings)
    fetch_checked(client, version)
    return submit_kernel(client, pushed, message, again=again)


def _warn_of_gpu(client: Client) -> None:
    """Say that a P100 may be there, and that the image's torch has no code for it."""
    accelerator = client.settings.accelerator
    if _OLD_GPU in accelerator:
        client.say(
            f"warning: accelerator is {accelerator}. The image's torch has no code for its sm_60, "
            "so the notebook will stop at once. Set it to NvidiaTeslaT4 in kaggle.toml"
        )


def _warn_of_weights(client: Client) -> None:
    """Say which weights differ from those at home. They may be meant, so they are pushed."""
    settings = client.settings
    if not settings.weights:
        return
    folder, again = settings.weights_folder, build_weights_command(settings)
    others = other_weights(settings)
    if others is None:
        client.say(
            f"warning: {folder} does not say what it was made from, so trained runs are not "
            f"compared with it. Run {again} to be sure"
        )
        return
    if others.gone:
        client.say(
            f"warning: {', '.join(others.gone)} is no longer at home, and is pushed as it was "
            "packed"
        )
    if others.in_training:
        client.say(
            f"warning: {', '.join(others.in_training)} is being trained, and is pushed as it was "
            "packed"
        )
    if others.not_packed:
        client.say(
            f"warning: {', '.join(others.not_packed)} is trained, and is not packed. To push it "
            f"too, run {again} first"
        )


def _push(client: Client, folder: KernelFolder) -> Pushed:
    settings = client.settings
    code, weights = settings.dataset_folder / MANIFEST, settings.weights_folder / WEIGHTS_MANIFEST
    datasets = [Built(code, settings.dataset, build_command(settings))]
    if settings.weights:
        datasets.append(Built(weights, settings.weights, build_weights_command(settings)))
    upload_datasets(client, datasets)
    return push_kernel(client, folder)


def newest_version(client: Client) -> KernelVersion:
    """Find the newest version of the settings' kernel.

    Raises
    ------
    KaggleError
        There is no such kernel.
    """
    ref = f"{client.owner}/{client.settings.kernel}"
    version = find_version(client, ref)
    if version is None:
        raise KaggleError(
            f"there is no kernel {ref} that you may see. Push it first, with "
            f"{client.settings.command('push')}"
        )
    return version
