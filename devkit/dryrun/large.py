"""`make dry-run SIZE=large`: gigabytes of slides through the unchanged HuBMAP recipe.

It measures what a small run cannot: the steady speed, the memory of all processes, whether seams
show, and whether a run whose reader is killed midway still ends in the very same submission.
"""

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from devkit.dryrun.notebook import Kernel, Scenario, run_notebook
from devkit.dryrun.results import image_reports
from devkit.dryrun.seams import SeamReport, compare_seams
from devkit.sandbox.run import SandboxResult
from kernelkit.competition import CompetitionFolder
from kernelkit.errors import SubmissionError
from kernelkit.mask import BitMask
from kernelkit.predict import load_models
from kernelkit.recipe import Recipe
from kernelkit.slide import Slide

__all__ = [
    "HUBMAP_PUBLIC_MEGAPIXELS",
    "SteadySpeed",
    "measure_seams",
    "rehearse_killed_reader",
    "steady_speed",
]

HUBMAP_PUBLIC_MEGAPIXELS = 6040.0
"""The five images of HuBMAP's public test set: 2659 tiles at core 1536."""


@dataclass(frozen=True, slots=True)
class SteadySpeed:
    """Source megapixels a second, and what they were measured with."""

    megapixels_per_second: float
    waiting: float
    recipe: str
    models: str
    device: str

    def projection(self) -> str:
        """How long HuBMAP's public test set would take at this speed."""
        hours = HUBMAP_PUBLIC_MEGAPIXELS / self.megapixels_per_second / 3600
        return (
            f"HuBMAP's public test set (6.04 Gpx) would take {hours:.1f} h at "
            f"{self.megapixels_per_second:.2f} Mpx/s: recipe {self.recipe}, {self.models}, "
            f"on {self.device}"
        )

    def save(self, path: Path) -> None:
        """Keep the figure for later runs to quote."""
        path.write_text(json.dumps(asdict(self), indent=2))

    @classmethod
    def load(cls, path: Path) -> "SteadySpeed | None":
        """The figure that an earlier run kept, if any."""
        return cls(**json.loads(path.read_text())) if path.is_file() else None


def steady_speed(scenario: Scenario, device: str) -> SteadySpeed:
    """The speed over all images of a finished run."""
    images = [image for image in image_reports(scenario) if image["status"] == "predicted"]
    seconds = sum(image["seconds"] for image in images)
    megapixels = sum(image["height"] * image["width"] for image in images) / 1e6
    recipe = Recipe.load(scenario.recipe)
    models = load_models(recipe, scenario.models, device="cpu")
    names = ", ".join(member.name for model in models.values() for member in model.members)
    return SteadySpeed(
        megapixels_per_second=megapixels / seconds,
        waiting=sum(image["waited"] for image in images) / seconds,
        recipe=recipe.name,
        models=f"models {names}",
        device=device,
    )


def measure_seams(scenario: Scenario, masks: dict[str, BitMask]) -> SeamReport:
    """Compare the first image's stitched mask with a crop of it predicted in one piece."""
    recipe = Recipe.load(scenario.recipe)
    test_set = CompetitionFolder.read(scenario.competition, recipe.competition)
    image_id = test_set.ids[0]
    models = load_models(recipe, scenario.models, device="cpu")
    with Slide(test_set.files[image_id]) as slide:
        ensemble = recipe.ensemble_for(slide.bands, str(slide.dtype))
        return compare_seams(slide, masks[image_id], recipe, ensemble, models[ensemble.name])


def rehearse_killed_reader(
    scenario: Scenario, kernel: Kernel, workers: int, after_seconds: float = 5.0
) -> SandboxResult:
    """Predict the last image again, kill a reader process midway, and compare the submissions.

    The masks of the other images are kept, so this also shows that an interrupted run goes on
    where it was.

    Parameters
    ----------
    after_seconds
        How long after it opened a slide the reader is killed.

    Raises
    ------
    SubmissionError
        No reader could be killed, or the submission is another than that of the first run.
    """
    before = scenario.submission.read_bytes()
    masks = (scenario.working / "masks").glob("*.mask")
    max(masks, key=lambda path: path.stat().st_mtime).unlink()
    scenario.submission.unlink()
    killer = _ReaderKiller(after_seconds)
    result = run_notebook(scenario, kernel, workers, on_sample=killer)
    if result.exit_code != 0:
        raise SubmissionError(f"the run ended with exit code {result.exit_code}.")
    if killer.killed is None:
        raise SubmissionError("no reader process was found to kill; use at least one worker.")
    if scenario.submission.read_bytes() != before:
        raise SubmissionError(f"{scenario.submission}: it differs from the undisturbed run's.")
    return result


class _ReaderKiller:
    """Sends SIGKILL to one reader process, some seconds after it opened a slide."""

    def __init__(self, after_seconds: float) -> None:
        self.killed: int | None = None
        self._after_seconds = after_seconds
        self._first_seen: float | None = None

    def __call__(self, tree: list[psutil.Process]) -> None:
        if self.killed is not None:
            return
        readers = [process for process in tree if _reads_a_slide(process, tree)]
        if readers and self._first_seen is None:
            self._first_seen = time.monotonic()
        if readers and time.monotonic() - (self._first_seen or 0) >= self._after_seconds:
            readers[-1].kill()
            self.killed = readers[-1].pid
            print(f"killed reader process {self.killed}", flush=True)


def _reads_a_slide(process: psutil.Process, tree: list[psutil.Process]) -> bool:
    """Whether a process has a slide open and is not the notebook's kernel itself."""
    try:
        kernel = next(p for p in tree if "ipykernel_launcher" in p.cmdline())
        # psutil lists only files that exist, and those of the sandbox do not exist out here
        names = [str(link.readlink()) for link in Path(f"/proc/{process.pid}/fd").iterdir()]
    except (psutil.Error, OSError, StopIteration):
        return False
    return process.pid != kernel.pid and any(name.endswith(".tiff") for name in names)
