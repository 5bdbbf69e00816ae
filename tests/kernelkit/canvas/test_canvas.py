"""Stitching tiles into masks: against a whole-image reference, and against defects of others."""

import itertools
import tracemalloc

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from kernelkit.canvas import Canvas, enlarge_and_threshold
from kernelkit.canvas.blend import axis_weights, window
from kernelkit.errors import GridError, MaskError, OutputError
from kernelkit.grid import TileGrid, Window

BLENDS = ("crop", "mean", "linear", "hann", "gaussian")
WAYS = list(itertools.product(BLENDS, ("tile", "band")))


@st.composite
def grids(draw):
    """Small grids of every kind: overlaps above one half, images smaller than a tile, shifted."""
    scale = draw(st.integers(1, 5))
    return TileGrid(
        height=draw(st.integers(1, 90)),
        width=draw(st.integers(1, 150)),
        core=scale * draw(st.integers(3, 12)),
        pad=scale * draw(st.integers(0, 12)),
        scale=scale,
        edges=draw(st.sampled_from(["pad", "shift"])),
    )


@st.composite
def narrow_grids(draw):
    """Grids of narrow images, with tiles that are clipped along one axis or both."""
    scale = draw(st.integers(1, 3))
    narrow, any_length = st.integers(1, 20 * scale), st.integers(1, 400)
    sides = draw(st.permutations([draw(narrow), draw(any_length)]))
    return TileGrid(
        *sides,
        core=scale * draw(st.integers(40, 90)),
        pad=scale * draw(st.integers(20, 40)),
        scale=scale,
        edges=draw(st.sampled_from(["pad", "shift"])),
        clipped=True,
    )


def random_tiles(grid, classes=1, dtype=np.float32, seed=0):
    """Probabilities for every tile of a grid, nothing in common where tiles overlap."""
    rng = np.random.default_rng(seed)
    shape = classes, *grid.net_shape
    tiles = [rng.random(shape, np.float32) for _ in grid]
    return [np.rint(t * 255).astype(np.uint8) for t in tiles] if dtype == np.uint8 else tiles


def stitch(grid, tiles, order=None, **options):
    """Masks (classes, height, width) of the tiles, given in some order."""
    canvas = Canvas(grid, classes=tiles[0].shape[0], **options)
    for index in range(len(grid)) if order is None else order:
        canvas.add(grid[int(index)], tiles[index])
    assert canvas.rows_done == grid.height
    return np.stack([mask.to_array() for mask in canvas.finish()])


def enlarged(array, scale):
    """Torch's bilinear enlargement in float64."""
    tensor = torch.from_numpy(np.asarray(array, np.float64))[None]
    options = {"mode": "bilinear", "align_corners": False}
    return F.interpolate(tensor, scale_factor=scale, **options)[0].numpy()


def profile(blend, side):
    """The weights of a tile along one axis, by their formulas."""
    line = (np.arange(side) + 0.5) / side - 0.5
    return {
        "linear": 1 - 2 * np.abs(line),
        "hann": 0.5 + 0.5 * np.cos(2 * np.pi * line),
        "gaussian": np.exp(-32 * line**2),
    }.get(blend, np.ones(side))


