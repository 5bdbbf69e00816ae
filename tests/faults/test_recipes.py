"""Faults of recipes: what a user may write, and the sentence that refuses it."""

import re
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from kernelkit.errors import RecipeError
from kernelkit.recipe import Recipe

SMALL: dict[str, Any] = {
    "name": "small",
    "competition": {"slug": "a-competition"},
    "tiles": {"core": 192, "pad": 32},
    "ensembles": [{"name": "one"}],
}
TEXT = """\
name: small
competition: {slug: a-competition}
tiles: {core: 192, pad: 32}
ensembles: [{name: one}]
"""
# Python's and pydantic's words, which no message may have.
PYTHONS_WORDS = re.compile(
    r"KeyError|TypeError|ValueError|NoneType|object has no|Traceback|tuple|dictionary|instance of|"
    r"validator|parse string|codec|pydantic|None\b"
)

LAUGHS = "a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"{own}: &{own} [{', '.join([f'*{last}'] * 9)}]\n"
    for last, own in zip("abcdefgh", "bcdefghi", strict=True)
)
MERGED = "a: &a {x: 1}\n" + "".join(
    f"{own}: &{own} {{<<: [{', '.join([f'*{last}'] * 9)}]}}\n"
    for last, own in zip("abcdefgh", "bcdefghi", strict=True)
)
CHAIN = "a0: &a0 [1]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}]\n" for i in range(1, 2000))

# A fault: what it is called, the file's content, and a part of the sentence that refuses it.
FILES: list[tuple[str, str | bytes, str]] = [
    ("a billion laughs", LAUGHS, "line 5: found more than 20000 values"),
    ("a billion merged sections", MERGED, "found more than 20000 values"),
    ("a chain of aliases", CHAIN, "found more than 50 lists or sections inside each other"),
    ("a list that holds itself", "a: &a [*a]", "line 1: found an alias to what holds it"),
    ("a section that holds itself", "a: &a {b: *a}", "line 1: found an alias to what holds it"),
    ("an alias to nothing", "a: *b", "at line 1 (found undefined alias 'b')"),
    ("megabytes", "# x\n" * 1_000_000, "found 4000000 bytes, wanted at most 262144"),
    ("20 000 lists deep", "a: " + "[" * 20_000, "found more than 50 lists or sections"),
    ("20 000 sections deep", "a: " + "{a: " * 20_000, "found more than 50 lists or sections"),
    ("400 indented", "\n".join(" " * i + "a:" for i in range(400)), "line 50: found more than 50"),
    ("Latin-1", "name: größe".encode("latin-1"), "line 1: found the byte 0xf6, which is not UTF-8"),
    ("UTF-16", "name: small".encode("utf-16"), "found UTF-16, wanted UTF-8"),
    ("UTF-32", "name: small".encode("utf-32"), "found UTF-32, wanted UTF-8"),
    ("binary", bytes(range(256)), "found the byte 0x80"),
    ("NUL", b"name: \0", "found the character U+0000"),
    ("a picture", b"\x89PNG\r\n\x1a\n" + bytes(100), "found the byte 0x89"),
    ("nothing", "", "found nothing in it, wanted keys with values"),
    ("a comment alone", "# later\n", "found nothing in it, wanted keys with values"),
    ("a list", "- name: small", "wanted keys with values"),
    ("a word", "hubmap", "found hubmap, wanted keys with values"),
    ("no YAML", TEXT + "batch: [1, 2", "this is not valid YAML at line 5"),
    ("a tab", TEXT + "\tbatch: 8", "this is not valid YAML at line 5"),
    ("two documents", TEXT + "---\n" + TEXT, "line 5 (found another document)"),
    ("a Python object", "a: !!python/object/apply:os.system [ls]", "found the tag !!python/object"),
    ("a tag that is not so", TEXT + "batch: !!int x", "line 5: found x, which is no number"),
    ("5000 digits", TEXT + "batch: " + "9" * 5000, "line 5: found 9999"),
    ("a key twice", TEXT + "batch: 4\nbatch: 8", "line 6: found the key batch again"),
    (
        "a key twice in a section",
        TEXT.replace("pad: 32", "core: 32"),
        "line 3: found the key core again. In this section it stands at line 3",
    ),
    ("a key twice, once in quotes", TEXT + 'batch: 4\n"batch": 8', "found the key batch again"),
    ("a list as a key", TEXT + "? [1, 2]\n: 3", "line 5: found a list or a section as a key"),
    ("a number as a key", TEXT + "1: 2", "the key 1 does not exist. Known here are"),
    ("a misspelt key", TEXT + "bacth: 4", "the key bacth does not exist. Did you mean batch?"),
    ("an octal number", TEXT + "batch: 0o14", "batch: wanted a whole number (found '0o14')"),
    ("a number to base 16", TEXT + "batch: 0x10", "batch: wanted a whole number (found '0x10')"),
    ("hours and minutes", TEXT + "hours: 8:30", "hours: wanted a number (found '8:30')"),
    ("yes as a number", TEXT + "batch: yes", "batch: wanted a whole number (found 'yes')"),
    ("true as a number", TEXT + "batch: true", "found a truth value as batch"),
    ("a number as a name", TEXT.replace("name: small", "name: 12"), "name: wanted text"),
    ("a date as a name", TEXT.replace("name: small", "name: [2020-01-01]"), "name: wanted text"),
]


