"""Ensembles that do not fit their recipe or their images: each row is one, and what it answers."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import timm
import torch
import yaml
from torch import Tensor, nn

from kernelkit.ensemble import MegaModel
from kernelkit.errors import CheckpointError, DeviceError, KernelKitError, RecipeError
from tests.made.ensembles import ensemble
from tests.made.networks import FPN, write_run

# Normalised pixels are the source's own.
PLAIN = {"divide": 1, "mean": [0] * 3, "std": [1] * 3}


class Bright(nn.Module):
    """Foreground where the mean of the bands is above 0."""

    def forward(self, x: Tensor) -> Tensor:
        return 50 * x.mean(1, keepdim=True)


class Answering(nn.Module):
    """Answers under names."""

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"out": 50 * x.mean(1, keepdim=True), "aux": x}


class Nameless(nn.Module):
    """Answers under names that say nothing."""

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"a": x, "b": x}


class Single(nn.Module):
    """Answers under one name that says nothing."""

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"a": 50 * x.mean(1, keepdim=True)}


class Several(nn.Module):
    """Answers with masks and labels."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return 50 * x.mean(1, keepdim=True), x.mean((1, 2, 3))


class Quarter(nn.Module):
    """Answers at a quarter of the size."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.avg_pool2d(x.mean(1, keepdim=True), 4)


class Unlikely(nn.Module):
    """Answers in probabilities: .05 everywhere."""

    def forward(self, x: Tensor) -> Tensor:
        return (x.mean(1, keepdim=True) * 0 - 2.944439).sigmoid()


class Softmax(nn.Module):
    """Answers in probabilities of two classes: .88 and .12 at 1."""

    def forward(self, x: Tensor) -> Tensor:
        y = x.mean(1, keepdim=True)
        return torch.cat([y, -y], 1).softmax(1)


class Two(nn.Module):
    """Answers in logits of two classes."""

    def forward(self, x: Tensor) -> Tensor:
        y = 50 * x.mean(1, keepdim=True)
        return torch.cat([-y, y], 1)


class Fixed(nn.Module):
    """Takes tiles of 64 x 64."""

    def __init__(self) -> None:
        super().__init__()
        self.p = nn.Parameter(torch.randn(1, 1, 64, 64))

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(1, keepdim=True) + self.p


class Holes(nn.Module):
    """Answers NaN in the first rows, to bright tiles or always."""

    def __init__(self, always: bool = False) -> None:
        super().__init__()
        self.always = always

    def forward(self, x: Tensor) -> Tensor:
        y = x.mean(1, keepdim=True).clone()
        y[:, :, :8] = float("nan")
        if self.always:
            return y
        return torch.where(x[:, :1] == 255, y, x[:, :1])


class Flat(nn.Module):
    """Answers with one value per tile, and no class."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((1, 2, 3))


class Labels(nn.Module):
    """A classifier: dark tiles are of class 0."""

    def forward(self, x: Tensor) -> Tensor:
        y = 50 * x.mean((1, 2, 3), keepdim=False)[:, None]
        return torch.cat([-y, y], 1)


