"""Which of a fold's checkpoints are taken, by what their names say.

A name may hold a score, a loss, an epoch and words such as `ema` or `best`. A number belongs to the
words before it. Only a loss or an error, named so, is better if it is lower.

>>> Snapshot.read(Path("e30_t50_cmax_ema_0.9312.pth")).score
0.9312
>>> Snapshot.read(Path("epoch=29-val_loss=0.12.ckpt")).loss
0.12
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, Self

from kernelkit.errors import CheckpointError, listed
from kernelkit.vocabulary import Prefer

__all__ = ["Choice", "Snapshot", "choose_snapshot", "choose_snapshots", "says_averaged"]

# A number with a decimal point that no letter follows. A sign counts after "=" only.
_NUMBER = re.compile(r"((?<==)-)?(?<![\d.])\d*\.\d+(?:e[-+]\d+)?(?![A-Za-z\d]|\.\d)")
_WORD = re.compile(r"[A-Za-z]+")
_EPOCH = re.compile(r"(?<![A-Za-z\d.])(?:epoch|ep|e)[-_=]?(\d+)", re.IGNORECASE)
# Lightning's counter for files of one name.
_VERSION = re.compile(r"-v(\d+)$")

_LOSSES = {"err", "mse", "mae", "rmse", "nll"}
_LOSS_ENDINGS = ("loss", "losses", "error", "errors")
# Numbers after these words are settings.
_SETTINGS = {
    *("alpha", "beta", "decay", "drop", "dropout", "gamma", "lr", "momentum", "scale", "smooth"),
    *("thr", "thresh", "threshold", "version", "wd"),
}
_EMA = {"ema"}
_AVERAGED = {"swa", "swad", "avg", "average", "averaged", "averaging", "polyak"}
_BEST = {"best"}
_LAST = {"last", "latest", "final"}
# What training codes save beside the weights.
_NO_WEIGHTS = {"args", "optim", "optimiser", "optimizer", "rng", "scaler", "scheduler"}
# How many names a note lists.
_SHOWN = 3


@dataclass(frozen=True)
class Snapshot:
    """What a checkpoint's name says.

    Attributes
    ----------
    path
        The checkpoint.
    kind
        `ema`, `averaged` (such as SWA), or `raw`.
    score, loss
        The last of each that the name has, or None. Of losses, one that is not of training.
    epoch
        The epoch, or -1.
    standing
        `best` or `last` if the name says so, `other` for what is no network, else None.
    """

    path: Path
    kind: Literal["ema", "averaged", "raw"]
    score: float | None
    loss: float | None
    epoch: int
    standing: Literal["best", "last", "other"] | None

    @classmethod
    def read(cls, path: Path, stem: str | None = None) -> Self:
        """Read the name of `path`, or the part of it before its suffix."""
        stem = path.stem if stem is None else stem
        words = _words(stem)
        score, loss = _figures(stem)
        epoch = _EPOCH.search(stem)
        return cls(
            path=path,
            kind="ema" if words & _EMA else "averaged" if words & _AVERAGED else "raw",
            score=score,
            loss=loss,
            epoch=int(epoch[1]) if epoch else -1,
            standing="other"
            if words & _NO_WEIGHTS
            else "best"
            if words & _BEST
            else "last"
            if words & _LAST
            else None,
        )

    @property
    def rank(self) -> tuple[float | int | bool | str, ...]:
        """The key by which checkpoints are compared. The best has the largest."""
        tier, figure = 1, 0.0
        if self.standing == "other":
            tier = -1
        elif self.score is not None:
            tier, figure = 3, self.score
        elif self.loss is not None:
            tier, figure = 2, -self.loss
        elif self.standing == "best":
            tier = 4
        elif self.standing == "last":
            tier = 0
        version = _VERSION.search(self.path.stem)
        return (
            tier,
            figure,
            self.epoch,
            self.path.suffix == ".safetensors",
            int(version[1]) if version else 0,
            self.path.stat().st_mtime_ns,
            self.path.name,
        )

    @property
    def merit(self) -> str:
        """Why it was taken, in a few words."""
        if self.score is not None:
            return f"its name says {self.score:g}, the highest score"
        if self.loss is not None:
            return f"its name says {self.loss:g}, the lowest loss"
        if self.standing == "best":
            return "its name says best"
        if self.epoch >= 0:
            return f"its epoch is {self.epoch}, and no name has a score"
        return "it is the newest, and no name has a score"


def says_averaged(name: str) -> bool:
    """Whether a name says that weights are averaged.

    >>> says_averaged("state_dict_ema"), says_averaged("model.")
    (True, False)
    """
    return bool(_words(name) & (_EMA | _AVERAGED))


def _words(name: str) -> set[str]:
    return {word.lower() for word in _WORD.findall(name)}


def _figures(stem: str) -> tuple[float | None, float | None]:
    """The score and the loss in a name. A loss of validation wins over one of training."""
    scores: list[float] = []
    losses: list[tuple[bool, float]] = []
    end = 0
    for match in _NUMBER.finditer(stem):
        words = [word.lower() for word in _WORD.findall(stem[end : match.start()])]
        end = match.end()
        if words and words[-1] in _SETTINGS:
            continue
        if any(word in _LOSSES or word.endswith(_LOSS_ENDINGS) for word in words):
            losses.append(("train" not in words, float(match[0])))
        else:
            scores.append(float(match[0]))
    of_validation = [loss for is_other, loss in losses if is_other]
    kept = of_validation or [loss for _, loss in losses]
    return (scores[-1] if scores else None), (kept[-1] if kept else None)


@dataclass(frozen=True)
class Choice:
    """A checkpoint that stands for a fold, alone or with others.

    Attributes
    ----------
    snapshot
        The checkpoint.
    prefer
        Which weights in the file are taken, if it holds several: `ema`, `raw`, or the `best`.
    note
        Which was taken and which were left, in a sentence. None if there was one.
    """

    snapshot: Snapshot
    prefer: Prefer
    note: str | None = field(default=None, compare=False)


def choose_snapshots(
    fold: Path, snapshots: Sequence[Snapshot], wanted: Sequence[Prefer]
) -> list[Choice]:
    """Choose the checkpoints that stand for a fold, one per word, or each with `all`.

    The best and the last may be one file. It is then chosen once.

    Raises
    ------
    CheckpointError
        As `choose_snapshot`.
    """
    if "all" in wanted:
        networks = [snapshot for snapshot in snapshots if snapshot.standing != "other"]
        by_epoch = sorted(networks or snapshots, key=lambda s: (s.epoch, s.path.name))
        return [Choice(snapshot, "best") for snapshot in by_epoch]
    if len(wanted) == 1:
        return [choose_snapshot(fold, snapshots, wanted[0])]
    words: dict[Choice, list[str]] = {}
    for word in wanted:
        words.setdefault(choose_snapshot(fold, snapshots, word), []).append(word)
    return [
        replace(choice, note=f"{_shown(fold)}: {choice.snapshot.path.name} is {_as(names)}")
        for choice, names in words.items()
    ]


def _as(words: Sequence[str]) -> str:
    """As what a checkpoint was taken."""
    if len(words) == 1:
        return f"taken as the {words[0]} checkpoint"
    return f"the {' and the '.join(words)} checkpoint, so it counts once"


def choose_snapshot(fold: Path, snapshots: Sequence[Snapshot], prefer: Prefer) -> Choice:
    """Choose the checkpoint that stands for a fold.

    If `ema` is preferred and no name says so, averaged weights may lie inside of a plain file. So
    all compete then. The `last` is that whose name says so, or has the highest epoch.

    Raises
    ------
    CheckpointError
        Plain weights are preferred, and all names say that they are averaged. Or the last is, and
        no name says an epoch.
    """
    if prefer == "last":
        return _last(fold, snapshots)
    plain = [snapshot for snapshot in snapshots if snapshot.kind == "raw"]
    ema = [snapshot for snapshot in snapshots if snapshot.kind == "ema"]
    averaged = [snapshot for snapshot in snapshots if snapshot.kind == "averaged"]
    competing = {"ema": ema or averaged or plain, "raw": plain}.get(prefer, list(snapshots))
    if not competing:
        raise CheckpointError(
            f"{fold}: there is no {prefer} checkpoint, as the recipe wants "
            f"(there is {_some(snapshots)}). Let it take the best"
        )
    taken = max(competing, key=lambda snapshot: snapshot.rank)
    return _choice(fold, snapshots, taken, prefer, taken.merit)


def _last(fold: Path, snapshots: Sequence[Snapshot]) -> Choice:
    """The checkpoint of the last epoch. Among several of it, the one that `best` would take."""
    networks = [snapshot for snapshot in snapshots if snapshot.standing != "other"] or snapshots
    last = [snapshot for snapshot in networks if snapshot.standing == "last"]
    latest = max(snapshot.epoch for snapshot in networks)
    if not last and len(networks) > 1 and latest < 0:
        raise CheckpointError(
            f"{fold}: no name says which checkpoint is the last (there is {_some(snapshots)}). "
            "Write the epoch into the names, such as e30.pth"
        )
    competing = last or [snapshot for snapshot in networks if snapshot.epoch == latest]
    taken = max(competing, key=lambda snapshot: snapshot.rank)
    merit = "its name says last" if last else f"its epoch is {latest}, the highest"
    return _choice(fold, snapshots, taken, "best", merit)


def _choice(
    fold: Path, snapshots: Sequence[Snapshot], taken: Snapshot, prefer: Prefer, merit: str
) -> Choice:
    left = [snapshot for snapshot in snapshots if snapshot is not taken]
    note = f"{_shown(fold)}: {taken.path.name} is taken, because {merit}. Left out: {_some(left)}"
    return Choice(taken, prefer, note if left else None)


def _shown(fold: Path) -> str:
    return f"{fold.parent.name}/{fold.name}"


def _some(snapshots: Sequence[Snapshot]) -> str:
    return listed([snapshot.path.name for snapshot in snapshots], _SHOWN)