@pytest.mark.parametrize(
    ("content", "wanted"),
    [pytest.param(content, wanted, id=name) for name, content, wanted in FILES],
)
def test_a_file_that_is_no_recipe_is_refused(
    content: str | bytes, wanted: str, tmp_path: Path
) -> None:
    """Each is one sentence with the file's name, and takes no time."""
    path = tmp_path / "some.yaml"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    start = time.process_time()
    with pytest.raises(RecipeError) as caught:
        Recipe.load(path)
    assert time.process_time() - start < 5, "within its bounds a file is read at once"
    check(str(caught.value), wanted)
    assert str(caught.value).startswith(str(path))


def check(message: str, wanted: str) -> None:
    """Whether a message has what is wanted, and the house's form."""
    assert wanted in message
    assert not PYTHONS_WORDS.search(message.partition("some.yaml")[2] or message), message
    assert "\n" not in message
    assert not message.endswith(".")
    assert len(message) < 500


def with_one(**changes: Any) -> dict[str, Any]:
    return {"ensembles": [{"name": "one"} | changes]}


def merged(**levels: str) -> dict[str, Any]:
    return with_one(merge=levels)


NAN, INF = float("nan"), float("inf")
HALF, MEAN = "tsharpen(0.5) of probabilities", "mean of probabilities"

