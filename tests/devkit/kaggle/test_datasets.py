import json
import time
from pathlib import Path

import pytest

from tests.made.kaggle_home import (
    DATASET,
    FINGERPRINT,
    PATIENCE,
    WEIGHTS,
    Home,
    until,
)


def test_the_first_push_creates_both_datasets_privately(home: Home) -> None:
    """All files of both folders are there, flat, and the datasets are private."""
    result = home.run("push")
    assert result.code == 0, result.err
    assert set(home.service.datasets) == {DATASET, WEIGHTS}
    [version] = home.service.datasets[DATASET]
    assert set(version.files) == {
        "bootstrap.py",
        "kernelkit-manifest.json",
        "one-1.0-py3-none-any.whl",
    }
    for name, content in version.files.items():
        assert (home.kernel_dataset / name).read_bytes() == content
    requests = home.server.bodies["CreateDataset"]
    assert all(request["isPrivate"] for request in requests)
    assert requests[0]["licenseName"] == "apache-2.0"


def test_a_second_push_uploads_nothing(home: Home) -> None:
    """The manifest on Kaggle has this fingerprint already, so there is nothing to do."""
    assert home.run("push").code == 0
    before = home.server.count("PUT")
    result = home.run("push")
    assert result.code == 0, result.err
    assert home.server.count("PUT") == before
    assert home.server.count("CreateDatasetVersion") == 0
    assert f"{DATASET}: version 1 is {FINGERPRINT[:12]} already" in result.out


def test_the_manifest_is_read_although_kaggle_compressed_it(home: Home) -> None:
    """A download that comes as a zip archive is unpacked before its fingerprint is compared."""
    home.service.zips_downloads = True
    assert home.run("push").code == 0
    assert home.run("push").code == 0
    assert home.server.count("CreateDatasetVersion") == 0


def test_another_fingerprint_becomes_a_version(home: Home) -> None:
    """Only the dataset that changed gets a version, and that very version is waited for."""
    assert home.run("push").code == 0
    home.write_dataset("aaaa" * 16)
    result = home.run("push")
    assert result.code == 0, result.err
    assert len(home.service.datasets[DATASET]) == 2
    assert len(home.service.datasets[WEIGHTS]) == 1
    assert f"{DATASET}: version 2 is ready" in result.out


def test_the_kernel_is_not_pushed_while_kaggle_speaks_of_the_version_before(home: Home) -> None:
    """A status of READY that belongs to the old version does not end the waiting."""
    assert home.run("push").code == 0
    home.service.next_version = ["stale", "stale", "stale", "BLOBS_RECEIVED", "READY"]
    home.write_dataset("bbbb" * 16)
    states = []
    home.server.call_back(
        "SaveKernel",
        lambda: states.append(home.service.datasets[DATASET][1].timeline.now),
    )
    assert home.run("push").code == 0
    assert states == ["READY"]


def test_an_upload_cut_off_in_the_middle_is_resumed(home: Home) -> None:
    """After a 503 the client asks how much has arrived (308) and sends the rest only."""
    home.server.cut_upload(after=5)
    result = home.run("push")
    assert result.code == 0, result.err
    assert home.server.count("PUT?") == 1
    assert any(" bytes 5-" in upload for upload in home.server.uploaded)
    for name, content in home.service.datasets[DATASET][0].files.items():
        assert (home.kernel_dataset / name).read_bytes() == content


def test_an_upload_that_keeps_failing_creates_nothing_and_is_resumed_later(home: Home) -> None:
    """No dataset is made of a part of the files. The next run sends what is missing."""
    home.server.cut_upload(after=1, times=10)
    result = home.run("push")
    assert result.code == 1
    assert "was cut off, and nothing was created. Run the same command again" in result.err
    assert not home.service.datasets
    assert len(home.server.uploaded) < 3
    assert home.run("push").code == 0
    files = [upload for upload in home.server.uploaded if "unet__fold_0" not in upload]
    files = [upload for upload in files if "kernelkit-weights" not in upload]
    names = [upload.split()[0] for upload in files]
    assert sorted(names) == sorted(home.service.datasets[DATASET][0].files)
    assert sum(" bytes " in upload for upload in files) == 1  # the one that was cut off


