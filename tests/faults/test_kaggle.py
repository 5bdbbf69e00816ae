"""What Kaggle, its client, a file or a user may do wrong, one row per fault, and what is said."""

import gzip
import io
import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from devkit.errors import DatasetError, LedgerError, SettingsError
from devkit.kaggle.datasets.staging import staged
from devkit.kaggle.manifest import read_manifest
from devkit.kaggle.notebook.kernel_folder import injected_parameters
from devkit.kaggle.settings import load_settings
from devkit.kaggle.submissions.ledger import Entry, Ledger
from tests.made.kaggle_home import KERNEL, Home, Result
from tests.made.kaggle_service import SAMPLE, TOKEN, USER

DEEP = b'{"a":' * 20_000
# what only a programmer reads
PYTHON = re.compile(
    r"Traceback|NoneType|<class|object has no|not subscriptable|JSONDecodeError|codec can't"
    r"|(Key|Type|Value|Attribute|Index|Unicode\w*|BadZipFile|Validation|Recursion)Error"
    r"|Expecting value|pydantic|should match pattern"
)


def is_one_sentence(text: str) -> bool:
    return not PYTHON.search(text) and not text.rstrip("\n").endswith(".") and "\n" not in text[:-1]


def zipped(**members: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return packed.getvalue()


def encrypted(content: bytes) -> bytes:
    """An archive whose flags say that its member is encrypted."""
    packed = bytearray(zipped(a=content))
    packed[6] |= 1
    packed[packed.index(b"PK\x01\x02") + 8] |= 1
    return bytes(packed)


ROWS = b"id,predicted\naa,1 3 9 2\nbb,\n"

# name, the file, what is said. None means that it is submitted.
SUBMISSIONS: list[tuple[str, bytes, str | None]] = [
    ("as it should be", ROWS, None),
    ("compressed by zip", zipped(a=ROWS), None),
    ("compressed by gzip", gzip.compress(ROWS), None),
    ("quoted fields", b'"id","predicted"\r\n"aa","1 3"\r\n"bb",""\r\n', None),
    ("start 0 from base 1", b"id,predicted\naa,0 5\nbb,\n", "the row of aa"),
    ("a negative start", b"id,predicted\naa,-5 3\nbb,\n", "the start -5 lies before the first"),
    ("words", b"id,predicted\naa,foo bar\nbb,\n", "'foo' is not a whole number"),
    ("a lone start", b"id,predicted\naa,1\nbb,\n", "a start without a length"),
    ("a length of 0", b"id,predicted\naa,1 0\nbb,\n", "the length 0 is not positive"),
    ("overlapping runs", b"id,predicted\naa,1 5 3 2\nbb,\n", "Runs must ascend and not overlap"),
    ("descending runs", b"id,predicted\naa,9 1 1 1\nbb,\n", "Runs must ascend and not overlap"),
    ("a float", b"id,predicted\naa,1.0 2\nbb,\n", "'1.0' is not a whole number"),
    ("nan", b"id,predicted\naa,nan\nbb,\n", "'nan' is not a whole number"),
    ("a number of 30 digits", b"id,predicted\naa,%b 1\nbb,\n" % (b"9" * 30), "1 to 18 digits"),
    ("a NUL in a row", b"id,predicted\naa,1\x00 2\nbb,\n", "is not a whole number"),
    ("an empty file", b"", "it is empty. Wanted the columns id, predicted"),
    ("a header alone", b"id,predicted\n", "2 of 2 ids have no row"),
    ("no header", b"aa,1 2\nbb,\n", "the columns are ['aa', '1 2']"),
    ("another column", b"id,rle\naa,\nbb,\n", "wanted ['id', 'predicted']"),
    ("an index column", b",id,predicted\n0,aa,\n1,bb,\n", "the columns are ['', 'id'"),
    ("columns swapped", b"predicted,id\n,aa\n,bb\n", "the columns are ['predicted', 'id']"),
    ("semicolons", b"id;predicted\naa;\nbb;\n", "the columns are ['id;predicted']"),
    ("a byte order mark", b"\xef\xbb\xbf" + ROWS, "the columns are ['\\ufeffid'"),
    ("an id too few", b"id,predicted\naa,\n", "1 of 2 ids have no row, the first is 'bb'"),
    ("an id twice", b"id,predicted\naa,\naa,\nbb,\n", "the id 'aa' has more than one row"),
    ("an unknown id", b"id,predicted\naa,\nbb,\ncc,\n", "the id 'cc' is not in the sample"),
    ("wrong ids", b"id,predicted\nxx,\nyy,\n", "2 of 2 ids have no row"),
    ("another order", b"id,predicted\nbb,\naa,\n", "not in the order of the sample"),
    ("a field too many", b"id,predicted\naa,1 2,x\nbb,\n", "line 2 has 3 fields, wanted 2"),
    ("UTF-16", ROWS.decode().encode("utf-16"), "it is not text in UTF-8"),
    ("a picture", b"\x89PNG\r\n\x1a\n" + bytes(99), "it is not text in UTF-8"),
    ("random bytes", bytes(range(128, 256)), "it is not text in UTF-8"),
    ("half an archive", zipped(a=ROWS)[:40], "the archive is damaged"),
    ("half a gzip file", gzip.compress(ROWS)[:20], "the archive is damaged"),
    ("an archive of nothing", zipped(), "the archive holds 0 files"),
    ("an archive of two", zipped(a=ROWS, b=ROWS), "the archive holds 2 files"),
    ("an encrypted archive", encrypted(ROWS), "the archive is damaged or encrypted"),
    ("wrong rows, compressed", zipped(a=b"id,predicted\naa,0 5\nbb,\n"), "the row of aa"),
]


@pytest.mark.parametrize(
    ("content", "said"), [row[1:] for row in SUBMISSIONS], ids=[row[0] for row in SUBMISSIONS]
)
def test_a_submission_is_checked_before_it_is_sent(
    home: Home, content: bytes, said: str | None
) -> None:
    """What the competition would refuse is not uploaded."""
    path = home.folder / "answer.csv"
    path.write_bytes(content)
    result = home.run("submit", "-f", str(path))
    if said is None:
        assert result.code == 0, result.err
        return
    assert result.code == 1
    assert result.err.startswith(f"submit failed: {path}: ")
    assert said in result.err
    assert is_one_sentence(result.err), result.err
    assert not home.service.blobs


GARBAGE: dict[str, Any] = {
    "nothing": b"",
    "null": b"null",
    "a number": b"5",
    "text": b'"hello"',
    "a list": b"[1, 2]",
    "a page": b"<html><body>Sign in</body></html>",
    "bytes": bytes(range(256)),
    "nested 20 000 deep": DEEP,
}

# the command that asks, what it asks, whether a push came before, and what comes as the answer
QUESTIONS: list[tuple[str, str, bool, str, str]] = [
    ("push", "IntrospectToken", False, "nothing", "a number"),
    ("push", "GetCompetition", False, "a list", "nested 20 000 deep"),
    ("push", "GetAcceleratorQuotaStatistics", False, "text", "null"),
    ("push", "GetDataset", False, "a page", "a number"),
    ("push", "GetDatasetStatus", True, "a list", "bytes"),
    ("push", "StartBlobUpload", False, "a number", "nothing"),
    ("push", "CreateDataset", False, "a page", "text"),
    ("push", "SaveKernel", False, "a number", "null"),
    ("status", "GetKernel", True, "nothing", "bytes"),
    ("status", "GetKernelSessionStatus", True, "text", "a page"),
    ("logs", "ListKernelSessionOutput", True, "a list", "nested 20 000 deep"),
    ("submit -f", "GetSubmissionLimits", False, "a number", "text"),
    ("submit -f", "CreateSubmission", False, "a list", "a page"),
    ("submit -f", "GetSubmission", False, "nothing", "text"),
    ("submissions", "ListSubmissions", False, "a list", "a number"),
]


def run(home: Home, command: str) -> Result:
    """Run a command, with a file for those that want one. Its error is one sentence."""
    path = home.folder / "answer.csv"
    path.write_bytes(ROWS)
    words = [word.replace("FILE", str(path)) for word in command.split()]
    result = home.run(*words)
    assert is_one_sentence(result.err), result.err
    assert "a fault of kernelkit" not in result.err
    return result


@pytest.mark.parametrize(
    ("command", "call", "is_pushed", "garbage"),
    [(*row[:3], garbage) for row in QUESTIONS for garbage in row[3:]],
)
def test_an_answer_of_garbage_is_said(
    home: Home, command: str, call: str, is_pushed: bool, garbage: str
) -> None:
    """A gateway may answer with a page and 200, or with nothing at all."""
    if is_pushed:
        assert home.run("push").code == 0
    home.server.answer(call, GARBAGE[garbage], times=2 if call == "IntrospectToken" else 1)
    result = run(home, command.replace("-f", "-f FILE"))
    assert result.code == 1
    assert result.err.startswith(f"{command.split()[0]} failed: could not ")
    assert "Kaggle's answer is not understood" in result.err


KERNEL_ANSWER = {"metadata": {"currentVersionNumber": 1}, "blob": {"source": ""}}

# name, command, call, answer, what is said
ODD: list[tuple[str, str, str, Any, str]] = [
    ("no cells", "status", "GetKernel", {"blob": 3}, "the official client cannot read it"),
    ("no blob", "status", "GetKernel", {"metadata": KERNEL_ANSWER["metadata"]}, "blob is missing"),
    ("no version", "status", "GetKernel", KERNEL_ANSWER | {"metadata": {"ref": "a"}}, "no version"),
    (
        "a version in words",
        "status",
        "GetKernel",
        KERNEL_ANSWER | {"metadata": {"currentVersionNumber": "one"}},
        "metadata.current_version_number is 'one'",
    ),
    (
        "sources of numbers",
        "status",
        "GetKernel",
        KERNEL_ANSWER | {"metadata": {"currentVersionNumber": 1, "datasetDataSources": [5]}},
        "metadata.dataset_data_sources.0 is 5",
    ),
    ("an unknown state", "status", "GetKernelSessionStatus", {"status": "PAUSED"}, "cannot read"),
    ("a state of 3", "status", "GetKernelSessionStatus", {"status": 3}, "cannot read it"),
    (
        "a reason of 5",
        "status",
        "GetKernelSessionStatus",
        {"failureMessage": 5},
        "failure_message is 5",
    ),
    ("a log of 5", "logs", "ListKernelSessionOutput", {"log": 5}, "log is 5"),
    ("files of 5", "logs", "ListKernelSessionOutput", {"files": [5]}, "cannot read it"),
    ("no competition", "push", "GetCompetition", {}, "it is empty"),
    (
        "joined in words",
        "push",
        "GetCompetition",
        {"userHasEntered": "no"},
        "user_has_entered is 'no'",
    ),
    ("hours of 5", "push", "GetAcceleratorQuotaStatistics", {"gpuQuota": 5}, "cannot read it"),
    (
        "hours in words",
        "push",
        "GetAcceleratorQuotaStatistics",
        {"gpuQuota": {"timeUsed": "much"}},
        "cannot read it",
    ),
    (
        "limits in words",
        "submit -f FILE",
        "GetSubmissionLimits",
        {"numAllowedNow": "many"},
        "num_allowed_now is 'many'",
    ),
    (
        "a number in words",
        "submissions",
        "ListSubmissions",
        {"submissions": [{"ref": "x"}]},
        "submissions.0.ref is 'x'",
    ),
    ("submissions of 5", "submissions", "ListSubmissions", {"submissions": 5}, "cannot read it"),
    (
        "a date in words",
        "submissions",
        "ListSubmissions",
        {"submissions": [{"date": "today"}]},
        "cannot read it",
    ),
    (
        "a message of 5",
        "submit -f FILE",
        "CreateSubmission",
        {"message": 5, "ref": 7000},
        "message is 5",
    ),
    ("a version of text", "push", "SaveKernel", {"versionNumber": "x"}, "version_number is 'x'"),
    ("a push of nothing", "push", "SaveKernel", {}, "made no version of it"),
    ("a dataset of nothing", "push", "CreateDataset", {}, "Kaggle said 'nothing'"),
    (
        "a dataset version of text",
        "push",
        "GetDataset",
        {"currentVersionNumber": "x"},
        "current_version_number is 'x'",
    ),
    (
        "an upload to nowhere",
        "submit -f FILE",
        "StartSubmissionUpload",
        {"token": "t"},
        "its upload failed",
    ),
    (
        "an echoed token",
        "submissions",
        "ListSubmissions",
        {"submissions": [{"ref": TOKEN}]},
        "submissions.0.ref is '***'",
    ),
]


@pytest.mark.parametrize(
    ("command", "call", "answer", "said"), [row[1:] for row in ODD], ids=[row[0] for row in ODD]
)
def test_an_odd_answer_is_named_by_its_field(
    home: Home, command: str, call: str, answer: Any, said: str
) -> None:
    """It is said where it was asked for, and nothing goes on with it."""
    if command in ("status", "logs"):
        home.service.next_run = ["COMPLETE"]
        assert home.run("push").code == 0
    home.server.answer(call, answer)
    result = run(home, command)
    assert result.code == 1
    assert said in result.err, result.err


BOMB = zipped(a=bytes(2**27))

# name, whether the manifest of a dataset or the sample is asked for, what comes, what is said
FILES: list[tuple[str, str, bytes, str]] = [
    ("a manifest in an empty archive", "push", zipped(), "an archive of 0 files, wanted one"),
    ("a manifest in half an archive", "push", zipped(a=bytes(999))[22:], "a damaged archive"),
    ("a manifest in an archive of two", "push", zipped(a=b"", b=b""), "an archive of 2 files"),
    ("a manifest in an encrypted archive", "push", encrypted(b"{}"), "a damaged archive"),
    ("a manifest of 128 MiB", "push", BOMB, "an archive of more than 64 MiB"),
    ("an empty sample", "submit -f FILE", b"", "no sample submission: it has no row"),
    ("a sample of 5", "submit -f FILE", b"5", "no sample submission: it has no row"),
    ("a page for a sample", "submit -f FILE", b"<html>", "no sample submission: it has no row"),
    ("a sample without rows", "submit -f FILE", b"id,predicted\n", "it has no row"),
    ("a sample of bytes", "submit -f FILE", bytes(range(128, 256)), "it is not text in UTF-8"),
    ("a sample in an empty archive", "submit -f FILE", zipped(), "the archive holds 0 files"),
    ("a sample in half an archive", "submit -f FILE", zipped(a=SAMPLE)[:30], "is damaged"),
    (
        "a sample with other columns",
        "submit -f FILE",
        b"id,a,b,c\naa,,,\n",
        "the sample of hubmap-kidney-segmentation has the columns ['id', 'a', 'b', 'c']",
    ),
]


@pytest.mark.parametrize(
    ("command", "content", "said"), [row[1:] for row in FILES], ids=[row[0] for row in FILES]
)
def test_a_file_that_kaggle_sent_wrong_is_named(
    home: Home, command: str, content: bytes, said: str
) -> None:
    """A bad archive ends in a sentence. Nothing is uploaded or submitted then."""
    if command == "push":
        assert home.run("push").code == 0
    home.server.answer("GET", content)
    before = home.server.count("StartBlobUpload")
    result = run(home, command)
    assert result.code == 1
    assert said in result.err, result.err
    assert home.server.count("StartBlobUpload") == before
    assert not home.service.submissions


@pytest.mark.parametrize(
    "events",
    [[5, 5, 5], ["a", None, [1]], [{"data": None}, {}, {"data": 7}], [DEEP.decode()]],
    ids=["fives", "no objects", "odd fields", "nested deep"],
)
def test_a_log_of_anything_is_shown(home: Home, events: list[Any]) -> None:
    """What is no event is shown as it is, live and from the kept log."""
    home.service.next_run = ["RUNNING", "COMPLETE"]
    assert home.run("push").code == 0
    home.server.answer("stream", events)
    log = json.dumps([*events, {"data": "kernelkit: end of the run, fedcba987654\n"}])
    _, version = home.service.kernel({"userName": USER, "kernelSlug": KERNEL.split("/")[1]})
    version.files = {"submission.csv": ROWS}
    output = {"log": log, "files": [{"fileName": "submission.csv", "url": RUN_OUTPUT}]}
    home.server.answer("ListKernelSessionOutput", output, times=2)
    result = run(home, "logs")
    assert result.code == 0, result.err
    assert "checked, 2 rows" in result.out


RUN_OUTPUT = f"http://localhost/files/kernels/{KERNEL}/1/submission.csv"

# name, the submission that the run left, what make logs says
OUTPUTS: list[tuple[str, bytes, str | None]] = [
    ("as it should be", ROWS, None),
    ("compressed", zipped(a=ROWS), None),
    ("a start before the first pixel", b"id,predicted\naa,0 5\nbb,\n", "the row of aa"),
    ("a lone start", b"id,predicted\naa,\nbb,1\n", "the row of bb"),
    ("nothing", b"", "it is empty"),
    ("bytes", bytes(range(128, 256)), "it is not text in UTF-8"),
]


@pytest.mark.parametrize(
    ("content", "said"), [row[1:] for row in OUTPUTS], ids=[row[0] for row in OUTPUTS]
)
def test_what_a_run_left_is_checked(home: Home, content: bytes, said: str | None) -> None:
    """`make logs` and `make submit` refuse what the competition would refuse."""
    home.service.next_run = ["COMPLETE"]
    home.service.next_files = {"submission.csv": content}
    result = run(home, "submit")
    assert (result.code, len(home.service.submissions)) == ((1, 0) if said else (0, 1))
    assert (said or "") in result.err
    assert run(home, "logs").code == result.code


def never_joined(home: Home) -> None:
    home.service.has_joined = False


def misspelt(home: Home) -> None:
    home.settings["competition"] = "hubmap-kidny-segmentation"


def none_left(home: Home) -> None:
    home.service._add_submission({"submissionDescription": ""}, "a.csv")
    home.service.allowed_today = 0


def no_hours(home: Home) -> None:
    home.service.gpu_hours_used = 30


def closed(home: Home) -> None:
    home.server.answer("GetCompetition", {"userHasEntered": True, "submissionsDisabled": True})


def ledger_is_a_folder(home: Home) -> None:
    (home.folder / "submissions.jsonl").mkdir()


def ledger_is_binary(home: Home) -> None:
    (home.folder / "submissions.jsonl").write_bytes(bytes(range(256)))


def nothing(home: Home) -> None:
    """The command line alone is wrong."""


def settings_are_gone(home: Home) -> None:
    home.write_settings = lambda: home.folder / "other.toml"  # type: ignore[method-assign]


def weights_in_a_folder(home: Home) -> None:
    (home.weights_dataset / "unet").mkdir()


def weights_are_a_dead_link(home: Home) -> None:
    (home.weights_dataset / "b.safetensors").symlink_to("gone")


def sixty_weights(home: Home) -> None:
    for number in range(60):
        (home.weights_dataset / f"{number}.safetensors").touch()


def weights_in_umlauts(home: Home) -> None:
    (home.weights_dataset / "größe.safetensors").touch()


def an_archive_of_weights(home: Home) -> None:
    (home.weights_dataset / "more.tar.gz").touch()


def weights_of_no_manifest(home: Home) -> None:
    (home.weights_dataset / "kernelkit-weights.json").write_text("{}")


JOIN = "you have not joined hubmap-kidney-segmentation. Join the competition and accept its rules"
NO_SUCH = "there is no competition hubmap-kidny-segmentation. Correct competition in kaggle.toml"
FULL = "takes no more submissions today"

# what is wrong, the command, what is said
BEFOREHAND: list[tuple[Callable[[Home], None], str, str]] = [
    (never_joined, "push", JOIN),
    (never_joined, "submit", JOIN),
    (never_joined, "submit -f FILE", JOIN),
    (never_joined, "queue FILE FILE", JOIN),
    (misspelt, "push", NO_SUCH),
    (misspelt, "submit", NO_SUCH),
    (misspelt, "submit -f FILE", NO_SUCH),
    (misspelt, "queue FILE", NO_SUCH),
    (none_left, "submit", FULL),
    (none_left, "submit --again", FULL),
    (none_left, "queue FILE", "the day's submissions are used up, and 1 of 1 files are left"),
    (no_hours, "push", "this week's GPU hours are used up"),
    (no_hours, "submit", "this week's GPU hours are used up"),
    (weights_in_a_folder, "push", "weights/unet is a folder, and Kaggle's client leaves folders"),
    (weights_are_a_dead_link, "push", "b.safetensors is a link that leads nowhere. Build the"),
    (sixty_weights, "push", "62 files lie at the top, Kaggle takes 50. Build the dataset again"),
    (weights_in_umlauts, "push", "größe.safetensors would be renamed by the upload"),
    (an_archive_of_weights, "push", "more.tar.gz would be unpacked by the upload"),
    (weights_of_no_manifest, "push", "kernelkit-weights.json: it is not a manifest with a finger"),
    (closed, "push", "takes no submissions any more"),
    (closed, "submit", "takes no submissions any more"),
    (ledger_is_a_folder, "submit", "submissions.jsonl: it is not a file. Move it away"),
    (ledger_is_a_folder, "queue FILE", "submissions.jsonl: it is not a file. Move it away"),
    (ledger_is_binary, "submit", "submissions.jsonl: line 1 is not an entry of the ledger"),
    (nothing, "push --name slides", "found NAME=slides and SETTINGS="),
    (settings_are_gone, "push", "other.toml: there is no such file. Correct SETTINGS (--settings)"),
]


@pytest.mark.parametrize(("prepare", "command", "said"), BEFOREHAND)
def test_what_would_fail_at_the_end_is_said_first(
    home: Home, prepare: Callable[[Home], None], command: str, said: str
) -> None:
    """Nothing is uploaded, and nothing runs for hours."""
    prepare(home)
    result = run(home, command)
    assert result.code == 1
    assert said in result.err, result.err
    for call in ("StartBlobUpload", "SaveKernel", "StartSubmissionUpload", "CreateSubmission"):
        assert home.server.count(call) == 0


@pytest.mark.parametrize("command", ["submit", "push"])
@pytest.mark.parametrize("prepare", [none_left, no_hours])
def test_what_was_done_before_needs_nothing_of_the_account(
    home: Home, prepare: Callable[[Home], None], command: str
) -> None:
    """The same command again only looks, so a spent quota does not stop it."""
    assert run(home, "submit").code == 0
    prepare(home)
    assert run(home, command).code == 0


# name, kaggle.toml, what is said
SETTINGS: list[tuple[str, bytes, str]] = [
    ("UTF-16", 'owner = "a"'.encode("utf-16"), "it is not text in UTF-8 (byte 0xff at 0)"),
    ("Latin-1", 'title = "é"'.encode("latin-1"), "it is not text in UTF-8 (byte 0xe9 at 9)"),
    ("bytes", bytes(range(1, 256)), "it is not text in UTF-8"),
    ("a NUL", b"owner = \x00", "it is not valid TOML"),
    ("nested deep", b"a = " + b"[" * 20_000, "its values are nested too deep"),
    ("JSON", b'{"owner": "a"}', "it is not valid TOML"),
    ("a key twice", b'owner = "a"\nowner = "b"', "it is not valid TOML"),
    ("an unknown key", b"polls = 3", "the key polls does not exist. The keys are owner"),
    ("a user name with a space", b'owner = "Al Ice"', "owner: found 'Al Ice', wanted a user name"),
    ("a user name of 3", b"owner = 3", "owner: found 3, wanted text in quotes"),
    ("a slug with capitals", b'kernel = "My-Kernel"', "wanted 5 to 50 small letters and digits"),
    ("a slug with a double hyphen", b'kernel = "my--kernel"', "in words with single hyphens"),
    ("a slug of 200 letters", b'dataset = "%b"' % (b"a" * 200), "wanted 6 to 50 small letters"),
    ("a slug with a line's end", b'kernel = "kernel\\n"', "found 'kernel\\n', wanted 5 to 50"),
    ("a dataset without its owner", b'datasets = ["data"]', "datasets.0: found 'data', wanted own"),
    ("a dataset outside of a list", b'datasets = "a/b"', "wanted a list in brackets"),
    ("a dataset that is a date", b"datasets = [2020-01-01]", "wanted text in quotes"),
    ("a model without its version", b'models = ["a/b/c/d"]', "wanted owner/model/framework/"),
    ("a pause of nothing", b"poll_seconds = 0", "poll_seconds: found 0, wanted more than 0"),
    ("a pause without an end", b"poll_seconds = inf", "found inf, wanted a finite number"),
    ("a pause that is no number", b"poll_seconds = nan", "wanted a finite number"),
    ("a pause of years", b"poll_seconds = 1e99", "found 1e+99, wanted 2592000 or less"),
    ("a limit below nothing", b"settle_seconds = -1", "found -1, wanted 0 or more"),
    ("a limit in words", b'score_seconds = "long"', "found 'long', wanted a number"),
    ("another pinning", b'pinning = "newest"', "wanted 'original' or 'latest'"),
    ("parameters of 4", b"parameters = 4", "parameters: found 4, wanted a table"),
    ("a parameter that is a list", b"[parameters]\na = []", "parameters.a: found [], wanted text"),
    ("a folder of 5", b"ledger = 5", "ledger: found 5, wanted a path in quotes"),
    ("a folder with a NUL", b'ledger = "a\\u0000"', "ledger: found 'a\\x00', wanted a path"),
    ("the home of nobody", b'state = "~nobody-at-all/x"', "this machine has no such user"),
    ("a folder as competition", b'competition = "a/b"', "competition: found 'a/b', wanted a compe"),
    (
        "code and weights of one name",
        b'weights = "kernelkit-kaggle-py312"',
        "found 'kernelkit-kaggle-py312' as dataset and as weights, and each would replace",
    ),
    (
        "two folders in one",
        b'kernel_folder = "build/weights"',
        "build/weights' as weights_folder and as kernel_folder, and each would replace",
    ),
    ("a profile of 5", b"profile = 5", "profile: found 5, wanted text in quotes"),
    (
        "an unknown recipe",
        b'recipe = "../hubmap"',
        "found the recipe '../hubmap', which does not travel",
    ),
    ("a training that is a list", b"train = [1]", "train: found [1], wanted"),
    ("a training of 13 hours", b"[train]\nhours = 13", "train.hours: found 13, wanted 12 or less"),
    ("an unknown key of training", b"[train]\nhuors = 1", "the key train.huors does not exist"),
]


@pytest.mark.parametrize(
    ("content", "said"), [row[1:] for row in SETTINGS], ids=[row[0] for row in SETTINGS]
)
def test_a_wrong_setting_is_said_in_words(tmp_path: Path, content: bytes, said: str) -> None:
    """The error names the file, what was found and what was wanted."""
    path = tmp_path / "kaggle.toml"
    path.write_bytes(content)
    with pytest.raises(SettingsError) as caught:
        load_settings(path, {})
    assert str(caught.value).startswith(f"{path}: ")
    assert said in str(caught.value)
    assert is_one_sentence(str(caught.value))


@pytest.mark.parametrize(
    ("content", "count"),
    [
        (b'\xef\xbb\xbfowner = "alice"', "alice"),
        (b'owner = "alice"\r\nledger = "{not a profile}"', "alice"),
        (b"", ""),
    ],
    ids=["a byte order mark", "braces in a path", "an empty file"],
)
def test_a_setting_that_is_right_after_all_is_taken(
    tmp_path: Path, content: bytes, count: str
) -> None:
    """Not everything unusual is a fault."""
    path = tmp_path / "kaggle.toml"
    path.write_bytes(content)
    assert load_settings(path, {}).owner == count


ENTRY = b'{"competition":"a","file":"b","fingerprint":"c","message":"d","tag":"kk-%d"}'

# name, the ledger, what is said, or how many entries it has
LEDGERS: list[tuple[str, bytes, str | int]] = [
    ("two entries", ENTRY % 1 + b"\n" + ENTRY % 2 + b"\n", 2),
    ("nothing", b"", 0),
    ("empty lines", b"\n\n" + ENTRY % 1 + b"\n\n", 1),
    ("a last line without its end", ENTRY % 1 + b"\n" + ENTRY % 2, 2),
    ("a last line that was cut off", ENTRY % 1 + b"\n" + (ENTRY % 2)[:30], 1),
    ("line separators in a message", ENTRY.replace(b'"d"', '"\u2028\x85"'.encode()) % 1 + b"\n", 1),
    ("a line of garbage", b"garbage\n" + ENTRY % 1 + b"\n", "line 1 is not an entry"),
    ("a damaged line", ENTRY % 1 + b"\n" + (ENTRY % 2)[:30] + b"\n", "line 2 is not an entry"),
    ("a line of 5", b"5\n", "line 1 is not an entry"),
    ("a line nested deep", DEEP + b"\n", "line 1 is not an entry"),
    ("bytes", bytes(range(256)), "line 1 is not an entry"),
    ("UTF-16", (ENTRY % 1 + b"\n").decode().encode("utf-16"), "line 1 is not an entry"),
    ("a list of weights", ENTRY.replace(b"}", b',"weights":[1]}') % 1 + b"\n", "line 1 is not"),
    ("an unknown state", ENTRY.replace(b"}", b',"status":"lost"}') % 1 + b"\n", "line 1 is not"),
    ("a time in words", ENTRY.replace(b"}", b',"time":"today"}') % 1 + b"\n", "line 1 is not"),
    ("an unknown key", ENTRY.replace(b"}", b',"more":1}') % 1 + b"\n", "line 1 is not an entry"),
]


@pytest.mark.parametrize(
    ("content", "said"), [row[1:] for row in LEDGERS], ids=[row[0] for row in LEDGERS]
)
def test_a_ledger_is_read_or_its_line_named(
    tmp_path: Path, content: bytes, said: str | int
) -> None:
    """What can be read goes on, and one more entry does too."""
    ledger = Ledger(tmp_path / "submissions.jsonl")
    ledger.path.write_bytes(content)
    if isinstance(said, str):
        with pytest.raises(LedgerError) as caught:
            ledger.entries()
        assert said in str(caught.value)
        assert is_one_sentence(str(caught.value))
        return
    assert len(ledger.entries()) == said
    ledger.append(Entry.model_validate_json(ENTRY % 9))
    assert len(ledger.entries()) == said + 1


# name, the manifest
MANIFESTS: list[tuple[str, bytes]] = [
    ("nothing", b""),
    ("a list", b"[]"),
    ("no fingerprint", b'{"target": {}}'),
    ("a fingerprint of 5", b'{"fingerprint": 5}'),
    ("a fingerprint with a NUL", b'{"fingerprint": "ab\\u0000cd"}'),
    ("a fingerprint of 300 letters", b'{"fingerprint": "%b"}' % (b"a" * 300)),
    ("a target that is a list", b'{"fingerprint": "abcd", "target": []}'),
    ("a profile of 5", b'{"fingerprint": "abcd", "target": {"profile": 5}}'),
    ("bytes", bytes(range(256))),
    ("UTF-16", '{"fingerprint": "abcd"}'.encode("utf-16")),
    ("nested deep", DEEP),
]


@pytest.mark.parametrize(
    "content", [row[1] for row in MANIFESTS], ids=[row[0] for row in MANIFESTS]
)
def test_a_manifest_that_is_none_is_named(tmp_path: Path, content: bytes) -> None:
    """The dataset is to be built again."""
    path = tmp_path / "kernelkit-manifest.json"
    path.write_bytes(content)
    with pytest.raises(DatasetError) as caught:
        read_manifest(path, "make it")
    assert str(caught.value) == (
        f"{path}: it is not a manifest with a fingerprint. Build the dataset again, with make it"
    )


# name, what dataset-metadata.json holds
METADATA: list[tuple[str, bytes]] = [
    ("nothing", b""),
    ("a list", b"[]"),
    ("bytes", bytes(range(256))),
    ("nested deep", DEEP),
]


@pytest.mark.parametrize("content", [row[1] for row in METADATA], ids=[row[0] for row in METADATA])
def test_dataset_metadata_that_is_none_is_named(tmp_path: Path, content: bytes) -> None:
    """It is read before anything is uploaded."""
    path = tmp_path / "dataset-metadata.json"
    path.write_bytes(content)
    with pytest.raises(DatasetError, match="it is not a JSON object. Build the dataset again"):
        staged(tmp_path, "a/b", tmp_path / "state").__enter__()


def notebook(*sources: Any) -> str:
    return json.dumps({"cells": [{"source": source} for source in sources]})


PUSH = "# Parameters of push 0123\n"

# name, the notebook on Kaggle, the digest and parameters in it
NOTEBOOKS: list[tuple[str, str, tuple[str, dict[str, Any]]]] = [
    ("as it was pushed", notebook("a", PUSH + "b = 1\nc = 'd'"), ("0123", {"b": 1, "c": "d"})),
    ("in pieces", notebook([PUSH, "b = ", "1"]), ("0123", {"b": 1})),
    ("nothing", "", ("", {})),
    ("no JSON", "<html>", ("", {})),
    ("a number", "5", ("", {})),
    ("no cells", "{}", ("", {})),
    ("cells of 5", '{"cells": [5]}', ("", {})),
    ("a source of 5", notebook(5, PUSH), ("", {})),
    ("nested deep", DEEP.decode(), ("", {})),
    ("not Python", notebook(PUSH + "b = = 1"), ("", {})),
    ("a call", notebook(PUSH + "b = open('x')"), ("", {})),
    ("an attribute", notebook(PUSH + "b.c = 1"), ("", {})),
    ("an import", notebook(PUSH + "import os\nb = 1"), ("", {})),
    ("a NUL", notebook(PUSH + "b = \x00"), ("", {})),
    ("parentheses without an end", notebook(PUSH + "b = " + "(" * 10_000), ("", {})),
    ("a sum without an end", notebook(PUSH + "b = " + "-" * 100_000 + "1"), ("", {})),
]


@pytest.mark.parametrize(
    ("source", "found"), [row[1:] for row in NOTEBOOKS], ids=[row[0] for row in NOTEBOOKS]
)
def test_a_notebook_that_was_edited_on_kaggle_is_read_with_care(
    source: str, found: tuple[str, dict[str, Any]]
) -> None:
    """If its parameters are no plain values, it is not one that was made here."""
    assert injected_parameters(source) == found


# the notebook, the command, and what is said
NOTEBOOKS: list[tuple[str, str, str]] = [
    (
        "other",
        "push",
        "found the notebook 'other', wanted inference, train, validate, engine. Correct",
    ),
    ("", "push", "found the notebook '', wanted inference, train, validate, engine"),
    (
        "../train",
        "prepare",
        "found the notebook '../train', wanted inference, train, validate, engine",
    ),
    ("train", "submit", "found the notebook train, which writes no submission"),
]


@pytest.mark.parametrize(("notebook", "command", "said"), NOTEBOOKS)
def test_what_no_notebook_can_do_is_refused(
    home: Home, notebook: str, command: str, said: str
) -> None:
    """Nothing was asked of Kaggle then."""
    result = home.run("--notebook", notebook, command)
    assert result.code == 1
    assert said in result.err
    assert not home.server.calls


@pytest.mark.parametrize("named", ["/data/hubmap", "../../etc", "a b"])
def test_a_folder_is_no_competition_of_kaggle(home: Home, named: str) -> None:
    """Commands at home take a folder as COMPETITION. Nothing was asked of Kaggle then."""
    result = home.run("download-data", "-c", named)
    assert result.code == 1
    assert f"found {named!r} as COMPETITION, wanted its name as in its address" in result.err
    assert not home.server.calls


@pytest.mark.parametrize("noted", [b"", b"3", b"three", b"\xff\xfe"])
def test_a_download_that_is_complete_stays_so(home: Home, noted: bytes) -> None:
    """What the mark of it holds is only a number to print."""
    (home.folder / ".hubmap-kidney-segmentation-is-complete").write_bytes(noted)
    result = home.run("download-data", "-o", str(home.folder))
    assert result.code == 0, result.err
    assert "is complete. Remove" in result.out


def test_a_file_is_no_place_for_a_download(home: Home) -> None:
    """The error names the variable that said it, which is no key of kaggle.toml."""
    path = home.folder / "a-file"
    path.touch()
    result = home.run("download-data", "-o", str(path))
    assert (
        f"{path} cannot be written (File exists). Make it writable, or give another" in result.err
    )
    assert "another OUTPUT" in result.err


def test_a_message_of_two_lines_is_one_row_of_the_table(home: Home) -> None:
    """The table has a line per submission."""
    assert home.run("submit", "-m", "two\nlines").code == 0
    [_, row] = home.run("submissions").out.splitlines()
    assert "two lines [kk-" in row


def test_a_dataset_that_is_named_twice_is_attached_once(home: Home) -> None:
    """Also if it is the dataset of the weights."""
    home.settings["datasets"] = ["alice/x", "alice/kernelkit-weights", "alice/x"]
    assert home.run("prepare").code == 0
    metadata = json.loads((home.folder / "build/kernel/kernel-metadata.json").read_text())
    assert metadata["dataset_sources"] == [
        f"{USER}/kernelkit-kaggle-py312",
        f"{USER}/kernelkit-weights",
        "alice/x",
    ]


def test_a_push_says_how_many_gpu_hours_are_left(home: Home) -> None:
    """Few of them end a run early, and a training has hours of its own."""
    home.service.gpu_hours_used = 29
    assert "GPU hours: 1.0 left this week. A run may take 9" in home.run("push").out
    home.settings["train"] = {"hours": 3}
    assert "1.0 left this week. A run may take 3" in home.run("--notebook", "train", "doctor").out
