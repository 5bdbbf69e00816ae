"""What the keys of a run can contradict each other in. All of it is found before the first step."""

from collections.abc import Iterator

from kernelkit.recipe import Recipe
from kernelkit.recipe.network import Decibel
from kernelkit.training.recipe.augment import AugmentStep
from kernelkit.training.recipe.resolve import did_you_mean
from kernelkit.training.recipe.run import RunRecipe

__all__ = ["refuse_contradictions"]

# Terms of the loss that are about one class at a time, and about all classes of a pixel.
_OF_SIGMOID, _OF_SOFTMAX = ("bce",), ("ce",)
_OF_CLASSIFIERS = ("bce", "ce", "focal")
# Steps of augmentation that need red, green and blue, and those that need whole numbers.
_OF_RGB = ("clahe", "hsv", "stain")
_OF_INTEGERS = ("brightness_contrast", "two_gamma")


def refuse_contradictions(run: RunRecipe, recipe: Recipe) -> None:
    """Refuse a run whose keys contradict each other, or the recipe that predicts.

    Raises
    ------
    ValueError
        With what was found, and what to do.
    """
    for problems in (
        _task_problems,
        _class_problems,
        _loss_problems,
        _window_problems,
        _shape_problems,
        _weight_problems,
        _schedule_problems,
        _saving_problems,
    ):
        for problem in problems(run):
            raise ValueError(problem)
    ensemble = next(one for one in recipe.ensembles if one.name == run.ensemble)
    for step in run.augment:
        for one in step.flat:
            for problem in _augment_problems(one, run, ensemble.when.dtype):
                raise ValueError(problem)


def _task_problems(run: RunRecipe) -> Iterator[str]:
    kind = run.model.kind
    if run.task == "classify":
        if len(run.classes) > 1 and not (run.gate and run.gate.per_class):
            yield (
                f"found task classify with masks of {len(run.classes)} classes, and a gate about"
                " whole pictures. Set per_class in the recipe's gate, or write task: segment"
            )
        if kind not in ("timm", "network"):
            yield (
                f"found task classify with arch {run.model.arch}, which answers with masks. Write"
                " arch: timm and a model_name"
            )
    elif kind == "timm":
        yield (
            f"found task segment with the classifier {run.model.model_name}, which has no masks."
            " Name another arch, or write task: classify"
        )
    metric = run.validate_.metric if run.validate_ else None
    if metric is not None and (metric == "accuracy") != (run.task == "classify"):
        wanted = "accuracy" if run.task == "classify" else "one about masks, such as dice"
        yield f"found validate.metric {metric} with task {run.task}, wanted {wanted}"


def _class_problems(run: RunRecipe) -> Iterator[str]:
    numbers = run.class_numbers
    if run.task == "segment" and run.activation == "softmax" and 0 in numbers:
        yield (
            "found softmax and the submitted class 0, so no class is left for the background."
            " Write submitted: [1] into the recipe's competition, or activation: sigmoid"
        )
    if run.task == "segment" and max(numbers) >= run.outputs:
        yield (
            f"found model.classes {run.outputs}, but the recipe submits the class {max(numbers)},"
            " counted from 0. Correct one of them"
        )
    if run.task == "classify" and run.model.classes not in (None, run.outputs):
        yield f"found model.classes {run.model.classes}, wanted {run.outputs} for the gate"
    if run.task == "classify" and run.gate and not run.gate.per_class and run.outputs > 2:
        yield f"found model.classes {run.outputs}, wanted 1 or 2: empty, or not"
    bands = len(run.input.bands)
    if run.model.in_channels not in (None, bands):
        yield (
            f"found model.in_channels {run.model.in_channels}, but the input has {bands} bands."
            " Leave it out"
        )
    aux = run.model.aux_params
    if aux is not None and aux.classes not in (1, 2, len(run.classes)):
        yield (
            f"found aux_params.classes {aux.classes}, wanted 1, 2 or one per class"
            f" ({len(run.classes)})"
        )


def _loss_problems(run: RunRecipe) -> Iterator[str]:
    terms = run.loss.terms
    is_softmax = run.activation == "softmax" and run.outputs > 1
    for term in _OF_SIGMOID if is_softmax else _OF_SOFTMAX:
        if term in terms:
            yield (
                f"found the loss {term} with {'softmax' if is_softmax else 'sigmoid'}, wanted"
                f" {'ce' if is_softmax else 'bce'}, or another activation in the recipe"
            )
    if run.task == "classify":
        for term in terms:
            if term not in _OF_CLASSIFIERS:
                yield (
                    f"found the loss {term} with task classify, wanted one of"
                    f" {', '.join(_OF_CLASSIFIERS)}, since there are no masks"
                )
    weights = run.loss.ce.class_weights if run.loss.ce else None
    if weights is not None and len(weights) != run.outputs:
        yield (
            f"found {len(weights)} class_weights of ce, wanted {run.outputs}, one per output of"
            " the network"
        )
    positive = run.loss.bce.positive if run.loss.bce else None
    if positive is not None and len(positive) not in (1, run.outputs):
        yield f"found {len(positive)} values of bce.positive, wanted 1 or {run.outputs}"
    if run.loss.focal and run.loss.focal.alpha is not None and is_softmax:
        yield "found focal.alpha with softmax, which does not use it. Leave it out"
    if (run.loss.aux is None) != (run.model.aux_params is None):
        found, missing = (
            ("aux_params", "loss.aux") if run.model.aux_params else ("aux", "aux_params")
        )
        yield f"found {found} without {missing}, so the head would not be trained. Add it"
    thresholds = run.validate_ and "threshold" in run.validate_.model_fields_set
    if thresholds and is_softmax:
        yield "found validate.threshold with softmax, which takes the likeliest class. Leave it out"


