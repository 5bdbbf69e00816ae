"""Faults of training recipes: what contradicts itself, and the sentence that refuses it."""

import re
from pathlib import Path
from typing import Any

import pytest

from kernelkit.errors import RecipeError
from kernelkit.training.recipe import TrainingRecipe
from tests.made.training_run import load_training

# Python's and pydantic's words, which no message may have.
PYTHONS_WORDS = re.compile(
    r"KeyError|TypeError|ValueError|NoneType|object has no|Traceback|tuple|dictionary|instance of|"
    r"validator|parse string|codec|pydantic|None\b"
)


def check(message: str, wanted: str) -> None:
    """Whether a message has what is wanted, and the house's form."""
    assert wanted in message
    assert not PYTHONS_WORDS.search(message), message
    assert "\n" not in message
    assert not message.endswith(".")
    assert len(message) < 500


SEG, NMC = "runs.seg-unet", "runs.nmc-resnet18"

# A fault: what it is called, the recipe, what is changed, and a part of the sentence.
CHANGES: list[tuple[str, str, str, str]] = [
    # keys
    ("a misspelt key", "hubmap", "epchs=3", "the key epchs does not exist. Did you mean epochs?"),
    ("one of a section", "hubmap", "crop.rnd=1", "crop.rnd does not exist. Did you mean random?"),
    ("one of windows", "hubmap", "windows.grid.stp=9", "windows.grid.stp does not exist. Did you"),
    (
        "one of validation",
        "hubmap",
        "validate.evry=2",
        "validate.evry does not exist. Did you mean",
    ),
    ("one of the model", "hubmap", "model.encoder_nme=x", "encoder_nme does not exist with arch"),
    ("one of the labels", "hubmap", "labels.rel=x", "labels.rel does not exist. Did you mean rle?"),
    ("one of aux_params", "hubmap", "model.aux_params={clases: 2}", "Did you mean classes?"),
    ("a misspelt loss", "hubmap", "loss.dcie=1", "loss.dcie does not exist. Did you mean dice?"),
    ("a misspelt step", "hubmap", "augment=[d5]", "augment.0.d5 does not exist. Known here are"),
    (
        "a misspelt step of several",
        "hubmap",
        "augment=[{one_of: [hsv, clae], p: 0.4}]",
        "of.1.clae does not exist. Did you mean clahe?",
    ),
    (
        "a misspelt argument of a step",
        "hubmap",
        "augment=[{affine: {shft: 1}}]",
        "augment.0.affine.shft does not exist. Did you mean shift?",
    ),
    ("a misspelt optimiser", "hubmap", "optimiser.name=adanw", "(found 'adanw'). Did you mean"),
    (
        "a misspelt arch",
        "hubmap",
        "model.arch=Unt",
        "the arch 'Unt', which does not exist. Did you",
    ),
    ("a misspelt task", "hubmap", "task=clasify", "(found 'clasify'). Did you mean classify?"),
    ("a truth value as a crop", "hubmap", "crop=true", "found a truth value as crop"),
    ("two steps in one", "hubmap", "augment=[{d4: , flip: }]", "found d4 and flip in one step"),
    ("a step of no name", "hubmap", "augment=[{}]", "found no step in one step"),
    ("one step to choose from", "hubmap", "augment=[{one_of: [d4]}]", "wanted at least one value"),
    ("a kernel of even size", "hubmap", "augment=[{blur: {kernel: [2, 4]}}]", "wanted two odd"),
    (
        "gammas turned round",
        "hubmap",
        "augment=[{two_gamma: {gamma: [2, 1]}}]",
        "the lower value f",
    ),
    # changes of the command line
    (
        "a change without a value",
        "hubmap",
        "epochs",
        "found 'epochs' as a change, wanted a key and",
    ),
    ("a change without a key", "hubmap", "=3", "found '=3' as a change, wanted a key and a value"),
    (
        "a change that is no YAML",
        "hubmap",
        "epochs=[3",
        "the change epochs=[3: this is not valid Y",
    ),
    (
        "a change within a list",
        "hubmap",
        "augment.affine.p=1",
        "found a list as augment, which has",
    ),
    ("a change of an unknown run", "hubmap", "runs.unet.epochs=3", "names no run and key, such as"),
    ("a change of a run as a whole", "salt", f"{SEG}=3", "names no run and key, such as"),
    # the recipe that predicts
    ("no such recipe", "hubmap", "predicts=hubmp", "predicts: hubmp: there is no such recipe"),
    (
        "no such ensemble",
        "hubmap",
        "ensemble=glom",
        "the ensemble glom, which hubmap does not have",
    ),
    ("an ensemble of several", "hubmap", "predicts=nuclei", "the ensembles h-and-e, fluorescence"),
    ("a run that no pattern finds", "salt", f"{SEG}.task=classify", "takes nmc-*. Rename the run"),
    (
        "a classifier without a gate",
        "hubmap",
        "task=classify",
        "the ensemble glomeruli has no gate",
    ),
    ("another mean", "hubmap", "input.mean=[0, 0, 0]", "but the recipe that predicts says [0.6226"),
    ("a mean to be found", "hubmap", "input.mean=auto", "found input.mean auto, but the recipe"),
    ("half of the statistics", "clouds", "input={mean: auto, std: [1, 1, 1]}", "wanted both or no"),
    ("too few means", "clouds", "input={mean: [0], std: [1]}", "found 3 bands, 1 values of mean"),
    ("a band too many", "unosat", "input.bands=[1, 2, 3]", "found input.bands [1, 2, 3], but"),
    ("a size with tiles", "hubmap", "size=[512, 512]", "found the size [512, 512] with tiles"),
    ("another size", "clouds", "size=[64, 96]", "but the recipe gives this run 320 x 480"),
    # folds and labels
    ("no way to fold", "hubmap", "folds.lists=null", "found no way to divide images"),
    ("two ways to fold", "hubmap", "folds={count: 4}", "found lists and count, wanted one of"),
    ("one fold", "clouds", "folds.count=1", "folds.count: Input should be greater than or equal"),
    ("an image in two folds", "hubmap", "folds.lists=[[a], [a]]", "found a in two folds"),
    ("a fold of no image", "hubmap", "folds.lists=[[a], []]", "folds.lists.1: wanted at least one"),
    ("lists with a seed", "hubmap", "folds.seed=3", "found seed with lists, which does not use it"),
    ("two forms of labels", "hubmap", "labels.masks='{image}.png'", "found rle and masks, wanted"),
    ("images out of the folder", "hubmap", "images=../x", "a path below the competition's folder"),
    ("images without a place", "hubmap", "images='{group}.png'", "images '{group}.png', wanted a"),
    # windows, sources and crops
    (
        "windows without a size",
        "hubmap",
        "windows.more={around: grid}",
        "grid without size. Add it",
    ),
    ("background without a count", "hubmap", "windows.b={around: background, size: 64}", "count"),
    ("objects with a step", "hubmap", "windows.objects.step=9", "around objects, which do not use"),
    ("pictures of slides", "hubmap", "windows.whole={around: picture}", "but the recipe has tiles"),
    (
        "a source of no windows",
        "hubmap",
        "sources.obj=1",
        "which do not exist. Did you mean objects",
    ),
    ("a weight of 0", "hubmap", "sources.grid=0", "sources.grid.weight: Input should be greater"),
    ("soft labels of no store", "hubmap", "sources.grid={soft: true}", "found soft without pseudo"),
    ("a blank rule of nothing", "hubmap", "blank=[{drop: 0.5}]", "found a rule without a limit"),
    ("half of a rule", "hubmap", "blank=[{dark: 10}]", "found one of dark and share_above"),
    ("a rule of no windows", "hubmap", "blank=[{mean_below: 1, windows: [gird]}]", "mean grid?"),
    (
        "a crop beyond its window",
        "hubmap",
        "crop=2048",
        "a crop of 2048 px and the windows objects",
    ),
    (
        "a crop beyond its picture",
        "clouds",
        "crop=512",
        "a crop of 512 px and pictures of 320 x 48",
    ),
    ("a crop off the stride", "hubmap", "crop=500", "wanted multiples of 32, such as 480 x 480"),
    # the network
    (
        "two kinds of network",
        "hubmap",
        "model.network=own:Net",
        "found arch and network, wanted one",
    ),
    (
        "a key of masks",
        "hubmap",
        "model={arch: timm, model_name: x}",
        "does not exist with arch tim",
    ),
    ("a classifier of masks", "salt", f"{NMC}.model={{arch: FPN}}", "does not exist with arch FPN"),
    (
        "too few classes",
        "clouds",
        "model.classes=3",
        "found model.classes 3, but the recipe submits",
    ),
    ("other bands", "hubmap", "model.in_channels=4", "but the input has 3 bands. Leave it out"),
    ("a gate of three classes", "salt", f"{NMC}.model.classes=3", "wanted 1 or 2: empty, or not"),
    ("a head of three", "hubmap", "model.aux_params.classes=3", "wanted 1, 2 or one per class (1)"),
    ("a head that learns nothing", "hubmap", "model.aux_params={}", "aux_params without loss.aux"),
    ("a head that is not there", "hubmap", "loss.aux=1", "found aux without aux_params, so the he"),
    (
        "freeze of no part",
        "hubmap",
        "freeze.encodr=0.4",
        "encodr, which UnetPlusPlus, timm-regnety",
    ),
    ("freeze beyond the end", "hubmap", "freeze.encoder=2", "freeze.encoder: Input should be less"),
    (
        "two encoders",
        "hubmap",
        "init.encoder=x.pth",
        "found init.encoder and model.encoder_weights",
    ),
    ("neither way to begin", "hubmap", "init={}", "found neither or both of model and encoder"),
    ("the encoder of a classifier", "salt", "init.encoder=x.pth", "the classifier resnet18. Write"),
    # the loss
    ("no loss", "hubmap", "loss={bce: null, dice: null}", "found no term, wanted at least one"),
    (
        "softmax's loss by sigmoid",
        "hubmap",
        "loss.ce=1",
        "found the loss ce with sigmoid, wanted b",
    ),
    (
        "sigmoid's loss by softmax",
        "salt",
        f"{SEG}.loss.bce=1",
        "the loss bce with softmax, wanted c",
    ),
    ("a loss of masks", "salt", f"{NMC}.loss.dice=1", "found the loss dice with task classify"),
    (
        "too many weights",
        "unosat",
        "loss.ce.class_weights=[1, 2, 3]",
        "found 3 class_weights of ce",
    ),
    ("other weights", "clouds", "loss.bce={positive: [1, 2]}", "found 2 values of bce.positive"),
    (
        "alpha with softmax",
        "unosat",
        "loss.focal.alpha=0.5",
        "focal.alpha with softmax, which does",
    ),
    # augmentation that no input can take
    ("colours of radar", "unosat", "augment=[hsv]", "of the image's bands [1, 2], wanted red, gre"),
    ("gammas of decibels", "unosat", "augment=[two_gamma]", "an input of decibels, wanted whole n"),
    (
        "stains of grey",
        "salt",
        "augment=[stain]",
        "the augmentation stain and an input of the imag",
    ),
    (
        "shuffled grey",
        "salt",
        "augment=[channel_shuffle]",
        "an image of one band, which has no oth",
    ),
    (
        "contrast of decibels among others",
        "unosat",
        "augment=[{one_of: [d4, brightness_contrast]}]",
        "the augmentation brightness_contrast and an input of decibels",
    ),
    # the course
    ("restarts that do not divide", "salt", f"{NMC}.epochs=7", "7 epochs and 4 restarts, wanted a"),
    (
        "restarts of a polynomial",
        "hubmap",
        "schedule={name: poly, restarts: 2}",
        "with poly, which",
    ),
    (
        "restarts after a warm-up",
        "hubmap",
        "schedule.restarts=2",
        "a warmup and 2 restarts, wanted",
    ),
    ("an end above the top", "hubmap", "schedule.min_lr=1", "found schedule.min_lr 1, wanted less"),
    (
        "a beginning above the top",
        "hubmap",
        "schedule.warmup_lr=1",
        "found schedule.warmup_lr 1, w",
    ),
    (
        "amsgrad of SGD",
        "hubmap",
        "optimiser.name=sgd",
        "found amsgrad with sgd, which does not use",
    ),
    (
        "momentum of Adam",
        "unosat",
        "optimiser.momentum=0.5",
        "found momentum with adam, which does",
    ),
    (
        "a learning rate of 0",
        "hubmap",
        "optimiser.lr=0",
        "optimiser.lr: Input should be greater th",
    ),
    ("an average of all", "hubmap", "ema=1", "ema: Input should be less than 1 (found 1)"),
    ("no epochs", "hubmap", "epochs=0", "epochs: Input should be greater than 0 (found 0)"),
    # what is kept
    (
        "the best of what is not judged",
        "hubmap",
        "validate=null",
        "found keep best without validate",
    ),
    ("nothing kept", "hubmap", "keep=[]", "found that no checkpoint is kept, wanted best or last"),
    (
        "a snapshot twice",
        "salt",
        "keep=[last]",
        "found keep last with snapshots, and a recipe that",
    ),
    ("twice the last", "hubmap", "keep=[last, last]", "keep: found last twice, wanted each once"),
    (
        "patience with snapshots",
        "salt",
        "patience=3",
        "found patience with snapshots, wanted every",
    ),
    (
        "accuracy of masks",
        "hubmap",
        "validate.metric=accuracy",
        "found validate.metric accuracy wi",
    ),
    (
        "Dice of a classifier",
        "salt",
        f"{NMC}.validate.metric=dice",
        "validate.metric dice with tas",
    ),
    (
        "a threshold of softmax",
        "unosat",
        "validate.threshold=0.4",
        "which takes the likeliest class",
    ),
]


