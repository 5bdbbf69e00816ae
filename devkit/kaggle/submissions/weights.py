"""With which weights a submission was made, as the report beside it says."""

from pathlib import Path

from kernelkit.errors import OutputError

__all__ = ["weights_beside"]


def weights_beside(submission: Path) -> dict[str, str]:
    """The hashes of the weights that a submission was made with, by the names of the members.

    The report lies beside it, or above the folder of a recipe's `submissions`.

    Returns
    -------
    Nothing if there is no report, or an older one that names no weights.
    """
    # it imports pandas, and other commands need not wait for that
    from kernelkit.predict.report import Report

    folder = submission.absolute().parent
    folder = folder.parent if folder.name == "submissions" else folder
    try:
        return Report.load(folder / "report.json").weights
    except OutputError:
        return {}
