import json
import subprocess
import sys
import zipfile

import nbformat
import papermill
import pytest

from devkit.kaggle.notebook.kernel import find_version, run_state
from devkit.kaggle.notebook.kernel_folder import injected_parameters
from devkit.kaggle.service.client import Client
from devkit.kaggle.settings import load_settings
from kernelkit.recipe import Recipe
from tests.made.kaggle_home import (
    DATASET,
    FINGERPRINT,
    KERNEL,
    PATIENCE,
    REPOSITORY,
    WEIGHTS,
    Home,
)
from tests.made.kaggle_service import COMPETITION, TOKEN


def with_fingerprint(home: Home) -> None:
    """Have the notebook say which dataset it wants, as a parameter."""
    notebook = nbformat.read(home.settings["notebook"], as_version=4)
    cell = next(cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", ()))
    if "\nfingerprint:" not in cell.source:
        cell.source += '\nfingerprint: str = ""  # of the kernel dataset that this one wants'
    path = home.folder / "inference.ipynb"
    nbformat.write(notebook, path)
    home.settings["notebook"] = str(path)


def test_the_metadata_says_everything_explicitly(home: Home) -> None:
    """It is private, offline, and has the GPU, image and sources that the settings name."""
    home.service.models.add("bob/net/pytorch/big/3")
    home.service.datasets["carol/more-data"] = []
    home.settings |= {"models": ["bob/net/pytorch/big/3"], "datasets": ["carol/more-data"]}
    result = home.run("push")
    assert result.code == 0, result.err
    [request] = home.server.bodies["SaveKernel"]
    assert request["isPrivate"] is True
    assert request["enableInternet"] is False
    assert request["enableGpu"] is True
    assert request["machineShape"] == "NvidiaTeslaT4"
    assert request["dockerImagePinningType"] == "original"
    assert request["datasetDataSources"] == [DATASET, WEIGHTS, "carol/more-data"]
    assert request["competitionDataSources"] == [COMPETITION]
    assert request["modelDataSources"] == ["bob/net/pytorch/big/3"]
    assert request["sessionTimeoutSeconds"] == 9 * 3600
    metadata = json.loads((home.folder / "build/kernel/kernel-metadata.json").read_text())
    for key in ("is_private", "enable_internet", "enable_gpu", "docker_image_pinning_type"):
        assert key in metadata


def test_what_is_pushed_is_what_the_dry_run_runs_but_for_the_parameters(home: Home) -> None:
    """The cells are the same. One more cell holds the parameters, with Kaggle's folders."""
    assert home.run("push").code == 0
    dry_run = REPOSITORY / "notebooks/inference.ipynb"
    assert dry_run.name in (REPOSITORY / "devkit/dryrun/notebook.py").read_text()
    at_home = papermill.execute_notebook(
        str(dry_run), None, {"workers": 2}, prepare_only=True, progress_bar=False
    )
    pushed = json.loads(home.pushed_text())["cells"]
    assert len(pushed) == len(at_home.cells)
    for here, there in zip(at_home.cells, pushed, strict=True):
        assert here.cell_type == there["cell_type"]
        if "injected-parameters" not in here.metadata.get("tags", ()):
            assert here.source == there["source"]
    _, parameters = injected_parameters(home.pushed_text())
    assert parameters["competition"] == f"/kaggle/input/competitions/{COMPETITION}"
    assert parameters["models"] == f"/kaggle/input/datasets/{WEIGHTS}"
    assert parameters["recipe"] == "hubmap"
    assert parameters["output"] == "/kaggle/working"


def test_nothing_of_this_machine_is_in_the_folder(home: Home) -> None:
    """What is pushed holds no path, date or output, and it is the same each time."""
    assert home.run("prepare").code == 0
    folder = home.folder / "build/kernel"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert set(before) == {"inference.ipynb", "kernel-metadata.json"}
    assert home.run("prepare").code == 0
    for name, content in before.items():
        assert (folder / name).read_bytes() == content
        for trace in (str(home.folder), str(REPOSITORY), "papermill", "start_time"):
            assert trace.encode() not in content


def test_parameters_of_the_settings_are_baked_in(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A parameter of the notebook can be set, and overrides what would be baked in."""
    monkeypatch.setenv("KERNELKIT_PARAMETERS", "{workers = 4, models = '/m'}")
    assert home.run("prepare").code == 0
    text = (home.folder / "build/kernel/inference.ipynb").read_text()
    _, parameters = injected_parameters(text)
    assert (parameters["workers"], parameters["models"]) == (4, "/m")


def test_a_parameter_that_the_notebook_lacks_is_refused(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A misspelt parameter is named, with those that there are."""
    monkeypatch.setenv("KERNELKIT_PARAMETERS", "{worker = 4}")
    result = home.run("prepare")
    assert result.code == 1
    assert "has no parameter worker" in result.err
    assert "workers" in result.err


def test_the_prepared_folder_can_be_pushed_by_hand(home: Home) -> None:
    """`kaggle kernels push -p FOLDER` pushes the same kernel, and `make push` recognises it."""
    assert home.run("push").code == 0
    home.service.kernels.clear()
    client = [sys.executable, "-m", "kaggle", "-W", "kernels", "push"]
    done = subprocess.run(
        [*client, "-p", str(home.folder / "build/kernel")],
        env=home.environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    assert "Kernel version 1 successfully pushed" in done.stdout
    first, second = home.server.bodies["SaveKernel"]
    assert {**first, "sessionTimeoutSeconds": 0} == {**second, "sessionTimeoutSeconds": 0}
    result = home.run("push")
    assert result.code == 0
    assert "version 1 is this one already" in result.out


def test_a_second_push_does_not_run_the_kernel_again(home: Home) -> None:
    """The newest version says that it is this push, so no GPU hours are spent on another."""
    assert home.run("push").code == 0
    result = home.run("push")
    assert result.code == 0
    assert home.server.count("SaveKernel") == 1
    assert f"{KERNEL}: version 1 is this one already" in result.out


def test_a_push_whose_answer_was_lost_is_found_again(home: Home) -> None:
    """Kaggle has the version although it hung up. The same command pushes no second one."""
    home.server.lose_answer("SaveKernel")
    result = home.run("push")
    assert result.code == 1
    assert "Run the same command again" in result.err
    assert home.run("push").code == 0
    assert len(home.service.kernels[KERNEL]) == 1


@pytest.mark.parametrize("state", ["ERROR", "CANCEL_ACKNOWLEDGED"])
def test_a_version_that_went_wrong_is_pushed_again(home: Home, state: str) -> None:
    """What failed or was cancelled is not taken for done."""
    home.service.next_run = [state]
    assert home.run("push").code == 0
    assert home.run("push").code == 0
    assert len(home.service.kernels[KERNEL]) == 2


def test_new_code_makes_a_new_version(home: Home) -> None:
    """Another dataset fingerprint is another push, even with the same notebook."""
    assert home.run("push").code == 0
    home.write_weights("abc123" * 10)
    assert home.run("push").code == 0
    assert len(home.service.kernels[KERNEL]) == 2


@pytest.mark.parametrize(
    ("said", "remedy"),
    [
        ("Maximum batch GPU session count of 2 reached.", "Wait until a running GPU session ends"),
        ("You've exceeded the number of hours allowed to use GPU.", "GPU hours are used up"),
        ("Your weekly GPU quota is exhausted", "GPU hours are used up"),
        ("Phone verification is required to use a GPU", "Verify your account with a phone"),
        ("Notebook not found", "Look at it on kaggle.com"),
    ],
)
def test_a_push_error_with_which_the_client_exits_0_is_an_error(
    home: Home, said: str, remedy: str
) -> None:
    """What the client prints as `Kernel push error` ends with exit code 1 and the remedy."""
    home.server.answer("SaveKernel", {"error": said})
    result = home.run("push")
    assert result.code == 1
    assert said.rstrip(".") in result.err
    assert remedy in result.err
    assert result.err.strip().count("\n") == 0


@pytest.mark.parametrize(
    ("key", "value", "kind"),
    [
        ("datasets", ["carol/missing-data"], "dataset"),
        ("models", ["bob/net/pytorch/big/9"], "model"),
    ],
)
def test_a_source_that_kaggle_left_out_is_an_error(
    home: Home, key: str, value: object, kind: str
) -> None:
    """The kernel would run without it. The client hardly says so, and of models nothing."""
    home.settings[key] = value
    result = home.run("push")
    assert result.code == 1
    name = value[0] if isinstance(value, list) else value
    assert f"could not attach the {kind} {name}" in result.err
    assert "It runs version 1 without it" in result.err
    again = home.run("push")
    assert again.code == 1


def test_a_competition_that_does_not_exist_is_found_before_the_push(home: Home) -> None:
    """Nothing is uploaded, and nothing runs."""
    home.settings["competition"] = "no-such-competition"
    result = home.run("push")
    assert result.code == 1
    assert "there is no competition no-such-competition" in result.err
    assert home.server.count("StartBlobUpload") == 0
    assert home.server.count("SaveKernel") == 0


def test_a_notebook_that_was_edited_on_kaggle_is_pushed_anew(home: Home) -> None:
    """Its first line still names the push, but its cells are others."""
    assert home.run("push").code == 0
    request = home.service.kernels[KERNEL][0].request
    edited = json.loads(request["text"])
    edited["cells"][-1]["source"] = "print('mine')"
    request["text"] = json.dumps(edited)
    result = home.run("push")
    assert result.code == 0, result.err
    assert "version 1 was edited on Kaggle, so it is not this" in result.out
    assert len(home.service.kernels[KERNEL]) == 2


def test_a_notebook_that_kaggle_wrote_in_another_form_is_recognised(home: Home) -> None:
    """Pieces instead of one text, and other white space, change no cell."""
    assert home.run("push").code == 0
    request = home.service.kernels[KERNEL][0].request
    other = json.loads(request["text"])
    for cell in other["cells"]:
        cell["source"] = f"{cell['source']}\n".splitlines(keepends=True)
    request["text"] = json.dumps(other, indent=4)
    assert "is this one already" in home.run("push").out


def test_a_kernel_that_holds_a_token_is_refused(home: Home) -> None:
    """Nothing is pushed. The message names the place but not the token."""
    token = "hf_" + "Ab1" * 12
    notebook = nbformat.read(home.settings["notebook"], as_version=4)
    notebook.cells[-1].source += f"\nlogin('{token}')"
    path = home.folder / "inference.ipynb"
    nbformat.write(notebook, path)
    home.settings["notebook"] = str(path)
    result = home.run("push")
    assert result.code == 1
    assert "looks like a Hugging Face token" in result.err
    assert "build/kernel/inference.ipynb, line" in result.err
    assert token not in result.err
    assert home.server.count("SaveKernel") == 0


def test_a_dataset_that_holds_the_users_own_credential_is_refused(home: Home) -> None:
    """It is found within a wheel too, before anything is uploaded."""
    wheel = home.kernel_dataset / "one-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("one.py", f"a = 1\nb = '{TOKEN}'\n")
    result = home.run("push")
    assert result.code == 1
    assert "(one.py, line 2) looks like your own Kaggle credential" in result.err
    assert home.server.count("StartBlobUpload") == 0
    wheel.unlink()


def test_status_tells_of_the_newest_version(home: Home) -> None:
    """It prints one line with version and state. A run that goes on is no error."""
    home.service.next_run = ["RUNNING"]
    assert home.run("push").code == 0
    result = home.run("status")
    assert (result.code, result.out) == (0, f"{KERNEL} version 1: RUNNING\n")


def test_status_of_a_failed_run_is_an_error(home: Home) -> None:
    """The client exits 0 on a kernel in error."""
    home.service.next_run = ["ERROR"]
    assert home.run("push").code == 0
    result = home.run("status")
    assert result.code == 1
    assert f"{KERNEL} version 1: ERROR (Notebook exited). See {home.make('logs')}" in result.err


def test_status_without_a_kernel_is_an_error(home: Home) -> None:
    """What was never pushed has no status."""
    result = home.run("status")
    assert result.code == 1
    assert f"Push it first, with {home.make('push')}" in result.err


def test_logs_follow_the_run_to_its_end_and_fetch_the_submission(home: Home) -> None:
    """Every line is printed once, live or later. Then the submission is fetched and checked."""
    with_fingerprint(home)
    home.service.next_run = ["QUEUED", "RUNNING", "RUNNING", "COMPLETE"]
    assert home.run("push").code == 0
    result = home.run("logs")
    assert result.code == 0, result.err
    assert home.server.count("stream") == 2
    assert result.out.count("predicting") == 1
    assert result.out.count("kernelkit: end of the run") == 1
    submission = home.folder / "build/kaggle-output/v1/submission.csv"
    assert submission.read_bytes().startswith(b"id,predicted")
    assert "checked, 2 rows" in result.out


def test_every_submission_of_a_run_is_fetched_and_can_be_queued(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The files of the recipe's submissions come too, and what is printed submits them."""
    several = Recipe.load("hubmap").override(submissions={"all": {}, "lower": {"thresholds": 0.4}})
    monkeypatch.setattr(Recipe, "load", lambda _: several)
    with_fingerprint(home)
    sample = home.service.next_files["submission.csv"]
    lower = sample.replace(b",\n", b",1 1\n", 1)
    home.service.next_files |= {"submissions/all.csv": sample, "submissions/lower.csv": lower}
    assert home.run("push").code == 0
    result = home.run("logs")
    assert result.code == 0, result.err
    assert result.out.count("checked, 2 rows") == 3
    folder = home.folder / "build/kaggle-output/v1/submissions"
    assert f"{home.make('queue')} FILES='{folder}/all.csv {folder}/lower.csv'" in result.out
    queued = home.run("queue", str(folder / "all.csv"), str(folder / "lower.csv"))
    assert queued.code == 0, queued.err
    assert len(home.service.submissions) == 2


def test_a_live_log_that_breaks_off_does_not_end_the_following(home: Home) -> None:
    """A lost connection or a silent stream only makes it look again."""
    home.service.next_run = ["RUNNING", "RUNNING", "RUNNING", "COMPLETE"]
    assert home.run("push").code == 0
    home.server.lose_answer("stream")
    home.server.hang("stream")
    result = home.run("logs")
    assert result.code == 0, result.err
    assert result.out.count("predicting") == 1


def test_a_failed_run_ends_with_the_last_lines_of_its_log(home: Home) -> None:
    """The message has the state, Kaggle's reason, and the lines that usually show the cause."""
    home.service.next_run = ["RUNNING", "ERROR"]
    home.service.next_log = [f"line {number}\n" for number in range(50)] + ["ValueError: no\n"]
    assert home.run("push").code == 0
    result = home.run("logs")
    assert result.code == 1
    assert f"{KERNEL} version 1 ended with ERROR (Notebook exited)" in result.err
    assert "    ValueError: no" in result.err
    assert "    line 30\n" not in result.err


def test_a_complete_run_without_its_end_marker_is_an_error(home: Home) -> None:
    """Kaggle may call a crashed run complete."""
    home.service.next_log = ["kernel dataset fedcba987654\n", "Killed\n"]
    assert home.run("push").code == 0
    result = home.run("logs")
    assert result.code == 1
    assert "The notebook did not get to its end" in result.err


def test_a_run_with_another_dataset_is_an_error(home: Home) -> None:
    """The log must name the fingerprint that the notebook was pushed with."""
    with_fingerprint(home)
    home.service.next_log = [
        "kernel dataset 111111111111 for kaggle-py312\n",
        "kernelkit: end of the run, recipe hubmap 0\n",
    ]
    assert home.run("push").code == 0
    result = home.run("logs")
    assert result.code == 1
    assert f"does not name the dataset {FINGERPRINT[:12]}" in result.err


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({}, "left no submission.csv"),
        ({"submission.csv": b"id,rle\naa,\nbb,\n"}, "the columns are"),
        ({"submission.csv": b"id,predicted\naa,\n"}, "have no row"),
    ],
)
def test_a_submission_that_would_be_refused_is_an_error(
    home: Home, files: dict[str, bytes], found: str
) -> None:
    """It is missing, has other columns, or lacks ids of the competition's sample."""
    home.service.next_files = files
    assert home.run("push").code == 0
    result = home.run("logs")
    assert result.code == 1
    assert found in result.err


def test_the_log_of_a_version_is_not_that_of_a_later_one(home: Home) -> None:
    """Version 1 is asked for by its label, while version 2 has failed already."""
    assert home.run("push").code == 0
    home.service.next_run = ["ERROR"]
    home.write_weights("abc123" * 10)
    assert home.run("push").code == 0
    client = Client(load_settings(home.write_settings()))
    version = find_version(client, KERNEL, 1)
    assert version is not None
    home.service.kernels[KERNEL][0].timeline.become("COMPLETE")
    assert run_state(client, version) == ("COMPLETE", "")
