"""What recipe, models, files and disk contradict each other in, one finding each."""

from collections.abc import Sequence
from dataclasses import dataclass

from kernelkit.console import printable
from kernelkit.errors import RecipeError
from kernelkit.recipe import Recipe

__all__ = ["Finding", "findings_table", "refuse_errors"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One contradiction.

    Attributes
    ----------
    subject
        What it is about: an ensemble, an image, a folder.
    message
        What was found, and what to do.
    is_error
        Whether the run cannot end well with it.
    """

    subject: str
    message: str
    is_error: bool = False

    def __str__(self) -> str:
        return printable(f"{self.subject}: {self.message}")


def findings_table(findings: Sequence[Finding]) -> str:
    """One line per finding, for people."""
    kinds = ["error  " if finding.is_error else "warning" for finding in findings]
    return "\n".join(f"{kind}  {finding}" for kind, finding in zip(kinds, findings, strict=True))


def refuse_errors(findings: Sequence[Finding], recipe: Recipe) -> None:
    """Raise `RecipeError` with every error among the findings."""
    errors = [str(finding) for finding in findings if finding.is_error]
    if errors:
        raise RecipeError(f"{recipe.name}: {'. '.join(errors)}")
