import json
import re
from pathlib import Path

import jsonschema
import numpy as np
import pandas as pd
import pytest
import tifffile

from devkit.competitions import OwnCompetition
from devkit.dataset.recipes import check_recipes
from devkit.errors import SettingsError
from devkit.kaggle.settings import load_settings
from devkit.new.__main__ import main, make_new
from devkit.new.recipes import SHAPES
from devkit.tools import REPOSITORY
from kernelkit.errors import RecipeError
from kernelkit.recipe import Recipe
from kernelkit.training.recipe import TrainingRecipe
from kernelkit.yamlfile import read_yaml


@pytest.fixture(autouse=True)
def competitions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KERNELKIT_RECIPES", str(tmp_path / "competitions"))
    return tmp_path / "competitions"


def images(folder: Path, names: str, size: tuple[int, int], bands: int, dtype: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names.split():
        pixels = np.zeros((*size, bands) if bands > 1 else size, dtype)
        photometric = "rgb" if bands == 3 else "minisblack"
        tifffile.imwrite(folder / f"{name}.tif", pixels, photometric=photometric)


def tables(folder: Path, train: dict[str, list[str]], sample: dict[str, list[str]]) -> None:
    pd.DataFrame(train).to_csv(folder / "train.csv", index=False)
    pd.DataFrame(sample).to_csv(folder / "sample_submission.csv", index=False)


def validates(own: OwnCompetition) -> bool:
    """Whether both recipes are as the schemas say."""
    for path, name in ((own.recipe, "recipe"), (own.training_recipe, "train")):
        header = path.read_text().splitlines()[0]
        assert header.endswith(f"$schema=../../docs/schemas/{name}.schema.json")
        schema = json.loads((REPOSITORY / f"docs/schemas/{name}.schema.json").read_text())
        jsonschema.validate(read_yaml(path, RecipeError, "1.2"), schema)
    return True


@pytest.mark.parametrize("shape", [None, *SHAPES])
def test_what_is_written_is_valid_at_once(shape: str | None) -> None:
    """Both recipes load, pass the builder's check and their schema, and the settings name them."""
    own = make_new("my-slides", "a-slug", shape)
    check_recipes(own)
    assert validates(own)
    recipe = Recipe.load("my-slides")
    assert (recipe.name, recipe.competition.slug) == ("my-slides", "a-slug")
    assert TrainingRecipe.load("my-slides").recipe == recipe
    for path in own.folder.iterdir():
        commands = re.findall(r"\bmake [a-z-]+\b( NAME=my-slides\b)?", path.read_text())
        assert all(commands), f"{path.name}: a command that may need a name has none"
    settings = load_settings(own.settings_file, {})
    assert settings.recipe == "my-slides"
    assert settings.competition == "a-slug"
    assert settings.kernel == "my-slides-inference"
    assert settings.for_notebook("train").kernel == "my-slides-train"
    assert settings.weights == "my-slides-weights"


def test_the_settings_say_only_what_holds_without_them() -> None:
    """So a file that was emptied means the same."""
    own = make_new("my-slides")
    written = load_settings(own.settings_file, {})
    own.settings_file.write_text("")
    assert load_settings(own.settings_file, {}) == written


def test_the_folder_is_looked_at(tmp_path: Path) -> None:
    """Patterns, columns and kinds of images are those of the files."""
    data = tmp_path / "some-contest"
    images(data / "train_images", "he_1 he_2 he_3", (40, 60), 3, "uint8")
    images(data / "train_images", "fluo_1 fluo_2", (50, 30), 1, "uint16")
    images(data / "test_images", "he_9", (40, 60), 3, "uint8")
    (data / "test_images/again").symlink_to(data)  # it leads back, and is not walked for ever
    tables(data, {"image": ["he_1"], "rle": ["1 2"]}, {"image": ["he_9"], "rle_mask": [""]})
    own = make_new("my-slides", data=data)
    recipe, training = Recipe.load(own.recipe), TrainingRecipe.load(own.training_recipe)
    assert recipe.competition.slug == "some-contest"
    assert recipe.competition.images == "test_images/{image}.tif"
    assert (recipe.competition.id_column, recipe.competition.rle_column) == ("image", "rle_mask")
    assert [str(one.when) for one in recipe.ensembles] == [
        "3 band(s) of uint8",
        "1 band(s) of uint16",
    ]
    assert list(training.runs) == ["he_unet_resnet34", "fluo_unet_resnet34"]
    assert training.runs["fluo_unet_resnet34"].only == ("fluo_*",)
    assert not recipe.tiles.whole
    assert own.data_folder.resolve() == data.resolve()
    assert validates(own)


def test_small_pictures_of_one_size_are_whole_with_a_row_per_class(tmp_path: Path) -> None:
    """The size that networks see is one that they can halve five times."""
    data = tmp_path / "some-contest"
    images(data / "train/images", "a b c", (101, 90), 3, "uint8")
    images(data / "train/masks", "a b c", (101, 90), 1, "uint8")
    images(data / "test/images", "d e", (101, 90), 3, "uint8")
    rows = [f"{image}.tif_{name}" for image in "de" for name in ("Fish", "Sugar")]
    (data / "sample_submission.csv").write_text(
        "\n".join(["Image_Label,EncodedPixels", *(f"{row},1 1" for row in rows)])
    )
    own = make_new("my-clouds", data=data)
    recipe = Recipe.load(own.recipe)
    assert recipe.tiles.whole
    assert recipe.ensembles[0].sizes == [(96, 96)]
    assert recipe.competition.classes == ("Fish", "Sugar")
    assert recipe.competition.rows == "{image}.tif_{class}"
    labels = TrainingRecipe.load(own.training_recipe).runs["unet_resnet34"].labels
    assert labels.masks == "train/masks/{image}.tif"


def test_a_row_per_object_is_noticed(tmp_path: Path) -> None:
    """Rows that differ in their run lengths alone are objects of one image."""
    data = tmp_path / "some-contest"
    images(data / "train", "a b", (101, 90), 3, "uint8")
    tables(data, {"id": ["a", "a", "b"], "rle": ["1 2", "7 2", ""]}, {"id": ["d"], "rle": [""]})
    assert Recipe.load(make_new("my-cells", data=data).recipe).competition.rle.instances == "rows"
    train = {"id": ["a", "a", "b"], "class": ["x", "y", "x"], "rle": ["1 2", "7 2", ""]}
    tables(data, train, {"id": ["d"], "rle": [""]})
    assert Recipe.load(make_new("classes", data=data).recipe).competition.rle.instances is None


def test_labels_may_be_polygons(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Files of JSON without a polygon are none, and what is not found is said to be a guess."""
    data = tmp_path / "some-contest"
    images(data / "train", "a b", (40, 60), 3, "uint8")
    (data / "info").mkdir()
    (data / "info" / "a.json").write_text("{}")
    assert main(["--name", "a-guess", "--competition", str(data)]) == 0
    assert "train.yaml: labels were not found, so this line is a guess" in capsys.readouterr().out
    ring = [[1, 1], [9, 1], [9, 9], [1, 1]]
    shape = {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [ring]}}
    (data / "train" / "a.json").write_text(json.dumps([shape]))
    assert main(["--name", "drawn", "--competition", str(data)]) == 0
    assert "labels were" not in capsys.readouterr().out
    [run] = TrainingRecipe.load("drawn").runs.values()
    assert run.labels.polygons == "train/{image}.json"


def test_names_that_yaml_takes_for_something_else_stay_text(tmp_path: Path) -> None:
    """A class may be called "no", and files and columns have commas and quotes."""
    data = tmp_path / "some-contest"
    images(data / "train", "a b c", (101, 90), 3, "uint8")
    images(data / "test", "d e", (101, 90), 3, "uint8")
    rows = [f"{image}_{name},1 1" for image in "de" for name in ("no", "1", "0x1", 'a"b')]
    rows = [row.replace('a"b', 'a""b') for row in rows]
    text = "\n".join(["No,RLE", *(f'"{row.split(",")[0]}",1 1' for row in rows)])
    (data / "sample, all.csv").write_text(text)
    (data / "train, all.csv").write_text("No,RLE\na,1 1\n")
    own = make_new("my-names", data=data)
    competition = Recipe.load(own.recipe).competition
    assert competition.classes == ("no", "1", "0x1", 'a"b')
    assert (competition.sample, competition.id_column) == ("sample, all.csv", "No")
    labels = TrainingRecipe.load(own.training_recipe).runs["unet_resnet34"].labels
    assert labels.rle == "train, all.csv"


@pytest.mark.parametrize("shape", [None, "salt"])
@pytest.mark.parametrize("name", ["2024", "null", "1e5"])
def test_a_name_that_yaml_takes_for_a_number_is_a_name(name: str, shape: str | None) -> None:
    """It was once a recipe without a name, or with a number as one."""
    own = make_new(name, shape=shape)
    assert Recipe.load(own.recipe).name == name
    assert TrainingRecipe.load(own.training_recipe).name == name


def test_a_folder_without_anything_gives_the_usual_recipe(tmp_path: Path) -> None:
    """It is then the user who says what the images are."""
    (tmp_path / "empty").mkdir()
    own = make_new("my-slides", data=tmp_path / "empty")
    assert Recipe.load(own.recipe).competition.images == "test/{image}.tiff"
    assert validates(own)


def test_nothing_is_overwritten(competitions: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Not even a file of that name, or a link to nowhere."""
    assert main(["--name", "my-slides"]) == 0
    before = (competitions / "my-slides/recipe.yaml").read_bytes()
    assert main(["--name", "my-slides", "--from", "salt"]) == 1
    assert "it is there already, and nothing is overwritten" in capsys.readouterr().err
    assert (competitions / "my-slides/recipe.yaml").read_bytes() == before
    (competitions / "other").symlink_to("nowhere")
    with pytest.raises(SettingsError, match="nothing is overwritten"):
        make_new("other")


FAULTS = [
    ("a name in capitals", ["--name", "My"], "found 'My' as NAME, wanted 3 to 40 small letters"),
    ("a path", ["--name", "../up"], "found '../up' as NAME"),
    ("a name that is taken", ["--name", "hubmap"], "'hubmap' as NAME, which is a recipe of kern"),
    ("no name", [], "give NAME= (--name)"),
    ("a slug with a space", ["--name", "abc", "--slug", "a b"], "found 'a b' as SLUG, wanted the"),
    ("another shape", ["--name", "abc", "--from", "hubmab"], "Did you mean hubmap"),
    ("no such folder", ["--name", "abc", "--competition", "nowhere"], "nowhere: there is no such"),
]


@pytest.mark.parametrize(("arguments", "said"), [f[1:] for f in FAULTS], ids=[f[0] for f in FAULTS])
def test_what_cannot_be_is_one_sentence(
    arguments: list[str], said: str, competitions: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is written then."""
    try:
        code = main(arguments)
    except SystemExit as end:
        code = end.code
    assert code
    error = capsys.readouterr().err
    assert said in error
    assert error.strip().count("\n") == 0
    assert not competitions.exists() or not list(competitions.iterdir())
