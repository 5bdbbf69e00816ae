"""What the README shows in Python runs as it stands there."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from devkit.demo.layouts import write
from tests.made.competition import write_models

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.mark.timeout(120)
def test_the_pieces_by_themselves(tmp_path: Path) -> None:
    """The example goes from a slide to a run-length encoding, with the files that it names."""
    [example] = re.findall(r"```python\n(.*?)```", (REPOSITORY / "README.md").read_text(), re.S)
    script = tmp_path / "example.py"
    script.write_text(example)
    write_models(tmp_path / "models")
    pixels = np.random.default_rng(0).integers(0, 255, (3, 1700, 900), dtype=np.uint8)
    write(tmp_path / "kidney.tiff", pixels, "subdatasets")
    done = subprocess.run(
        [sys.executable, script],
        cwd=tmp_path,
        env={"PYTHONPATH": str(REPOSITORY / "kernel_src"), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    *runs, dice = done.stdout.splitlines()[-1].split()  # a progress bar stands before it
    assert len(runs) % 2 == 0
    assert 0 <= float(dice) <= 1
