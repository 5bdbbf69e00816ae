"""Stored probabilities of whole pictures are those of the networks, and may be merged later."""

from pathlib import Path

import numpy as np
import pytest

from kernelkit.predict.store.store import Store
from tests.made.pictures import Clouds, Salt, run, statuses


@pytest.fixture(scope="module")
def clouds(tmp_path_factory: pytest.TempPathFactory) -> Clouds:
    return Clouds(tmp_path_factory.mktemp("clouds"))


@pytest.fixture(scope="module")
def salt(tmp_path_factory: pytest.TempPathFactory) -> Salt:
    return Salt(tmp_path_factory.mktemp("salt"))


def test_stored_probabilities_are_the_networks_own(clouds: Clouds, tmp_path: Path) -> None:
    """One layer per member, at the size of the masks, within 1/255 of the reference."""
    recipe = clouds.recipe.override(store={"what": "probabilities", "level": "member"})
    done = run(clouds, tmp_path / "out", recipe)
    store = Store(tmp_path / "out/masks", read_only=True)
    for path, image in zip(clouds.paths, done.report.images, strict=True):
        stored = store.entry_named(image.stored).load()
        assert stored is not None
        assert stored.layers is not None
        assert stored.layers.names == tuple(f"unet_{size[0]}/fold_0" for size in clouds.sizes)
        wanted = clouds.layers(path)
        assert np.abs(stored.layers.values / 255 - wanted).max() < 1 / 255


def test_stored_probabilities_of_the_gate_are_its_own(salt: Salt, tmp_path: Path) -> None:
    """They are kept beside the layers, at the picture's size without its pads."""
    recipe = salt.recipe.override(store={"what": "probabilities", "level": "ensemble"})
    done = run(salt, tmp_path / "out", recipe)
    store = Store(tmp_path / "out/masks", read_only=True)
    for path, image in zip(salt.paths, done.report.images, strict=True):
        stored = store.entry_named(image.stored).load()
        assert stored is not None
        assert stored.layers is not None
        assert stored.layers.gate is not None
        assert stored.layers.is_gated  # no network was asked about the empty ones
        answer = salt.answer(path)
        assert stored.layers.gate[0] == pytest.approx(answer.emptiness, abs=1e-4)
        wanted = answer.probabilities * (answer.emptiness <= 0.5)
        assert np.abs(stored.layers.values[0] / 255 - wanted).max() < 1 / 255


def test_another_threshold_needs_no_model_if_probabilities_are_kept(
    clouds: Clouds, tmp_path: Path
) -> None:
    """The masks change, and no picture is predicted again."""
    recipe = clouds.recipe.override(store={"what": "probabilities", "level": "ensemble"})
    first = run(clouds, tmp_path / "out", recipe)
    ensemble = recipe.model_dump(exclude_unset=True)["ensembles"][0] | {"thresholds": 0.72}
    second = run(clouds, tmp_path / "out", recipe.override(ensembles=[ensemble]))
    assert statuses(second) == {"kept": len(clouds.paths)}
    areas = [[image.area for image in done.report.images] for done in (first, second)]
    assert all(low < high for high, low in zip(*areas, strict=True))
