"""Under which key the result of an image is stored: a hash of all that it depends on.

That is the content of its files, the recipe's part before the store, and the members as they are
asked. The kind of device and the versions of what computes belong to it too. Parts that images
share are worked out once per run.
"""

import hashlib
import json
from collections.abc import Mapping
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import kernelkit
from kernelkit.ensemble.replicas import Replicas
from kernelkit.files import file_sha256
from kernelkit.predict.store.store import Entry, Store
from kernelkit.recipe import EnsembleRecipe, Recipe

__all__ = ["Keys", "code_sha256", "entry_of"]

# packages whose version may change a mask
_COMPUTING = (
    *("torch", "numpy", "numba", "rasterio", "timm", "segmentation-models-pytorch"),
    *("opencv-python-headless", "opencv-python", "onnxruntime", "onnxruntime-gpu"),
)


class Keys:
    """The keys of one run.

    Parameters
    ----------
    recipe, replicas, store
        The recipe, the copies of each ensemble's model by its name, and where results are put.

    Attributes
    ----------
    full
        The fingerprint of each model as it is asked in full, by the ensemble's name.
    """

    def __init__(self, recipe: Recipe, replicas: Mapping[str, Replicas], store: Store) -> None:
        self._plans = {each.name: recipe.plan_for(each) for each in recipe.ensembles}
        self._replicas = replicas
        self._store = store
        self.full = {name: self.asked(name) for name in self._plans}
        self._shared = {
            each.name: (_recipe_part(recipe, each), replicas[each.name].model.device.type)
            for each in recipe.ensembles
        }

    def asked(self, ensemble: str) -> str:
        """The fingerprint of an ensemble's model as it is asked now.

        What only merges the stored layers is not in it. So another merge takes them again.
        """
        plan = self._plans[ensemble]
        model = self._replicas[ensemble].model  # another one would not know what is asked
        return model.fingerprint_at(plan.level, ask_gated=plan.ask_gated)

    def parts(self, ensemble: str, fingerprint: str) -> tuple[str, ...]:
        """What the keys of all images have in common that an ensemble predicts.

        Parameters
        ----------
        fingerprint
            Of the ensemble's model, as it is asked.
        """
        recipe_part, device = self._shared[ensemble]
        return recipe_part, fingerprint, device, _versions()

    def entry(
        self,
        image_id: str,
        content: str,
        ensemble: str,
        fingerprint: str,
        unfinished: bool = False,
        regions: str = "",
    ) -> Entry:
        """The entry of an image.

        Parameters
        ----------
        content
            As `content_of` gives it.
        ensemble
            The name of the ensemble that predicts the image.
        fingerprint
            Of the ensemble's model, as it was asked.
        unfinished
            Whether a part of the image was left out. The next run predicts it anew.
        regions
            The hash of the polygons that say where to look.
        """
        parts = self.parts(ensemble, fingerprint)
        return entry_of(self._store, image_id, content, parts, unfinished, regions)


def entry_of(
    store: Store,
    image_id: str,
    content: str,
    parts: tuple[str, ...],
    unfinished: bool = False,
    regions: str = "",
) -> Entry:
    """The entry of an image, as of `Keys.entry`, which another process may have made.

    Parameters
    ----------
    parts
        As `Keys.parts` gives them there.
    """
    return store.entry(image_id, content, *parts, "unfinished" if unfinished else "", regions)


def _recipe_part(recipe: Recipe, ensemble: EnsembleRecipe) -> str:
    """What of a recipe decides on the bytes in the store, beside what its models know."""
    elsewhere = {
        *("name", "summary", "competition", "ensembles", "hours", "give_up"),
        *("store", "submissions", "steps", "groups"),
    }
    part: dict[str, Any] = recipe.model_dump(mode="json", exclude=elsewhere)
    part["nodata value"] = recipe.competition.nodata
    part["store"] = recipe.plan_for(ensemble).key(ensemble)
    if recipe.tiles.whole:  # a picture that the store has is not opened to ask which kind it is
        part["when"] = ensemble.when.model_dump()
    return json.dumps(part, sort_keys=True)


@cache
def _versions() -> str:
    """What computes: kernelkit's own code, and the packages that read pixels and run networks."""
    found = {name: _version(name) for name in _COMPUTING}
    return json.dumps({"kernelkit": code_sha256(), **found})


@cache
def code_sha256() -> str:
    """The hash of kernelkit's own code."""
    package = Path(kernelkit.__file__).parent
    sources = sorted(package.rglob("*.py"))
    return hashlib.sha256("".join(map(file_sha256, sources)).encode()).hexdigest()


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""
