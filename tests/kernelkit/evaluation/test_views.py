"""Which recipes are predicted by, to see what each view adds."""

import pytest

from kernelkit.evaluation.views import _without_each
from kernelkit.recipe import EnsembleRecipe


@pytest.mark.parametrize(
    ("views", "rest"),
    [
        (["identity", "hflip"], {"identity": ("hflip",), "hflip": ("identity",)}),
        ({"identity": 2, "vflip": 1}, {"identity": {"vflip": 1}, "vflip": {"identity": 2}}),
        (["identity"], {}),
        ("rotating", {}),
    ],
)
def test_each_view_is_left_out(views, rest: dict) -> None:
    """The others keep their weights, and a single view is no choice."""
    found = _without_each(EnsembleRecipe(name="one", views=views))
    assert {name: each.views for name, each in found.items()} == {
        f"without {name}": each for name, each in rest.items()
    }


def test_a_set_is_its_views() -> None:
    """Of a set by its name, each view is left out once."""
    found = _without_each(EnsembleRecipe(name="one", views="d4"))
    assert len(found) == 8
    assert all(len(each.views) == 7 for each in found.values())
