"""What the leaderboard said about the runs of a models folder, as the ledger has it.

An entry of the ledger names the weights that its submission was made with, by their hashes. So a
run that was trained again under the same name does not inherit a score.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from devkit.kaggle.submissions.ledger import Entry
from kernelkit.errors import KernelKitError

__all__ = ["entries_of"]


def entries_of(models: Path, run: str, entries: Sequence[Entry]) -> list[Entry]:
    """The scored entries whose submissions were made with weights of a run.

    Parameters
    ----------
    models
        The folder of the run folders, or the run itself.
    run
        The name of the run.
    entries
        Those of the ledger.

    Returns
    -------
    In the order of the ledger. Weights are loaded only if an entry names the run. Weights that
    cannot be loaded have no entries.
    """
    named = [entry for entry in entries if entry.status == "scored" and _of_run(run, entry.weights)]
    if not named:
        return []
    hashes = _hashes(models, run)
    return [entry for entry in named if hashes & set(_of_run(run, entry.weights).values())]


def _of_run(run: str, weights: Mapping[str, str]) -> dict[str, str]:
    """The members of a run among those of a submission, with the hashes of their weights."""
    return {name: sha256 for name, sha256 in weights.items() if name.split("/")[0] == run}


def _hashes(models: Path, run: str) -> set[str]:
    """The hashes of the weights of all checkpoints of a run."""
    # torch takes seconds to import
    from kernelkit.checkpoints import load_members

    try:
        members = load_members(models, [run], checkpoints="all")
    except KernelKitError:
        return set()
    return {member.weights_sha256 for member in members}
