"""What Kaggle's words about a run that ended badly mean."""

from pathlib import Path

import pytest

from devkit.kaggle.service.endings import ENDINGS, explain_ending
from devkit.kaggle.settings import Settings
from tests.made.kaggle_home import Home

PAGE = Path(__file__).resolve().parents[3] / "docs/on-kaggle.md"
# The end of a log, or what Kaggle says of a failure, and a part of what it means.
LOGS = [
    ("Your notebook tried to allocate more memory than is available. It has restarted.", "30 GiB"),
    ("Notebook exited with exit code 137", "was killed, as a machine does that runs out of memory"),
    ("nbclient.exceptions.DeadKernelError: Kernel died", "was killed"),
    ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB", "T4 has 15 GiB"),
    ("OSError: [Errno 28] No space left on device: '/kaggle/working/a'", "20 GB"),
    ("Notebook Timeout", "longer than a session lasts"),
    (" (Timeout)", "longer than a session lasts"),
    ("Timeout waiting for execute reply (32400s)", "longer than a session lasts"),
    ("CUDA error: no kernel image is available for execution on the device", "P100"),
    (
        "<urlopen error [Errno -3] Temporary failure in name resolution>",
        "the network, which is off",
    ),
    ("OSError: [Errno 30] Read-only file system: '/kaggle/input/a/b'", "below /kaggle/input"),
    ("ModuleNotFoundError: No module named 'ttach'", "wheels/requirements.in"),
    ("Notebook Exceeded Allowed Compute", "more memory or disk"),
    ("Notebook Threw Exception", "make dry-run RECIPE=hubmap COMPETITION=data/slides MODELS="),
    ("Submission CSV Not Found", "before it wrote its submission"),
    ("Submission Scoring Error", "another form"),
]


@pytest.mark.parametrize(("text", "said"), LOGS, ids=[text[:40] for text, _ in LOGS])
def test_known_words_are_explained(text: str, said: str) -> None:
    """One sentence says what ran out, and how much there was. The other says what to do."""
    settings = Settings(competition="slides")
    assert said in explain_ending(settings, f"predicting\n{text}\nend")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ValueError: no",
        "the timeouts are 20 s",
        "requests.exceptions.ConnectTimeout: timeout=20",
        "137 images",
    ],
)
def test_other_words_are_not(text: str) -> None:
    """Nothing is better than a guess."""
    assert explain_ending(Settings(), text) == ""


def test_the_last_words_of_a_log_are_meant() -> None:
    """A batch that did not fit was halved, and the run went on."""
    said = explain_ending(
        Settings(), "CUDA out of memory, in halves\nModuleNotFoundError: No module named 'x'"
    )
    assert "wheels/requirements.in" in said


def test_what_kaggle_says_of_the_failure_counts_more_than_the_log() -> None:
    """The log may hold a warning of something else."""
    said = explain_ending(
        Settings(), "Notebook Timeout", "ModuleNotFoundError: No module named 'x'"
    )
    assert "longer than a session lasts" in said


@pytest.mark.parametrize("ending", ENDINGS, ids=lambda ending: ending.words)
def test_the_page_has_a_row_for_each(ending: object) -> None:
    """The table of docs/on-kaggle.md says what the command says."""
    rows = [
        [cell.strip().strip("`") for cell in line.split("|")[1:-1]]
        for line in PAGE.read_text(encoding="utf-8").splitlines()
        if line.startswith("| `")
    ]
    words, means, remedy = (getattr(ending, name) for name in ("words", "means", "remedy"))
    assert [words, means, remedy] in rows


def test_a_run_that_ran_out_of_memory_is_named_so(home: Home) -> None:
    """`make logs` says it before the last lines of the log."""
    home.service.next_run = ["RUNNING", "ERROR"]
    home.service.next_log = ["predicting\n", f"{LOGS[0][0]}\n"]
    assert home.run("push").code == 0
    said = home.run("logs").err
    assert "version 1 ended with ERROR" in said
    assert "The session ran out of memory. It has about 30 GiB. Use fewer workers" in said