def scripted(module: nn.Module, name: str = "r1") -> Callable[[Path], None]:
    """A run that is a program."""

    def make(models: Path) -> None:
        (models / name).mkdir(parents=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.jit.script(module.eval()).save(str(models / name / "e1.ts"))

    return make


def traced(module: nn.Module) -> Callable[[Path], None]:
    """A run that is a program, traced in train mode."""

    def make(models: Path) -> None:
        (models / "r1").mkdir(parents=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.jit.trace(module.train(), torch.rand(2, 3, 64, 64), check_trace=False)
            program.save(str(models / "r1/e1.ts"))

    return make


def both(*makers: Callable[[Path], None]) -> Callable[[Path], None]:
    def make(models: Path) -> None:
        for each in makers:
            each(models)

    return make


def run(settings: dict[str, Any], description: Any = FPN) -> Callable[[Path], None]:
    """A run whose cfg.yaml also says what it was trained with."""

    def make(models: Path) -> None:
        write_run(models / "r1", description, seeds=(1,))
        (models / "r1/cfg.yaml").write_text(yaml.safe_dump({"MODEL": description, **settings}))

    return make


def cfg(make: Callable[[Path], None], **model: Any) -> Callable[[Path], None]:
    """A cfg.yaml beside a program."""

    def described(models: Path) -> None:
        make(models)
        (models / "r1/cfg.yaml").write_text(yaml.safe_dump({"MODEL": model}))

    return described


def pixels(value: float = 1, size: int = 64, dtype: str = "float32") -> np.ndarray:
    return np.full((1, 3, size, size), value, dtype)


def one_bad(value: float) -> np.ndarray:
    tile = pixels()
    tile[0, :, 5, 5] = value
    return tile


class Row(NamedTuple):
    """A fault: the models, the recipe and the tiles, and the right answer.

    Attributes
    ----------
    name
        What is odd.
    make
        Writes the models folder.
    recipe
        A part of an ensemble's section.
    tiles
        What is asked.
    error
        A pattern of the error's sentence, empty if there is an answer.
    kind
        The class of the error.
    note
        What one of the notes says, empty if there must be none.
    on
        The share of pixels that are on.
    """

    name: str
    make: Callable[[Path], Any]
    recipe: dict[str, Any]
    tiles: np.ndarray
    error: str = ""
    kind: type[KernelKitError] = CheckpointError
    note: str = ""
    on: float = 1.0


NORM = {"mean": [0.5, 0.4, 0.6], "std": [0.2, 0.1, 0.2]}
OWN = {"input": {"divide": 255, **NORM}}
DROPOUT = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Dropout2d(0.5), nn.Conv2d(8, 1, 1))
NORMS = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Conv2d(8, 1, 1))
SEGMENTER = scripted(Bright())
GATE = {"runs": ["r1"], "gate": {"runs": ["gate"]}}
ANY = -1.0

