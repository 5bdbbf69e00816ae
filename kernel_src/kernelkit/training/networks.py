"""`build_network`: a fresh network of a run, with the weights that it begins with.

Nothing is fetched unless the user's environment says so. Pretrained weights come from the cache of
the machine, or from a file that the recipe names.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from kernelkit.checkpoints.checkpoint_files import checkpoint_stem
from kernelkit.checkpoints.networks import build
from kernelkit.checkpoints.run_folders import checkpoints_of, folds_of
from kernelkit.checkpoints.snapshots import Choice, Snapshot, choose_snapshot
from kernelkit.checkpoints.states import choose_state, current_name
from kernelkit.checkpoints.stored_states import refuse_odd_tensors
from kernelkit.checkpoints.weights import read_weights
from kernelkit.errors import CheckpointError, TrainingError, listed
from kernelkit.training.pretrained import pretrained_state
from kernelkit.training.recipe import RunRecipe

if TYPE_CHECKING:
    from kernelkit.training.recipe import Init

__all__ = ["build_network", "freeze_parts"]

# A checkpoint of which less than this share fits is that of another network.
_LEAST = 0.5
# How many names a note lists.
_SHOWN = 3


def build_network(run: RunRecipe, fold: int = 0) -> tuple[nn.Module, list[str]]:
    """Return a network in training mode, and notes about its weights.

    Random weights depend on the run's seed and the fold alone.

    Parameters
    ----------
    run
        Says which network, and where its weights begin.
    fold
        Which fold is trained. Of a run folder in `init`, its checkpoint of the same fold is taken.

    Raises
    ------
    CheckpointError
        The network cannot be built, or a file of weights cannot be read or does not fit.
    TrainingError
        Pretrained weights are not on this machine, or a part that is to be frozen does not exist.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(100 * run.seed + fold)
        network = build(run.description, f"{run.name}: model")
    notes = []
    if run.model.encoder_weights or run.model.pretrained:
        notes.append(_load_pretrained(network, run))
    if run.init is not None:
        notes.append(_load_init(network, run.init, run, fold))
    for part in run.freeze:
        _part(network, part, run)
    return network.train(), notes


def freeze_parts(network: nn.Module, run: RunRecipe, epoch: int) -> None:
    """Let parts of a network learn nothing in an epoch, and all others learn.

    A part that learns nothing is in evaluation mode. So the statistics of its norms stay too.

    Parameters
    ----------
    network
        In training mode.
    run
        Says which parts stay as they are, and how long.
    epoch
        Counted from 0.
    """
    frozen = run.frozen(epoch)
    for name in run.freeze:
        part = _part(network, name, run)
        part.train(name not in frozen)
        part.requires_grad_(name not in frozen)
    for name in frozen:  # of parts inside each other, the frozen one decides
        _part(network, name, run).eval().requires_grad_(False)


def _part(network: nn.Module, name: str, run: RunRecipe) -> nn.Module:
    try:
        return network.get_submodule(name)
    except AttributeError:
        names = ", ".join(child for child, _ in network.named_children())
        raise TrainingError(
            f"{run.name}: found freeze of {name:.60}, which {run.model} does not have. Its parts "
            f"are {names}"
        ) from None


def _load_pretrained(network: nn.Module, run: RunRecipe) -> str:
    """Load pretrained weights of the libraries, and return a note about it."""
    if run.model.kind == "timm":
        target, what = network, run.model.model_name
    else:
        encoder = getattr(network, "encoder", None)
        if not isinstance(encoder, nn.Module):
            raise TrainingError(
                f"{run.name}: found model.encoder_weights, but {run.model} has no encoder. Leave "
                "them out"
            )
        target, what = encoder, f"{run.model.encoder_name} ({run.model.encoder_weights})"
    target.load_state_dict(pretrained_state(run))
    return f"{run.name}: begins with the pretrained weights of {what}"


def _load_init(network: nn.Module, init: "Init", run: RunRecipe, fold: int) -> str:
    """Load weights of a file, and return a note about it."""
    choice = _checkpoint(Path(init.model or init.encoder or ""), fold)
    path = choice.snapshot.path
    stored = read_weights(path)
    state = network.state_dict()
    whole = init.encoder is None
    names = [n for n in state if (whole or n.startswith("encoder.")) and not _is_count(n)]
    fitting: dict[str, Tensor] = {}
    for prefix in ("",) if whole else _prefixes(network, run):
        wanted = {n.removeprefix(prefix): state[n] for n in names if n.startswith(prefix)}
        chosen = choose_state(stored, wanted, choice.snapshot, choice.prefer).state
        found = {f"{prefix}{name}": tensor for name, tensor in _fitting(chosen, wanted)}
        fitting = max(fitting, found, key=len)
    left = [name for name in names if name not in fitting]
    if len(left) > (1 - _LEAST) * len(names):
        raise CheckpointError(
            f"{path}: {len(left)} of {len(names)} weights of {run.model} are not in it, such as "
            f"{left[0]}. Name the checkpoint of a network like this one in init"
        )
    refuse_odd_tensors(fitting, path)
    network.load_state_dict({**state, **fitting})
    what = "the network" if whole else "the encoder"
    rest = (
        f". Random are {listed(left, _SHOWN)}, which it lacks or has in another shape"
        if left
        else ""
    )
    return f"{run.name}: {what} begins with the weights of {path}{rest}"


def _prefixes(network: nn.Module, run: RunRecipe) -> Iterator[str]:
    """Iterate over what the names of an encoder's weights may begin with, in this network."""
    encoder = getattr(network, "encoder", None)
    if not isinstance(encoder, nn.Module):
        raise TrainingError(
            f"{run.name}: found init.encoder, but {run.model} has no encoder. Write init: "
            "{model: ...}"
        )
    yield from ("", "encoder.")
    if hasattr(encoder, "model"):
        yield "encoder.model."


def _fitting(
    state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]
) -> Iterator[tuple[str, Tensor]]:
    """Iterate over the tensors that a network has under the same name, in the same shape."""
    for name, tensor in state.items():
        current = current_name(name, wanted)
        if current in wanted and wanted[current].shape == tensor.shape:
            yield current, tensor


def _checkpoint(path: Path, fold: int) -> Choice:
    """The file of weights that a path names."""
    if not path.exists():
        raise CheckpointError(f"{path}: there is no such file or run folder. Correct init")
    if path.is_file():
        return Choice(Snapshot.read(path, checkpoint_stem(path)), "best")
    folds = folds_of(path)
    same = [one for one in folds if one.name.removeprefix("fold_") == str(fold)]
    chosen = (same or folds)[0]
    paths = checkpoints_of(chosen)
    if not paths:
        raise CheckpointError(f"{chosen}: there is no checkpoint in it. Name a file in init")
    return choose_snapshot(chosen, [Snapshot.read(p, checkpoint_stem(p)) for p in paths], "best")


def _is_count(name: str) -> bool:
    return name.endswith("num_batches_tracked")