def test_a_rejected_file_is_not_left_out_in_silence(home: Home) -> None:
    """The client would create the dataset without the file. Here nothing is created."""
    home.server.fail("PUT", 400, "bad file")
    result = home.run("push")
    assert result.code == 1
    assert "nothing was created" in result.err
    assert home.server.count("CreateDataset") == 0
    assert home.run("push").code == 0
    assert len(home.service.datasets[DATASET][0].files) == 3


def test_an_upload_that_expired_is_begun_anew(home: Home) -> None:
    """An upload that Kaggle forgot (404) starts from the first byte, within the same command."""
    home.server.cut_upload(after=1, times=10)
    assert home.run("push").code == 1
    home.service.blobs.clear()
    result = home.run("push")
    assert result.code == 0, result.err
    for name, content in home.service.datasets[DATASET][0].files.items():
        assert (home.kernel_dataset / name).read_bytes() == content


def test_a_wait_that_was_cut_off_goes_on_without_a_second_upload(home: Home) -> None:
    """While Kaggle still reports the old version, the next run waits for the new one."""
    assert home.run("push").code == 0
    home.service.next_version = ["stale"]
    home.settings["ready_seconds"] = 1
    home.write_dataset("cccc" * 16)
    result = home.run("push")
    assert result.code == 1
    assert f"waited 1 s for version 2 of {DATASET} to be ready, without success" in result.err
    assert "Run the same command again to go on waiting" in result.err
    home.settings["ready_seconds"] = PATIENCE
    home.service.datasets[DATASET][1].timeline.become("stale", "READY")
    assert home.run("push").code == 0
    assert len(home.service.datasets[DATASET]) == 2


def test_a_version_that_is_never_shown_is_given_up_in_the_end(home: Home) -> None:
    """Three time limits after the upload, the folder is uploaded once more."""
    assert home.run("push").code == 0
    home.settings["ready_seconds"] = 0.5
    home.service.next_version = ["stale"]
    home.write_dataset("cccc" * 16)
    assert home.run("push").code == 1
    note = home.folder / "s" / f"{DATASET.replace('/', '--')}.json"
    note.write_text(json.dumps(json.loads(note.read_text()) | {"time": time.time() - 2}))
    home.run("push")
    assert home.server.count("CreateDatasetVersion") == 2


def test_an_upload_that_was_killed_is_resumed_by_the_next_run(home: Home) -> None:
    """What the killed run had sent of the file is not sent again."""
    home.server.cut_upload(after=7)
    home.server.hang("PUT")
    process = home.start("push")
    until(lambda: home.server.count("PUT") == 2)
    process.kill()
    process.wait(timeout=PATIENCE)
    result = home.run("push")
    assert result.code == 0, result.err
    assert any(" bytes 7-" in upload for upload in home.server.uploaded)
    assert len(home.service.datasets[DATASET]) == 1


def test_a_status_that_never_becomes_ready_ends_in_time(home: Home) -> None:
    """A version stuck in processing is an error that says what to run to go on."""
    home.service.next_version = ["BLOBS_RECEIVED"]
    home.settings["ready_seconds"] = 0.5
    result = home.run("push")
    assert result.code == 1
    assert f"waited 0.5 s for version 1 of {DATASET} to be ready" in result.err
    assert home.server.count("SaveKernel") == 0


def test_a_version_still_processed_is_waited_for_before_the_next(home: Home) -> None:
    """Kaggle answers 403 to a version that comes while another is processed."""
    assert home.run("push").code == 0
    home.service.next_version = ["BLOBS_RECEIVED"]
    home.settings["ready_seconds"] = 0.5
    home.write_dataset("dddd" * 16)
    assert home.run("push").code == 1
    home.settings["ready_seconds"] = PATIENCE
    home.service.datasets[DATASET][1].timeline.become("BLOBS_RECEIVED", "READY")
    home.service.next_version = ["READY"]
    home.write_dataset("eeee" * 16)
    result = home.run("push")
    assert result.code == 0, result.err
    assert len(home.service.datasets[DATASET]) == 3


