"""From the built datasets to a running kernel: what `make push` does, in order."""

from devkit.errors import ToolError
from devkit.kaggle.datasets.upload import upload_dataset
from devkit.kaggle.notebook.folder import prepare_folder
from devkit.kaggle.notebook.kernel import KernelHead, Pushed, find_kernel, push_kernel
from devkit.kaggle.notebook.run import check_log, fetch_submission, follow_run
from devkit.kaggle.service.client import Client
from mounted import MANIFEST, WEIGHTS_MANIFEST

__all__ = ["newest", "push", "push_and_run"]


def push(client: Client) -> Pushed:
    """Upload both datasets, wait until they are ready, prepare the kernel's folder and push it.

    Each step does nothing where Kaggle has the result already, so a run that was interrupted goes
    on where it was.

    Raises
    ------
    DatasetError
        A folder that is not built, or that must not be pushed.
    ToolError
        Kaggle refused something, or took too long.
    """
    settings = client.settings
    folder = prepare_folder(settings, client.owner)
    upload_dataset(client, settings.dataset_folder / MANIFEST, settings.dataset)
    if settings.weights:
        upload_dataset(client, settings.weights_folder / WEIGHTS_MANIFEST, settings.weights)
    return push_kernel(client, folder)


def push_and_run(client: Client) -> Pushed:
    """As `push`, then wait for the end of the run and check its log and its submission.

    Raises
    ------
    ToolError
        The run failed, or did not do what it was to do.
    SubmissionError
        It wrote a submission that the competition would refuse.
    """
    pushed = push(client)
    head = find_kernel(client, pushed.ref, pushed.number)
    if head is None:
        raise ToolError(f"{pushed.ref} has no version {pushed.number}, though it was pushed")
    check_log(follow_run(client, head, quietly=True), head)
    fetch_submission(client, head)
    return pushed


def newest(client: Client) -> KernelHead:
    """The kernel's newest version.

    Raises
    ------
    ToolError
        There is no such kernel.
    """
    ref = f"{client.owner}/{client.settings.kernel}"
    head = find_kernel(client, ref)
    if head is None:
        raise ToolError(f"there is no kernel {ref} that you may see; push it first, with make push")
    return head