# A fault: what it is called, what is written, and a part of the sentence that refuses it.
VALUES: list[tuple[str, dict[str, Any], str]] = [
    ("a threshold of NaN", with_one(thresholds=NAN), "thresholds.0: wanted a finite number"),
    ("an infinite threshold", with_one(thresholds=INF), "thresholds.0: wanted a finite number"),
    ("a threshold of 0", with_one(thresholds=0), "thresholds.0: Input should be greater than 0"),
    (
        "a threshold of 1",
        with_one(thresholds=[0.5, 1]),
        "thresholds.1: Input should be less than 1",
    ),
    ("a threshold of bytes", with_one(thresholds=127), "Input should be less than 1"),
    ("no threshold", with_one(thresholds=[]), "thresholds: wanted at least one value"),
    ("a threshold that is true", with_one(thresholds=True), "a truth value as thresholds"),
    ("a threshold that is text", with_one(thresholds="half"), "thresholds: wanted a list"),
    ("a mean of NaN", with_one(input={"mean": [NAN, 0, 0]}), "mean.0: wanted a finite number"),
    ("an infinite std", with_one(input={"std": [INF, 1, 1]}), "std.0: wanted a finite number"),
    ("a std of 0", with_one(input={"std": [0, 1, 1]}), "std.0: Input should be greater than 0"),
    (
        "two means of three",
        with_one(input={"mean": [0, 0]}),
        "wanted one mean and one std per band",
    ),
    ("band 0", with_one(input={"bands": [0, 1, 2]}), "found 0 as a band, wanted 1, 2, ..."),
    ("half a band", with_one(input={"bands": [1, 1.5, 2]}), "found 1.5 as a band, wanted 1, 2"),
    ("a band by name", with_one(input={"bands": [1, "vh", 2]}), "vh is no band"),
    (
        "a call in a band",
        with_one(input={"bands": [1, "open(b1)", 2]}),
        "'open(b1)' is not allowed",
    ),
    (
        "decibels of what",
        with_one(input={"decibel": {"of": "pixels"}}),
        "decibel",
    ),
    ("no bands", with_one(input={"bands": [], "mean": [], "std": []}), "at least one value"),
    (
        "a band that images lack",
        with_one(when={"bands": 1}),
        "found band 3 in input.bands, but when.bands says that images have 1",
    ),
    ("infinite hours", {"hours": INF}, "hours: wanted a finite number"),
    ("no hours", {"hours": 0}, "hours: Input should be greater than 0"),
    ("an infinite zoom", with_one(pyramid=[{"zoom": INF}]), "zoom: wanted a finite number"),
    ("a weight of NaN", with_one(weights={"*": NAN}), "weights.*: wanted a finite number"),
    ("a negative weight", with_one(weights={"*": -1}), "weights.*: Input should be greater than 0"),
    (
        "a step with NaN",
        with_one(postprocess=[{"remove_small": {"min_area": NAN}}]),
        "min_area nan",
    ),
    (
        "a step with a number",
        with_one(postprocess=[{"remove_small": 5}]),
        "wanted keys with values",
    ),
    ("a step without a name", with_one(postprocess=[""]), "wanted text that is not empty"),
    ("sharpened twice", merged(folds=HALF, models=HALF), "at 2 levels (folds, models)"),
    ("sharpened three times", merged(views=HALF, folds=HALF, models=HALF), "is p^0.125"),
    ("sharpened four times", merged(views=HALF, folds=HALF, models=HALF, scales=HALF), "p^0.0625"),
    ("sharpened by less than 0", merged(views="tsharpen(-1) of probabilities"), "no way to merge"),
    ("merged as nobody can", merged(views="mean"), "no way to merge"),
    ("merged by a number", merged(views=5), "merge.views: wanted keys with values"),  # type: ignore[arg-type]
    ("an activation that is none", with_one(activation="relu"), "'sigmoid' or 'softmax'"),
    ("a gate of 1", with_one(gate={"runs": ["g"], "above": 1}), "above: Input should be less than"),
    ("a gate without runs", with_one(gate={"runs": []}), "gate.runs: wanted at least one value"),
    ("a gate of a bare word", with_one(gate={"runs": "nmc"}), "gate.runs: wanted a list, such as"),
    ("runs as a bare word", with_one(runs="unet*"), "runs: wanted a list, such as [one, two]"),
    ("no runs", with_one(runs=[]), "runs: wanted at least one value"),
    ("an empty pattern", with_one(runs=[""]), "found '', which no run's name can match"),
    ("a pattern with a space", with_one(runs=["unet "]), "which no run's name can match"),
    ("a pattern with a folder", with_one(runs=["models/unet"]), "which no run's name can match"),
    ("a pattern twice", with_one(runs=["unet*", "unet*"]), "found unet* twice, wanted each once"),
    (
        "a scale of runs that are not there",
        with_one(runs=["unet*"], pyramid=[{"runs": ["fpn"]}]),
        "found fpn in a scale of the pyramid, which no pattern of runs names (unet*)",
    ),
    ("a scale twice", with_one(pyramid=[{}, {}]), "two scales of the pyramid at zoom 1 with"),
    (
        "scales that share a run",
        with_one(pyramid=[{"runs": ["unet*"]}, {"runs": ["unet_a"]}]),
        "which would count twice",
    ),
    ("no scales", with_one(pyramid=[]), "pyramid: wanted at least one value"),
    (
        "no views",
        with_one(views=[]),
        "wanted the name of a set of views, a list of views, or views",
    ),
    ("views without a weight", with_one(views={}), "found {}, wanted the name of a set of views"),
    ("a view of weight 0", with_one(views={"hflip": 0}), "found 0 as the weight of hflip, wanted"),
    ("a view of weight NaN", with_one(views={"hflip": NAN}), "found nan as the weight of hflip"),
    ("a view of no weight", with_one(views={"hflip": None}), "as the weight of hflip, wanted a"),
    ("members and folds", merged(members=HALF, folds=MEAN), "found members beside folds. Write"),
    ("members sharpened twice", merged(views=HALF, members=HALF), "(views, members), which"),
    ("a size and a zoom", with_one(pyramid=[{"size": [8, 8], "zoom": 2}]), "wanted one of them"),
    (
        "sizes beside zooms",
        with_one(pyramid=[{"size": [320, 480], "runs": ["a"]}, {"zoom": 0.5, "runs": ["b"]}]),
        "found the size [320, 480] and the zoom 0.5 in one pyramid",
    ),
    (
        "a size twice",
        with_one(pyramid=[{"size": [320, 480]}, {"size": [320, 480]}]),
        "two scales of the pyramid at size 320x480 with the same runs",
    ),
    ("a size of one number", with_one(pyramid=[{"size": 320}]), "size: wanted a list"),
    ("half a size", with_one(pyramid=[{"size": [320]}]), "found 1 value(s), wanted height and"),
    ("a size of bands", with_one(pyramid=[{"size": [3, 320, 480]}]), "found 3 value(s), wanted"),
    ("a size of 0", with_one(pyramid=[{"size": [0, 480]}]), "size.0: Input should be greater"),
    (
        "a size of terabytes",
        with_one(pyramid=[{"size": [10**6, 10**6]}]) | {"tiles": "whole"},
        "found the size [1000000, 1000000] in one, which takes 12000.0 GB, wanted at most 16 GB",
    ),
    (
        "a size of tiles",
        with_one(pyramid=[{"size": [320, 480]}]),
        "found the size [320, 480] in one, but tiles have no other. Write tiles: whole, or a zoom",
    ),
    (
        "a gate's size of tiles",
        with_one(gate={"runs": ["g"], "size": [64, 96]}),
        "found the size [64, 96] in one, but tiles have no other",
    ),
    (
        "resampling that is none",
        with_one(input={"resample": "lanczos"}),
        "resample: Input should be 'area', 'bilinear', 'bicubic' or 'nearest'",
    ),
    (
        "a gate per class with an empty class",
        with_one(gate={"runs": ["g"], "per_class": True, "empty_class": 1}),
        "found per_class and empty_class 1, wanted one of them",
    ),
    (
        "a gate merged as nobody can",
        with_one(gate={"runs": ["g"], "merge": "gmean of logits"}),
        "gate.merge: gmean is defined for probabilities",
    ),
    ("a view twice", with_one(views=["hflip", "hflip"]), "found hflip twice, wanted each once"),
    ("no ensembles", {"ensembles": []}, "ensembles: wanted at least one value"),
    ("ensembles as keys", {"ensembles": {"name": "one"}}, "ensembles: wanted a list"),
    ("an ensemble without a name", {"ensembles": [{"name": ""}]}, "text that is not empty"),
    ("the same ensemble twice", {"ensembles": [{"name": "one"}] * 2}, "wanted names that differ"),
    (
        "an ensemble that no image reaches",
        {"ensembles": [{"name": "one"}, {"name": "two", "when": {"dtype": "uint8"}}]},
        "found that two (any bands of uint8) predicts no image, because one (any bands)",
    ),
    (
        "an ensemble behind an equal one",
        {"ensembles": [{"name": name, "when": {"bands": 3}} for name in ("one", "two")]},
        "Narrow its 'when' or put it last",
    ),
    (
        "a kind that is none",
        with_one(when={"dtype": "int7"}),
        "when.dtype: Input should be 'uint8'",
    ),
    ("a core of 0", {"tiles": {"core": 0}}, "tiles.core: Input should be greater than 0"),
    ("half a pixel", {"tiles": {"core": 192.5}}, "tiles.core: wanted a whole number (found 192.5)"),
    ("a core of text", {"tiles": {"core": "large"}}, "tiles.core: wanted a whole number"),
    ("tiles as a number", {"tiles": 192}, "tiles: wanted keys with values (found 192)"),
    (
        "tiles as another word",
        {"tiles": "half"},
        'tiles: found "half", wanted keys with values, or',
    ),
    ("tiles without a core", {"tiles": {"pad": 3}}, "the key tiles.core is missing. Add it, or"),
    (
        "whole pictures with a core",
        {"tiles": {"whole": True, "core": 96, "scale": 2}},
        "tiles: found core and scale with whole pictures, which have no tiles. Leave that out",
    ),
    (
        "two pads of tiles",
        {"tiles": {"core": 96, "pad": [14, 13]}},
        "tiles: found the pad [14, 13] with tiles, wanted one number for all sides",
    ),
    ("three pads", {"tiles": {"whole": True, "pad": [1, 2, 3]}}, "found 3 numbers, wanted one for"),
    (
        "a pad below 0",
        {"tiles": {"whole": True, "pad": [1, -2]}},
        "tiles.pad.1: Input should be gr",
    ),
    (
        "a pad of text",
        {"tiles": {"whole": True, "pad": "wide"}},
        "tiles.pad: wanted a whole number",
    ),
    (
        "a foreground of whole pictures",
        {"tiles": "whole", "foreground": {"rule": "grey"}},
        "found foreground with whole pictures, of which no tile can be left out",
    ),
    (
        "seams of whole pictures",
        {"tiles": "whole", "stitching": {"blend": "hann"}},
        "found stitching by hann with whole pictures, which have no seams. Leave out stitching",
    ),
    ("no tiles", {"tiles": None}, "tiles: wanted keys with values (found nothing)"),
    (
        "tiles of gigabytes",
        {"tiles": {"core": 50_000}},
        "one takes 37.5 GB with one, wanted at most",
    ),
    ("a pad of gigabytes", {"tiles": {"core": 192, "pad": 10**6}}, "GB with one, wanted at most"),
    ("a zoom of gigabytes", with_one(pyramid=[{"zoom": 1000}]), "GB with one, wanted at most"),
    ("a batch of gigabytes", {"batch": 10**6}, "A batch of 130208 would do"),
    ("a rule for no pixel", {"foreground": {"rule": "grey", "above": 255}}, "Else no pixel counts"),
    (
        "polygons without files",
        {"foreground": {"rule": "polygons"}},
        "foreground: found the rule polygons without files. Write files:",
    ),
    (
        "one file of polygons for all images",
        {"foreground": {"rule": "polygons", "files": "test/regions.json"}},
        "found files 'test/regions.json', wanted a path with {image} or {group}",
    ),
    (
        "polygons of a place that nothing fills",
        {"foreground": {"rule": "polygons", "files": "test/{image}_{band}.json"}},
        "wanted a path with {image} or {group}, and no other place",
    ),
    (
        "polygons of another folder",
        {"foreground": {"rule": "polygons", "files": "../{image}.json"}},
        "wanted a path below the competition's folder",
    ),
    (
        "polygons of no class",
        {"foreground": {"rule": "polygons", "files": "{image}.json", "names": []}},
        "foreground.names: wanted at least one value",
    ),
    (
        "polygons above a value",
        {"foreground": {"rule": "polygons", "files": "{image}.json", "above": 3}},
        "found above with the rule polygons, which does not use it. Leave it out",
    ),
    (
        "files of a thumbnail",
        {"foreground": {"rule": "grey", "files": "{image}.json"}},
        "found files with the rule grey, which does not use it. Leave it out",
    ),
    (
        "polygons of whole pictures",
        {"tiles": "whole", "foreground": {"rule": "polygons", "files": "{image}.json"}},
        "found foreground with whole pictures, of which no tile can be left out",
    ),
    ("a share above 1", {"foreground": {"rule": "grey", "fraction": 2}}, "foreground.fraction"),
    ("no-data that is none", {"nodata": "skip"}, "nodata: Input should be 'background' or 'keep'"),
    ("no-data of false", {"nodata": False}, "found a truth value as nodata"),
    ("given up twice", {"give_up": ["views", "views"]}, "wanted each word at most once"),
    ("images given up", {"give_up": ["images"]}, "give_up.0: Input should be 'views', 'folds' or"),
    ("given up as a word", {"give_up": "views"}, "give_up: wanted a list"),
    ("images of another folder", {"competition": {"slug": "a", "images": "../b"}}, "a path below"),
    ("images of the machine", {"competition": {"slug": "a", "images": "/etc"}}, "a path below the"),
    ("one column", {"competition": {"slug": "a", "rle_column": "id"}}, "wanted two columns"),
    ("no column", {"competition": {"slug": "a", "id_column": ""}}, "text that is not empty"),
    *(
        (
            f"an empty mask as {mark!r}",
            {"competition": {"slug": "a", "rle": {"empty": f"0{mark}1"}}},
            "wanted a text without comma, quote and line end",
        )
        for mark in (",", '"', "\n", "\r")
    ),
    (
        "base 2",
        {"competition": {"slug": "a", "rle": {"base": 2}}},
        "rle.base: Input should be 0 or",
    ),
    ("no suffix", {"competition": {"slug": "a", "suffixes": []}}, "at least one value"),
    ("a bare suffix", {"competition": {"slug": "a", "suffixes": ".tif"}}, "wanted a list"),
]


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [pytest.param(changes, wanted, id=name) for name, changes, wanted in VALUES],
)
def test_a_value_that_cannot_be_meant_is_refused(changes: dict[str, Any], wanted: str) -> None:
    """Each is one sentence with the key, what was found and what was wanted."""
    with pytest.raises(RecipeError) as caught:
        Recipe.parse(yaml.safe_dump(SMALL | changes), "some.yaml")
    check(str(caught.value), wanted)
    assert str(caught.value).startswith("some.yaml: ")