def test_a_version_that_failed_on_kaggle_is_an_error(home: Home) -> None:
    """A status of FAILED is reported at once, and the next run uploads again."""
    home.service.next_version = ["BLOBS_RECEIVED", "FAILED"]
    result = home.run("push")
    assert result.code == 1
    assert f"Kaggle failed to process version 1 of {DATASET}" in result.err
    home.service.next_version = ["READY"]
    assert home.run("push").code == 0
    assert len(home.service.datasets[DATASET]) == 2


def test_a_service_in_trouble_is_not_taken_for_a_free_slug(home: Home) -> None:
    """A 500 to the question whether the dataset is there creates nothing."""
    home.server.fail("GetDataset", 500, "oops", times=50)
    result = home.run("push")
    assert result.code == 1
    assert "'oops' (HTTP 500). Kaggle has trouble" in result.err
    assert home.server.count("StartBlobUpload") == 0


def test_trouble_that_passes_is_waited_out(home: Home) -> None:
    """A 503 to a question is asked again a moment later."""
    home.settings["patience_seconds"] = PATIENCE
    home.server.fail("GetDataset", 503, "busy", times=2)
    assert home.run("push").code == 0


def test_a_slug_that_is_taken_is_told(home: Home) -> None:
    """Kaggle's 409 becomes a sentence that says to choose another slug."""
    home.server.fail("CreateDataset", 409, "The requested title is already in use by a dataset")
    result = home.run("push")
    assert result.code == 1
    assert "already in use by a dataset' (HTTP 409). Choose another slug" in result.err


@pytest.mark.parametrize(
    ("call", "is_there"), [("CreateDataset", False), ("CreateDatasetVersion", True)]
)
def test_an_error_with_which_the_client_exits_0_is_an_error(
    home: Home, call: str, is_there: bool
) -> None:
    """The client prints `creation error` and ends well. The command does not."""
    if is_there:
        assert home.run("push").code == 0
        home.write_dataset("ffff" * 16)
    home.server.answer(call, {"status": "error", "error": "Incompatible dataset"})
    result = home.run("push")
    assert result.code == 1
    assert f"dataset {DATASET}: Kaggle said 'Incompatible dataset'" in result.err


def test_another_owner_is_refused_with_the_remedy(home: Home) -> None:
    """The message says which setting names the owner."""
    home.settings["owner"] = "bob"
    result = home.run("push")
    assert result.code == 1
    assert "owner in kaggle.toml is neither you nor a group of yours" in result.err


def test_the_upload_state_is_private_and_its_path_short(home: Home) -> None:
    """Links are staged in a folder of the user's own, and gone afterwards."""
    seen: list[int] = []
    state = home.folder / "s"
    home.server.call_back("CreateDataset", lambda: seen.append(state.stat().st_mode & 0o777))
    assert home.run("push").code == 0
    assert seen == [0o700]
    assert not any(path.is_symlink() for path in state.rglob("*"))


def test_a_path_too_long_for_the_client_is_refused_before_it_dies_of_it(home: Home) -> None:
    """The client makes one file name of the whole path."""
    home.settings["state"] = str(home.folder / Path(*["long-folder-name"] * 14))
    result = home.run("push")
    assert result.code == 1
    assert "too long a path for Kaggle's client" in result.err
    assert home.server.count("StartBlobUpload") == 0


def test_a_folder_in_the_dataset_is_refused(home: Home) -> None:
    """The client would leave it out without a word."""
    (home.kernel_dataset / "more").mkdir()
    result = home.run("push")
    assert result.code == 1
    assert "client leaves folders out" in result.err


def test_a_dataset_that_was_not_built_is_told(home: Home) -> None:
    """The missing manifest is named, and the command that makes it."""
    (home.kernel_dataset / "kernelkit-manifest.json").unlink()
    result = home.run("push")
    assert result.code == 1
    assert f"Build the dataset first, with {home.make('kernel-dataset')}" in result.err


def test_a_dataset_for_another_image_is_refused(home: Home) -> None:
    """What was built for one profile is not pushed with the pinning of another."""
    manifest = {"fingerprint": "1234", "target": {"profile": "kaggle-py313"}}
    (home.kernel_dataset / "kernelkit-manifest.json").write_text(json.dumps(manifest))
    result = home.run("push")
    assert result.code == 1
    assert "was built for kaggle-py313, but profile is kaggle-py312" in result.err