@pytest.mark.parametrize(
    ("recipe", "change", "wanted"), [pytest.param(*row, id=name) for name, *row in CHANGES]
)
def test_a_change_that_contradicts_the_rest_is_refused(
    recipe: str, change: str, wanted: str
) -> None:
    """Each is one sentence with what was found and what to do, before anything is read."""
    with pytest.raises(RecipeError) as caught:
        TrainingRecipe.load(recipe, [change])
    check(str(caught.value), wanted)


TWO = {"classes": ["a", "b"], "rows": "{image}_{class}"}
GATE = {"gate": {"runs": ["small"]}, "runs": ["other"]}
CLASSIFIER = {"arch": "timm", "model_name": "resnet18"}
TILES = {"core": 192, "scale": 2}

# A fault of two recipes: the ensemble, the tiles, and what else they say.
PAIRS: list[tuple[str, dict[str, Any], Any, dict[str, Any], str]] = [
    (
        "a gate of many classes",
        GATE,
        "whole",
        {"competition": TWO, "task": "classify", "model": CLASSIFIER, "loss": {"ce": 1}},
        "found task classify with masks of 2 classes, and a gate about whole pictures",
    ),
    (
        "a segmenter as a gate",
        GATE,
        "whole",
        {"task": "classify", "loss": {"ce": 1}},
        "found task classify with arch FPN, which answers with masks",
    ),
    (
        "a classifier that segments",
        {},
        TILES,
        {"model": CLASSIFIER},
        "found task segment with the classifier resnet18, which has no masks",
    ),
    (
        "a softmax without a background",
        {"activation": "softmax"},
        TILES,
        {"competition": TWO, "loss": {"ce": 1}},
        "no class is left for the background. Write submitted: [1]",
    ),
    (
        "a classifier with encoder_lr",
        GATE,
        "whole",
        {
            "task": "classify",
            "model": CLASSIFIER,
            "loss": {"ce": 1},
            "optimiser": {"encoder_lr": 0.1},
        },
        "found optimiser.encoder_lr with a classifier, which has no encoder",
    ),
    (
        "a classifier without a name",
        GATE,
        "whole",
        {"task": "classify", "model": {"arch": "timm"}, "loss": {"ce": 1}},
        "found arch timm without model_name",
    ),
    (
        "random weights that stay",
        {},
        TILES,
        {"freeze": {"encoder": 0.5}},
        "found freeze of encoder without weights to begin with",
    ),
    (
        "windows of two sizes without a crop",
        {},
        TILES,
        {
            "windows": {
                "one": {"around": "grid", "size": 64},
                "two": {"around": "objects", "size": 96},
            }
        },
        "found windows of several sizes (64 px, 96 px) without crop",
    ),
    ("no windows", {}, TILES, {"windows": {}}, "the key windows is missing. Add it, such as"),
    (
        "a window off the stride",
        {},
        TILES,
        {"windows": {"grid": {"around": "grid", "size": 100}}},
        "is trained on 100 x 100 px, wanted multiples of 32, such as 96 x 96. Correct the size of",
    ),
    (
        "a picture off the stride",
        {"pyramid": [{"size": [100, 96]}]},
        {"whole": True, "pad": [14, 13]},
        {},
        "is trained on 100 x 96 px, wanted multiples of 32, such as 96 x 96. Correct size",
    ),
    (
        "a scale that is no whole number",
        {"pyramid": [{"zoom": 1.5}]},
        TILES,
        {},
        "found that small looks at the scale 1.33333 of the images, wanted one whole number",
    ),
    (
        "a scale that tiles do not have",
        {"pyramid": [{"zoom": 0.4}]},
        TILES,
        {},
        "wanted multiples of scale 5",
    ),
    (
        "two scales of a run",
        {"pyramid": [{"zoom": 1}, {"zoom": 0.5}]},
        TILES,
        {},
        "found that small looks at the scale 2 and 4 of the images",
    ),
    (
        "two sizes of a run",
        {"pyramid": [{"size": [64, 64]}, {"size": [96, 96]}]},
        "whole",
        {},
        "found that the recipe gives small 64 x 64 and 96 x 96. Add size",
    ),
    (
        "colours of float32",
        {"when": {"bands": 3, "dtype": "float32"}},
        TILES,
        {"augment": ["hsv"]},
        "found the augmentation hsv and an input of float32, wanted whole numbers",
    ),
    (
        "equalised uint16",
        {"when": {"bands": 3, "dtype": "uint16"}},
        TILES,
        {"augment": ["clahe"]},
        "found the augmentation clahe and images of uint16, wanted uint8",
    ),
    (
        "gammas of stretched tiles",
        {"input": {"minmax": {"power": 0.5}}},
        TILES,
        {"augment": ["two_gamma"]},
        "an input of values from minmax, wanted whole numbers",
    ),
    (
        "a band that images lack",
        {"when": {"bands": 2}, "input": {"mean": [0, 0], "std": [1, 1], "bands": [1, 2]}},
        TILES,
        {"input": {"bands": [1, 2]}, "model": {"arch": "FPN", "in_channels": 3}},
        "found model.in_channels 3, but the input has 2 bands",
    ),
    (
        "bands of the training that images lack",
        {"when": {"bands": 4}, "input": {"divide": 1}},
        TILES,
        {"input": {"bands": [1, 2, 5]}},
        "found band 5 in input.bands, but the recipe says that images have 4",
    ),
    (
        "patience with nothing judged",
        {},
        TILES,
        {"validate": None, "keep": ["last"], "patience": 3},
        "found patience without validate, so nothing could improve",
    ),
    (
        "a schedule of steps without a length",
        {},
        TILES,
        {"schedule": {"name": "step"}},
        "found the schedule step without every, wanted a number of epochs",
    ),
    ("a run as a path", {}, TILES, {"runs": {"a/b": {}}}, "wanted the name of a folder"),
    (
        "a run as a number",
        {},
        TILES,
        {"runs": {"a": 3}},
        "runs.a: wanted keys with values (found 3",
    ),
    ("no run", {}, TILES, {"runs": {}}, "runs: wanted the names of runs, each with its keys"),
    (
        "a key of all runs in one",
        {},
        TILES,
        {"runs": {"a": {"predicts": "x"}}},
        "run a: the key predicts is about all runs. Write it above the runs",
    ),
    ("no name", {}, TILES, {"name": 3}, "the key name is no text. Put it in quotes"),
]


