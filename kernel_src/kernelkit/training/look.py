"""What the training notebook shows of its runs: best effort, since they are trained already."""

from collections.abc import Sequence
from pathlib import Path

from kernelkit.console import printable
from kernelkit.errors import as_sentence
from kernelkit.predict.look import Shown
from kernelkit.training.fold_folder import folds_in
from kernelkit.training.report_page import report_body, summary_table
from kernelkit.training.run_summary import fold_summary

__all__ = ["reports"]

# Pictures of one fold. The others stand in the report of its run.
_PICTURES = 3


def reports(run_folders: Sequence[Path]) -> Shown:
    """Scores, curves and pictures of some runs. What cannot be shown is a line that says why."""
    texts, pages = [], []
    for folder in run_folders:
        try:
            folds = folds_in(folder)
            table = summary_table([fold_summary(fold.path) for fold in folds])
            texts.append(f"{folder.name}\n{table.to_string(index=False)}")
            pages.append(report_body(folder, folds, _PICTURES))
        except Exception as error:  # whatever it is, the runs are trained already
            texts.append(f"no report of {folder.name}, because: {as_sentence(error)}")
    text = "\n".join(texts) or "no run was begun"
    forms = {"text/html": printable("\n".join(pages))} if pages else {}
    return Shown(printable(text), forms)
