"""report.html of a validation: one file, without addresses and scripts.

It begins with the scores. Then it says what other thresholds would be worth, and whether
probabilities can be believed. It ends with what each run adds, and with what is found badly.
"""

import base64
import html
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pandas as pd

from kernelkit.ensemble.layers import runs_of
from kernelkit.evaluation.analysis import (
    calibrate,
    leave_one_run_out,
    score_by_object_size,
    score_objects,
)
from kernelkit.evaluation.figures import (
    doubts_of,
    draw_calibration,
    draw_image,
    draw_surface,
    draw_threshold,
)
from kernelkit.evaluation.out_of_fold import OutOfFold
from kernelkit.evaluation.scored import MasksOf, ScoreTable, with_data
from kernelkit.evaluation.tuning import Asked, Tuned, tune
from kernelkit.files import open_atomically
from kernelkit.predict.hand_in.variants import Way
from kernelkit.slide import Slide
from kernelkit.vocabulary import Score, Sharing

__all__ = ["write_report"]

# How many of the worst images are shown.
_WORST = 12
_SCORES: tuple[tuple[str, Score], ...] = (
    ("Dice per image", "dice"),
    ("Dice over all pixels", "set"),
    ("IoU per image", "iou"),
    ("precision at IoU .5 to .95", "precision"),
)
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 1300px; padding: 0 1em;
       color: #222; background: #fff }
