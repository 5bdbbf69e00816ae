"""Slides of Kaggle's size, built from the real H&E pixels without ever holding one in memory.

A slide is a wall of bricks. Each brick is a piece of random size from a random place in one of the
two H&E pictures. It is turned, mirrored, and a little lighter or darker. Around and between the
tissue lies the near-white glass of a scanner's background.

The bricks come from all of both pictures, the training part too. So these slides have no labels.
They are for speed, memory and seams.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import tifffile
from imagecodecs import lzw_encode
from tqdm import tqdm

__all__ = ["SLIDES", "LargeSlide", "bands_of_rows", "write_large_competition", "write_slide"]

_OUTLINE_SCALE = 64
_GLASS = 243
# the least and the largest side of a brick, in pixels
_BRICK = (280, 760)


@dataclass(frozen=True)
class LargeSlide:
    """One slide to build.

    Attributes
    ----------
    id
        The slide's id.
    height, width
        Its size in pixels.
    compression
        How its blocks are compressed.
    block
        The (height, width) of a tile, or (rows, 0) for LZW strips.
    by_page
        Whether the three bands are three pages, which GDAL shows as subdatasets.
    bigtiff
        Whether it is a BigTIFF.
    tissue
        The share of the slide that is tissue.
    seed
        Where its randomness begins.
    """

    id: str
    height: int
    width: int
    compression: Literal["lzw", "deflate", "jpeg"]
    block: tuple[int, int] = (256, 256)
    by_page: bool = False
    bigtiff: bool = False
    tissue: float = 0.6
    seed: int = 0


# No side is a multiple of a tile. All together take about 1 GB on disk.
SLIDES = (
    LargeSlide("large_tiled", 12345, 12789, "lzw", seed=1),
    LargeSlide("large_subdatasets", 13007, 12011, "deflate", by_page=True, seed=2),
    LargeSlide("large_strips", 12101, 14411, "lzw", block=(8, 0), bigtiff=True, tissue=0.5, seed=3),
    LargeSlide("large_jpeg", 12001, 12203, "jpeg", bigtiff=True, tissue=0.7, seed=4),
)


def write_large_competition(
    texture: Sequence[np.ndarray], competition: Path, slides: Sequence[LargeSlide] = SLIDES
) -> None:
    """Write test/ and sample_submission.csv.

    Parameters
    ----------
    texture
        Pictures, (H, W, 3) uint8.
    competition
        The folder. It must not hold a competition yet.
    slides
        What is built.
    """
    (competition / "test").mkdir(parents=True)
    for slide in slides:
        write_slide(texture, slide, competition / "test" / f"{slide.id}.tiff")
    rows = "".join(f"{slide.id},\n" for slide in slides)
    (competition / "sample_submission.csv").write_text(f"id,predicted\n{rows}")


def write_slide(texture: Sequence[np.ndarray], slide: LargeSlide, path: Path) -> None:
    """Write one slide block by block. No more than a few hundred rows of it are in memory."""
    options: dict[str, Any] = {"compression": slide.compression, "dtype": np.uint8}
    options |= {"metadata": None, "buffersize": 8 << 20}  # by default 512 MB of tiles are gathered
    if slide.block[1]:
        options["tile"] = slide.block
    else:
        options["rowsperstrip"] = slide.block[0]
    if slide.compression == "jpeg":
        options["compressionargs"] = {"level": 85}
    pages: list[int | slice] = [0, 1, 2] if slide.by_page else [slice(None)]
    shape = (slide.height, slide.width) if slide.by_page else (slide.height, slide.width, 3)
    photometric = "minisblack" if slide.by_page else "rgb"
    with (
        tifffile.TiffWriter(path, bigtiff=slide.bigtiff) as file,
        tqdm(total=slide.height * len(pages), unit="row", desc=slide.id, mininterval=2) as progress,
    ):
        for bands in pages:
            rows = _counted(bands_of_rows(texture, slide), progress)
            blocks = _blocks(rows, slide.block, bands)
            file.write(blocks, shape=shape, photometric=photometric, **options)


def bands_of_rows(texture: Sequence[np.ndarray], slide: LargeSlide) -> Iterator[np.ndarray]:
    """Make a slide from top to bottom, in arrays (rows, width, 3): the same ones at each call."""
    random = np.random.default_rng(slide.seed)
    outline = _outline(slide, random)
    row = 0
    while row < slide.height:
        height = min(int(random.integers(*_BRICK)), slide.height - row)
        band = np.empty((height, slide.width, 3), np.uint8)
        col = 0
        while col < slide.width:
            width = min(int(random.integers(*_BRICK)), slide.width - col)
            band[:, col : col + width] = _brick(texture, height, width, random)
            col += width
        _paint_glass(band, row, outline, slide, random)
        yield band
        row += height


def _brick(
    texture: Sequence[np.ndarray], height: int, width: int, random: np.random.Generator
) -> np.ndarray:
    """A piece of a picture: turned, mirrored, and of another brightness."""
    picture = texture[random.integers(len(texture))]
    turns = int(random.integers(4))
    rows, cols = (height, width) if turns % 2 == 0 else (width, height)
    top = random.integers(picture.shape[0] - rows + 1)
    left = random.integers(picture.shape[1] - cols + 1)
    piece = np.rot90(picture[top : top + rows, left : left + cols], turns)
    if random.integers(2):
        piece = piece[:, ::-1]
    levels = np.arange(256) * random.uniform(0.9, 1.08) + random.uniform(-8, 8)
    return cv2.LUT(np.ascontiguousarray(piece), levels.clip(0, 255).astype(np.uint8))


def _outline(slide: LargeSlide, random: np.random.Generator) -> np.ndarray:
    """Where tissue lies: smooth blobs away from the border.

    The outline has 1/64 of the slide's size. It is uint8, 0 or 255.
    """
    shape = (-(-slide.height // _OUTLINE_SCALE), -(-slide.width // _OUTLINE_SCALE))
    field = cv2.GaussianBlur(random.standard_normal(shape), (0, 0), 14)
    rows, cols = (np.linspace(-1, 1, side) for side in shape)
    field = field / field.std() - 3 * (rows[:, None] ** 6 + cols[None, :] ** 6)
    return (field > np.quantile(field, 1 - slide.tissue)).astype(np.uint8) * 255


def _paint_glass(
    band: np.ndarray,
    row: int,
    outline: np.ndarray,
    slide: LargeSlide,
    random: np.random.Generator,
) -> None:
    """Overwrite what is not tissue with the scanner's faintly noisy white."""
    # the affine map from pixels of the band to those of the outline
    to_outline = np.array(
        [[1 / _OUTLINE_SCALE, 0, 0], [0, 1 / _OUTLINE_SCALE, row / _OUTLINE_SCALE]]
    )
    size = (slide.width, len(band))
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    tissue = cv2.warpAffine(outline, to_outline, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    glass = random.integers(_GLASS - 2, _GLASS + 3, size=tissue.shape, dtype=np.uint8)
    np.copyto(band, glass[..., np.newaxis], where=(tissue < 128)[..., np.newaxis])


def _blocks(
    bands: Iterator[np.ndarray], block: tuple[int, int], chosen: int | slice
) -> Iterator[Any]:
    """Cut bands of any height into blocks, in the order of a TIFF. Tiles are filled up with 0.

    tifffile compresses tiles itself. It takes strips one by one only if they are compressed.
    """
    height, width = block
    for rows in _restacked(bands, height):
        if not width:
            yield lzw_encode(rows[..., chosen].tobytes())
            continue
        missing = ((0, height - len(rows)), (0, -rows.shape[1] % width), (0, 0))
        padded = np.pad(rows, missing)
        for col in range(0, padded.shape[1], width):
            yield np.ascontiguousarray(padded[:, col : col + width, chosen])


def _restacked(bands: Iterator[np.ndarray], height: int) -> Iterator[np.ndarray]:
    """The same rows in arrays of `height` rows. The last may have fewer."""
    rest: np.ndarray | None = None
    for band in bands:
        rest = band if rest is None else np.concatenate([rest, band])
        whole = len(rest) // height * height
        yield from (rest[row : row + height] for row in range(0, whole, height))
        rest = rest[whole:]
    if rest is not None and len(rest):
        yield rest


def _counted(bands: Iterator[np.ndarray], progress: tqdm) -> Iterator[np.ndarray]:
    for band in bands:
        yield band
        progress.update(len(band))
