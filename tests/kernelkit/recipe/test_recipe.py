"""Recipes: what they may say, and the sentences that refuse the rest."""

import pytest
import yaml

from kernelkit.errors import RecipeError
from kernelkit.recipe import EnsembleRecipe, Recipe

SMALL = {
    "name": "small",
    "competition": {"slug": "a-competition"},
    "tiles": {"core": 192, "pad": 32},
    "ensembles": [{"name": "one"}],
}


def parse(**changes: object) -> Recipe:
    return Recipe.parse(yaml.safe_dump(SMALL | changes), "small.yaml")


@pytest.mark.parametrize("name", Recipe.names())
def test_every_recipe_that_comes_with_kernelkit_loads(name: str) -> None:
    """Each recipe of the package is valid and carries its own name."""
    assert Recipe.load(name).name == name


def test_hubmap_recipe_is_what_the_second_place_ran() -> None:
    """Scale, core, pad, threshold, views and merging are those of the published notebook."""
    recipe = Recipe.load("hubmap")
    assert (recipe.tiles.core, recipe.tiles.pad, recipe.tiles.scale) == (1536, 384, 3)
    (ensemble,) = recipe.ensembles
    assert ensemble.thresholds == (0.55,)
    assert ensemble.views == "hubmap"
    assert str(ensemble.merge.views) == "mean of logits"
    assert str(ensemble.merge.folds) == "mean of probabilities"
    assert str(ensemble.merge.models) == "mean of probabilities"


def test_a_misspelt_key_is_named_with_the_key_that_was_meant() -> None:
    """The message names file, key and nearest neighbour, even if another key is missing."""
    with pytest.raises(RecipeError, match=r"small\.yaml: the key tiles\.coer .* mean core"):
        parse(tiles={"coer": 192})


def test_a_missing_key_is_named() -> None:
    """The message names the key that has to be added."""
    with pytest.raises(RecipeError, match=r"the key tiles\.core is missing"):
        parse(tiles={"pad": 32})


def test_a_scale_that_does_not_divide_the_core_is_refused() -> None:
    """A core that is no multiple of the scale would leave a seam of part pixels."""
    with pytest.raises(RecipeError, match="wanted multiples of scale 3"):
        parse(tiles={"core": 100, "scale": 3})


@pytest.mark.parametrize(
    ("phrase", "wanted"),
    [
        ("mean off logits", "is no way to merge"),
        ("gmean of logits", "defined for probabilities"),
        ("tsharpen of probabilities", "only tsharpen takes a temperature"),
        ("mean(0.5) of logits", "only tsharpen takes a temperature"),
    ],
)
def test_a_merge_that_means_nothing_is_refused(phrase: str, wanted: str) -> None:
    """A merge phrase is checked for its words, its domain and its temperature."""
    with pytest.raises(RecipeError, match=wanted):
        parse(ensembles=[{"name": "one", "merge": {"views": phrase}}])


def test_merge_phrases_read_back_as_they_were_written() -> None:
    """`str` of a merge step is the phrase in the YAML."""
    phrase = "tsharpen(0.5) of probabilities"
    recipe = parse(ensembles=[{"name": "one", "merge": {"models": phrase}}])
    assert str(recipe.ensembles[0].merge.models) == phrase


def test_what_is_no_yaml_is_refused_with_its_line() -> None:
    """A syntax error names the file and the line."""
    with pytest.raises(RecipeError, match=r"bad\.yaml: this is not valid YAML at line 2"):
        Recipe.parse("name: x\ntiles: [1, 2", "bad.yaml")


def test_an_unknown_recipe_name_lists_those_there_are() -> None:
    """The message names the recipes of the package."""
    with pytest.raises(RecipeError, match=r"hubmap, nuclei"):
        Recipe.load("hubmpa")


def test_parameters_override_the_tiles() -> None:
    """A tile and an overlap become a core and a pad. None keeps what the recipe says."""
    recipe = parse().with_tiles(tile=512, overlap=128)
    assert (recipe.tiles.core, recipe.tiles.pad) == (384, 64)
    assert parse().with_tiles(None, None) == parse()


