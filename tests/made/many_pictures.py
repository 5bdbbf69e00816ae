"""The peak memory of runs over many whole pictures: python -m tests.made.many_pictures ..."""

import resource
import sys
from pathlib import Path

from kernelkit.competition import CompetitionFolder
from kernelkit.predict import load_models, predict
from kernelkit.recipe import Recipe


def main(recipe: str, models: str, *folders: str) -> None:
    """Predict all pictures of each folder in turn, and print the peak memory so far in bytes."""
    wanted = Recipe.load(recipe)
    loaded = load_models(wanted, models)
    for folder in folders:
        competition = CompetitionFolder.read(Path(folder, "in"), wanted.competition)
        predict(competition, wanted, loaded, Path(folder, "out"))
        print("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10)


if __name__ == "__main__":
    main(*sys.argv[1:])
