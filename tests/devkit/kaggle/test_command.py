import pytest

from devkit.kaggle.__main__ import main
from tests.made.kaggle_home import PATIENCE, Home
from tests.made.kaggle_service import KEY, TOKEN, USER

NEED_AN_ACCOUNT = [
    ("push",),
    ("status",),
    ("logs",),
    ("submit",),
    ("submissions",),
    ("queue", "{csv}"),
]
COMMANDS = [("doctor",), ("prepare",), *NEED_AN_ACCOUNT]


def named(command: tuple[str, ...]) -> str:
    return command[0]


@pytest.mark.parametrize("command", NEED_AN_ACCOUNT, ids=named)
def test_wrong_credentials_are_an_error_of_every_command(
    home: Home, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    """A key that Kaggle refuses with 401 ends each command with the remedy."""
    monkeypatch.delenv("KAGGLE_API_TOKEN")
    monkeypatch.setenv("KAGGLE_USERNAME", USER)
    monkeypatch.setenv("KAGGLE_KEY", "wrong-key-0123")
    csv = home.folder / "a.csv"
    csv.write_text("id,predicted\n")
    result = home.run(*(word.format(csv=csv) for word in command))
    assert result.code == 1
    assert "The credentials are wrong or expired (KAGGLE_KEY comes first). Make a" in result.err
    assert "wrong-key-0123" not in result.out + result.err
    assert result.err.strip().count("\n") == 0


def test_a_token_that_kaggle_does_not_know_is_an_error(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With an inactive token nobody is signed in."""
    monkeypatch.setenv("KAGGLE_API_TOKEN", "KGAT_" + "0" * 32)
    result = home.run("push")
    assert result.code == 1
    assert "there are no Kaggle credentials that work" in result.err
    assert "KGAT_" not in result.err


def test_a_legacy_key_signs_in_too(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Name and key, sent as Basic authentication."""
    monkeypatch.delenv("KAGGLE_API_TOKEN")
    monkeypatch.setenv("KAGGLE_USERNAME", USER)
    monkeypatch.setenv("KAGGLE_KEY", KEY)
    result = home.run("push")
    assert result.code == 0, result.err


def test_without_an_owner_it_is_whoever_is_signed_in(home: Home) -> None:
    """A user needs to set credentials only."""
    home.settings["owner"] = ""
    assert home.run("push").code == 0
    assert all(ref.startswith(f"{USER}/") for ref in home.service.datasets)


def test_a_process_of_its_own_shows_no_credential_even_if_told_to_be_verbose(home: Home) -> None:
    """The client prints its requests, credentials and all, if VERBOSE is set."""
    home.environment["VERBOSE"] = "1"
    result = home.finish(home.start("push"))
    assert result.code == 0, result.err
    assert "Authorization" not in result.out + result.err
    assert "Bearer" not in result.out + result.err
    assert f"{USER}/kernelkit-inference version 1" in result.out


def test_an_answer_that_does_not_come_ends_in_time(home: Home) -> None:
    """The client alone would wait for ever."""
    assert home.run("push").code == 0
    home.settings["answer_seconds"] = 0.5
    home.server.hang("GetKernel")
    result = home.run("status")
    assert result.code == 1
    assert "could not be reached (no answer within 0.5 s). Run the same" in result.err


def test_an_answer_that_does_not_come_once_is_asked_for_again(home: Home) -> None:
    """A question may be repeated. So a wait of hours survives a lost answer."""
    assert home.run("push").code == 0
    home.settings |= {"answer_seconds": 3, "patience_seconds": PATIENCE}
    home.server.hang("GetKernel")
    assert home.run("status").code == 0


def test_an_answer_that_echoes_the_token_is_scrubbed(home: Home) -> None:
    """What Kaggle says goes into the message, without credentials."""
    home.server.fail("GetKernel", 400, f"bad token {TOKEN} in the request")
    result = home.run("status")
    assert result.code == 1
    assert "bad token *** in the request" in result.err


def test_a_page_instead_of_json_is_an_error_of_one_sentence(home: Home) -> None:
    """A gateway's page of HTML does not end in a traceback."""
    home.server.answer("GetKernel", {"blob": 3})
    result = home.run("status")
    assert result.code == 1
    assert result.err.startswith("status failed: could not look at the kernel")
    assert result.err.strip().count("\n") == 0


def test_an_unreachable_service_is_an_error(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a network the message says so, and that one may try again."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    result = home.run("status")
    assert result.code == 1
    assert "Kaggle could not be reached" in result.err


def test_doctor_finds_nothing_missing_where_nothing_is(home: Home) -> None:
    """Account, folder, GPU hours, competition and submissions have one line each."""
    result = home.run("doctor")
    assert result.code == 0, result.out
    assert "MISSING" not in result.out
    assert "ok       account        alice" in result.out
    assert "29.0 left this week. A run may take 9" in result.out
    assert "joined. It takes notebooks only" in result.out


def test_doctor_names_all_that_is_missing(home: Home) -> None:
    """It goes on after the first, and ends with exit code 1."""
    home.service.has_joined = False
    home.service.gpu_hours_used = 30
    (home.kernel_dataset / "kernelkit-manifest.json").unlink()
    result = home.run("doctor")
    assert result.code == 1
    assert "MISSING  kernel folder" in result.out
    assert "MISSING  GPU hours      this week's GPU hours are used up" in result.out
    assert "MISSING  competition    you have not joined" in result.out
    assert "not ready to push: kernel folder, GPU hours, competition" in result.err


def test_doctor_without_credentials_still_looks_at_what_lies_here(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What can be said offline is said."""
    monkeypatch.delenv("KAGGLE_API_TOKEN")
    result = home.run("doctor")
    assert result.code == 1
    assert "MISSING  account        there are no Kaggle credentials" in result.out
    assert "ok       kernel folder" in result.out


@pytest.mark.parametrize("command", COMMANDS, ids=named)
def test_every_command_ends_in_one_line_on_an_error(home: Home, command: tuple[str, ...]) -> None:
    """A `KernelKitError` becomes "NAME failed: SENTENCE", and the exit code is 1."""
    home.settings["polls"] = 3
    result = home.run(*command)
    assert result.code == 1
    assert result.err.startswith(f"{command[0]} failed: {home.folder}/kaggle.toml: the key polls")
    assert result.err.count("\n") == 1
    assert not home.server.calls


@pytest.mark.parametrize("command", COMMANDS, ids=named)
def test_every_command_ends_in_one_line_on_ctrl_c(
    home: Home, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    """The exit code is 130, as a shell expects, and the line says how to go on."""

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("devkit.kaggle.__main__.load_settings", interrupted)
    result = home.run(*command)
    assert result.code == 130
    assert result.err == f"{command[0]} was interrupted. Run the same command again to go on\n"


@pytest.mark.parametrize("key", ["kernel_folder", "output_folder", "state", "ledger"])
def test_a_place_that_cannot_be_written_is_an_error(home: Home, key: str) -> None:
    """The place is named, with the setting that moves it, and nothing is submitted."""
    in_the_way = home.folder / "in-the-way"
    in_the_way.write_text("a file")
    home.settings[key] = str(in_the_way / "below")
    result = home.run("submit")
    assert result.code == 1
    assert f"{in_the_way}/below" in result.err
    assert "cannot be written" in result.err
    assert f"set {key} in kaggle.toml" in result.err
    assert not home.service.submissions


@pytest.mark.parametrize("command", COMMANDS, ids=named)
def test_every_command_explains_itself(
    command: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """`--help` says what the command and each of its options are for."""
    with pytest.raises(SystemExit) as ended:
        main([command[0], "--help"])
    assert ended.value.code == 0
    assert len(capsys.readouterr().out.splitlines()) > 4