@pytest.mark.parametrize(
    ("tiles", "pads", "words"),
    [
        ("whole", (0, 0), "whole pictures, in batches"),
        ({"whole": True, "pad": 3}, (3, 3), "padded by 3 px before and 3 px after (zero)"),
        (
            {"whole": True, "pad": [14, 13], "fill": "reflect"},
            (14, 13),
            "whole pictures, padded by 14 px before and 13 px after (reflect), in batches",
        ),
        ({"core": 96, "pad": 32}, (32, 32), "tiles of 160 px, 96 px of them core"),
    ],
)
def test_whole_pictures_and_their_pads(tiles: object, pads: tuple[int, int], words: str) -> None:
    """Pads are one number for all sides, or one before and one after the pixels."""
    recipe = parse(tiles=tiles)
    assert recipe.tiles.pads == pads
    assert recipe.tiles.whole == (recipe.tiles.core == 0)
    assert words in recipe.describe()


@pytest.mark.parametrize("overlap", [-2, 31, 512])
def test_an_overlap_that_cannot_be_halved_is_refused(overlap: int) -> None:
    """An overlap is even, not negative and less than the tile."""
    with pytest.raises(RecipeError, match=f"found an overlap of {overlap} with tiles of 512"):
        parse().with_tiles(tile=512, overlap=overlap)


def test_override_changes_a_section_and_is_checked() -> None:
    """A section keeps the keys that are not named. A key that does not exist is refused."""
    recipe = parse().override(tiles={"core": 96}, batch=4)
    assert (recipe.tiles.core, recipe.tiles.pad, recipe.batch) == (96, 32, 4)
    with pytest.raises(RecipeError, match=r"small: the key tiles\.cores .* mean core"):
        parse().override(tiles={"cores": 96})


def test_fingerprint_follows_what_a_mask_depends_on() -> None:
    """Another threshold is another fingerprint. Another summary or time limit is not."""
    fingerprint = parse().fingerprint
    assert parse(summary="x", hours=3).fingerprint == fingerprint
    assert parse(ensembles=[{"name": "one", "thresholds": 0.6}]).fingerprint != fingerprint


def test_an_image_that_no_ensemble_is_for_is_an_error_that_says_its_kind() -> None:
    """The message names the bands and the dtype that were found."""
    recipe = parse(ensembles=[{"name": "one", "when": {"bands": 3}}])
    assert recipe.ensemble_for(3, "uint8").name == "one"
    wanted = r"found an image with 4 band\(s\) of uint8, wanted 3 band\(s\) \(one\)"
    with pytest.raises(RecipeError, match=wanted):
        recipe.ensemble_for(4, "uint8")


def test_a_postprocess_step_is_a_name_with_arguments() -> None:
    """Both short forms of a step are read."""
    steps = ["keep", {"remove_small": {"min_area": 10}}]
    recipe = parse(ensembles=[{"name": "one", "postprocess": steps}])
    first, second = recipe.ensembles[0].postprocess
    assert (first.step, first.arguments) == ("keep", {})
    assert (second.step, second.arguments) == ("remove_small", {"min_area": 10})


def test_an_ensemble_is_described_in_one_line() -> None:
    """The line goes from the runs to the steps on the masks, and leaves out what is not done."""
    plain = {"name": "one", "thresholds": 0.4}
    full = plain | {
        "weights": {"unet*": 2},
        "pyramid": [{"zoom": 1}, {"zoom": 0.5}],
        "gate": {"runs": ["empty_*"]},
        "postprocess": [{"remove_small": {"min_area": 10}}],
    }
    wanted = (
        "one: runs *. Views identity, mean of logits. Folds, mean of probabilities. "
        "Models, mean of probabilities. "
    )
    assert EnsembleRecipe.model_validate(plain).describe() == f"{wanted}Threshold 0.4"
    assert EnsembleRecipe.model_validate(full).describe() == (
        f"{wanted}Weights unet* 2, all others 1. At 1, 0.5 times the size, mean of probabilities. "
        "Tiles that empty_* find empty are left out. Threshold 0.4. Then remove_small"
    )