def reference(grid, tiles, blend, upsample):
    """Blended lattice and full-size probabilities with whole-image float64 arrays."""
    zoom = grid.scale if upsample == "tile" else 1
    scale = grid.scale // zoom
    shape = -(-grid.height // scale), -(-grid.width // scale)
    total = np.zeros((tiles[0].shape[0], *shape))
    weight = np.zeros(shape)
    for tile, probabilities in zip(grid, tiles, strict=True):
        image = enlarged(probabilities, zoom)
        read = Window(tile.read.row // scale, tile.read.col // scale, *image.shape[1:])
        window_2d = np.outer(*(profile(blend, side) for side in (read.height, read.width)))
        if blend == "crop":
            window_2d = np.zeros_like(window_2d)
            window_2d[tile.inner.shrunk(scale).slices] = 1
        inside = read.intersection(Window(0, 0, *shape))
        if inside.area:
            own = inside.relative_to(read).slices
            total[:, *inside.slices] += (image * window_2d)[:, *own]
            weight[inside.slices] += window_2d[own]
    assert (weight > 0).all()
    return total / weight, enlarged(total / weight, scale)[:, : grid.height, : grid.width]


@pytest.mark.timeout(120)
@pytest.mark.parametrize(("blend", "upsample"), WAYS)
@given(grid=st.one_of(grids(), narrow_grids()), seed=st.integers(0, 99))
@settings(max_examples=16)
def test_float_tiles_agree_with_the_whole_image_reference(
    blend, upsample, grid, seed, tmp_path_factory
):
    """Masks differ from the float64 reference only where it is within 1e-3 of the threshold."""
    tiles = random_tiles(grid, classes=2, seed=seed)
    path = tmp_path_factory.getbasetemp() / "float.npy"
    masks = stitch(
        grid, tiles, blend=blend, upsample=upsample, thresholds=(0.45, 0.6), probabilities=path
    )
    lattice, full = reference(grid, tiles, blend, upsample)
    limits = np.array([0.45, 0.6])[:, None, None]
    wrong = masks != (full > limits)
    assert not (wrong & (np.abs(full - limits) > 1e-3)).any()
    assert np.abs(np.load(path) / 255 - lattice).max() <= 0.5 / 255 + 1e-3


@pytest.mark.timeout(120)
@pytest.mark.parametrize(("blend", "upsample"), WAYS)
@given(grid=st.one_of(grids(), narrow_grids()), seed=st.integers(0, 99))
@settings(max_examples=16)
def test_byte_tiles_agree_with_the_whole_image_reference(
    blend, upsample, grid, seed, tmp_path_factory
):
    """The file is within 1/255 of the float64 reference, and masks differ by no more than that."""
    tiles = random_tiles(grid, dtype=np.uint8, seed=seed)
    path = tmp_path_factory.getbasetemp() / "bytes.npy"
    masks = stitch(grid, tiles, blend=blend, upsample=upsample, probabilities=path)
    lattice, full = (array / 255 for array in reference(grid, tiles, blend, upsample))
    wrong = masks != (full > 0.5)
    assert not (wrong & (np.abs(full - 0.5) > 1 / 255)).any()
    assert np.abs(np.load(path) / 255 - lattice).max() <= 1 / 255 + 1e-9


@pytest.mark.parametrize("scale", [1, 2, 3, 4, 10])
@pytest.mark.parametrize("edges", ["pad", "shift"])
def test_crop_is_what_the_hubmap_solution_does(scale, edges):
    """Each tile is enlarged by torch, thresholded and cut to its core, and that is pasted."""
    grid = TileGrid(230, 317, core=8 * scale, pad=3 * scale, scale=scale, edges=edges)
    tiles = random_tiles(grid)
    mask = stitch(grid, tiles, thresholds=(0.55,))[0]
    for tile, probabilities in zip(grid, tiles, strict=True):
        tensor = torch.from_numpy(probabilities)[None]
        image = F.interpolate(tensor, scale_factor=scale, mode="bilinear", align_corners=False)
        expected = image[0, 0].numpy()[tile.inner.slices]
        wrong = mask[tile.core.slices] != (expected > 0.55)
        assert not (wrong & (np.abs(expected - 0.55) > 1e-6)).any()


@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
@pytest.mark.parametrize(("blend", "upsample"), WAYS)
def test_order_of_tiles_does_not_change_a_bit(blend, upsample, dtype, tmp_path):
    """Tiles in the grid's order, backwards and shuffled give the same masks and file."""
    grid = TileGrid(200, 170, core=30, pad=18, scale=2 if dtype == np.uint8 else 3)
    tiles = random_tiles(grid, dtype=dtype)
    results = []
    shuffled = np.random.default_rng(1).permutation(len(grid))
    for order in (range(len(grid)), reversed(range(len(grid))), shuffled):
        path = tmp_path / "probabilities.npy"
        masks = stitch(grid, tiles, order, blend=blend, upsample=upsample, probabilities=path)
        results.append((masks, np.load(path)))
    for masks, probabilities in results[1:]:
        np.testing.assert_array_equal(masks, results[0][0])
        np.testing.assert_array_equal(probabilities, results[0][1])


@pytest.mark.parametrize("thresholds", [(0.5,), None])
@pytest.mark.parametrize(("blend", "upsample"), WAYS)
def test_probabilities_without_masks_are_the_same(blend, upsample, thresholds, tmp_path):
    """The file has the same bytes, and no mask is made."""
    grid = TileGrid(200, 170, core=30, pad=18, scale=2)
    tiles = random_tiles(grid, classes=3, dtype=np.uint8)
    files = []
    for masks in (True, False):
        path = tmp_path / f"{masks}.npy"
        canvas = Canvas(
            grid,
            classes=3,
            blend=blend,
            upsample=upsample,
            thresholds=thresholds,
            probabilities=path,
            masks=masks,
        )
        for tile, probabilities in zip(grid, tiles, strict=True):
            canvas.add(tile, probabilities)
        assert len(canvas.finish()) == (3 if masks else 0)
        files.append(path.read_bytes())
    assert files[0] == files[1]


@pytest.mark.parametrize("edges", ["pad", "shift"])
@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
@pytest.mark.parametrize(("blend", "upsample"), WAYS)
def test_constant_is_preserved_up_to_the_border(blend, upsample, dtype, edges, tmp_path):
    """Equal tiles give exactly their value everywhere: weights add up to 1, no border is dark."""
    grid = TileGrid(101, 152, core=24, pad=15, scale=3, edges=edges)
    side = grid.net_size
    for byte in (1, 51, 128, 153, 255):
        value = byte if dtype == np.uint8 else byte / 255
        path = tmp_path / "probabilities.npy"
        tiles = [np.full((1, side, side), value, dtype)] * len(grid)
        options = {"blend": blend, "upsample": upsample, "probabilities": path}
        below = stitch(grid, tiles, thresholds=((byte - 0.5) / 255,), **options)
        assert below.all()
        assert (np.load(path) == byte).all()
        above = stitch(grid, tiles, thresholds=((byte + 0.5) / 255,), **options)
        assert not above.any()


@pytest.mark.parametrize(("blend", "upsample"), WAYS)
@pytest.mark.parametrize(("dtype", "value"), [(np.float32, 0.5), (np.uint8, 153)])
def test_constant_at_the_threshold_is_not_above_it(blend, upsample, dtype, value):
    """Blending and enlarging make nothing above the threshold of what equals it everywhere."""
    grid = TileGrid(101, 152, core=24, pad=15, scale=3)
    tiles = [np.full((1, grid.net_size, grid.net_size), value, dtype)] * len(grid)
    threshold = 0.5 if dtype == np.float32 else 0.6
    assert not stitch(grid, tiles, blend=blend, upsample=upsample, thresholds=(threshold,)).any()


@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
def test_hit_counts_do_not_wrap(dtype):
    """A pixel that more than 255 tiles cover is still their mean."""
    grid = TileGrid(3, 400, core=1, pad=150)
    value = 0.9 if dtype == np.float32 else 230
    tiles = [np.full((1, 301, 301), value, dtype)] * len(grid)
    assert stitch(grid, tiles, blend="mean", thresholds=(0.89,)).all()
    assert not stitch(grid, tiles, blend="mean", thresholds=(0.91,)).any()


@pytest.mark.parametrize("blend", BLENDS)
@given(
    length=st.integers(1, 500),
    core=st.integers(1, 60),
    pad=st.integers(0, 60),
    edges=st.sampled_from(["pad", "shift"]),
)
@settings(max_examples=60)
def test_weights_add_up_to_one(blend, length, core, pad, edges):
    """At every pixel of an axis the weights of all tiles are positive and sum to 1."""
    tiles = TileGrid(length, 1, core=core, pad=pad, edges=edges)
    column = tiles[:: tiles.columns]
    axis = axis_weights(
        blend,
        length,
        tiles.tile_size,
        [tile.read.row for tile in column],
        [(tile.core.row, tile.core.bottom) for tile in column],
    )
    total = np.zeros(length)
    for start, stop, weights in zip(axis.starts, axis.stops, axis.weights, strict=True):
        assert (weights[: stop - start] > 0).all()
        total[start:stop] += weights[: stop - start]
    np.testing.assert_allclose(total, 1, atol=1e-6)


@pytest.mark.parametrize("blend", BLENDS)
@pytest.mark.parametrize("size", [1, 2, 7, 64])
def test_windows_are_symmetric_and_positive(blend, size):
    """No window has a zero, not even Hann's at its ends, and none leans to one side."""
    weights = window(blend, size)
    assert (weights > 0).all()
    assert weights.max() <= 1
    np.testing.assert_allclose(weights, weights[::-1])


def test_all_zero_tiles_count():
    """A tile of zeros pulls its neighbours' mean down, as does one that is skipped."""
    grid = TileGrid(64, 96, core=32, pad=16)
    ones, zeros = np.ones((1, 64, 64), np.float32), np.zeros((1, 64, 64), np.float32)
    for skipped in (False, True):
        canvas = Canvas(grid, blend="mean", thresholds=(0.51,))
        for tile in grid:
            if (tile.index // 3 + tile.index) % 2 == 0:
                canvas.add(tile, ones)
            elif skipped:
                canvas.skip(tile)
            else:
                canvas.add(tile, zeros)
        mask = canvas.finish()[0].to_array()
        assert mask[:16, :16].all()
        assert not mask[:16, 16:48].any()  # two tiles, one of zeros: a mean of one half
        assert not mask[16:48, 16:48].any()


@pytest.mark.parametrize(("blend", "upsample"), WAYS)
def test_skipped_tiles_are_background(blend, upsample):
    """Skipping is the same as adding zeros, also for whole rows of tiles."""
    grid = TileGrid(300, 200, core=30, pad=12, scale=3)
    tiles = random_tiles(grid)
    blank = {0, 3, *range(2 * grid.columns, 5 * grid.columns), len(grid) - 1}
    tiles = [t * (i not in blank) for i, t in enumerate(tiles)]
    canvas = Canvas(grid, blend=blend, upsample=upsample)
    for tile in grid:
        if tile.index in blank:
            canvas.skip(tile)
        else:
            canvas.add(tile, tiles[tile.index])
    mask = canvas.finish()[0].to_array()
    np.testing.assert_array_equal(mask, stitch(grid, tiles, blend=blend, upsample=upsample)[0])


@pytest.mark.parametrize(("blend", "upsample"), WAYS)
@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
def test_input_is_neither_changed_nor_kept(blend, upsample, dtype):
    """The canvas works with read-only tiles, and a reused buffer does not change the result."""
    grid = TileGrid(90, 100, core=30, pad=9, scale=3)
    tiles = random_tiles(grid, dtype=dtype)
    expected = stitch(grid, [t.copy() for t in tiles], blend=blend, upsample=upsample)
    canvas = Canvas(grid, blend=blend, upsample=upsample)
    buffer = np.empty_like(tiles[0])
    for tile in grid:
        buffer[...] = tiles[tile.index]
        view = buffer.view()
        view.flags.writeable = False
        canvas.add(tile, view)
        np.testing.assert_array_equal(buffer, tiles[tile.index])
        buffer[...] = 0
    np.testing.assert_array_equal(canvas.finish()[0].to_array(), expected[0])


def test_strided_probabilities_are_taken():
    """Planes of a larger array, not contiguous, give what their copies give."""
    grid = TileGrid(90, 100, core=30, pad=10)
    tiles = random_tiles(grid, classes=3)
    views = [np.moveaxis(np.moveaxis(t, 0, -1).copy(), -1, 0) for t in tiles]
    for blend in ("crop", "hann"):
        np.testing.assert_array_equal(
            stitch(grid, views, blend=blend), stitch(grid, tiles, blend=blend)
        )


@pytest.mark.parametrize("width", [64, 100, 129])
@pytest.mark.parametrize("full_size", [False, True])
def test_bits_from_the_device_are_pasted(width, full_size):
    """Packed cores, cut at the border or not, give the mask that probabilities give."""
    grid = TileGrid(100, width, core=30, pad=6, scale=2)
    tiles = random_tiles(grid, classes=2)
    canvas = Canvas(grid, classes=2)
    for tile in grid:
        bits = enlarged(tiles[tile.index], 2) > 0.5
        rows, columns = tile.inner.slices
        core = bits[:, 6:36, 6:36] if full_size else bits[:, rows, columns]
        canvas.add_bits(tile, np.packbits(core, axis=-1, bitorder="little"))
    masks = [mask.to_array() for mask in canvas.finish()]
    np.testing.assert_array_equal(masks, stitch(grid, tiles))


@pytest.mark.parametrize(("blend", "counts"), [("crop", "core"), ("hann", "read")])
@given(grid=grids())
@settings(max_examples=30)
def test_rows_are_finished_as_early_as_they_can_be(blend, counts, grid):
    """Rows are finished as soon as no later tile counts in them: its core, or all that is read."""
    tile = np.zeros((1, grid.net_size, grid.net_size), np.float32)
    tops = [getattr(later, counts).row for later in grid] + [grid.height]
    canvas = Canvas(grid, blend=blend)
    for place in grid:
        canvas.add(place, tile)
        assert canvas.rows_done == max(0, min(tops[place.index + 1 :]))


@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
def test_memory_is_two_rows_of_tiles(dtype):
    """A tall image takes its bits, two rows of tiles as integers and a few chunks: no more."""
    grid = TileGrid(12_000, 1000, core=128, pad=64)
    tile = random_tiles(TileGrid(1, 1, core=128, pad=64), dtype=dtype)[0]
    stitch(TileGrid(256, 256, core=128, pad=64), [tile] * 4, blend="hann")  # compile
    tracemalloc.start()
    try:
        canvas = Canvas(grid, blend="hann")
        for t in grid:
            canvas.add(t, tile)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    bits = 12_000 * 1024 // 8
    tile_row = grid.columns * 256 * 256 * (1 if dtype == np.uint8 else 2)
    assert peak < bits + 2 * tile_row + (3 << 20)


def test_values_barely_outside_are_clipped():
    """What half precision leaves just below 0 or above 1 counts as 0 and 1."""
    grid = TileGrid(50, 60, core=20, pad=8, scale=2)
    rough = [np.where(t > 0.5, 1.0004, -0.0004).astype(np.float32) for t in random_tiles(grid)]
    clean = [t.clip(0, 1) for t in rough]
    for blend, upsample in WAYS:
        options = {"blend": blend, "upsample": upsample, "thresholds": (0.3,)}
        np.testing.assert_array_equal(
            stitch(grid, rough, **options), stitch(grid, clean, **options)
        )


@pytest.mark.parametrize(("blend", "upsample"), WAYS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -3.0, 7.0])
def test_what_is_no_probability_is_refused(blend, upsample, value):
    """NaN and logits are an error that names the tile, and the tile may come again."""
    grid = TileGrid(40, 60, core=20, pad=4, scale=2)
    tile = grid[1]
    canvas = Canvas(grid, blend=blend, upsample=upsample)
    bad = np.full((1, 14, 14), 0.5, np.float32)
    bad[0, 6, 6] = value
    with pytest.raises(MaskError, match=r"tile 1 .* no probabilities"):
        canvas.add(tile, bad)
    canvas.add(tile, np.full((1, 14, 14), 0.5, np.float32))


@pytest.mark.parametrize("blend", ["crop", "hann"])
def test_each_tile_comes_exactly_once(blend):
    """A tile twice, or one of another grid, is refused. Missing ones are counted and named."""
    grid = TileGrid(100, 100, core=40, pad=10)
    canvas = Canvas(grid, blend=blend)
    plane = np.zeros((1, 60, 60), np.float32)
    canvas.add(grid[0], plane)
    canvas.skip(grid[1])
    for again in (grid[0], grid[1]):
        with pytest.raises(GridError, match="came before"):
            canvas.add(again, plane)
        with pytest.raises(GridError, match="came before"):
            canvas.skip(again)
    with pytest.raises(GridError, match="not of this canvas's grid"):
        canvas.add(TileGrid(100, 90, core=40, pad=10)[2], plane)
    with pytest.raises(GridError, match=r"7 of 9 tiles are missing, the first is tile 2"):
        canvas.finish()


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((60, 60), np.float32),
        np.zeros((2, 60, 60), np.float32),
        np.zeros((1, 60, 59), np.float32),
        np.zeros((1, 60, 60), np.float64),
        np.zeros((1, 60, 60), np.int8),
    ],
)
def test_wrong_shapes_and_dtypes_are_refused(array):
    """The error says what came and what was wanted, and the tile stays missing."""
    grid = TileGrid(100, 100, core=40, pad=10)
    canvas = Canvas(grid)
    with pytest.raises(MaskError, match=r"Probabilities must be float32 or uint8 \(1, 60, 60\)"):
        canvas.add(grid[0], array)
    canvas.add(grid[0], np.zeros((1, 60, 60), np.uint8))


