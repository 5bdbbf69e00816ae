"""Thousands of whole pictures in bounded memory."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from devkit.tools import REPOSITORY
from kernelkit.predict.report import Report
from tests.made.pictures import Salt

# what a picture may add to the peak: its report, its rows and its place in lists, in bytes
MOST_BYTES_EACH = 20_000


def peak_of(made: Salt, count: int, folder: Path) -> int:
    """The peak memory of a run over some pictures, in a process of its own."""
    images = folder / "in/test/images"
    images.mkdir(parents=True)
    for number in range(count):
        shutil.copy(made.paths[number % len(made.paths)], images / f"{number:05}.png")
    content = made.recipe.model_dump(mode="json", exclude_unset=True)
    content["ensembles"][0] |= {"gate": None, "checkpoints": "best"}  # one network, for speed
    recipe = folder / "recipe.yaml"
    recipe.write_text(json.dumps(content | {"batch": 32}))
    arguments = [recipe, folder / "in", made.models, folder / "out"]
    command = [sys.executable, "-m", "tests.made.many_pictures", *map(str, arguments)]
    result = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert Report.load(folder / "out/report.json").counts["predicted"] == count
    return int(result.stdout.split("peak ")[1])


@pytest.mark.timeout(600)
def test_memory_does_not_grow_with_the_number_of_pictures(tmp_path: Path) -> None:
    """2000 pictures need hardly more than 200. Their pixels alone would take 60 MB and more."""
    made = Salt(tmp_path / "made", count=4)
    few, many = (peak_of(made, count, tmp_path / str(count)) for count in (200, 2000))
    print(f"{few / 1e6:.0f} MB for 200, {many / 1e6:.0f} MB for 2000")
    assert many - few < 1800 * MOST_BYTES_EACH
