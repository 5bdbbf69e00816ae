import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kernelkit.ensemble.tta import SETS, VIEWS, view_set
from kernelkit.errors import RecipeError

ASYMMETRIC = torch.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5).float()


@pytest.mark.parametrize("name", VIEWS)
def test_undo_is_the_inverse(name):
    """Undoing a view gives the tile back, here one without any symmetry."""
    view = VIEWS[name]
    assert torch.equal(view.undo(view.apply(ASYMMETRIC)), ASYMMETRIC)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("identity", lambda a: a),
        ("hflip", lambda a: a[..., ::-1]),
        ("vflip", lambda a: a[..., ::-1, :]),
        ("rot90", lambda a: np.rot90(a, 1, (-2, -1))),
        ("rot180", lambda a: np.rot90(a, 2, (-2, -1))),
        ("rot270", lambda a: np.rot90(a, 3, (-2, -1))),
        ("transpose", lambda a: np.swapaxes(a, -2, -1)),
        ("antitranspose", lambda a: np.swapaxes(np.rot90(a, 2, (-2, -1)), -2, -1)),
    ],
)
def test_views_are_what_numpy_calls_them(name, expected):
    """Each view turns a tile as the numpy operation of its name does."""
    assert np.array_equal(VIEWS[name].apply(ASYMMETRIC).numpy(), expected(ASYMMETRIC.numpy()))


def test_the_eight_views_differ():
    """No two views are the same symmetry."""
    square = torch.arange(9.0).reshape(3, 3)
    assert len({tuple(view.apply(square).flatten().tolist()) for view in VIEWS.values()}) == 8


@given(first=st.sampled_from(sorted(VIEWS)), second=st.sampled_from(sorted(VIEWS)))
def test_views_are_closed_under_composition(first, second):
    """A view of a view is one of the eight again, so D4 is complete."""
    square = torch.arange(16.0).reshape(4, 4)
    both = VIEWS[second].apply(VIEWS[first].apply(square))
    assert any(torch.equal(both, view.apply(square)) for view in VIEWS.values())


def test_hubmap_is_flips_times_quarter_turns():
    """The set `hubmap` is HFlip x Rotate90[0, 90], in this order, as ttach multiplies them."""
    square = torch.arange(9.0).reshape(3, 3)
    products = [
        torch.rot90(square.flip(-1) if flip else square, turns, (-2, -1))
        for flip in (False, True)
        for turns in (0, 1)
    ]
    views = [view.apply(square) for view in view_set("hubmap").views]
    assert all(torch.equal(a, b) for a, b in zip(views, products, strict=True))


def test_unosat_is_the_four_rotations():
    """The set `unosat` is the identity and the turns by 90, -90 and 180 degrees."""
    square = torch.arange(9.0).reshape(3, 3)
    views = {tuple(v.apply(square).flatten().tolist()) for v in view_set("unosat").views}
    turns = {tuple(torch.rot90(square, k, (-2, -1)).flatten().tolist()) for k in range(4)}
    assert views == turns


def test_rotating_takes_one_view_per_tile():
    """A rotating set makes one pass, in which neighbouring tiles are seen differently."""
    square = torch.arange(2 * 3 * 4 * 4).reshape(2, 3, 4, 4).float()
    [turn] = view_set("rotating").passes([0, 9], square=True)
    seen = turn.apply(square)
    assert torch.equal(seen[0], square[0])
    assert torch.equal(seen[1], square[1].flip(-1))
    assert torch.equal(turn.undo(seen), square)


def test_rotating_keeps_the_shape_of_oblong_tiles():
    """Oblong tiles are seen only in the four views that do not swap their sides."""
    tiles = torch.rand(8, 1, 4, 6)
    [turn] = view_set("rotating").passes(range(8), square=False)
    assert turn.apply(tiles).shape == tiles.shape
    assert torch.equal(turn.undo(turn.apply(tiles)), tiles)


@pytest.mark.parametrize("name", sorted(set(SETS) - {"rotating"}))
def test_other_sets_make_one_pass_per_view(name):
    """Every view of a set is a pass of its own, whatever the tiles are."""
    assert len(view_set(name).passes([5], square=False)) == len(SETS[name])


@pytest.mark.parametrize("names", ["d5", ["identity", "rotate"], []])
def test_unknown_views_are_named(names):
    """A view that does not exist, or an empty list, is refused with the choices."""
    with pytest.raises(RecipeError, match="list views"):
        view_set(names)


def test_views_have_weights_by_their_names():
    """A mapping gives each view its weight, and a list gives none."""
    views = view_set({"vflip": 1, "identity": 2.5})
    assert [view.name for view in views.views] == ["vflip", "identity"]
    assert views.weights == (1, 2.5)
    assert view_set(["vflip", "identity"]).weights is None
    with pytest.raises(RecipeError, match="flips is no view of a tile"):
        view_set({"flips": 1})


@given(st.permutations(sorted(VIEWS)), st.lists(st.integers(1, 4), min_size=8, max_size=8))
def test_the_heaviest_views_are_kept_in_their_order(names, weights):
    """What is left out weighs no more than what stays. Of equal weights the first stay."""
    views = view_set(dict(zip(names, weights, strict=True)))
    kept = views.heaviest(3)
    places = [names.index(view.name) for view in kept.views]
    assert places == sorted(places)
    assert kept.weights == tuple(weights[place] for place in places)
    left_out = set(range(8)) - set(places)
    assert all((weights[i], -i) > (weights[j], -j) for i in places for j in left_out)