def test_bits_that_do_not_cover_the_core_are_refused():
    """Too few packed rows or bytes, another dtype, or a blend: each is an error."""
    grid = TileGrid(100, 100, core=40, pad=10)
    canvas = Canvas(grid)
    for packed in (
        np.zeros((1, 39, 5), np.uint8),
        np.zeros((1, 40, 4), np.uint8),
        np.zeros((2, 40, 5), np.uint8),
        np.zeros((40, 5), np.uint8),
        np.zeros((1, 40, 5), np.bool_),
    ):
        with pytest.raises(MaskError, match=r"must be uint8 \(1, 40, 5\) or larger"):
            canvas.add_bits(grid[0], packed)
    with pytest.raises(GridError, match="cannot be blended"):
        Canvas(grid, blend="hann").add_bits(grid[0], np.zeros((1, 40, 5), np.uint8))


def test_tiles_of_two_dtypes_are_refused_where_they_are_blended():
    """Bytes after float32 would be kept at another precision. So the change is an error."""
    grid = TileGrid(100, 100, core=40, pad=10)
    canvas = Canvas(grid, blend="hann")
    canvas.add(grid[0], np.zeros((1, 60, 60), np.float32))
    with pytest.raises(MaskError, match="same dtype"):
        canvas.add(grid[1], np.zeros((1, 60, 60), np.uint8))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"blend": "hanning"}, "no blend 'hanning'"),
        ({"upsample": "image"}, "not 'image'"),
        ({"classes": 3, "thresholds": (0.5, 0.4)}, "2 thresholds were given for 3 classes"),
    ],
)
def test_options_that_do_not_exist_are_refused(options, message):
    """The error names the option and what it may be."""
    with pytest.raises((GridError, MaskError), match=message):
        Canvas(TileGrid(100, 100, core=40), **options)


