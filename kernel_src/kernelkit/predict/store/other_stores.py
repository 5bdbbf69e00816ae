"""Stores of other runs, such as outputs of other notebooks that Kaggle mounts as inputs.

Their layers of an image join those of this run if its id and its content are the same.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path

from kernelkit.ensemble.layers import level_of
from kernelkit.errors import OutputError
from kernelkit.predict.store.file import database_paths
from kernelkit.predict.store.store import Layers, Store, Stored

__all__ = ["OtherStores"]


class OtherStores:
    """The stores below some folders, which are read and never written.

    Parameters
    ----------
    folders
        Each is a store, or has stores anywhere below it.

    Attributes
    ----------
    stores
        The stores, in the order of the folders.

    Raises
    ------
    OutputError
        There is no such folder, or no store in it.
    """

    def __init__(self, folders: Sequence[str | Path] = ()) -> None:
        found = [path for folder in folders for path in _stores_below(Path(folder))]
        self.stores = [Store(folder, read_only=True) for folder in dict.fromkeys(found)]

    def __bool__(self) -> bool:
        return bool(self.stores)

    @property
    def notes(self) -> list[str]:
        """What was damaged, one sentence each."""
        return [note for store in self.stores for note in store.notes]

    def find(self, image_id: str, content: str) -> dict[Path, Stored]:
        """What the stores hold of an image, by their folders."""
        found = {store.folder: store.find(image_id, content) for store in self.stores}
        return {folder: stored for folder, stored in found.items() if stored is not None}

    def without(self, found: Mapping[Path, Stored]) -> list[str]:
        """A sentence for each store that holds nothing of an image of which these were `found`."""
        return [
            f"{store.folder} holds no layers of it, so the others are merged"
            for store in self.stores
            if store.folder not in found
        ]

    def names(self, ensemble: str | None) -> tuple[str, ...]:
        """The names of the layers of some image in each store.

        Parameters
        ----------
        ensemble
            Of which ensemble's images. None is any.
        """
        found = [example for example in self._examples.values() if example is not None]
        return tuple(
            name
            for stored in found
            if stored.layers is not None and ensemble in (None, stored.report.ensemble)
            for name in stored.layers.names
        )

    @property
    def classes(self) -> int | None:
        """How many classes the layers have, or None if there are none."""
        return next((each.values.shape[1] for each in self.layers), None)

    @property
    def layers(self) -> list[Layers]:
        """The layers of some image, of each store that has any."""
        found = [stored for stored in self._examples.values() if stored is not None]
        return [stored.layers for stored in found if stored.layers is not None]

    @cached_property
    def _examples(self) -> dict[Path, Stored | None]:
        """What each store holds of some image."""
        return {store.folder: store.any_layers() for store in self.stores}

    def problems(self, own: Mapping[str, tuple[str, ...]], classes: int | None) -> Iterator[str]:
        """What keeps the stores from being merged, one sentence each.

        One image of each store is looked at.

        Parameters
        ----------
        own
            The names of the layers of this run, by what holds them. Empty if it only merges.
        classes
            How many classes this run answers with, if it asks models.
        """
        holders = {name: holder for holder, names in own.items() for name in names}
        levels = {level_of(names) for names in own.values()}
        for folder, stored in self._examples.items():
            if stored is None or stored.layers is None:
                yield (
                    f"{folder}: the store holds no probabilities that could be merged. Write "
                    "'store: {what: probabilities, level: member}' in the recipe of its run"
                )
                continue
            layers = stored.layers
            count = layers.values.shape[1]
            classes = classes or count
            if count != classes:
                yield (
                    f"{folder}: its layers have {count} class(es), wanted {classes}. Leave "
                    "this store out"
                )
            levels.add(level_of(layers.names))
            if len(levels) > 1 or (levels == {"ensemble"} and holders):
                yield (
                    f"{folder}: its layers are of the level {level_of(layers.names)}, which "
                    "cannot be merged with the others. Write 'level: member' in the recipe of each "
                    "run"
                )
                return
            for name in layers.names:
                if name in holders:
                    yield (
                        f"{folder}: it holds {name}, as {holders[name]} does, which would "
                        "count twice. Leave one of the stores out, or rename the run"
                    )
                    break
                holders[name] = str(folder)


def _stores_below(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise OutputError(f"{folder}: there is no such folder of stores. Attach the other notebook")
    found = [folder] if database_paths(folder) else []
    found += sorted({path.parent for path in folder.rglob("entries-*.sqlite")} - {folder})
    if not found:
        raise OutputError(
            f"{folder}: no store is in it or below it. Wanted the output of a run, with its folder "
            "'masks'"
        )
    return found
