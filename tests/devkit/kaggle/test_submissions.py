import json
import signal
from pathlib import Path

import pytest

from kernelkit.recipe import Recipe
from tests.made.kaggle_home import (
    FINGERPRINT,
    KERNEL,
    PATIENCE,
    Home,
    until,
)
from tests.made.kaggle_service import COMPETITION


def csv_files(home: Home, count: int) -> list[str]:
    paths = [home.folder / f"answer{number}.csv" for number in range(count)]
    for number, path in enumerate(paths):
        path.write_text(f"id,predicted\naa,{number + 1} 1\nbb,\n")
    return [str(path) for path in paths]


def test_submit_goes_from_the_datasets_to_a_score(home: Home) -> None:
    """The version that was pushed and has run is submitted. Its score is printed and noted."""
    result = home.run("submit", "-m", "first try")
    assert result.code == 0, result.err
    assert f"{KERNEL} version 1: public score 0.9123" in result.out
    [request] = home.server.bodies["CreateCodeSubmission"]
    assert request["competitionName"] == COMPETITION
    assert (request["kernelOwner"], request["kernelSlug"]) == tuple(KERNEL.split("/"))
    assert (request["kernelVersion"], request["fileName"]) == (1, "submission.csv")
    assert request["submissionDescription"].startswith("first try [kk-")
    begun, ended = home.entries()
    assert (begun["status"], ended["status"]) == ("sending", "scored")
    assert ended["time"]
    assert ended["competition"] == COMPETITION
    assert (ended["kernel"], ended["version"]) == (KERNEL, 1)
    assert (ended["fingerprint"], ended["message"]) == (FINGERPRINT, "first try")
    assert (ended["public_score"], ended["ref"]) == ("0.9123", 7000)


def test_the_ledger_names_the_weights_of_a_submission(home: Home) -> None:
    """The run's report says them. It is fetched with the submission."""
    weights = {"unet/fold_0": "c0ffee01" * 8}
    report = json.dumps({"recipe": "hubmap", "weights": weights})
    home.service.next_files["report.json"] = report.encode()
    assert home.run("submit").code == 0
    assert home.entries()[-1]["weights"] == weights


def test_the_ledger_names_the_weights_of_a_file_from_home(home: Home) -> None:
    """The report of the run that wrote it lies beside it."""
    weights = {"unet/fold_0": "c0ffee01" * 8}
    (home.folder / "report.json").write_text(json.dumps({"weights": weights}))
    assert home.run("submit", "-f", csv_files(home, 1)[0]).code == 0
    assert home.entries()[-1]["weights"] == weights


def test_the_same_command_again_submits_nothing_and_tells_the_score(home: Home) -> None:
    """The ledger and Kaggle's list both know it."""
    assert home.run("submit").code == 0
    result = home.run("submit")
    assert result.code == 0
    assert "was submitted before, as 7000" in result.out
    assert "public score 0.9123" in result.out
    assert len(home.service.submissions) == 1


def test_without_the_ledger_kaggles_list_tells_what_was_submitted(home: Home) -> None:
    """Another machine, or a ledger that was lost, does not submit a second time."""
    assert home.run("submit").code == 0
    (home.folder / "submissions.jsonl").unlink()
    result = home.run("submit")
    assert result.code == 0
    assert len(home.service.submissions) == 1
    assert home.entries()[-1]["public_score"] == "0.9123"


def test_again_submits_the_same_version_once_more(home: Home) -> None:
    """Each time it is asked for, it is sent once more."""
    assert home.run("submit").code == 0
    assert home.run("submit", "--again").code == 0
    assert len(home.service.submissions) == 2
    assert home.run("submit", "--again").code == 0
    assert len(home.service.submissions) == 3


def test_an_answer_that_was_lost_is_looked_up(home: Home) -> None:
    """Kaggle hangs up after taking the submission. It is found in the list and waited for."""
    home.server.lose_answer("CreateCodeSubmission")
    result = home.run("submit")
    assert result.code == 0, result.err
    assert len(home.service.submissions) == 1
    assert "public score 0.9123" in result.out


def test_a_refusal_is_told_and_leaves_the_way_free(home: Home) -> None:
    """If the rules were not accepted, the remedy is named. Then the same command works."""
    home.service.has_joined = False
    result = home.run("submit")
    assert result.code == 1
    assert "Join the competition and accept its rules" in result.err
    assert not home.service.submissions
    home.service.has_joined = True
    assert home.run("submit").code == 0
    assert len(home.service.submissions) == 1


def test_a_submission_that_was_said_to_be_taken_but_is_not_listed_is_an_error(home: Home) -> None:
    """Kaggle was seen to say `Successfully submitted` with no submission left."""
    home.server.answer("CreateCodeSubmission", {"message": "Successfully submitted", "ref": 4711})
    result = home.run("submit")
    assert result.code == 1
    assert "to appear in Kaggle's list of submissions (it said 'Successfully" in result.err