table { border-collapse: collapse; margin: 1em 0 }
th, td { padding: .3em .9em; text-align: right; border-bottom: 1px solid #ddd }
th { border-bottom: 2px solid #888 } th:first-child, td:first-child { text-align: left }
img { max-width: 100%; vertical-align: top } figure { margin: 1em 0 } figcaption { color: #555 }
.big { font-size: 28px }
"""


def write_report(
    found: OutOfFold,
    truth: MasksOf,
    table: ScoreTable,
    path: Path,
    views: Mapping[str, Mapping[str, ScoreTable]] | None = None,
) -> None:
    """Write the report.

    Parameters
    ----------
    found
        The out-of-fold predictions.
    truth
        Gives the true masks of an image.
    table
        The scores of the masks that would be submitted.
    views
        By ensemble, the scores of all views and without each, if they were predicted.

    Raises
    ------
    EvaluationError
        The predictions cannot be scored.
    OSError
        The file cannot be written.
    """
    body = "\n".join(_parts(found, truth, table, views or {}))
    title = html.escape(f"{found.recipe.name}, out of fold")
    with open_atomically(path) as file:
        file.write(
            f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
            f"<style>{_STYLE}</style></head>\n<body>\n<h1>{title}</h1>\n{body}\n</body></html>\n"
        )


def _parts(
    found: OutOfFold,
    truth: MasksOf,
    table: ScoreTable,
    views: Mapping[str, Mapping[str, ScoreTable]],
) -> Iterator[str]:
    yield (
        f"<p class=big>Dice per image {table.interval('dice')}</p><p>{len(table.images)} images. "
        "In brackets is where the score lies in 95 of 100 draws of such images.</p>"
    )
    yield _html(_headline(table))
    frame = table.frame(fold=found.folds)
    yield "<h2>By fold</h2>" + _html(_by(frame, "fold"))
    ensembles = {image.image: image.ensemble for image in found.report.images}
    for name in dict.fromkeys(ensembles[image] for image in table.images):
        images = [image for image in table.images if ensembles[image] == name]
        yield from _of_ensemble(found, truth, name, images)
        if name in views:
            yield f"<h2>Views of {html.escape(name)}</h2>" + _html(_compared(views[name], "views"))
    masks = with_data(found.masks.__getitem__, found.masks.held)
    yield "<h2>Objects</h2>" + _html(score_objects(table.images, table.classes, masks, truth))
    yield "<h2>By size of true object</h2>" + _html(
        score_by_object_size(table.images, masks, truth)
    )
    yield "<h2>Worst images first</h2><p>Predicted, true, and what differs: green is right, red is"
    yield "wrong, blue is missed. Last, where runs disagree: black is nowhere.</p>"
    yield from _worst(found, truth, table, ensembles)
    if found.notes:
        yield "<h2>Notes</h2>" + "".join(f"<p>{html.escape(note)}</p>" for note in found.notes)


def _headline(table: ScoreTable) -> pd.DataFrame:
    """Each score with its interval, and of each class."""
    rows = []
    for name, score in _SCORES:
        classes = {c: f"{value:.4f}" for c, value in table.per_class(score).items()}
        rows.append({"score": name, "all": str(table.interval(score)), **classes})
    frame = pd.DataFrame(rows)
    return frame.drop(columns="") if table.classes == ("",) else frame


def _by(frame: pd.DataFrame, column: str) -> pd.DataFrame:
    parts = frame.groupby(column)
    table = parts[["dice", "iou", "precision", "recall"]].mean()
    table.insert(0, "images", parts["image"].nunique())
    return table.reset_index()


def _of_ensemble(
    found: OutOfFold, truth: MasksOf, name: str, images: Sequence[str]
) -> Iterator[str]:
    """Thresholds, calibration and runs of one ensemble."""
    way = next(iter(found.masks.ways.values()))[name]
    sharing: Sharing = "class" if len(found.recipe.competition.labels) > 1 else "common"
    tuned = tune(found, truth, name, Asked(sharing=sharing))
    yield f"<h2>Thresholds of {html.escape(name)}</h2>"
    yield from _thresholds(tuned)
    calibration = calibrate(images, found.masks.stored, way, truth, found.recipe.competition.labels)
    yield f"<h2>Calibration of {html.escape(name)}</h2>" + _picture(
        draw_calibration(calibration),
        f"Expected calibration error {calibration.error:.4f} over all pixels",
    )
    runs = _runs(found, way, images[0])
    if len(runs) > 1:
        scores = leave_one_run_out(
            images, tuned.table.classes, found.masks.stored, way, truth, runs
        )
        yield f"<h2>Runs of {html.escape(name)}</h2>" + _html(_compared(scores, "runs"))


def _thresholds(tuned: Tuned) -> Iterator[str]:
    if tuned.survival is not None:
        yield f"<p>{html.escape(str(tuned.survival))}.</p>"
    for key, optimum in tuned.chosen.optima.items():
        surface = tuned.chosen.surfaces[key]
        space = tuned.table.space
        yield _picture(draw_threshold(surface, space, optimum), f"{key} {optimum}".strip())
        yield _picture(draw_surface(surface, space, optimum), "")
    yield "".join(f"<p>{html.escape(note)}.</p>" for note in tuned.notes)


def _compared(scores: Mapping[str, ScoreTable], what: str) -> pd.DataFrame:
    """What each choice scores, and how much more than all of them."""
    return pd.DataFrame(
        {
            what: name,
            "Dice per image": f"{table.interval('dice').value:.4f}",
            "beside all": str(table.gain(scores["all"])),
        }
        for name, table in scores.items()
    )


def _worst(
    found: OutOfFold, truth: MasksOf, table: ScoreTable, ensembles: Mapping[str, str]
) -> Iterator[str]:
    scores = table.frame().groupby("image")["dice"].mean().sort_values(kind="stable")
    for name, dice in list(scores.items())[:_WORST]:
        image = str(name)
        way = next(iter(found.masks.ways.values()))[ensembles[image]]
        stored = found.masks.stored(image)
        doubts = doubts_of(stored, way, _runs(found, way, image))
        with Slide(found.scenes[image].paths, nodata=found.recipe.competition.nodata) as slide:
            picture = draw_image(slide, stored.masks(way), truth(image), doubts)
        yield _picture(picture, f"{image}, Dice {dice:.4f}, fold {found.folds[image]}")


def _runs(found: OutOfFold, way: Way, image: str) -> list[str]:
    names = found.masks.stored(image).names
    return list(dict.fromkeys(runs_of(way.ensemble, names)))


def _picture(content: bytes, caption: str) -> str:
    data = base64.b64encode(content).decode()
    return (
        f'<figure><img alt="{html.escape(caption, quote=True)}" '
        f'src="data:image/png;base64,{data}"><figcaption>{html.escape(caption)}</figcaption>'
        "</figure>"
    )


def _html(frame: pd.DataFrame) -> str:
    text: str = frame.to_html(index=False, border=0, escape=True, float_format="{:.4f}".format)
    return text
