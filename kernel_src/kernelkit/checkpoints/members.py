"""`load_members`: folders of training runs become networks, one fresh module per checkpoint.

A models folder may hold runs in any of these forms, where `<run>` may have any name:

    <run>/cfg.yaml                        a section MODEL describes the network
    <run>/fold_<i>/models/e*.pth          its checkpoints, also in model/ or in the fold itself
    <run>/config.json, model.safetensors  as save_pretrained of the library writes, also per fold
    {Arch}_{encoder}[_scse]/<n>/e*.pth    no cfg.yaml: the folder's name describes the network

A fold's best checkpoint is the one with the best score in its name, such as
`e30_t50_cmax_ema_0.9312.pth` (see `snapshots`). Several of a fold can be members, each for itself.
A checkpoint may also be a program (see `programs`). Programs are loaded only on request.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import get_args

from kernelkit.checkpoints.checkpoint_files import SUFFIXES, checkpoint_stem
from kernelkit.checkpoints.loader import MemberLoader
from kernelkit.checkpoints.member import Member
from kernelkit.checkpoints.run_folders import (
    checkpoints_of,
    folds_of,
    matching_runs,
    refuse_odd_checkpoints,
)
from kernelkit.checkpoints.runtime import Runtime
from kernelkit.checkpoints.snapshots import Choice, Snapshot, choose_snapshots
from kernelkit.console import progress
from kernelkit.errors import CheckpointError, RecipeError
from kernelkit.vocabulary import Prefer, choices

__all__ = ["load_groups", "load_members"]

# Files that are read at once. A mounted disk gives one reader a fifth of what it gives sixteen.
_READERS = 16


def load_members(
    folder: str | Path,
    runs: Sequence[str] = ("*",),
    *,
    checkpoints: Prefer | Sequence[Prefer] = "best",
    programs: bool = False,
    runtime: Runtime | None = None,
) -> list[Member]:
    """Load every fold of the runs in a models folder.

    The members are in the order of the runs' names, then of the folds' numbers. Those of a fold are
    in the order of the words in `checkpoints`, or with `all` of the epochs.

    Parameters
    ----------
    folder
        The models folder. It may also be a run itself, which is then the only one.
    runs
        Glob patterns. The runs whose names match one of them are loaded.
    checkpoints
        Which checkpoints of a fold are loaded: that with the best score (`best`), that of the
        highest epoch (`last`), or `all`. `ema` is the best with averaged weights, and `raw` the
        best with others, as names or entries say. Several words give several members.
    programs
        Load programs as well. TorchScript and torch.export archives can run code when they are
        loaded. Use this only if you trust their source.
    runtime
        Where programs run. None is on the CPU.

    Raises
    ------
    CheckpointError
        A pattern matches no run, or a fold has no checkpoint. A network cannot be built, or its
        weights do not fit it. Two members have the same weights.
    RecipeError
        `checkpoints` is none of the above.
    """
    return load_groups(folder, [(runs, checkpoints)], programs=programs, runtime=runtime)[0]


def load_groups(
    folder: str | Path,
    groups: Sequence[tuple[Sequence[str], Prefer | Sequence[Prefer]]],
    *,
    programs: bool = False,
    runtime: Runtime | None = None,
) -> list[list[Member]]:
    """Load several groups of members. What two groups have in common is loaded once.

    Files are read and hashed side by side. Members, notes and errors are those of loading one by
    one: of several errors, the first member's is raised.

    Parameters
    ----------
    folder, programs, runtime
        As for `load_members`.
    groups
        The `runs` and `checkpoints` of each group, as for `load_members`.

    Raises
    ------
    CheckpointError, RecipeError
        As `load_members`.
    """
    asked = [(runs, _words(checkpoints)) for runs, checkpoints in groups]
    patterns = [pattern for runs, _ in asked for pattern in runs]
    found: list[_Found] = []
    for run in matching_runs(Path(folder), patterns):
        wanted = [w if _matches(run.name, runs) else () for runs, w in asked]
        found += [_find(fold, run, wanted) for fold in folds_of(run)]
    everything = iter(_load_all(found, programs, runtime or Runtime()))
    loaded: list[list[Member]] = [[] for _ in groups]
    for one in found:
        members = _fold_of({choice: next(everything) for choice in one.choices}, one.is_all)
        for group, chosen in zip(loaded, one.groups, strict=True):
            group += dict.fromkeys(members[choice] for choice in chosen)
    _refuse_duplicates([member for group in loaded for member in group])
    return loaded


def _words(checkpoints: Prefer | Sequence[Prefer]) -> tuple[Prefer, ...]:
    words = (checkpoints,) if isinstance(checkpoints, str) else tuple(checkpoints)
    for word in words:
        if word not in get_args(Prefer):
            raise RecipeError(f'there are no checkpoints "{word}". Choose {choices(Prefer)}')
    return words


def _matches(run: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(run, pattern) for pattern in patterns)


@dataclass(frozen=True)
class _Found:
    """A fold, and the checkpoints of it that each group takes."""

    fold: Path
    run: Path
    groups: Sequence[Sequence[Choice]]
    is_all: bool

    @property
    def choices(self) -> list[Choice]:
        """The checkpoints of all groups, each once."""
        return list(dict.fromkeys(choice for group in self.groups for choice in group))


def _find(fold: Path, run: Path, wanted: Sequence[Sequence[Prefer]]) -> _Found:
    refuse_odd_checkpoints(fold)
    paths = checkpoints_of(fold)
    if not paths:
        raise CheckpointError(
            f"{fold}: there is no checkpoint in it ({', '.join(SUFFIXES)}). Finish the training, "
            "or remove the folder"
        )
    snapshots = [Snapshot.read(path, checkpoint_stem(path)) for path in paths]
    groups = [choose_snapshots(fold, snapshots, words) if words else [] for words in wanted]
    return _Found(fold, run, groups, is_all=any("all" in words for words in wanted))


def _load_all(found: Sequence[_Found], programs: bool, runtime: Runtime) -> list[Member]:
    """The members of all choices, in their order."""
    wanted = [(one.fold, one.run, choice) for one in found for choice in one.choices]
    total = len(wanted)
    bar = progress(None, description="members", unit="network", total=total, disable=total < 2)
    begun: list[tuple[MemberLoader, Future[None]]] = []
    loaded: list[Member] = []
    size = 0
    late: CheckpointError | None = None
    with bar, ThreadPoolExecutor(_READERS, "members") as pool:
        try:
            for fold, run, choice in wanted:
                loader = MemberLoader(fold, run, choice, programs, runtime)
                begun.append((loader, pool.submit(loader.read)))
        except CheckpointError as error:  # a member before it may have an error too
            late = error
        try:
            for loader, reading in begun:
                reading.result()
                loaded.append(loader.finish())
                size += loader.size
                bar.set_postfix_str(f"{size / 1e6:.0f} MB", refresh=False)
                bar.update()
        finally:
            pool.shutdown(cancel_futures=True)
        if late is not None:
            raise late
    return loaded


def _fold_of(loaded: dict[Choice, Member], is_all: bool) -> dict[Choice, Member]:
    """The members of a fold by its choices. Choices of the same weights have the same member."""
    if not is_all:
        loaded = _counted_once(loaded)
    if len({member.weights_sha256 for member in loaded.values()}) == 1:
        return loaded
    stems = [member.stem for member in loaded.values()]
    return {
        choice: replace(m, checkpoint=m.stem if stems.count(m.stem) == 1 else m.path.name)
        for choice, m in loaded.items()
    }


def _counted_once(loaded: Mapping[Choice, Member]) -> dict[Choice, Member]:
    """The same with one member for all checkpoints of a fold that hold the same weights."""
    firsts: dict[str, Member] = {}
    for member in loaded.values():
        first = firsts.setdefault(member.weights_sha256, member)
        if first is not member:
            note = f"{member.path}: these are the weights of {first.path.name} again"
            notes = (*first.notes, f"{note}, so they count once")
            firsts[member.weights_sha256] = replace(first, notes=notes)
    return {choice: firsts[member.weights_sha256] for choice, member in loaded.items()}


def _refuse_duplicates(members: Sequence[Member]) -> None:
    """Refuse two members with the same weights, because one network would count twice."""
    seen: dict[str, Member] = {}
    for member in members:
        first = seen.setdefault(member.origin_sha256, member)
        if first.path != member.path or first.name != member.name:
            raise CheckpointError(
                f"{member.path}: these are the weights of {first.path} again. An ensemble needs "
                "different members, so remove one of the two"
            )