def test_with_no_submission_left_nothing_is_sent(home: Home) -> None:
    """The day's limit is asked for first."""
    assert home.run("submit").code == 0
    home.service.allowed_today = 0
    home.write_weights("abc123" * 10)
    result = home.run("submit")
    assert result.code == 1
    assert "takes no more submissions today" in result.err
    assert home.server.count("CreateCodeSubmission") == 1


def test_a_limit_that_only_the_submission_meets_is_told(home: Home) -> None:
    """Before the first submission Kaggle says all zeros, and the refusal comes later."""
    home.service.allowed_today = 0
    result = home.run("submit")
    assert result.code == 1
    assert "maximum number of daily submissions" in result.err
    assert "Run the same command again after 00:00 UTC" in result.err


def test_a_submission_that_cannot_be_scored_is_an_error(home: Home) -> None:
    """Kaggle's reason is printed and noted. The same command again submits nothing."""
    home.service.next_score = {
        "status": ["PENDING", "ERROR"],
        "errorDescription": "Submission CSV Not Found",
    }
    result = home.run("submit")
    assert result.code == 1
    assert "could not score" in result.err
    assert "Submission CSV Not Found" in result.err
    assert home.entries()[-1]["status"] == "failed"
    assert home.run("submit").code == 1
    assert len(home.service.submissions) == 1


def test_a_score_that_does_not_come_is_waited_for_by_the_same_command(home: Home) -> None:
    """If the time is up, the command says how to go on. Going on submits nothing."""
    home.service.next_score = {"status": ["PENDING"]}
    home.settings["score_seconds"] = 0.3
    result = home.run("submit")
    assert result.code == 1
    assert f"waited 0.3 s for the score of {KERNEL} version 1, without success" in result.err
    assert "Run the same command again" in result.err
    home.settings["score_seconds"] = PATIENCE
    submission = home.service.submissions[0]
    submission.timeline.become("COMPLETE")
    submission.reply["publicScore"] = "0.5"
    result = home.run("submit")
    assert result.code == 0
    assert "public score 0.5" in result.out
    assert len(home.service.submissions) == 1
    assert home.server.count("SaveKernel") == 1


def test_a_failed_run_is_not_submitted(home: Home) -> None:
    """Nothing is sent, and the last lines of the log are shown."""
    home.service.next_run = ["ERROR"]
    home.service.next_log = ["MemoryError\n"]
    result = home.run("submit")
    assert result.code == 1
    assert "    MemoryError" in result.err
    assert not home.service.submissions


def test_a_run_that_never_ends_is_an_error_that_says_how_to_go_on(home: Home) -> None:
    """The kernel is not pushed again by the next attempt."""
    home.service.next_run = ["RUNNING"]
    home.settings["kernel_seconds"] = 0.3
    result = home.run("submit")
    assert result.code == 1
    assert f"waited 0.3 s for the end of {KERNEL} version 1" in result.err
    home.service.kernels[KERNEL][0].timeline.become("COMPLETE")
    home.settings["kernel_seconds"] = PATIENCE
    assert home.run("submit").code == 0
    assert home.server.count("SaveKernel") == 1


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_wait_goes_on_where_it_was(home: Home, end: signal.Signals) -> None:
    """After Ctrl-C or a kill during the wait for the score, nothing is submitted twice."""
    home.service.next_score = {"status": ["PENDING"], "publicScore": "0.75"}
    # the signal is to end the wait, however slow the machine
    home.settings["score_seconds"] = PATIENCE
    process = home.start("submit", "-m", "interrupted")
    until(lambda: home.server.count("GetSubmission") > 2)
    process.send_signal(end)
    result = home.finish(process)
    if end == signal.SIGINT:
        assert result.code == 130
        assert "submit was interrupted. Run the same command again to go on" in result.err
    home.service.submissions[0].timeline.become("COMPLETE")
    result = home.run("submit", "-m", "interrupted")
    assert result.code == 0
    assert "public score 0.75" in result.out
    assert len(home.service.submissions) == 1


def test_a_command_killed_while_it_sends_does_not_send_twice(home: Home) -> None:
    """The ledger holds the intention. Kaggle's list, asked again, holds the submission."""
    home.server.hang("CreateCodeSubmission")
    process = home.start("submit")
    until(lambda: home.server.count("CreateCodeSubmission"))
    process.kill()
    process.wait(timeout=PATIENCE)
    assert [entry["status"] for entry in home.entries()] == ["sending"]
    # it did arrive, and is listed a little later
    body = home.server.bodies["CreateCodeSubmission"][0]
    home.server.call_back("ListSubmissions", lambda: home.service.create_code_submission(body))
    home.settings["settle_seconds"] = PATIENCE
    result = home.run("submit")
    assert result.code == 0, result.err
    assert len(home.service.submissions) == 1
    assert home.server.count("CreateCodeSubmission") == 1


