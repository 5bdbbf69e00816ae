"""Thousands of whole pictures in bounded memory."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from devkit.tools import REPOSITORY
from kernelkit.predict.report import Report
from tests.made.networks import write_run
from tests.made.pictures import Salt

# A network that answers as fast as pictures are read.
SMALL = {
    "arch": "Unet",
    "encoder_name": "tu-test_resnet",
    "encoder_depth": 3,
    "in_channels": 3,
    "classes": 2,
    "decoder_channels": [8, 8, 8],
}
FEW, MANY = 200, 1400
# what a picture may add to the peak: its report, its rows and its place in lists, in bytes
MOST_BYTES_EACH = 20_000


def write_copies(made: Salt, count: int, folder: Path) -> Path:
    """Write so many files with the pictures in turn."""
    images = folder / "in/test/images"
    images.mkdir(parents=True)
    for number in range(count):
        shutil.copy(made.paths[number % len(made.paths)], images / f"{number:05}.png")
    return folder


@pytest.mark.timeout(600)
def test_memory_does_not_grow_with_the_number_of_pictures(tmp_path: Path) -> None:
    """1400 pictures need hardly more than 200. Their pixels alone would take 37 MB and more."""
    made = Salt(tmp_path / "made", count=4)
    write_run(tmp_path / "models/run", SMALL, seeds=(1,))
    content = made.recipe.model_dump(mode="json", exclude_unset=True)
    content["ensembles"][0] |= {"gate": None, "runs": ["run"]}
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(json.dumps(content | {"batch": 32}))
    # the first run's last steps stay in memory, which the peak of its networks has not beside it
    counts = {"warm": FEW, "few": FEW, "many": MANY}
    folders = [write_copies(made, count, tmp_path / name) for name, count in counts.items()]
    arguments = [recipe, tmp_path / "models", *folders]
    command = [sys.executable, "-m", "tests.made.many_pictures", *map(str, arguments)]
    # an array that is freed is given back, so that the allocator's own habits are not measured
    given_back = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"}
    result = subprocess.run(
        command, cwd=REPOSITORY, env=given_back, capture_output=True, text=True, check=True
    )
    for count, folder in zip(counts.values(), folders, strict=True):
        assert Report.load(folder / "out/report.json").counts["predicted"] == count
    _, few, many = (int(line.split()[1]) for line in result.stdout.splitlines() if "peak" in line)
    print(f"{few / 1e6:.0f} MB for {FEW}, {many / 1e6:.0f} MB for {MANY}")
    assert many - few < (MANY - FEW) * MOST_BYTES_EACH
