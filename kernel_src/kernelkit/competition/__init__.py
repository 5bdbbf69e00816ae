"""A competition's folder as it is mounted, and the submission that it wants."""

from kernelkit.competition.folder import CompetitionFolder
from kernelkit.competition.submission import (
    Submission,
    check_submission,
    preview,
    read_submission,
)

__all__ = ["CompetitionFolder", "Submission", "check_submission", "preview", "read_submission"]
