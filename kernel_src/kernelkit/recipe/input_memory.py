"""Whether what the networks see fits into the memory of any machine."""

from kernelkit.recipe.ensemble import EnsembleRecipe
from kernelkit.recipe.tiles import Tiles

__all__ = ["refuse_large_tiles", "refuse_sizes"]

# Half of the memory of Kaggle's largest machines, and more than that of any device.
_MOST_TILE_BYTES = 16 * 10**9
_MOST_BATCH_BYTES = 128 * 10**9
_ITEM_BYTES = {"uint8": 1, "uint16": 2, "int16": 2, "float32": 4, None: 1}


def refuse_sizes(tiles: Tiles, ensemble: EnsembleRecipe) -> None:
    """Refuse sizes for tiles, and sizes of pictures that fit nowhere.

    Raises
    ------
    ValueError
        There is such a size.
    """
    for height, width in ensemble.sizes:
        if not tiles.whole:
            raise ValueError(
                f"found the size [{height}, {width}] in {ensemble.name}, but tiles have no other."
                " Write tiles: whole, or a zoom"
            )
        size = height * width * len(ensemble.input.bands) * 4
        if size > _MOST_TILE_BYTES:
            raise ValueError(
                f"found the size [{height}, {width}] in {ensemble.name}, which takes"
                f" {size / 1e9:.1f} GB, wanted at most {_MOST_TILE_BYTES / 1e9:.0f} GB"
            )


def refuse_large_tiles(tiles: Tiles, ensemble: EnsembleRecipe, batch: int) -> None:
    """Refuse tiles, and batches of them, that fit nowhere.

    Raises
    ------
    ValueError
        One tile or one batch is too large.
    """
    size = _tile_bytes(tiles, ensemble)
    if size > _MOST_TILE_BYTES:
        raise ValueError(
            f"found tiles of {tiles.tile} x {tiles.tile} pixels, of which one takes"
            f" {size / 1e9:.1f} GB with {ensemble.name}, wanted at most"
            f" {_MOST_TILE_BYTES / 1e9:.0f} GB. Choose a smaller core or pad, or a larger scale"
        )
    if size * batch > _MOST_BATCH_BYTES:
        fits = max(1, _MOST_BATCH_BYTES // size)
        raise ValueError(
            f"found batch {batch}, which takes {size * batch / 1e9:.1f} GB with {ensemble.name},"
            f" wanted at most {_MOST_BATCH_BYTES / 1e9:.0f} GB. A batch of {fits} would do"
        )


def _tile_bytes(tiles: Tiles, ensemble: EnsembleRecipe) -> int:
    """The bytes of one tile as it is read, and of the largest input that is made of it."""
    read = tiles.tile**2 * ensemble.input.highest_band * _ITEM_BYTES[ensemble.when.dtype]
    zoom = max(scale.zoom for scale in ensemble.pyramid)
    return read + int((tiles.tile // tiles.scale * zoom) ** 2) * len(ensemble.input.bands) * 4
