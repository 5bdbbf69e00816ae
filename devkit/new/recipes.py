"""The two recipes of a new competition, from what was seen of its folder or from another recipe."""

import itertools
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import yaml

from devkit.competitions import COMPETITIONS
from devkit.editor import header
from devkit.make import make_command
from devkit.new.seen import Kind, Seen
from devkit.tools import REPOSITORY

__all__ = ["GUESS", "SHAPES", "from_shape", "predicting", "training"]

_RECIPES = REPOSITORY / "kernel_src" / "kernelkit"
# The recipes that a competition can begin from, and where those lie that train for them.
SHAPES = {
    **{
        name: _RECIPES / "training" / "recipe" / f"{name}.yaml"
        for name in ("hubmap", "clouds", "salt", "unosat")
    },
    "nuclei": REPOSITORY / "devkit" / "demo" / "training" / "nuclei.yaml",
}

# What names the schema of a file in the folder of a competition.
_HEADERS = {
    kind: header(kind, COMPETITIONS / "mine" / f"{kind}.yaml") for kind in ("recipe", "train")
}
# If no image was seen.
_USUAL = Kind(3, "uint8", (), ((4096, 4096),))
# What values of a dtype are divided by.
_DIVIDE = {"uint8": 255, "uint16": 65535, "int16": 32767}
# Pictures whose longest side has at most so many pixels are read as a whole, if all have one size.
_WHOLE = 1600
# What ends a line that nothing in the folder led to.
GUESS = "  # a guess, since none was found"
# The networks halve their input so often.
_MULTIPLE = 32
_MOST_FOLDS = 4
_LARGEST_CROP = 512


def from_shape(shape: str, name: str, slug: str | None) -> tuple[str, str]:
    """Return both recipes of kernelkit as a competition of this name has them.

    Parameters
    ----------
    shape
        One of `SHAPES`.
    name
        The new competition.
    slug
        Kaggle's name of it. None keeps that of the shape.
    """
    predicts = (_RECIPES / "recipe" / f"{shape}.yaml").read_text(encoding="utf-8")
    trains = SHAPES[shape].read_text(encoding="utf-8")
    if slug:
        predicts = re.sub(r"(\bslug: )[\w-]+", rf"\g<1>{slug}", predicts, count=1)
    trains = re.sub(r"^predicts: .*$", "predicts: recipe.yaml", trains, count=1, flags=re.M)
    return _renamed(predicts, name, "recipe"), _renamed(trains, name, "train")


def _renamed(text: str, name: str, schema: str) -> str:
    text = re.sub(r"^# yaml-language-server: .*$", _HEADERS[schema], text, flags=re.M)
    return re.sub(r"^name: .*$", f"name: {_quoted(name)}", text, count=1, flags=re.M)


@dataclass(frozen=True)
class _Ensemble:
    """The networks for one kind of images."""

    name: str
    kind: Kind
    prefix: str
    only: tuple[str, ...]


def predicting(name: str, slug: str, seen: Seen) -> str:
    """Return the recipe that predicts."""
    return (
        "\n".join([*_head(name, slug, seen), *_tiles(seen), *_ensembles(name, seen), *_tail()])
        + "\n"
    )


def training(name: str, seen: Seen) -> str:
    """Return the recipe that trains."""
    return "\n".join(_training(name, seen)) + "\n"


def _head(name: str, slug: str, seen: Seen) -> Iterator[str]:
    yield _HEADERS["recipe"]
    yield f"# How {name} is predicted. docs/recipes.md has every key."
    yield f"name: {_quoted(name)}"
    yield f"summary: A first recipe for {slug}."
    yield ""
    yield "competition:"
    yield f"  slug: {_quoted(slug)}  # as in its address on kaggle.com"
    yield _line("  images", seen.test_images, "test/{image}.tiff")
    yield _line("  sample", seen.sample, "sample_submission.csv")
    yield f"  id_column: {_quoted(seen.id_column or 'id')}"
    yield f"  rle_column: {_quoted(seen.rle_column or 'predicted')}"
    if seen.has_objects:
        yield "  # A row per object. Without instances, a row per image."
    objects = ", instances: rows" if seen.has_objects else ""
    yield f'  rle: {{order: column, base: 1, empty: ""{objects}}}  # down the columns, from 1'
    if seen.classes:
        yield f"  classes: [{', '.join(map(_quoted, seen.classes))}]"
        yield f"  rows: {_quoted(seen.rows)}"
    yield ""


def _tiles(seen: Seen) -> Iterator[str]:
    if size := _whole(seen):
        yield f"# All pictures have {size[0]} x {size[1]} pixels or so, and are read as a whole."
        yield "tiles: whole"
    else:
        core, pad = _core(seen)
        yield "# Pixels of the source. The pad is context that is cut off again. With scale: 2,"
        yield "# images are read at half their size."
        yield f"tiles: {{core: {core}, pad: {pad}, scale: 1, fill: reflect}}"
    yield ""


def _ensembles(name: str, seen: Seen) -> Iterator[str]:
    yield "ensembles:"
    for ensemble in _found(name, seen):
        kind = ensemble.kind
        bands = [1, 1, 1] if kind.bands == 1 else [1, 2, 2] if kind.bands == 2 else [1, 2, 3]
        yield f"  - name: {_quoted(ensemble.name)}"
        yield f"    when: {{bands: {kind.bands}, dtype: {kind.dtype}}}"
        yield f'    runs: ["{ensemble.prefix}*"]  # names of run folders'
        yield f"    input: {{bands: {bands}}}  # the rest is read from the run folders"
        yield "    activation: sigmoid"
        yield "    views: [identity, hflip]"
        if size := _whole(seen):
            yield f"    pyramid: [{{size: [{_rounded(size[0])}, {_rounded(size[1])}]}}]"
        yield "    merge: {views: mean of logits, members: mean of probabilities}"
        yield f"    # {make_command('tune', NAME=name)} searches a better one"
        yield "    thresholds: 0.5"
    yield ""


