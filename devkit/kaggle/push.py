"""From the built datasets to a running kernel: the steps of `make push`, in order."""

from devkit.errors import KaggleError
from devkit.kaggle.datasets.upload import upload_dataset
from devkit.kaggle.notebook.kernel import KernelVersion, Pushed, find_version, push_kernel
from devkit.kaggle.notebook.kernel_folder import prepare_folder
from devkit.kaggle.notebook.run import check_log, fetch_submission, follow_run
from devkit.kaggle.service.client import Client
from mounted import MANIFEST, WEIGHTS_MANIFEST

__all__ = ["newest_version", "push", "push_and_run"]


def push(client: Client) -> Pushed:
    """Upload both datasets, wait until they are ready, prepare the kernel's folder and push it.

    A step does nothing if Kaggle has its result already. So an interrupted push goes on where it
    was.

    Raises
    ------
    SettingsError
        There is no owner, no notebook, or the notebook lacks a parameter.
    DatasetError
        A folder is not built, or must not be pushed.
    KaggleError
        Kaggle refused something, or took too long.
    """
    settings = client.settings
    folder = prepare_folder(settings, client.owner)
    upload_dataset(client, settings.dataset_folder / MANIFEST, settings.dataset)
    if settings.weights:
        upload_dataset(client, settings.weights_folder / WEIGHTS_MANIFEST, settings.weights)
    return push_kernel(client, folder)


def push_and_run(client: Client) -> Pushed:
    """Push like `push`, wait for the end of the run, and check its log and its submission.

    Raises
    ------
    KaggleError
        The run failed, or did not do its work.
    SubmissionError
        It wrote a submission that the competition would refuse.
    """
    pushed = push(client)
    version = find_version(client, pushed.ref, pushed.number)
    if version is None:
        raise KaggleError(
            f"Kaggle does not show {pushed.ref} version {pushed.number}, though it was pushed. Run "
            "the same command again"
        )
    check_log(follow_run(client, version, quietly=True), version)
    fetch_submission(client, version)
    return pushed


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
            f"there is no kernel {ref} that you may see. Push it first, with make push"
        )
    return version
