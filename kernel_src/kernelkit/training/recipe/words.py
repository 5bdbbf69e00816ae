"""A training recipe in words: a line per run."""

from typing import TYPE_CHECKING

from kernelkit.training.recipe.run import RunRecipe

if TYPE_CHECKING:
    from kernelkit.training.recipe.training import TrainingRecipe

__all__ = ["described"]

_HEADS: tuple[str, ...] = (
    "run",
    "task",
    "network",
    "sees",
    "loss",
    "optimiser",
    "schedule",
    "epochs",
)


def described(recipe: "TrainingRecipe") -> str:
    """Return a recipe as its authors would say it, with a table of its runs."""
    rows = [_HEADS, *(_row(name, run) for name, run in recipe.runs.items())]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    head = f"{recipe.name}: {recipe.summary}"
    return "\n".join([head, f"predicted by {recipe.predicts}", *lines])


def _row(name: str, run: RunRecipe) -> tuple[str, ...]:
    terms = " + ".join(
        term if one.weight == 1 else f"{one.weight:g} {term}"
        for term, one in run.loss.terms.items()
    )
    schedule: str = run.schedule.name
    if run.schedule.restarts > 1:
        schedule += f", {run.schedule.restarts} restarts"
    if run.schedule.warmup:
        schedule += f", warm-up {run.schedule.warmup:.0%}"
    shape = run.crop_size
    batch = run.batch * run.accumulate
    return (
        name,
        run.task,
        str(run.model),
        f"{batch} x {'pictures' if shape is None else f'{shape[0]} x {shape[1]} px'}",
        terms,
        f"{run.optimiser.name} {run.optimiser.lr:g}",
        schedule,
        str(run.epochs),
    )