# What is called, what is written, and what stands in the recipe.
MEANT: list[tuple[str, str, Any]] = [
    ("no is a word", "name: no", ("name", "no")),
    ("off is a word", "name: off", ("name", "off")),
    ("a name of digits and an underscore", "name: 1_000", ("name", "1_000")),
    ("a name with a leading zero", "name: 014", ("name", "014")),
    ("a name like a time", "name: 1:30", ("name", "1:30")),
    ("yes where a truth value is meant", "disagreement: yes", ("disagreement", True)),
    ("no where a truth value is meant", "disagreement: no", ("disagreement", False)),
    ("thousands", "batch: 1_0", ("batch", 10)),
    ("a number in quotes", 'batch: "4"', ("batch", 4)),
    ("an exponent without a point", "hours: 1e1", ("hours", 10.0)),
    ("a byte order mark", "\ufeffbatch: 4", ("batch", 4)),
    ("Windows' line ends", "batch: 4\r\nhours: 8\r\n", ("hours", 8)),
    ("20 000 pixels of core", "tiles: {core: 20000}", ("batch", 8)),
]


@pytest.mark.parametrize(
    ("text", "wanted"), [pytest.param(text, wanted, id=name) for name, text, wanted in MEANT]
)
def test_a_value_is_what_its_key_means(text: str, wanted: tuple[str, Any], tmp_path: Path) -> None:
    """The key decides whether a word is text, a number or a truth value."""
    path = tmp_path / "some.yaml"
    own = text.lstrip("\ufeff").partition(":")[0]
    rest = "".join(f"{line}\n" for line in TEXT.splitlines() if not line.startswith(own))
    path.write_bytes(f"{text}\n{rest}".encode())
    key, value = wanted
    assert getattr(Recipe.load(path), key) == value


