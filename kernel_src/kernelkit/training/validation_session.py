"""A validation in a notebook: predictions out of fold, scores, the search, a report, the recipe.

Predictions come first, and cost nearly all of the time. What goes wrong after them is a sentence,
since a notebook that fails has no output.
"""

import html
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib import resources
from pathlib import Path
from typing import get_args

import pandas as pd

from kernelkit.competition.folder import mounted_folder
from kernelkit.console import printable
from kernelkit.errors import EvaluationError, KernelKitError, as_sentence
from kernelkit.evaluation.report import write_report
from kernelkit.evaluation.scored import ScoreTable, score_images
from kernelkit.evaluation.search.rewriting import as_written, rewrite
from kernelkit.evaluation.search.total import write_total
from kernelkit.evaluation.tuning import Asked, Tuned, tune
from kernelkit.files import open_atomically
from kernelkit.predict.deadline import Deadline
from kernelkit.predict.look import Shown
from kernelkit.training.recipe import TrainingRecipe
from kernelkit.training.validated import Validated, predict_held_out
from kernelkit.vocabulary import Score, Sharing, choices

__all__ = ["ValidationSession"]

_SCORES: dict[str, Score] = {
    "dice per image": "dice",
    "dice over all pixels": "set",
    "iou per image": "iou",
    "precision at IoU .5 to .95": "precision",
}
# Pixels of the report's frame in the notebook.
_HEIGHT = 900