def test_a_file_is_submitted_without_a_kernel(home: Home) -> None:
    """Some competitions take CSV files."""
    [path] = csv_files(home, 1)
    result = home.run("submit", "-f", path, "-m", "from home")
    assert result.code == 0, result.err
    assert "answer0.csv: public score 0.9123" in result.out
    assert home.server.count("SaveKernel") == 0
    assert home.service.blobs["blob-0"][1] == Path(path).read_bytes()
    assert home.entries()[-1]["kernel"] == ""


NUCLEI = f"""
name: nuclei
competition:
  slug: {COMPETITION}
  columns: {{width: "{{width}}", usage: Public}}
  rle: {{instances: rows}}
tiles: {{core: 64}}
ensembles: [{{name: one}}]
"""


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("Public,aa,7,1 2\nPublic,aa,7,9 2\nPublic,bb,7,\n", ""),
        ("Public,aa,7,1 2\nPublic,aa,7,2 2\nPublic,bb,7,\n", "two of its 2 parts have the pixel"),
        ("Public,aa,wide,1 2\nPublic,bb,7,\n", "its width is 'wide', wanted '{width}'"),
        ("Private,aa,7,1 2\nPublic,bb,7,\n", "its usage is 'Private', wanted 'Public'"),
    ],
)
def test_a_file_of_more_columns_is_checked_by_the_recipe(
    home: Home, monkeypatch: pytest.MonkeyPatch, rows: str, said: str
) -> None:
    """The columns come in the order of the sample, and an image may have several rows."""
    recipe = Recipe.parse(NUCLEI)
    monkeypatch.setattr(Recipe, "load", lambda _: recipe)
    home.server.answer("GET", b"usage,id,width,predicted\nPublic,aa,7,1 1\nPublic,bb,7,1 1\n")
    path = home.folder / "answer.csv"
    path.write_text(f"usage,id,width,predicted\n{rows}")
    result = home.run("submit", "-f", str(path), "-m", "from home")
    assert result.code == (1 if said else 0), result.err
    assert said in result.err


def test_an_upload_of_a_file_that_fails_submits_nothing(home: Home) -> None:
    """The client prints `Could not submit to competition` and exits 0."""
    [path] = csv_files(home, 1)
    home.server.fail("PUT", 400)
    result = home.run("submit", "-f", path)
    assert result.code == 1
    assert "its upload failed" in result.err
    assert not home.service.submissions


def test_a_queue_stops_at_the_days_limit_and_goes_on_the_next_day(home: Home) -> None:
    """Each is sent once, in order. What is left is named, and the same command sends it."""
    files = csv_files(home, 5)
    home.service.allowed_today = 3
    result = home.run("queue", *files)
    assert result.code == 1
    assert "2 of 5 files are left (answer3.csv, answer4.csv)" in result.err
    assert result.out.count("public score") == 3
    home.service.allowed_today = 5
    result = home.run("queue", *files)
    assert result.code == 0, result.err
    names = [submission.reply["fileName"] for submission in home.service.submissions]
    assert names == [f"answer{number}.csv" for number in range(5)]


def test_a_queue_goes_on_past_a_file_that_cannot_be_scored(home: Home) -> None:
    """The others get their scores, and the exit code is 1 for the one."""
    files = csv_files(home, 2)
    home.service.next_score = {"status": ["ERROR"], "errorDescription": "bad"}

    def from_now_on() -> None:
        home.service.next_score = {"status": ["COMPLETE"], "publicScore": "0.6"}

    home.server.call_back("CreateSubmission", lambda: None)
    home.server.call_back("CreateSubmission", from_now_on)
    result = home.run("queue", *files)
    assert result.code == 1
    assert "could not score answer0.csv (bad)" in result.err
    assert "answer1.csv: public score 0.6" in result.out


def test_a_queue_with_a_missing_file_submits_nothing(home: Home) -> None:
    """A misspelt name is found before the first file is sent."""
    result = home.run("queue", *csv_files(home, 1), str(home.folder / "none.csv"))
    assert result.code == 1
    assert "none.csv: there is no such file. Nothing was submitted" in result.err
    assert not home.service.submissions


def test_submissions_shows_the_ledger_beside_kaggles_list(home: Home) -> None:
    """Kernel version and fingerprint stand beside each submission that the ledger has."""
    assert home.run("submit", "-m", "mine").code == 0
    for number in range(4):  # more than a page of the list
        body = {"fileName": f"{number}.csv", "submissionDescription": "by a team mate"}
        home.service._add_submission(body, f"{number}.csv")
    result = home.run("submissions")
    assert result.code == 0
    lines = result.out.splitlines()
    assert len(lines) == 1 + 5
    assert f"0.9123  7000  {KERNEL} v1  {FINGERPRINT[:12]}" in lines[-1]
    assert "not in the ledger  by a team mate" in lines[1]


def test_a_ledger_that_cannot_be_read_is_an_error(home: Home) -> None:
    """Its line is named, and nothing is submitted."""
    (home.folder / "submissions.jsonl").write_text(json.dumps({"a": 1}) + "\n")
    result = home.run("submit")
    assert result.code == 1
    assert "submissions.jsonl: line 1 is not an entry" in result.err
    assert not home.service.submissions
