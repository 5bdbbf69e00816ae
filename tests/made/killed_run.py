"""A run in a process of its own, to be killed in the middle: python -m tests.made.killed_run ..."""

import sys
import time
from pathlib import Path
from typing import Any

from kernelkit.competition import CompetitionFolder
from kernelkit.ensemble import MegaModel
from kernelkit.predict import load_models, predict
from kernelkit.recipe import Recipe


def main(recipe: str, folder: str, models: str, output: str) -> None:
    """Predict a competition, slowly, and say so at each batch."""
    wanted = Recipe.load(recipe)
    for name in ("predict", "predict_pictures"):
        setattr(MegaModel, name, slowly(getattr(MegaModel, name)))
    competition = CompetitionFolder.read(folder, wanted.competition)
    predict(competition, wanted, load_models(wanted, models), Path(output), workers=1)


def slowly(plain: Any) -> Any:
    """A method that takes time, so that it can be killed in between."""

    def method(*arguments: Any, **options: Any) -> Any:
        answers = plain(*arguments, **options)
        print("asked", flush=True)
        time.sleep(0.4)
        return answers

    return method


if __name__ == "__main__":
    main(*sys.argv[1:])
