"""What the reader is compared with: each yields `(index, pixels)` of all tiles, (C, h, w), uint8.

A contestant is a function of a path, a grid and a number of workers. All fill windows that reach
outside of the image with zeros.
"""

import collections
import functools
import itertools
import multiprocessing
import os
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import rasterio
import torch
from rasterio.windows import Window as RasterioWindow
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from kernelkit.grid import TileGrid, Window

Tiles = Iterator[tuple[int, np.ndarray]]
Read = Callable[[Window], np.ndarray]


def boundless(grid: TileGrid, index: int, read: Read, bands: int = 3) -> np.ndarray:
    """Read the part of a tile's window inside the image, with zeros around it."""
    window = grid[index].read
    inside = window.intersection(Window(0, 0, grid.height, grid.width))
    if inside == window:
        return read(window)
    out = np.zeros((bands, window.height, window.width), np.uint8)
    rows, columns = inside.relative_to(window).slices
    out[:, rows, columns] = read(inside)
    return out


def rasterio_read(path: Path, **options: object) -> Read:
    """The fastest plain read: it keeps its handles, and GDAL's cache is as large as it helps."""
    warnings.simplefilter("ignore")
    first = rasterio.open(path, **options)
    files = [rasterio.open(name, **options) for name in first.subdatasets] or [first]

    def read(window: Window) -> np.ndarray:
        area = RasterioWindow(window.col, window.row, window.width, window.height)
        if len(files) == 1:
            return files[0].read(window=area)
        out = np.empty((3, window.height, window.width), np.uint8)
        for file, band in zip(files, out, strict=True):
            file.read(1, window=area, out=band)
        return out

    return read


def plain(path: Path, grid: TileGrid, _workers: int) -> Tiles:
    read = rasterio_read(path)
    return ((index, boundless(grid, index, read)) for index in range(len(grid)))


def plain_gdal_threads(path: Path, grid: TileGrid, workers: int) -> Tiles:
    read = rasterio_read(path, num_threads=workers)
    return ((index, boundless(grid, index, read)) for index in range(len(grid)))


def in_order(tiles: Iterator[tuple[int, np.ndarray]]) -> Tiles:
    """Put tiles that come from several workers into the grid's order."""
    waiting: dict[int, np.ndarray] = {}
    wanted = 0
    for index, pixels in tiles:
        waiting[index] = pixels
        while wanted in waiting:
            yield wanted, waiting.pop(wanted)
            wanted += 1


class Halves(IterableDataset):
    """Each worker reads its own columns from the top, so neighbours share what is decoded."""

    def __init__(self, path: Path, grid: TileGrid) -> None:
        self.path, self.grid = path, grid

    def __iter__(self) -> Iterator[tuple[int, torch.Tensor]]:
        info = get_worker_info()
        columns = np.array_split(range(self.grid.columns), info.num_workers)[info.id]
        read = rasterio_read(self.path)
        for row, column in itertools.product(range(self.grid.rows), columns.tolist()):
            index = row * self.grid.columns + column
            yield index, torch.from_numpy(boundless(self.grid, index, read))


@functools.lru_cache(maxsize=1)
def _loader(path: Path, grid: TileGrid, workers: int) -> DataLoader:
    """A loader whose workers stay, as ours do. Only the first round times their start."""
    halves = Halves(path, grid)
    return DataLoader(halves, batch_size=None, num_workers=workers, persistent_workers=True)


def dataloader(path: Path, grid: TileGrid, workers: int) -> Tiles:
    tiles = _loader(path, grid, workers)
    return in_order((index, tensor.numpy()) for index, tensor in tiles)


def _put_tiles(
    path: Path, grid: TileGrid, part: int, parts: int, queue: "multiprocessing.Queue"
) -> None:
    read = rasterio_read(path)
    for index in range(part, len(grid), parts):
        queue.put((index, boundless(grid, index, read)))


def pickled_queue(path: Path, grid: TileGrid, workers: int) -> Tiles:
    context = multiprocessing.get_context("fork")
    queue = context.Queue(2 * workers)
    processes = [
        context.Process(target=_put_tiles, args=(path, grid, part, workers, queue))
        for part in range(workers)
    ]
    for process in processes:
        process.start()
    yield from in_order(queue.get() for _ in range(len(grid)))
    for process in processes:
        process.join()