@pytest.mark.parametrize(
    ("ensemble", "tiles", "keys", "wanted"), [pytest.param(*row, id=name) for name, *row in PAIRS]
)
def test_recipes_that_contradict_each_other_are_refused(
    ensemble: dict[str, Any], tiles: Any, keys: dict[str, Any], wanted: str, tmp_path: Path
) -> None:
    """The recipe of the training is checked against the one that predicts."""
    with pytest.raises(RecipeError) as caught:
        load_training(tmp_path, ensemble, tiles, **keys)
    check(str(caught.value).replace(str(tmp_path), ""), wanted)


def test_a_recipe_that_is_not_there_is_named_with_those_that_are() -> None:
    """A name that is none, and what is no name at all."""
    with pytest.raises(RecipeError, match="nuclei: there is no such training recipe. Name one of"):
        TrainingRecipe.load("nuclei")
    with pytest.raises(RecipeError, match="found nothing as a training recipe, wanted a name"):
        TrainingRecipe.load(None)  # type: ignore[arg-type]


@pytest.mark.parametrize("key", ["competition", "ensembles"])
def test_a_recipe_that_predicts_is_known(key: str) -> None:
    """The sentence says that it does not train, and which one is wanted."""
    with pytest.raises(RecipeError) as caught:
        TrainingRecipe.parse(f"name: a\n{key}: []")
    wanted = f"train.yaml: found a recipe that predicts (it has {key}), wanted one that trains"
    check(str(caught.value), wanted)


def test_a_key_that_is_missing_is_named() -> None:
    """The message has the run, too."""
    text = "name: a\npredicts: hubmap\nimages: train\n"
    with pytest.raises(RecipeError, match=r"train\.yaml, run a: the key labels is missing. Add it"):
        TrainingRecipe.parse(text)
    with pytest.raises(RecipeError, match="the key predicts is missing. Add it"):
        TrainingRecipe.parse("name: a")