def test_a_path_that_cannot_be_written_is_named(tmp_path):
    """Probabilities for a folder that is not there are refused before the first tile."""
    path = tmp_path / "missing" / "probabilities.npy"
    with pytest.raises(
        OutputError, match=r"probabilities.npy: .* \(1, 100, 100\) cannot be written"
    ):
        Canvas(TileGrid(100, 100, core=40), probabilities=path)


def likeliest(probabilities):
    """Numpy's masks (classes, height, width) of the likeliest class. Zeros belong to none."""
    classes = np.arange(len(probabilities))[:, None, None]
    return (probabilities.argmax(axis=0) == classes) & (probabilities > 0)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
@pytest.mark.parametrize(("blend", "upsample"), WAYS)
@given(grid=grids(), classes=st.integers(2, 4), seed=st.integers(0, 99))
@settings(max_examples=8)
def test_without_thresholds_the_likeliest_class_is_chosen(
    blend, upsample, dtype, grid, classes, seed
):
    """Masks are numpy's argmax of the float64 reference, wherever its two highest differ."""
    tiles = random_tiles(grid, classes, dtype, seed)
    masks = stitch(grid, tiles, blend=blend, upsample=upsample, thresholds=None)
    assert (masks.sum(axis=0) == 1).all()
    _, full = reference(grid, tiles, blend, upsample)
    full = full / (255 if dtype == np.uint8 else 1)
    wrong = (masks != likeliest(full)).any(axis=0)
    highest = np.sort(full, axis=0)
    assert not (wrong & (highest[-1] - highest[-2] > 1 / 255)).any()


