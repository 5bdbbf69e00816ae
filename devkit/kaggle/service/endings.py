"""What Kaggle's words about a run that ended badly mean, and what to do.

The words are those of its log, of the failure of a run, or of a submission that has no score. A
session's process that runs out of memory is killed, and says nothing itself. So its log is the only
witness.
"""

import re
from dataclasses import dataclass

from devkit.kaggle.built import build_command, dry_run_command
from devkit.kaggle.settings import Settings

__all__ = ["ENDINGS", "Ending", "explain_ending"]


@dataclass(frozen=True, slots=True)
class Ending:
    """Words by which a run's end is known.

    Attributes
    ----------
    words
        The words as Kaggle shows them.
    pattern
        A regular expression that finds them in a log.
    means
        What happened, as a sentence without its full stop.
    remedy
        What to do, in the same form. Its commands are completed when it is shown.
    """

    words: str
    pattern: str
    means: str
    remedy: str


_LESS = "Use fewer workers, or smaller tiles or batches in the recipe"

ENDINGS = (
    Ending(
        "Your notebook tried to allocate more memory than is available",
        r"tried to allocate more memory than is available",
        "The session ran out of memory. It has about 30 GiB",
        _LESS,
    ),
    Ending(
        "CUDA out of memory",
        r"CUDA out of memory|CUDA error: out of memory|OutOfMemoryError",
        "The GPU ran out of memory. A T4 has 15 GiB",
        "Lower the batch in the recipe",
    ),
    Ending(
        "exit code 137",
        r"exit ?code:? 137\b|\bSIGKILL\b|Kernel died|DeadKernelError",
        "The notebook was killed, as a machine does that runs out of memory. It has about 30 GiB",
        _LESS,
    ),
    Ending(
        "No space left on device",
        r"No space left on device|\[Errno 28\]",
        "The disk is full. /kaggle/working has 20 GB",
        "Store masks and not probabilities, or fewer images",
    ),
    Ending(
        "Notebook Timeout",
        r"Notebook Timeout|exceeded the (allowed|maximum) (run)?time|maximum execution time"
        r"|Timeout waiting for execute reply|CellTimeoutError|^\W*Timeout\W*$",
        "The run took longer than a session lasts. That is 12 h, or 9 h in most competitions",
        "Set hours in the recipe to what the competition allows, or use fewer views or folds",
    ),
    Ending(
        "no kernel image is available for execution",
        r"no kernel image is available for execution",
        "The image's torch has no code for this GPU. The P100 is such a one",
        "Set accelerator in kaggle.toml to NvidiaTeslaT4",
    ),
    Ending(
        "Temporary failure in name resolution",
        r"Temporary failure in name resolution|Failed to resolve|Network is unreachable",
        "Something asked the network, which is off",
        "Put what it fetches into a dataset. make dry-run shows the same error at home",
    ),
    Ending(
        "Read-only file system",
        r"Read-only file system|\[Errno 30\]",
        "Something wrote below /kaggle/input, which is read-only",
        "Write to /kaggle/working",
    ),
    Ending(
        "ModuleNotFoundError: No module named",
        r"ModuleNotFoundError: No module named",
        "Neither the image nor the dataset has this package",
        "Add it to wheels/requirements.in, then run make kernel-dataset and push again",
    ),
    Ending(
        "Notebook Exceeded Allowed Compute",
        r"Notebook Exceeded Allowed Compute",
        "The hidden rerun needed more memory or disk than there is",
        f"Rehearse it with make dry-run RERUN=1 MEMORY=28. {_LESS}",
    ),
    Ending(
        "Notebook Threw Exception",
        r"Notebook Threw Exception",
        "A cell failed on the hidden images",
        "Rehearse it with make dry-run RERUN=1, and set strict to false",
    ),
    Ending(
        "Submission CSV Not Found",
        r"Submission (CSV|File) Not Found",
        "The hidden rerun ended before it wrote its submission",
        "Rehearse it with make dry-run RERUN=1",
    ),
    Ending(
        "Submission Scoring Error",
        r"Submission Scoring Error",
        "The file has another form than the competition wants",
        "Compare the recipe's columns and ids with sample_submission.csv",
    ),
)


def explain_ending(settings: Settings, *texts: str) -> str:
    """Say what the words of a log mean and what to do, or nothing if they are not known.

    Of several words in a text, the last ones are meant: what stands before was survived.

    Parameters
    ----------
    settings
        Those of the run, for the commands that are to be run.
    texts
        What Kaggle says of the failure, and the log's end. What is known of the first one counts.
    """
    for text in texts:
        found = [
            (match.start(), ending)
            for ending in ENDINGS
            for match in re.finditer(ending.pattern, text, re.IGNORECASE | re.MULTILINE)
        ]
        if found:
            _, last = max(found, key=lambda each: each[0])
            remedy = last.remedy.replace("make dry-run", dry_run_command(settings))
            remedy = remedy.replace("make kernel-dataset", build_command(settings))
            return f"{last.means}. {remedy}"
    return ""
