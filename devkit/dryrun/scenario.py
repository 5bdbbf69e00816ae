"""What the notebook is run on, and where its output goes."""

from dataclasses import dataclass
from pathlib import Path

from kernelkit.recipe import Recipe

__all__ = ["Scenario"]


@dataclass(frozen=True, slots=True)
class Scenario:
    """A competition, models and a recipe for one run of the notebook.

    Attributes
    ----------
    recipe
        Name of a recipe of kernelkit, or path of a YAML file.
    competition, models
        The folders that Kaggle would mount.
    working
        The folder that stands for `/kaggle/working`.
    solution
        Held-out labels, or None if there are none.
    is_rerun
        Set what Kaggle sets in the hidden rerun. Also ask for limits, which the rerun must ignore.
    """

    recipe: str
    competition: Path
    models: Path
    working: Path
    solution: Path | None = None
    is_rerun: bool = False

    @property
    def submission(self) -> Path:
        """The submission that the notebook writes."""
        return self.working / Recipe.load(self.recipe).competition.submission_name

    @property
    def submissions(self) -> Path:
        """The folder with a file for each variant, if the recipe has several."""
        return self.working / "submissions"

    @property
    def maps(self) -> Path:
        """The folder with the maps, if the recipe asks for them."""
        return self.working / "maps"

    @property
    def report(self) -> Path:
        """The report that the notebook writes."""
        return self.working / "report.json"