def _window_problems(run: RunRecipe) -> Iterator[str]:
    for name, window in run.windows.items():
        if window.around == "picture" and not run.tiles.whole:
            yield (
                f"found the windows {name} around the picture, but the recipe has tiles. Write"
                " around: grid and a size"
            )
        if run.crop and window.size is not None and run.crop.size > window.size:
            yield (
                f"found a crop of {run.crop.size} px and the windows {name} of {window.size} px."
                " Lower crop.size, or enlarge the windows"
            )
    if run.crop and run.size and "fill" not in run.tiles.model_fields_set:
        height, width = run.window_size or run.size
        if run.crop.size > min(height, width):
            yield (
                f"found a crop of {run.crop.size} px and pictures of {height} x {width}, and no"
                " fill in the recipe's tiles. Add one, or lower crop.size"
            )
    for rule in run.blank:
        for name in rule.windows or ():
            if name not in run.windows:
                yield (
                    f"found the windows {name} in blank, which do not exist."
                    f" {did_you_mean(name, run.windows)}"
                )


def _shape_problems(run: RunRecipe) -> Iterator[str]:
    sizes = {window.size for window in run.windows.values()}
    if run.crop is None and len(sizes) > 1:
        shown = ", ".join("the picture's" if size is None else f"{size} px" for size in sizes)
        yield f"found windows of several sizes ({shown}) without crop, wanted crop: {{size: ...}}"
    if run.crop_size is not None and (problem := run.problem_of(*run.crop_size)):
        yield problem


def _weight_problems(run: RunRecipe) -> Iterator[str]:
    parts = run.model.parts
    for part in run.freeze:
        if parts is not None and part not in parts:
            yield (
                f"found freeze of {part:.60}, which {run.model} does not have."
                f" {did_you_mean(part, parts)}"
            )
    begins = run.init is not None or run.model.encoder_weights or run.model.pretrained
    if run.freeze and not begins:
        yield (
            f"found freeze of {', '.join(run.freeze)} without weights to begin with, so random ones"
            " would stay. Add init, or model.encoder_weights"
        )
    if run.init is not None and run.init.encoder and run.model.encoder_weights:
        yield "found init.encoder and model.encoder_weights, wanted one of them"
    if run.init is not None and run.init.encoder and run.model.kind == "timm":
        yield f"found init.encoder with the classifier {run.model.model_name}. Write init.model"
    if run.optimiser.encoder_lr != 1 and run.model.kind == "timm":
        yield "found optimiser.encoder_lr with a classifier, which has no encoder. Leave it out"


def _schedule_problems(run: RunRecipe) -> Iterator[str]:
    schedule, lr = run.schedule, run.optimiser.lr
    if run.epochs % schedule.restarts:
        yield (
            f"found {run.epochs} epochs and {schedule.restarts} restarts, wanted a multiple, such"
            f" as {max(1, run.epochs // schedule.restarts) * schedule.restarts} epochs"
        )
    for name in ("warmup_lr", "min_lr"):
        if getattr(schedule, name) >= lr:
            yield (
                f"found schedule.{name} {getattr(schedule, name):g}, wanted less than optimiser.lr"
                f" ({lr:g})"
            )


def _saving_problems(run: RunRecipe) -> Iterator[str]:
    if run.validate_ is None:
        if run.patience is not None:
            yield "found patience without validate, so nothing could improve. Add validate"
        if "best" in run.keep:
            yield "found keep best without validate, which says what is best. Write keep: [last]"
    if not run.keep and not run.snapshot_epochs:
        yield "found that no checkpoint is kept, wanted best or last in keep, or snapshots"
    if run.patience is not None and run.schedule.snapshots:
        yield "found patience with snapshots, wanted every period to its end. Leave patience out"


def _augment_problems(step: AugmentStep, run: RunRecipe, dtype: str | None) -> Iterator[str]:
    found = f"found the augmentation {step.name} and"
    bands = run.input.image_bands
    if step.name in _OF_RGB and len(bands) != 3:
        yield (
            f"{found} an input of the image's bands {sorted(bands)}, wanted red, green and blue."
            " Take recolour, which works on normalised values"
        )
    if step.name == "channel_shuffle" and len(bands) < 2:
        yield f"{found} an image of one band, which has no other order. Leave it out"
    if step.name in (*_OF_RGB, *_OF_INTEGERS):
        kind = "decibels" if isinstance(run.input.decibel, Decibel) else None
        kind = kind or ("values from minmax" if run.input.minmax else None)
        if kind is None and dtype == "float32":
            kind = dtype
        if kind is not None:
            yield (
                f"{found} an input of {kind}, wanted whole numbers with a greatest value. Take"
                " recolour, which works on normalised values"
            )
        elif step.name == "clahe" and dtype not in (None, "uint8"):
            yield f"{found} images of {dtype}, wanted uint8. Take recolour or two_gamma"