def tifffile_cache(path: Path, grid: TileGrid, workers: int) -> Tiles:
    """tifffile's decoders behind a cache of blocks that holds two rows of tiles."""
    import tifffile

    with (
        tifffile.TiffFile(path) as file,
        path.open("rb") as handle,
        ThreadPoolExecutor(workers) as pool,
    ):
        pages = list(file.pages) if len(file.pages) == 3 else [file.pages[0]]
        first = pages[0]
        height = first.tilelength if first.is_tiled else first.rowsperstrip
        width = first.tilewidth if first.is_tiled else first.imagewidth
        across = -(-first.imagewidth // width)
        keep = 2 * (grid.tile_size // height + 2) * (grid.tile_size // width + 2) * across
        cache: collections.OrderedDict[tuple[int, int, int], np.ndarray] = collections.OrderedDict()

        def decode(key: tuple[int, int, int]) -> np.ndarray:
            page = pages[key[0]]
            number = key[1] * across + key[2]
            data = os.pread(handle.fileno(), page.databytecounts[number], page.dataoffsets[number])
            return page.decode(data, number, jpegtables=page.jpegtables)[0][0]

        def read(window: Window) -> np.ndarray:
            blocks = [
                (page, row, column)
                for page in range(len(pages))
                for row in range(window.row // height, -(-window.bottom // height))
                for column in range(window.col // width, -(-window.right // width))
            ]
            missing = [block for block in blocks if block not in cache]
            cache.update(zip(missing, pool.map(decode, missing), strict=True))
            out = np.empty((3, window.height, window.width), np.uint8)
            for key in blocks:
                cache.move_to_end(key)
                block = cache[key]
                place = Window(key[1] * height, key[2] * width, *block.shape[:2])
                common = place.intersection(window)
                if common.area:
                    part = block[common.relative_to(place).slices].transpose(2, 0, 1)
                    target = out if len(pages) == 1 else out[key[0] : key[0] + 1]
                    target[(slice(None), *common.relative_to(window).slices)] = part
            while len(cache) > keep:
                cache.popitem(last=False)
            return out

        for index in range(len(grid)):
            yield index, boundless(grid, index, read)


def tifffile_zarr(path: Path, grid: TileGrid, workers: int) -> Tiles:
    import tifffile
    import zarr

    array = zarr.open(tifffile.imread(path, aszarr=True), mode="r")

    def read(window: Window) -> np.ndarray:
        rows, columns = window.slices
        if array.shape[0] == 3:
            return np.asarray(array[:, rows, columns])
        return np.ascontiguousarray(np.asarray(array[rows, columns]).transpose(2, 0, 1))

    with ThreadPoolExecutor(workers) as pool:
        yield from enumerate(pool.map(lambda i: boundless(grid, i, read), range(len(grid))))


def pyvips_crop(path: Path, grid: TileGrid, _workers: int) -> Tiles:
    """libvips decodes with one thread per core. It is fastest into memory for all pixels."""
    import pyvips

    pyvips.cache_set_max(0)  # else it finds the image that the round before has decoded
    pages = [pyvips.Image.new_from_file(str(path), memory=True)]
    if pages[0].bands == 1:
        pages = [pyvips.Image.new_from_file(str(path), page=page, memory=True) for page in range(3)]
    image = pages[0] if len(pages) == 1 else pages[0].bandjoin(pages[1:])

    def read(window: Window) -> np.ndarray:
        crop = image.crop(window.col, window.row, window.width, window.height)
        return np.ascontiguousarray(crop.numpy().transpose(2, 0, 1))

    return ((index, boundless(grid, index, read)) for index in range(len(grid)))


def cucim_region(path: Path, grid: TileGrid, workers: int) -> Tiles:
    from cucim import CuImage

    CuImage.cache("per_process", memory_capacity=600)
    image = CuImage(str(path))

    def read(window: Window) -> np.ndarray:
        region = image.read_region(
            (window.col, window.row), (window.width, window.height), num_workers=workers
        )
        return np.ascontiguousarray(np.asarray(region)[:, :, :3].transpose(2, 0, 1))

    return ((index, boundless(grid, index, read)) for index in range(len(grid)))


PEERS: dict[str, Callable[[Path, TileGrid, int], Tiles]] = {
    "plain loop": plain,
    "plain loop, GDAL's threads": plain_gdal_threads,
    "DataLoader, halves": dataloader,
    "pickled queue": pickled_queue,
    "tifffile, cache": tifffile_cache,
    "tifffile, zarr": tifffile_zarr,
    "pyvips": pyvips_crop,
    "cucim": cucim_region,
}
