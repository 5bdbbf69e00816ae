"""report.html of a run: one file with scores, curves, pictures and settings.

It holds no address and no script, so it can be opened anywhere.
"""

import base64
import html
import io
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from kernelkit.training.fold_folder import FoldFolder
from kernelkit.training.run_summary import SCORES, FoldSummary, fold_summary

__all__ = ["curves", "report_body", "report_page", "summary_table"]

# Pictures of one fold. More would only make the file large.
_MOST_PICTURES = 12
# What a picture of the validation shows.
_STRIP = (
    "From left to right: the image, what was found over it, what was found, the labels over it, "
    "and the labels. A picture of crops shows what the network learned from first."
)
# Bytes of one picture that is put into the page.
_LARGEST_PICTURE = 4 << 20
_KINDS = {".png": "image/png", ".jpg": "image/jpeg"}
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 1100px; padding: 0 1em;
       color: #222; background: #fff }
table { border-collapse: collapse } th, td { padding: .3em .9em; text-align: right }
th { border-bottom: 2px solid #888 } td { border-bottom: 1px solid #ddd }
th:first-child, td:first-child { text-align: left }
img { max-width: 100% } figure { margin: 1em 0 } figcaption { color: #666 }
pre { background: #f5f5f5; padding: 1em; overflow: auto; font-size: 13px }
"""


def report_page(run_folder: Path, folds: Sequence[FoldFolder]) -> str:
    """The page about a run, as HTML.

    Parameters
    ----------
    run_folder
        The run's folder, with its cfg.yaml.
    folds
        Its folds. Numbers that a fold lacks leave out its curves.
    """
    title = html.escape(run_folder.name)
    settings = html.escape((run_folder / "cfg.yaml").read_text(encoding="utf-8"))
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{_STYLE}</style></head>\n<body>\n{report_body(run_folder, folds)}\n"
        f"<h2>Settings</h2>\n<pre>{settings}</pre>\n</body></html>\n"
    )


def report_body(
    run_folder: Path, folds: Sequence[FoldFolder], most_pictures: int = _MOST_PICTURES
) -> str:
    """The scores, curves and pictures of a run, as a part of a page.

    Parameters
    ----------
    run_folder, folds
        As of `report_page`.
    most_pictures
        How many pictures there are of each fold.
    """
    summaries = [fold_summary(fold.path) for fold in folds]
    parts = [
        f"<h1>{html.escape(run_folder.name)}</h1>",
        f"<p>{html.escape(_in_words(summaries))}</p>",
        summary_table(summaries).to_html(index=False, border=0, na_rep="-", escape=True),
        _curves_in_html(folds),
        *(_pictures(fold, most_pictures) for fold in folds),
    ]
    return "\n".join(filter(None, parts))


def summary_table(summaries: Sequence[FoldSummary]) -> pd.DataFrame:
    """What each fold reached, one row per fold, for people."""
    rows = [
        {
            "fold": one.name,
            "best": _score(one.best),
            "at epoch": "-" if one.best_epoch is None else str(one.best_epoch),
            "weights": one.weights or "-",
            "last": _score(one.last),
            "epochs": f"{one.epochs} of {one.total}" if one.total else str(one.epochs),
            "checkpoints": one.checkpoints,
            "MB": round(one.bytes / 1e6, 1),
            "date": "-" if one.date is None else f"{one.date:%Y-%m-%d %H:%M}",
        }
        for one in summaries
    ]
    return pd.DataFrame(rows)


def curves(folds: Sequence[FoldFolder]) -> bytes | None:
    """A picture of losses, scores and learning rates over the epochs, as PNG.

    Each fold has its colour. The averaged weights' score is dashed. None if no fold has numbers.
    """
    tables = {fold.path.name: table for fold in folds if len(table := fold.metrics())}
    if not tables:
        return None
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(12, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 3)
    panels = (("loss", ("loss",)), ("score", SCORES), ("learning rate", ("lr",)))
    for axis, (title, names) in zip(axes, panels, strict=True):
        for number, (fold, table) in enumerate(tables.items()):
            for name in names:
                if name in table:
                    known = table[["epoch", name]].dropna()
                    style = "--" if name == "ema" else "-"
                    label = f"{fold} {name}" if len(names) > 1 else fold
                    axis.plot(
                        *(known["epoch"], known[name], style),
                        marker=".",
                        color=f"C{number % 10}",
                        label=label,
                    )
        axis.set_title(title)
        axis.set_xlabel("epoch")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axis.grid(alpha=0.3)
    handles, labels = axes[1].get_legend_handles_labels()
    if handles:
        axes[1].legend(handles, labels, fontsize=8)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=100)
    return picture.getvalue()


def _in_words(summaries: Sequence[FoldSummary]) -> str:
    scores = [one.best for one in summaries if one.best is not None]
    if not scores:
        return "No fold has a score yet"
    mean = sum(scores) / len(scores)
    count = "1 fold" if len(scores) == 1 else f"{len(scores)} folds"
    return f"Mean of the best scores: {mean:.4f} over {count}"


def _score(score: float | None) -> str:
    return "-" if score is None else f"{score:.4f}"


def _curves_in_html(folds: Sequence[FoldFolder]) -> str:
    picture = curves(folds)
    if picture is None:
        return ""
    return f"<h2>Curves</h2>\n<figure>{_image(picture, '.png', 'curves')}</figure>"


def _pictures(fold: FoldFolder, most: int) -> str:
    shown = fold.shown()
    if not shown:
        return ""
    figures = []
    for path in shown[:most]:
        content = path.read_bytes()
        image = (
            _image(content, path.suffix, path.stem)
            if len(content) <= _LARGEST_PICTURE
            else f"{len(content) / 1e6:.0f} MB, too large for this page"
        )
        caption = html.escape(path.stem)
        figures.append(f"<figure>{image}<figcaption>{caption}</figcaption></figure>")
    if len(shown) > most:
        figures.append(f"<p>{len(shown) - most} more in the folder of the fold</p>")
    heading = f"<h2>Validation of {html.escape(fold.path.name)}</h2>\n<p>{_STRIP}</p>"
    return "\n".join([heading, *figures])


def _image(content: bytes, suffix: str, name: str) -> str:
    encoded = base64.b64encode(content).decode()
    return f'<img alt="{html.escape(name)}" src="data:{_KINDS[suffix]};base64,{encoded}">'
