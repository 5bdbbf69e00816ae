"""The peak memory of a run over many whole pictures: python -m tests.made.many_pictures ..."""

import resource
import sys
from pathlib import Path

from kernelkit.competition import CompetitionFolder
from kernelkit.predict import load_models, predict
from kernelkit.recipe import Recipe


def main(recipe: str, folder: str, models: str, output: str) -> None:
    """Predict all pictures of a folder, and print the peak memory in bytes."""
    wanted = Recipe.load(recipe)
    competition = CompetitionFolder.read(folder, wanted.competition)
    predict(competition, wanted, load_models(wanted, models), Path(output))
    print("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10)


if __name__ == "__main__":
    main(*sys.argv[1:])