def test_a_flat_ensemble_of_sizes_is_described() -> None:
    """The line says each size, the weights of views, and that the likeliest class is taken."""
    section = {
        "name": "flat",
        "activation": "softmax",
        "views": {"identity": 2, "hflip": 1},
        "merge": {"views": "mean of logits", "members": "mean of logits"},
        "pyramid": [{"size": [64, 96], "runs": ["a"]}, {"size": [128, 192], "runs": ["b"]}],
    }
    assert EnsembleRecipe.model_validate(section).describe() == (
        "flat: runs *. Views identity 2, hflip 1, mean of logits. Members, mean of logits. "
        "At 64x96, 128x192. Each pixel is of its likeliest class"
    )


def test_thresholds_that_are_left_out_follow_the_activation() -> None:
    """Sigmoid means one half, softmax the likeliest class. What is written stays."""
    sigmoid = EnsembleRecipe(name="one")
    softmax = EnsembleRecipe(name="one", activation="softmax")
    assert sigmoid.thresholds == (0.5,)
    assert softmax.thresholds is None
    assert EnsembleRecipe.model_validate(softmax.model_dump()) == softmax
    assert EnsembleRecipe.model_validate({"name": "one", "thresholds": None}) == sigmoid
    written = EnsembleRecipe(name="one", activation="softmax", thresholds=(0.4,))
    assert written.thresholds == (0.4,)
    recipe = parse(ensembles=[{"name": "one", "activation": "softmax"}])
    assert recipe.override(batch=2).ensembles[0].thresholds is None


def test_merging_is_flat_or_by_levels() -> None:
    """The steps are those that are taken, in their order."""
    levels = parse().ensembles[0].merge
    assert list(levels.steps) == ["views", "folds", "models", "scales"]
    assert levels.of_members == levels.folds
    merge = {"members": "tsharpen(0.5) of probabilities"}
    flat = parse(ensembles=[{"name": "one", "merge": merge}]).ensembles[0].merge
    assert list(flat.steps) == ["views", "members"]
    assert flat.of_members == flat.members


def test_a_scale_gives_a_picture_its_size() -> None:
    """A size is that of every picture. A zoom is one of the picture's own."""
    section = {"name": "one", "pyramid": [{"zoom": 0.5}, {"zoom": 1, "runs": ["a"]}]}
    halves = EnsembleRecipe.model_validate(section).pyramid[0]
    assert (halves.size_of(101, 1), halves.label) == ((50, 1), "0.5")
    sized = EnsembleRecipe.model_validate({"name": "one", "pyramid": [{"size": [320, 480]}]})
    assert (sized.pyramid[0].size_of(101, 1), sized.pyramid[0].label) == ((320, 480), "320x480")
    assert sized.sizes == [(320, 480)]


def test_what_is_no_mapping_is_refused() -> None:
    """The error shows the beginning of what was found."""
    with pytest.raises(RecipeError, match=r"list\.yaml: found \['tiles', .* wanted keys with"):
        Recipe.parse(yaml.safe_dump(["tiles"] * 100), "list.yaml")


def test_ensembles_of_one_name_are_refused() -> None:
    """A report could not tell them apart."""
    ensembles = [{"name": "one"}, {"name": "one"}]
    with pytest.raises(RecipeError, match=r"ensembles: found ensembles one, one, .* differ$"):
        parse(ensembles=ensembles)


def test_no_data_is_background_and_views_are_given_up_first() -> None:
    """Both have a default, and a recipe may name another rule or fewer things to leave out."""
    recipe = parse()
    assert (recipe.nodata, recipe.give_up) == ("background", ("views", "folds", "scales"))
    recipe = parse(nodata="keep", give_up=["scales", "views"])
    assert (recipe.nodata, recipe.give_up) == ("keep", ("scales", "views"))
    assert parse(give_up=[]).give_up == ()


def test_what_is_given_up_stands_once() -> None:
    """A word that stands twice is refused, and so is one that names nothing."""
    with pytest.raises(RecipeError, match="give_up: found views, views, wanted each word at most"):
        parse(give_up=["views", "views"])
    with pytest.raises(RecipeError, match=r"give_up\.0: Input should be 'views', 'folds' or"):
        parse(give_up=["images"])