ROWS = [
    # programs
    Row("masks under a name", scripted(Answering()), {}, pixels()),
    Row("masks under one name", scripted(Single()), {}, pixels()),
    Row("masks under no known name", scripted(Nameless()), {}, pixels(), error="under a, b"),
    Row("masks and labels", scripted(Several()), {}, pixels()),
    Row("a quarter of the size", scripted(Quarter()), {}, pixels(),
        error="masks of 16 x 16 for tiles of 64 x 64, wanted one value per pixel"),
    Row("probabilities", scripted(Unlikely()), {}, pixels(), on=0, note="between 0 and 1"),
    Row("probabilities of two classes", scripted(Softmax()),
        {"activation": "softmax", "thresholds": [0.87, 0.13]}, pixels(), on=0.5,
        note="between 0 and 1"),
    Row("two classes, not described", scripted(Two()), {"activation": "softmax"}, pixels(), on=0.5),
    Row("two classes, described as three", cfg(scripted(Two()), classes=3), {}, pixels(),
        error="answers with 2 classes, but its description says 3"),
    Row("a fixed size", scripted(Fixed()), {}, pixels(size=96),
        error="takes tiles of 64 x 64 only, but the recipe gives 96 x 96"),
    Row("a fixed size, kept", scripted(Fixed()), {}, pixels(100)),
    Row("one value per tile", scripted(Flat()), {}, pixels(), error="answers with an array"),
    Row("dropout in train mode", traced(DROPOUT), {}, pixels(),
        error="answers differently if it is asked again"),
    Row("norms in train mode", traced(NORMS), {}, pixels(), error="depends on the other tiles"),
    Row("a program that is a folder", lambda m: (m / "r1/e1.ts/x").mkdir(parents=True), {},
        pixels(), error="found no run in it, wanted run folders"),
    Row("a program of noise", lambda m: _file(m / "r1/e1.ts", b"noise"), {}, pixels(),
        error="cannot load this program"),
    Row("an empty .pt2", lambda m: _file(m / "r1/e1.pt2", b""), {}, pixels(),
        error="cannot load this program"),
    Row("an ONNX file of noise", lambda m: _file(m / "r1/e1.onnx", b"noise"), {}, pixels(),
        error="found no ONNX file"),
    Row("not trusted", SEGMENTER, {"programs": False}, pixels(), error="programs: true"),
    # gates
    Row("a program as gate, empty", both(SEGMENTER, scripted(Labels(), "gate")), GATE,
        pixels(-1), on=0),
    Row("a program as gate, full", both(SEGMENTER, scripted(Labels(), "gate")), GATE, pixels()),
    Row("a segmenter as gate", both(SEGMENTER, scripted(Single(), "gate")), GATE, pixels(),
        error="a gate must be a classifier"),
    Row("a classifier as member", scripted(Labels()), {}, pixels(), error="this is a classifier"),
    Row("an empty class that is none", both(SEGMENTER, scripted(Labels(), "gate")),
        {"runs": ["r1"], "gate": {"runs": ["gate"], "empty_class": 2}}, pixels(),
        error="empty_class is 2, but its classes are 0 to 1", kind=RecipeError),
    # what the recipe says
    Row("a batch of one only", lambda m: _exported(m, 1, None), {}, pixels()),
    Row("a batch of three only", lambda m: _exported(m, 3, None), {}, pixels()),
    Row("a batch of two or more", lambda m: _exported(m, 2, 0), {}, pixels()),
    Row("a softmax over one class", SEGMENTER, {"activation": "softmax"}, pixels(),
        error="a softmax over one class is 1 everywhere", kind=RecipeError),
    Row("another mean", run({"DATA": {"divide": 255, **NORM}}), {"input": {
        "divide": 255, "mean": [0.485, 0.456, 0.406], "std": [0.2, 0.1, 0.2]}}, pixels(),
        error=r"trained with mean \[0.5, 0.4, 0.6\].*the recipe's input has \[0.485,",
        kind=RecipeError),
    Row("another std", run(NORM), {"input": {**NORM, "std": [0.229, 0.224, 0.225]}}, pixels(),
        error="Correct the input's mean, std and divide", kind=RecipeError),
    Row("another divisor", run({"DATA": {"divide": 65535, **NORM}}), OWN, pixels(),
        error="was trained with", kind=RecipeError),
    Row("in capitals", run({"MEAN": [0.9] * 3, "STD": NORM["std"]}), OWN, pixels(),
        error="r1/fold_0 was trained with mean", kind=RecipeError),
    Row("in a list of transforms", run({"AUG": [{"Normalize": {"mean": [0.9] * 3,
        "std": NORM["std"]}}]}), OWN, pixels(), error="was trained with mean", kind=RecipeError),
    Row("other bands", run({"DATA": {"bands": [3, 2, 1]}}), OWN, pixels(),
        error=r"was trained with bands \[3, 2, 1\]", kind=RecipeError),
    Row("other expressions of bands", run({"DATA": {"bands": ["b1", "b2", "(b1 + b2) / 2"]}}),
        {"input": {**NORM, "bands": [1, 2, "b1 * b2"]}}, pixels(), kind=RecipeError,
        error=r"trained with bands \[1, 2, \(b1 \+ b2\) / 2\], as .* has \[1, 2, b1 \* b2\]"),
    Row("the same expressions", run({"DATA": {"bands": ["b1", "b2", "(b1 + b2) / 2"]}}),
        {"input": {**NORM, "bands": [1, "b2", "(b1+b2)/2"]}}, pixels(), on=ANY),
    Row("the same, rounded", run({"DATA": {"divide": 255, "mean": [0.502, 0.398, 0.6],
        "std": [0.202, 0.101, 0.2]}}), OWN, pixels(), on=ANY),
    Row("the same, times 255", run({"mean": [127.5, 102, 153], "std": [51, 25.5, 51]}), OWN,
        pixels(), on=ANY),
    Row("one value for all bands", run({"mean": 0.5, "std": 0.25}),
        {"input": {"mean": [0.5] * 3, "std": [0.25] * 3}}, pixels(), on=ANY),
    Row("left out of the recipe", run({"DATA": {"divide": 255, **NORM}}), {"input": None},
        pixels(), on=ANY, note="r1/cfg.yaml: the mean is [0.5, 0.4, 0.6] and the std"),
    Row("one band, left out of the recipe", run({"DATA": {"bands": [2], "divide": 255,
        "mean": [0.5], "std": [0.2]}}, {**FPN, "in_channels": 1}), {"input": None}, pixels(),
        on=ANY, note="r1/cfg.yaml: the bands are [2]"),
    Row("one band, and no mean", run({"DATA": {"bands": [2]}}, {**FPN, "in_channels": 1}),
        {"input": None}, pixels(), kind=RecipeError,
        error="the run folders say 1 bands, and no mean and std for them. Write the input's mean"),
    Row("a band that images lack", run({"DATA": {"bands": [1, 2, 4]}}),
        {"input": None, "when": {"bands": 3}}, pixels(), kind=RecipeError,
        error="say band 4, but when.bands says that images have 3"),
    Row("bands by other names", run({"DATA": {"bands": ["B02", "B03", "B04"]}}), OWN, pixels(),
        on=ANY),
    Row("another way to resize", run({"DATA": {"interpolation": "cv2.INTER_LINEAR"}}),
        {"input": {"resample": "area"}}, pixels(), kind=RecipeError,
        error="trained with resample bilinear, as .*cfg.yaml says, but .* has area. Correct"),
    Row("a mean of something else", run({"DATA": {"mean": "imagenet", "std": None}}), OWN, pixels(),
        on=ANY),
    Row("two means", run({"A": {"mean": [0.1] * 3}, "B": {"mean": [0.2] * 3}}), OWN, pixels(),
        on=ANY),
    # numbers that are none
    Row("NaN logits", scripted(Holes()), {}, pixels(255), error="gave NaN or infinity",
        kind=DeviceError),
    Row("NaN logits always", scripted(Holes(always=True)), {}, pixels(), error="NaN or infinity",
        kind=DeviceError),
    Row("NaN logits under vote", scripted(Holes()), {"merge": {"models": "vote of probabilities"}},
        pixels(255), error="gave NaN or infinity", kind=DeviceError),
    Row("NaN logits under max", scripted(Holes()), {"merge": {"folds": "max of probabilities"}},
        pixels(255), error="gave NaN or infinity", kind=DeviceError),
    Row("one NaN pixel", SEGMENTER, {}, one_bad(np.nan), on=1 - 1 / 4096),
    Row("one infinite pixel", SEGMENTER, {}, one_bad(np.inf), on=1 - 1 / 4096),
    Row("one minus infinite pixel", SEGMENTER, {}, one_bad(-np.inf), on=1 - 1 / 4096),
    Row("a pixel beyond float32", SEGMENTER, {}, one_bad(1).astype("float64") * 1e300, on=0),
    Row("nothing but NaN", SEGMENTER, {}, pixels(np.nan), on=0),
    Row("decibels of decibels", SEGMENTER, {"input": {**PLAIN, "decibel": True}},
        np.random.default_rng(0).uniform(-25, 5, (1, 3, 64, 64)).astype("float32"),
        error="most values are below 0 .* as decibels are", kind=RecipeError),
    Row("decibels of powers", SEGMENTER, {"input": {**PLAIN, "decibel": True}},
        np.random.default_rng(0).uniform(2, 5, (1, 3, 64, 64)).astype("float32")),
    Row("decibels of no data", SEGMENTER, {"input": {**PLAIN, "decibel": True}}, pixels(-9999),
        on=0),
]  # fmt: skip