def _tail() -> Iterator[str]:
    yield "batch: 8"
    yield "hours: 9  # of a session"


def _training(name: str, seen: Seen) -> Iterator[str]:
    ensembles = _found(name, seen)
    yield _HEADERS["train"]
    yield f"# What is trained for {name}. docs/training.md has every key."
    yield f"name: {_quoted(name)}"
    yield "predicts: recipe.yaml"
    yield ""
    yield _line("images", seen.train_images, "train/{image}.tiff")
    yield f"labels: {_labels(seen)}"
    counts = [len(ensemble.kind.images) for ensemble in ensembles if ensemble.kind.images]
    folds = max(2, min([_MOST_FOLDS, *counts]))
    yield f"# {make_command('folds', NAME=name)} shows what each fold holds."
    yield f"folds: {{count: {folds}}}"
    yield ""
    if _whole(seen) is None:
        yield "# Windows of the training images, in pixels at the scale of the recipe's tiles."
        yield f"windows: {{grid: {{around: grid, size: {min(_LARGEST_CROP, _core(seen)[0])}}}}}"
    yield "augment: [d4]  # flips and quarter turns"
    if len(ensembles) == 1:
        yield f"input: {_input(ensembles[0].kind)}  # of the training images"
    yield "# Add encoder_weights: imagenet to begin with weights that a library fetches."
    yield "model: {arch: Unet, encoder_name: resnet34}"
    yield "loss: {bce: 1, dice: 1}"
    yield "optimiser: {name: adamw, lr: 1.0e-3, weight_decay: 1.0e-3}"
    yield "schedule: {name: cosine, warmup: 0.1}"
    yield "epochs: 30"
    yield "batch: 8"
    yield "validate: {every: 2}"
    yield ""
    yield "runs:"
    for ensemble in ensembles:
        run = f"{ensemble.prefix}unet_resnet34"
        if len(ensembles) == 1:
            yield f"  {run}: {{}}"
            continue
        yield f"  {run}:"
        yield f"    ensemble: {_quoted(ensemble.name)}"
        yield f"    only: [{', '.join(map(_quoted, ensemble.only))}]"
        yield f"    input: {_input(ensemble.kind)}"


def _input(kind: Kind) -> str:
    return f"{{divide: {_DIVIDE.get(kind.dtype, 1)}, mean: auto, std: auto}}"


def _labels(seen: Seen) -> str:
    if seen.label_masks:
        return f"{{masks: {_quoted(seen.label_masks)}}}"
    if seen.label_polygons:
        return f"{{polygons: {_quoted(seen.label_polygons)}}}"
    if seen.label_table is None:
        return "{rle: train.csv, id_column: id, rle_column: encoding}" + GUESS
    table, ids, runs = map(_quoted, seen.label_table)
    return f"{{rle: {table}, id_column: {ids}, rle_column: {runs}}}"


def _found(name: str, seen: Seen) -> list[_Ensemble]:
    """An ensemble per kind of images, named by how their ids begin. A single one has the name."""
    kinds = seen.kinds or (_USUAL,)
    if len(kinds) == 1:
        return [_Ensemble(name, kinds[0], "", ("*",))]
    begins = _begins([kind.images for kind in kinds])
    found = []
    for number, kind in enumerate(kinds):
        word = re.sub(r"[^a-z0-9]+", "-", begins[number].lower()).strip("-") if begins else ""
        word = word or f"{kind.bands}-{kind.dtype}"
        only = (f"{begins[number]}*",) if begins else kind.images or ("*",)
        found.append(_Ensemble(word, kind, f"{word}_", only))
    return found


def _begins(kinds: Sequence[Sequence[str]]) -> list[str]:
    """How the ids of each kind begin, if that tells the kinds apart."""
    for pattern in (r"[A-Za-z]+[_\W]", r".*[_\W]"):  # the first word, or all words
        matches = [re.match(pattern, _common(images)) for images in kinds]
        begins = [match[0] if match else "" for match in matches]
        pairs = itertools.permutations(begins, 2)
        if all(begins) and not any(one.startswith(other) for one, other in pairs):
            return begins
    return []


def _common(images: Sequence[str]) -> str:
    """What all ids begin with."""
    first, last = min(images), max(images)
    length = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), None)
    return first[:length]


def _whole(seen: Seen) -> tuple[int, int] | None:
    """The size of all pictures, if they are small and have one."""
    sizes = {size for kind in seen.kinds for size in kind.sizes}
    if len(sizes) != 1:
        return None
    size = sizes.pop()
    return size if max(size) <= _WHOLE else None


def _core(seen: Seen) -> tuple[int, int]:
    """The core and the pad of tiles, by the longest side of an image."""
    longest = max((kind.longest for kind in seen.kinds), default=_USUAL.longest)
    return (192, 32) if longest <= 768 else (768, 128)


def _rounded(pixels: int) -> int:
    return max(_MULTIPLE, round(pixels / _MULTIPLE) * _MULTIPLE)


def _line(key: str, found: str | None, usual: str) -> str:
    return f"{key}: {_quoted(found or usual)}" + ("" if found else GUESS)


def _quoted(text: str) -> str:
    """Text as YAML has it, in quotes unless it is a plain word. "no" and "on" are none."""
    is_plain = re.fullmatch(r"[A-Za-z][\w./-]*", text) and yaml.safe_load(text) == text
    return text if is_plain else json.dumps(text, ensure_ascii=False)