@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
@pytest.mark.parametrize(("blend", "upsample"), WAYS)
def test_ties_go_to_the_first_class(blend, upsample, dtype):
    """Of equal classes the first is chosen at every pixel, however tiles overlap."""
    grid = TileGrid(101, 152, core=24, pad=15, scale=3)
    tiles = random_tiles(grid, 1, dtype)
    tied = [
        np.concatenate([tile // 2 if dtype == np.uint8 else tile / 2, tile, tile]) for tile in tiles
    ]
    tied = [np.maximum(tile, 1) if dtype == np.uint8 else tile + 1e-3 for tile in tied]
    masks = stitch(grid, tied, blend=blend, upsample=upsample, thresholds=None)
    assert not masks[2].any()
    assert (masks[0] + masks[1] == 1).all()


@pytest.mark.parametrize(("blend", "upsample"), WAYS)
def test_skipped_tiles_belong_to_no_class(blend, upsample):
    """Where only skipped tiles lie, and where all classes are 0, no class is chosen."""
    grid = TileGrid(120, 90, core=30, scale=3)
    canvas = Canvas(grid, classes=2, blend=blend, upsample=upsample, thresholds=None)
    for tile in grid:
        if tile.index == 4:
            canvas.skip(tile)
        else:
            canvas.add(tile, np.full((2, 10, 10), (tile.index != 6) / 2, np.float32))
    masks = np.stack([mask.to_array() for mask in canvas.finish()])
    assert not masks[1].any()
    for index in (4, 6):
        row, col, height, width = grid[index].core
        inner = masks[0, row + 3 : row + height - 3, col + 3 : col + width - 3]
        assert not inner.any()
    assert masks[0, :24, :].all()


def test_a_single_class_needs_a_threshold():
    """The likeliest of one class would be all pixels, so that is refused."""
    with pytest.raises(MaskError, match="found 1 class and no threshold"):
        Canvas(TileGrid(100, 100, core=40), thresholds=None)


@pytest.mark.parametrize("thresholds", [(0.4,), (0.3, 0.5, 0.72), None])
@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
@given(
    height=st.integers(1, 90),
    width=st.integers(1, 150),
    scale=st.integers(1, 5),
    at_once=st.sampled_from([1, 300, 1 << 22]),
    seed=st.integers(0, 99),
)
@settings(max_examples=25)
def test_stored_probabilities_give_the_masks_of_a_band_canvas(
    thresholds, dtype, height, width, scale, at_once, seed
):
    """However few rows are held at once, the masks are the canvas's of one tile, bit for bit."""
    grid = TileGrid(height, width, core=-(-max(height, width) // scale) * scale, scale=scale)
    values = random_tiles(grid, 3, dtype, seed)[0][:, : -(-height // scale), : -(-width // scale)]
    # beyond the border of stored values the last one counts on, so the tile has it there too
    missing = [(0, grid.net_size - side) for side in values.shape[1:]]
    tile = np.pad(values, [(0, 0), *missing], mode="edge")
    expected = stitch(grid, [tile], blend="mean", upsample="band", thresholds=thresholds)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kernelkit.canvas.stored._AT_ONCE", at_once)
        masks = enlarge_and_threshold(values, (height, width), scale, thresholds)
    np.testing.assert_array_equal([mask.to_array() for mask in masks], expected)


def test_stored_probabilities_are_read_in_rows(tmp_path):
    """The masks of the file that a canvas writes are those of the canvas, but at the threshold."""
    grid = TileGrid(200, 170, core=30, pad=18, scale=3)
    tiles = random_tiles(grid, 2)
    path = tmp_path / "probabilities.npy"
    options = {"blend": "hann", "upsample": "band"}
    masks = stitch(grid, tiles, probabilities=path, thresholds=(0.5,), **options)
    stored = np.load(path, mmap_mode="r")
    found = enlarge_and_threshold(stored, (200, 170), 3, (0.5,))
    full = enlarged(stored / 255, 3)[:, :200, :170]
    wrong = masks != np.stack([mask.to_array() for mask in found])
    assert not (wrong & (np.abs(full - 0.5) > 1 / 255)).any()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((2, 34, 34), np.uint8), r"must be \(classes, 34, 33\)"),
        (np.zeros((34, 33), np.uint8), r"must be \(classes, 34, 33\)"),
        (np.zeros((2, 34, 33), np.float64), "must be uint8 or float32"),
        (np.full((2, 34, 33), np.nan, np.float32), "no probabilities"),
        (np.full((2, 34, 33), 3, np.float32), "no probabilities"),
    ],
)
def test_stored_values_that_do_not_fit_are_refused(values, message):
    """Values of another grid or dtype, and what is no probability, are an error that says so."""
    with pytest.raises(MaskError, match=message):
        enlarge_and_threshold(values, (100, 99), 3, (0.5,))