def _exported(models: Path, count: int, axis: int | None) -> None:
    """A torch.export program with a batch that is fixed, or with that axis dynamic."""
    (models / "r1").mkdir()
    shapes = None if axis is None else ({axis: torch.export.Dim("batch", min=2)},)
    program = torch.export.export(Bright(), (torch.rand(count, 3, 64, 64),), dynamic_shapes=shapes)
    torch.export.save(program, models / "r1/network.pt2")


def _file(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True)
    path.write_bytes(content)


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_a_model(row: Row, tmp_path: Path) -> None:
    """It answers as it is meant, with what is odd said, or it is refused in a sentence."""
    row.make(tmp_path)
    section = {"programs": True, "input": PLAIN, **row.recipe}
    recipe = ensemble(**{key: value for key, value in section.items() if value is not None})

    def ask() -> tuple[np.ndarray, list[str]]:
        model = MegaModel(tmp_path, recipe=recipe, precision="fp32", device="cpu")
        return model.preprocess_and_infer(row.tiles), model.notes

    if row.error:
        with pytest.raises(row.kind, match=row.error) as caught:
            ask()
        message = str(caught.value)
        assert not message.endswith(".")
        assert "\n" not in message
        assert "float16" not in message
    else:
        masks, notes = ask()
        assert row.on in (ANY, pytest.approx(masks.mean(), abs=1e-6))
        said = " | ".join(notes)
        assert row.note in said
        assert bool(row.note) == bool(notes), said


