"""The dry-runs: on a small competition of the demo, on one of your own, and on large slides.

Each makes what it needs, runs the notebook, checks and scores its submission, and prints where
everything lies.
"""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from devkit.competitions import OwnCompetition
from devkit.demo.prepare import Demo, prepare, prepare_large, prepare_shape
from devkit.dryrun.killed_reader import rehearse_killed_reader
from devkit.dryrun.maps import check_maps
from devkit.dryrun.notebook import render, run_notebook, was_killed
from devkit.dryrun.projection import projection
from devkit.dryrun.results import draw_overlay, read_checked, results_table
from devkit.dryrun.runtime import Runtime, make_runtime
from devkit.dryrun.scenario import Scenario
from devkit.dryrun.seams import SEAM_HALF_WIDTH, measure_seams
from devkit.dryrun.variants import check_variants, submissions_of
from devkit.errors import DryRunError
from kernelkit.checkpoints.run_folders import matching_runs
from kernelkit.competition import Row
from kernelkit.mask import BitMask
from kernelkit.memory import total_memory
from kernelkit.predict.report import Report

__all__ = ["DryRun"]

_NEXT = "next         make new NAME=my-competition COMPETITION=folder, with files of your own"


@dataclass(frozen=True, slots=True)
class DryRun:
    """How the notebook is run, whatever it is run on.

    Attributes
    ----------
    build
        The folder for all that is made.
    profile
        Name of the image's profile.
    workers
        Reader processes.
    budget_bytes
        What all processes together may hold (PSS).
    is_rerun
        Rehearse the hidden rerun.
    own_competition
        The competition of the user's own that is meant, if any.
    devices
        As the notebook has it.
    """

    build: Path
    profile: str
    workers: int
    budget_bytes: int
    is_rerun: bool = False
    own_competition: OwnCompetition | None = None
    devices: str = "auto"

    def on_demo(self) -> None:
        """Run on the demo's test images, which have labels."""
        demo = prepare(self.build / "demo")
        scenario = self._scenario("nuclei", demo, "rerun" if self.is_rerun else "small")
        self._run_and_report(scenario, self._runtime())
        large = Report.load(self._speed_file) if self._speed_file.is_file() else Report()
        if large.predicted:
            print(projection(large, demo.large_models))
        print(_NEXT)

    def on_shape(self, recipe: str) -> None:
        """Run a recipe of kernelkit on a small competition of its shape, which has labels.

        Parameters
        ----------
        recipe
            One of the demo's `SHAPES`.
        """
        demo = prepare_shape(self.build / recipe, recipe)
        scenario = self._scenario(recipe, demo, f"{recipe}-rerun" if self.is_rerun else recipe)
        self._run_and_report(scenario, self._runtime())

    def on_own(self, competition: Path, models: Path, recipe: str) -> None:
        """Run on a competition of the user's own.

        Parameters
        ----------
        competition, models
            The folders of the competition and of its run folders.
        recipe
            Name of a recipe, or path of a YAML file.
        """
        matching_runs(models, ["*"])  # without any run, it is told in one sentence and at once
        scenario = Scenario(
            recipe=str(Path(recipe).resolve()) if Path(recipe).is_file() else recipe,
            competition=competition,
            models=models,
            working=self._working_folder("own"),
            is_rerun=self.is_rerun,
        )
        self._run_and_report(scenario, self._runtime())

    def on_large_slides(self) -> None:
        """Run the unchanged HuBMAP recipe on gigabytes of slides, which have no labels.

        It measures what a small run cannot: the steady speed, the memory of all processes, and
        whether seams show. It also kills a reader midway, which must not change the submission.
        """
        demo, large = prepare(self.build / "demo"), prepare_large(self.build / "large")
        scenario = Scenario(
            recipe="hubmap",
            competition=large.competition,
            models=demo.large_models,
            working=self._working_folder("large"),
        )
        runtime = self._runtime()
        masks = self._run_and_report(scenario, runtime)
        report = Report.load(scenario.report)
        report.save(self._speed_file)
        print(f"steady speed {report.megapixels_per_second:.2f} Mpx/s")
        print(f"waiting      {report.waiting:.1%} of the time, for tiles")
        print(projection(report, demo.large_models))
        seams = measure_seams(scenario, masks)
        print(f"Dice with the crop {seams.crop} predicted in one piece:")
        print(f"{seams.at_seams:.4f} within {SEAM_HALF_WIDTH} px of a seam")
        print(f"{seams.elsewhere:.4f} elsewhere")
        print("\nthe last image once more, and a reader process is killed midway")
        rehearse_killed_reader(scenario, runtime, max(1, self.workers))
        print("the submission is the same, byte for byte")

    @property
    def _speed_file(self) -> Path:
        """The report of the last run on large slides, for later runs to quote."""
        return self.build / "large-speed.json"

    def _scenario(self, recipe: str, demo: Demo, name: str) -> Scenario:
        return Scenario(
            recipe=recipe,
            competition=demo.hidden_competition if self.is_rerun else demo.competition,
            models=demo.models,
            working=self._working_folder(name),
            solution=demo.hidden_solution if self.is_rerun else demo.solution,
            is_rerun=self.is_rerun,
        )

    def _working_folder(self, name: str) -> Path:
        return self.build / "dry-run" / name / "working"

    def _runtime(self) -> Runtime:
        folder = self.build / f"kernel-{self.profile}"
        return make_runtime(self.profile, folder, self.own_competition)

    def _run_and_report(self, scenario: Scenario, runtime: Runtime) -> dict[Row, BitMask]:
        """Run the notebook from a clean working folder, check what it wrote, print the table."""
        shutil.rmtree(scenario.working, ignore_errors=True)
        result = run_notebook(
            scenario, runtime, self.workers, self.budget_bytes, devices=self.devices
        )
        if result.is_over_budget:
            raise DryRunError(
                f"the notebook held {_gigabytes(result.peak_bytes)} of memory, and "
                f"{_gigabytes(self.budget_bytes)} is allowed. Use fewer WORKERS, or raise MEMORY"
            )
        executed = scenario.working / "inference.ipynb"
        if result.exit_code != 0 and was_killed(result.exit_code, executed):
            raise DryRunError(
                f"{executed}: the notebook's kernel was killed, as a machine does that runs out of "
                f"memory. It held {_gigabytes(result.peak_bytes)} of "
                f"{_gigabytes(total_memory())}. Close other programs, use fewer WORKERS, or lower "
                "the recipe's batch"
            )
        if result.exit_code != 0:
            raise DryRunError(
                f"{executed}: the notebook ended with exit code "
                f"{result.exit_code}. Its last output is above"
            )
        masks, report = read_checked(scenario), Report.load(scenario.report)
        table = results_table(report, masks, scenario.solution)
        print(f"\n{table.to_string(index=False)}\n")
        if len(table) < len(report.images):
            print(f"these are the worst of {len(report.images)} images\n")
        if submissions_of(scenario):
            print(f"{check_variants(scenario).to_string(index=False)}\n")
            print(f"submissions  {_shown(scenario.submissions)}: checked, all differ")
        maps = check_maps(scenario)
        if len(maps):
            print(f"{maps.to_string(index=False)}\n")
            print(f"maps         {_shown(scenario.maps)}: checked, {len(maps)} places")
        print(f"submission   {_shown(scenario.submission)}: checked, {len(masks)} masks")
        print(f"notebook     {_shown(render(scenario))}")
        print(f"picture      {_shown(draw_overlay(scenario, masks))}")
        print(f"device       {report.device}")
        print(f"peak memory  {_gigabytes(result.peak_bytes)} (PSS of all processes)")
        return masks


def _shown(path: Path) -> str:
    return os.path.relpath(path)


def _gigabytes(size: int) -> str:
    return f"{size / 2**30:.2f} GiB"
