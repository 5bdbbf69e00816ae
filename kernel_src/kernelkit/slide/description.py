"""Say in words how an image is stored, and what is read otherwise than a viewer shows it."""

from collections.abc import Sequence

from kernelkit.slide.layout import FileLayout
from kernelkit.slide.stack import BandStack

__all__ = ["describe", "notes_of"]


def describe(image: BandStack, layout: FileLayout) -> str:
    """Say a layout in a few words."""
    height, width = image.first.block_shapes[0]
    blocks = f"tiled {width}x{height}" if width != image.width else f"strips of {height} rows"
    if image.parts > 1:
        arrangement = f"{image.parts} datasets"
    else:
        arrangement = "interleaved" if image.interleaved else "planar"
    if layout.driver != "GTiff":
        packing = layout.driver.removesuffix("OpenJPEG")
    else:
        packing = "uncompressed" if layout.compression == "none" else layout.compression
    words = f"{blocks} {packing}, {arrangement}"
    return f"{words}, {image.colours}" if image.colours else words


def notes_of(image: BandStack, layouts: Sequence[FileLayout]) -> list[str]:
    """Say what is read otherwise than a viewer shows it, or not at all."""
    notes = [
        f"{layout.path.name}: {note}" if len(layouts) > 1 else note
        for layout in layouts
        for note in layout.notes
    ]
    return notes + image.notes