@pytest.mark.parametrize(
    ("settings", "scale", "zoom", "refused"),
    [
        ({"DATA": {"DOWNSCALE": 4}}, 3, 1, True),
        ({"scale": 3}, 3, 1, False),
        ({"DATA": {"downscale": 2}}, 3, 1.5, False),
        ({"LOSS": {"scale": 2}}, 3, 1, False),
        ({"AUG": {"scale": [0.5, 2]}}, 3, 1, False),
        ({}, 3, 1, False),
    ],
)
def test_the_scale(
    tmp_path: Path, settings: dict[str, Any], scale: int, zoom: float, refused: bool
) -> None:
    """Tiles at another scale than the run says are refused, unless the pyramid makes up for it."""
    run(settings)(tmp_path)
    recipe = ensemble(pyramid=[{"zoom": zoom}])
    model = MegaModel(tmp_path, recipe=recipe, device="cpu")
    if not refused:
        model.check_scale(scale)
        return
    with pytest.raises(RecipeError, match="was trained at scale 4, .* reads at scale 3. Correct"):
        model.check_scale(scale)


@pytest.mark.parametrize("batch", [0, -1])
def test_a_batch_of_nothing(tmp_path: Path, batch: int) -> None:
    """It is refused before any network is read. It would be asked for ever."""
    with pytest.raises(RecipeError, match=f"test: found a batch of {batch}, wanted 1 or more"):
        MegaModel(tmp_path, recipe=ensemble(), batch=batch)


def test_a_network_of_one_size_says_which(tmp_path: Path) -> None:
    """A transformer that takes one size is refused with the size that it takes."""
    description = {"arch": "timm", "model_name": "vit_tiny_patch16_224", "num_classes": 2}
    (tmp_path / "gate").mkdir()
    (tmp_path / "gate/cfg.yaml").write_text(yaml.safe_dump({"MODEL": description}))
    vit = timm.create_model("vit_tiny_patch16_224", num_classes=2)
    torch.save(vit.state_dict(), tmp_path / "gate/e1.pth")
    SEGMENTER(tmp_path)
    recipe = ensemble(programs=True, input=PLAIN, **GATE)
    model = MegaModel(tmp_path, recipe=recipe, precision="fp32", device="cpu")
    with pytest.raises(KernelKitError, match="cannot look at tiles of 64 x 64 .*224 x 224"):
        model.predict(pixels())
