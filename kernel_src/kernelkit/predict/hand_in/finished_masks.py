"""The masks that are submitted, made of the store when they are asked for."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from kernelkit.errors import SubmissionError
from kernelkit.mask import BitMask
from kernelkit.predict.hand_in.own_steps import known_steps
from kernelkit.predict.hand_in.stored_image import StoredImage
from kernelkit.predict.hand_in.variants import ways_of
from kernelkit.predict.report import ImageReport, Report
from kernelkit.predict.store.other_stores import OtherStores
from kernelkit.predict.store.store import Layers, Store, Stored
from kernelkit.recipe import Recipe
from kernelkit.slide.content import content_of

__all__ = ["FinishedMasks"]


class FinishedMasks(Mapping[str, list[BitMask]]):
    """The masks of the first submission, one per submitted class, by image id.

    An image that falls back while it is handed in has none from then on.

    Parameters
    ----------
    report
        Says which images have masks.
    paths
        The files of each image.
    recipe
        Says how masks are made.
    store
        Of this run.
    others
        Stores of other runs.

    Attributes
    ----------
    ways
        The ways of each submission, by its name and then by that of the ensemble.
    """

    def __init__(
        self,
        report: Report,
        paths: Mapping[str, Sequence[Path]],
        recipe: Recipe,
        store: Store,
        others: OtherStores | None = None,
    ) -> None:
        self.ways = ways_of(recipe)
        self._images = {image.image: image for image in report.images}
        self._paths = paths
        self._recipe = recipe
        self._known = known_steps(recipe.steps)
        self._store = store
        self._others = others or OtherStores()

    def __getitem__(self, image_id: str) -> list[BitMask]:
        image = self._images[image_id]
        if image.is_fallback:
            raise KeyError(image_id)
        first = next(iter(self.ways.values()))
        return self.stored(image_id).masks(first[image.ensemble])

    def with_missing(self, image_id: str) -> tuple[list[BitMask], BitMask | None]:
        """The masks of an image, and the pixels of it that hold no data, if there are any."""
        first = next(iter(self.ways.values()))
        stored = self.stored(image_id)
        return stored.masks(first[self._images[image_id].ensemble]), stored.missing

    def held(self, image_id: str) -> BitMask | None:
        """The pixels of an image that hold data, at the size of the masks. None if all do."""
        return self.stored(image_id).held

    def __iter__(self) -> Iterator[str]:
        return (name for name, image in self._images.items() if not image.is_fallback)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def stored(self, image_id: str) -> StoredImage:
        """What is stored of an image, of which all submissions are made.

        Raises
        ------
        SubmissionError
            Nothing is, or it is damaged.
        """
        image = self._images[image_id]
        paths = self._paths[image_id]
        own = self._own(image)
        notes: list[str] = []
        if own is not None and own.masks is not None:
            parts: list[Layers] = []
        else:
            content = content_of(paths) if own is None else own.content
            found = self._others.find(image_id, content)
            notes = self._others.without(found)
            stored = (own, *found.values())
            parts = [s.layers for s in stored if s is not None and s.layers is not None]
            if not parts:
                raise SubmissionError(
                    f"{image_id}: no store holds it with the content that its files have. Attach "
                    "the output of a run over the same files"
                )
        return StoredImage(
            self._recipe,
            (image.height, image.width),
            None if own is None else own.masks,
            parts,
            paths,
            self._known,
            notes,
            missing=None if own is None else own.missing,
        )

    def _own(self, image: ImageReport) -> Stored | None:
        """What this run stored of an image. None if it only merges stores."""
        if not image.stored:
            return None
        stored = self._store.entry_named(image.stored).recall()
        if stored is None:
            raise SubmissionError(
                f"{self._store.folder / image.stored}: the stored masks are gone or damaged. "
                "Run the notebook again"
            )
        return stored