@dataclass
class ValidationSession:
    """What was trained by a training recipe, scored by the folds that held images out.

    Attributes
    ----------
    recipe
        The training recipe, by its name or as a YAML file.
    competition
        The competition's folder. If it is not there, Kaggle's other layout of mounts is tried.
    models
        The models folder.
    output
        The folder for the store, the tables, the report and the tuned recipe.
    overrides
        Changes of the training recipe.
    sharing, score
        For what thresholds are chosen, and by which score.
    device
        What networks run on.
    workers
        How many processes read.
    hours
        How long the session may last, counted from now. Images that are not predicted by then are
        left out.
    training
        The training recipe.
    problems
        What went wrong after the predictions, a sentence each.
    """

    recipe: str | Path
    competition: Path
    models: Path
    output: Path
    overrides: Sequence[str] = ()
    sharing: Sharing = "common"
    score: Score = "dice"
    device: str = "auto"
    workers: int = 0
    hours: float = 9.0
    training: TrainingRecipe = field(init=False)
    problems: list[str] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        self._deadline = Deadline(self.hours)
        for name, value, words in (
            ("share", self.sharing, Sharing),
            ("score", self.score, Score),
        ):
            if value not in get_args(words):
                raise EvaluationError(
                    f"found {value!r:.40} as {name}, wanted {choices(words)}. Correct the parameter"
                )
        self.training = TrainingRecipe.load(self.recipe, self.overrides)
        self.competition = mounted_folder(Path(self.competition))
        self._validated: Validated | None = None
        self._tuned: dict[str, Tuned] = {}

    @property
    def validated(self) -> Validated:
        """The predictions.

        Raises
        ------
        EvaluationError
            They are not made yet.
        """
        if self._validated is None:
            raise EvaluationError("nothing is predicted yet. Call predict first")
        return self._validated

    def predict(self) -> pd.DataFrame:
        """Predict each training image by the members that did not see it.

        Returns
        -------
        One row per image: its ensemble, the fold that held it out, and how long it took.

        Raises
        ------
        KernelKitError
            As `predict_held_out`.
        """
        self._validated = predict_held_out(
            self.training,
            self.competition,
            self.models,
            self.output,
            device=self.device,
            workers=self.workers,
            deadline=self._deadline,
        )
        found = self._validated.found
        return pd.DataFrame(
            {
                "image": [each.image for each in found.report.images],
                "ensemble": [each.ensemble for each in found.report.images],
                "fold": [found.folds[each.image] for each in found.report.images],
                "seconds": [round(each.seconds, 1) for each in found.report.images],
                "note": [each.note for each in found.report.images],
            }
        )

    def scores(self) -> pd.DataFrame:
        """Score the masks, write scores.csv, and return the scores of each class."""
        found, table = self.validated.found, self._table()
        groups = {image: scene.group for image, scene in found.scenes.items()}
        frame = table.frame(fold=found.folds, group=groups)
        with open_atomically(self.output / "scores.csv") as file:
            frame.to_csv(file, index=False, lineterminator="\n")
        rows = {
            label: {name or "target": value for name, value in table.per_class(score).items()}
            for label, score in _SCORES.items()
        }
        summary = pd.DataFrame(rows).rename_axis("class").reset_index()
        summary["dice of all classes"] = str(table.interval("dice"))
        return summary

    def tune(self) -> pd.DataFrame:
        """Search thresholds and minimum sizes, and write total.csv of each ensemble.

        Returns
        -------
        One row per ensemble and class or group: what was chosen, and what it is worth.
        """
        found = self.validated.found
        used = dict.fromkeys(image.ensemble for image in found.report.images if image.ensemble)
        rows = []
        for name in used:
            tuned = self._tried(f"the search for {name}", partial(self._tune, name))
            if tuned is None:
                continue
            self._tuned[name] = tuned
            file = "total.csv" if len(used) == 1 else f"total_{name}.csv"
            write_total(tuned.total, self.output / file)
            for key, optimum in tuned.chosen.optima.items():
                rows.append(
                    {
                        "ensemble": name,
                        "for": key or "all",
                        "chosen": str(optimum),
                        "before": tuned.before,
                        "after": tuned.chosen.value,
                        "what survives": str(tuned.survival or "not known, as of one fold"),
                        "notes": ". ".join(tuned.notes),
                    }
                )
        return pd.DataFrame(rows)

    def write_recipe(self) -> Path | None:
        """Write the recipe that predicts, with the new values and its own comments.

        Returns
        -------
        The file, below the output. None if a recipe can say no values whose gain survives.
        """
        wanted = {name: t.to_write for name, t in self._tuned.items() if t.to_write is not None}
        if not wanted:
            return None
        path = self.output / f"{self.training.recipe.name}.yaml"

        def write() -> Path:
            with open_atomically(path) as file:
                file.write(_text_of(self.training.predicts, self.recipe))
            rewrite(path, as_written(path, wanted))
            return path

        return self._tried("the tuned recipe", write)

    def report(self) -> Shown:
        """Write report.html, and show it in a frame of the notebook."""
        path = self.output / "report.html"

        def make() -> Shown:
            write_report(self.validated.found, self.validated.truth, self._table(), path)
            page = html.escape(path.read_text(encoding="utf-8"), quote=True)
            frame = f'<iframe width="100%" height="{_HEIGHT}" srcdoc="{page}"></iframe>'
            return Shown(f"{path}", {"text/html": frame})

        return self._tried("the report", make) or Shown(printable(self.problems[-1]))

    @property
    def end(self) -> str:
        """How the validation ended, in a sentence."""
        count = len(self.validated.found.scenes)
        missing = len(self.validated.found.report.images) - count
        said = [f"{count} images are predicted out of fold"]
        said += [f"{missing} could not be predicted"] if missing else []
        return printable(". ".join([*said, *self.validated.notes, *self.problems]))

    def _table(self) -> ScoreTable:
        found = self.validated.found
        return score_images(
            list(found.masks),
            self.validated.classes,
            found.masks.__getitem__,
            self.validated.truth,
            found.masks.held,
        )

    def _tune(self, ensemble: str) -> Tuned:
        asked = Asked(sharing=self.sharing, score=self.score)
        return tune(self.validated.found, self.validated.truth, ensemble, asked)

    def _tried[T](self, what: str, make: Callable[[], T]) -> T | None:
        """What is made, or None and a sentence that says why not."""
        try:
            return make()
        except (KernelKitError, OSError) as error:
            self.problems.append(f"{what} failed: {as_sentence(error)}")
            return None


def _text_of(predicts: str, training: str | Path) -> str:
    """The text of the recipe that predicts: a file beside the training recipe, or kernelkit's."""
    if Path(predicts).suffix in (".yaml", ".yml"):
        return (Path(training).parent / predicts).read_text(encoding="utf-8-sig")
    own = resources.files("kernelkit") / "recipe" / f"{predicts}.yaml"
    return own.read_text(encoding="utf-8")
