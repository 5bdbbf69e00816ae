"""A competition's folder as it is mounted, and the submission that it wants."""

from kernelkit.competition.checks import check_rows, check_submission, read_submission
from kernelkit.competition.folder import CompetitionFolder
from kernelkit.competition.rows import Row
from kernelkit.competition.sample import Sample
from kernelkit.competition.scenes import Scene
from kernelkit.competition.submission import Submission
from kernelkit.competition.tables import preview, submission_rows

__all__ = [
    "CompetitionFolder",
    "Row",
    "Sample",
    "Scene",
    "Submission",
    "check_rows",
    "check_submission",
    "preview",
    "read_submission",
    "submission_rows",
]
