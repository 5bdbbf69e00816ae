"""AOTInductor packages: one is compiled for the CPU, and used where it fits and where not."""

import json
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch

from kernelkit.checkpoints import load_members
from kernelkit.checkpoints.compiled import TILE_KEY, TORCH_KEY
from kernelkit.checkpoints.engine_record import ENGINE_SUFFIX
from kernelkit.competition import CompetitionFolder
from kernelkit.engines import Engine, make_engines, table_of
from kernelkit.errors import CheckpointError
from kernelkit.files import file_sha256
from kernelkit.recipe import Recipe
from tests.made.competition import RECIPE, write_competition
from tests.made.networks import COMPILED, answer, write_run

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not shutil.which("g++"), reason="compiling for a CPU needs a compiler"),
]

# What the compiler checks and prepares first, for networks that are larger, takes longer than ours.
QUICKLY = {
    "aot_inductor.precompile_headers": False,
    "cpp_cache_precompile_headers": False,
    "cpp.vec_isa_ok": True,
}
PACKAGE = "run/fold_0/models/e2_t4_cmax_ema_0.91.pt2"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Engine]]:
    """The folder of a network and of its package, and what making it said."""
    from torch._inductor import config  # importing it takes a second

    place = tmp_path_factory.mktemp("aoti")
    write_run(place / "models/run", COMPILED, seeds=(1,))
    recipe = Recipe.parse(RECIPE)
    images = CompetitionFolder.read(write_competition(place / "competition"), recipe.competition)
    with pytest.MonkeyPatch.context() as patch, config.patch(QUICKLY):
        patch.setenv("TORCHINDUCTOR_CACHE_DIR", str(place / "cache"))
        engines = make_engines(
            recipe, images, place / "models", place / "engines", form="aoti", device="cpu"
        )
    return place, engines


def test_a_package_answers_as_its_weights(made: tuple[Path, list[Engine]]) -> None:
    """With any number of tiles, of the size that it was compiled for."""
    place, [engine] = made
    assert engine.path == place / "engines" / PACKAGE
    assert engine.largest < 1e-3
    assert table_of([engine])["engine"].tolist() == ["run/fold_0"]
    [package] = load_members(place / "engines", programs=True)
    [weights] = load_members(place / "models")
    assert (package.kind, package.size, package.classes) == ("program", (128, 128), 1)
    for count in (1, 2, 5):
        tiles = torch.randn(count, 3, 128, 128, generator=torch.Generator().manual_seed(count))
        torch.testing.assert_close(
            answer(package.module, tiles), answer(weights.module, tiles), atol=1e-3, rtol=1e-3
        )
    with pytest.raises(CheckpointError, match="takes tiles of 128 x 128 only"):
        package.module(torch.zeros(1, 3, 96, 96))


def test_only_a_recipe_that_allows_programs_loads_it(made: tuple[Path, list[Engine]]) -> None:
    """It is code. The recipe beside it allows that."""
    place, _ = made
    with pytest.raises(CheckpointError, match="this is a program, which can run code"):
        load_members(place / "engines")
    assert Recipe.load(place / "engines/recipe.yaml").ensembles[0].programs


def changed(source: Path, target: Path, said: Mapping[str, str]) -> None:
    """Copy a package that says otherwise of itself, as if this one had been compared."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for member in old.infolist():
            content = old.read(member)
            if member.filename.endswith("wrapper_metadata.json"):
                content = json.dumps({**json.loads(content), **said}).encode()
            new.writestr(member, content)
    record = target.with_name(target.name + ENGINE_SUFFIX)
    compared = json.loads(record.read_text()) | {"engine_sha256": file_sha256(target)}
    record.write_text(json.dumps(compared))


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({TORCH_KEY: "2.9.0"}, "compiled by torch 2.9.0"),
        ({"AOTI_DEVICE_KEY": "cuda"}, "compiled for cuda, but the device is cpu"),
    ],
)
def test_elsewhere_the_weights_answer(
    made: tuple[Path, list[Engine]], tmp_path: Path, said: dict[str, str], reason: str
) -> None:
    """A package for another torch or device is replaced by its weights, and a note says so."""
    place, _ = made
    shutil.copytree(place / "engines", tmp_path / "engines")
    changed(place / "engines" / PACKAGE, tmp_path / "engines" / PACKAGE, said)
    [member] = load_members(tmp_path / "engines", programs=True)
    [weights] = load_members(place / "models")
    assert member.weights_sha256 == weights.weights_sha256
    assert "this engine does not load here" in member.notes[0]
    assert reason in member.notes[0]


def test_a_package_says_what_it_was_made_for(made: tuple[Path, list[Engine]]) -> None:
    """torch says the device, and we the version of torch and the tiles."""
    place, _ = made
    with zipfile.ZipFile(place / "engines" / PACKAGE) as archive:
        [name] = [n for n in archive.namelist() if n.endswith("wrapper_metadata.json")]
        said = json.loads(archive.read(name))
    assert said["AOTI_DEVICE_KEY"] == "cpu"
    assert (said[TORCH_KEY], said[TILE_KEY]) == (torch.__version__, "3x128x128")
