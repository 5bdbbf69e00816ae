"""The steady speed of a run, kept for later runs to quote, and what it means for HuBMAP."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from devkit.dryrun.results import image_reports
from devkit.dryrun.scenario import Scenario
from kernelkit.files import open_atomically
from kernelkit.predict import load_models
from kernelkit.recipe import Recipe

__all__ = ["HUBMAP_PUBLIC_MEGAPIXELS", "SteadySpeed", "steady_speed"]

# The five images of HuBMAP's public test set: 2659 tiles at core 1536.
HUBMAP_PUBLIC_MEGAPIXELS = 6040.0


@dataclass(frozen=True, slots=True)
class SteadySpeed:
    """The speed over all images of a run, and what it was measured with.

    Attributes
    ----------
    megapixels_per_second
        Source megapixels per second.
    waiting
        The share of the time that the models waited for tiles.
    recipe, models, device
        What ran, and on which device, in words.
    """

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
        """Keep the figure for later runs."""
        with open_atomically(path) as file:
            json.dump(asdict(self), file, indent=2)

    @classmethod
    def load(cls, path: Path) -> Self | None:
        """The figure that an earlier run kept, or None."""
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