def test_a_folder_or_no_file_is_named(tmp_path: Path) -> None:
    """What stands in a recipe's place is said, and what is no path at all."""
    folder = tmp_path / "some.yaml"
    folder.mkdir()
    with pytest.raises(RecipeError, match=r"some\.yaml: found a folder, wanted a YAML file"):
        Recipe.load(folder)
    with pytest.raises(RecipeError, match=r"other\.yaml: there is no such file"):
        Recipe.load(tmp_path / "other.yaml")
    with pytest.raises(RecipeError, match="found nothing as a recipe, wanted a name or a path"):
        Recipe.load(None)  # type: ignore[arg-type]
    with pytest.raises(RecipeError, match="no file can have this name"):
        Recipe.load("some\0.yaml")


def test_parameters_of_a_notebook_are_whole_numbers() -> None:
    """A tile that came as text is named, with the recipe."""
    with pytest.raises(RecipeError, match="small: found '512' as tile, wanted a whole number"):
        Recipe.parse(TEXT).with_tiles("512", None)  # type: ignore[arg-type]


def test_whole_pictures_have_no_tile_to_set() -> None:
    """A notebook's tile and overlap are refused. Nothing is what they may be."""
    whole = Recipe.parse(TEXT).override(tiles="whole")
    assert whole.with_tiles(None, None) == whole
    with pytest.raises(RecipeError, match="small: found a tile or an overlap, but the recipe is f"):
        whole.with_tiles(512, None)
