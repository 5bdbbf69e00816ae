"""Cuts in a process of its own, to be killed in the middle: python -m tests.made.killed_cuts ..."""

import sys
import time
from pathlib import Path
from typing import Any

from kernelkit.training.cuts import make_cuts, packs, pixels
from tests.made.cut_competition import CutCompetition


def main(folder: str, out: str) -> None:
    """Make cuts with a file per image. Stop in the middle of the second image, and say so."""
    packs._PACK_BYTES = 1
    plain = pixels.write_slide
    begun: list[str] = []

    def slowly(slide: Any, *others: Any) -> Any:
        begun.append(slide.name)
        found = plain(slide, *others)
        if len(begun) == 2:
            print("the second image", flush=True)
            time.sleep(60)
        return found

    pixels.write_slide = slowly
    made = CutCompetition(Path(folder).parent, {})
    make_cuts(made.run(), Path(folder), Path(out))


if __name__ == "__main__":
    main(*sys.argv[1:])
