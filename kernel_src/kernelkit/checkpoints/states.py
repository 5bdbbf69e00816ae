"""All weights of a network into it: chosen among those of a checkpoint, by their names."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from kernelkit.checkpoints.snapshots import Snapshot, says_averaged
from kernelkit.checkpoints.stored_states import Stored
from kernelkit.errors import CheckpointError, listed
from kernelkit.vocabulary import Prefer

__all__ = ["ChosenState", "choose_state", "current_name", "load_state", "weights_sha256"]

# How many names an error lists.
_SHOWN = 3
# Keys of the one network that is trained, and prefixes of what wraps it: parallel, compiled and
# Lightning modules.
_USUAL = {
    *("", "_orig_mod", "model", "module", "net", "network"),
    *("model_state", "model_state_dict", "state_dict", "current_model_state"),
}
# Layers that the library renamed since its version 0.1.3.
_RENAMED = {
    "decoder.0.": "decoder.aspp.",
    "decoder.1.": "decoder.conv.",
    "decoder.2.": "decoder.bn.",
}


def load_state(module: nn.Module, state: Mapping[str, Tensor], what: str, source: str) -> None:
    """Put `state` into `module`, if every name and shape agrees.

    A module that has values gets copies. One that has none gets the tensors themselves.

    Parameters
    ----------
    what, source
        The network in words and the file of the weights, for errors.

    Raises
    ------
    CheckpointError
        Names are missing, unexpected or of another shape. The error lists some of each. Or weights
        are whole or complex numbers.
    """
    wanted = module.state_dict()
    state = {current_name(name, wanted): tensor for name, tensor in state.items()}
    state = _with_shared(state, wanted)
    missing = [n for n in wanted if n not in state and not n.endswith("num_batches_tracked")]
    unexpected = [n for n in state if n not in wanted]
    mismatched = [
        f"{n} is {_shape(state[n])}, not {_shape(wanted[n])}"
        for n in wanted
        if n in state and state[n].shape != wanted[n].shape
    ]
    if missing or unexpected or mismatched:
        findings = (
            _counted("missing", missing),
            _counted("unexpected", unexpected),
            _counted("of another shape", mismatched),
        )
        raise CheckpointError(
            f"{source}: these weights do not fit {what}: {', '.join(filter(None, findings))}. "
            "Give the checkpoint of this network, or correct its description"
        )
    odd = [
        f"{name} ({str(state[name].dtype).removeprefix('torch.')})"
        for name, like in wanted.items()
        if name in state and like.is_floating_point() and not state[name].is_floating_point()
    ]
    if odd:
        raise CheckpointError(
            f"{source}: found weights of another kind of numbers ({listed(odd, _SHOWN)}), wanted "
            "floating point. Save them before they are quantised or converted"
        )
    # unlike the plain one, the library's own load_state_dict drops what does not fit
    is_empty = any(tensor.is_meta for tensor in wanted.values())
    filled = {name: _as_in(state.get(name), like) for name, like in wanted.items()}
    nn.Module.load_state_dict(module, filled, assign=is_empty)


def _with_shared(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state, also under the other names of weights that two layers of the network share.

    safetensors saves such weights once.
    """
    places = {
        name: (tensor.data_ptr(), tensor.shape)
        for name, tensor in wanted.items()
        if tensor.numel() and not tensor.is_meta
    }
    given = {place: name for name, place in places.items() if name in state}
    shared = {n: state[given[p]] for n, p in places.items() if n not in state and p in given}
    return {**state, **shared}


def _as_in(given: Tensor | None, like: Tensor) -> Tensor:
    """A tensor in the form that the module keeps it in. What was not saved counts from 0."""
    if given is None:  # num_batches_tracked, which old versions did not save
        return torch.zeros(like.shape, dtype=like.dtype) if like.is_meta else like
    own = given.to(like.dtype).contiguous()
    is_part = own.untyped_storage().nbytes() > own.nbytes
    return own.clone() if is_part else own


def current_name(name: str, wanted: Mapping[str, Tensor]) -> str:
    """Today's name for a weight of an encoder that moved to timm, or of a renamed decoder."""
    if name in wanted:
        return name
    moved = name.replace("encoder.", "encoder.model.", 1)
    renamed = next(
        (new + name[len(old) :] for old, new in _RENAMED.items() if name.startswith(old)), name
    )
    for candidate in (moved, moved.replace(".stages.", ".stages_"), renamed):
        if candidate in wanted:
            return candidate
    return name


@dataclass(frozen=True)
class ChosenState:
    """The weights in a checkpoint that are a network's.

    Attributes
    ----------
    state
        The tensors by the bare network's names.
    beside
        The tensors that lie beside them, such as a loss's.
    is_averaged
        Whether they are averaged over training steps.
    others
        Where the file has weights of the other kind, averaged or not. Empty if it has none.
    """

    state: dict[str, Tensor]
    beside: dict[str, Tensor]
    is_averaged: bool
    others: str

    def notes(self, path: Path) -> list[str]:
        """What was left out of the file, one sentence each."""
        notes = []
        left = [name for name in self.beside if name != "n_averaged"]
        if left:
            notes.append(f"{path}: of its weights {_counted("are not the network's", left)}")
        if self.others:
            taken, word = ("averaged", "raw") if self.is_averaged else ("plain", "ema")
            notes.append(
                f"{path}: its {taken} weights are taken. It holds others too ({self.others}). "
                f'To take these, write "checkpoints: {word}" into the recipe'
            )
        return notes


def choose_state(
    stored: Sequence[Stored], wanted: Mapping[str, Tensor], snapshot: Snapshot, prefer: Prefer
) -> ChosenState:
    """Choose the weights that fit a network best, and are averaged or not as preferred.

    Parameters
    ----------
    stored
        All sets of weights in the file, the one that the training code itself loads first.
    wanted
        The network's own state.
    snapshot
        The file. Its name may say that its weights are averaged.
    prefer
        With other words than `ema` and `raw`, the first that fits is taken. It is an averaged one
        if the file's name says so.

    Raises
    ------
    CheckpointError
        The file has no weights of the preferred kind, or several networks that fit.
    """
    options = sorted(
        (
            _Option(one, prefix, _coverage(one.state, prefix, wanted))
            for one in stored
            for prefix in _prefixes(one.state, wanted)
        ),
        key=lambda option: (stored.index(option.stored), says_averaged(option.prefix)),
    )
    most = max(option.coverage for option in options)
    options = [option for option in options if option.coverage == most]
    if most < 1:  # it fits nowhere, and `load_state` says what is missing
        options = options[:1]
    averaged = [option for option in options if option.is_averaged]
    plain = [option for option in options if not option.is_averaged]
    if snapshot.kind != "raw" and not averaged:  # as the file's name says
        averaged, plain = plain, []
    by_name = averaged if snapshot.kind != "raw" else options
    competing = {"ema": averaged, "raw": plain}.get(prefer, by_name)
    if most < 1:
        competing = options
    if not competing:
        raise CheckpointError(
            f"{snapshot.path}: there are no {prefer} weights in it, as the recipe wants (there is "
            f"{_places(options)}). Let it take the best"
        )
    usual = [option for option in competing if option.is_usual]
    taken = (usual or competing)[0]
    if len(competing) > 1 and not usual and not taken.is_averaged:
        raise CheckpointError(
            f"{snapshot.path}: several networks in it fit ({_places(competing)}). Save the weights "
            "of one"
        )
    is_averaged = taken in averaged
    others = plain if is_averaged else averaged
    return ChosenState(
        state=taken.state,
        beside={n: t for n, t in taken.stored.state.items() if not n.startswith(taken.prefix)},
        is_averaged=is_averaged,
        others=_places(others),
    )


@dataclass(frozen=True, eq=False)
class _Option:
    """One way to read a network out of a checkpoint: a set of weights, and a prefix of names."""

    stored: Stored
    prefix: str
    coverage: float

    @property
    def state(self) -> dict[str, Tensor]:
        start = len(self.prefix)
        names = self.stored.state.items()
        return {name[start:]: tensor for name, tensor in names if name.startswith(self.prefix)}

    @property
    def is_averaged(self) -> bool:
        return self.stored.is_averaged or says_averaged(self.prefix)

    @property
    def is_usual(self) -> bool:
        """Whether it lies where training codes keep the one network that they train."""
        return {*self.prefix.split("."), *self.stored.key.split(".")} <= _USUAL

    @property
    def place(self) -> str:
        return f"{self.stored.key} {self.prefix.rstrip('.')}".strip() or "plain weights"


def _places(options: Sequence[_Option]) -> str:
    return ", ".join(option.place for option in options[:_SHOWN])


def _prefixes(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> Iterator[str]:
    """Iterate over the prefixes that a network's names may have in `state`, shortest first."""
    heads = {name.split(".", 1)[0] for name in wanted}
    found = {""}
    for name in state:
        parts = name.split(".")
        found |= {".".join(parts[:i]) + "." for i in range(1, len(parts)) if parts[i] in heads}
    yield from sorted(found, key=lambda prefix: (len(prefix), prefix))


def _coverage(state: Mapping[str, Tensor], prefix: str, wanted: Mapping[str, Tensor]) -> float:
    """The share of the network's weights that are there under their prefixed names."""
    start = len(prefix)
    names = {current_name(n[start:], wanted) for n in state if n.startswith(prefix)}
    counted = [name for name in wanted if not name.endswith("num_batches_tracked")]
    return sum(name in names for name in counted) / max(1, len(counted))


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a scalar"


def _counted(what: str, names: list[str]) -> str:
    return f"{len(names)} {what} ({listed(names, _SHOWN)})" if names else ""


def weights_sha256(state: Mapping[str, Tensor]) -> str:
    """A hash of names, types, shapes and values. It does not depend on the file's format."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(np.asarray(tensor.reshape(-1).view(torch.uint8)).data)
    return digest.hexdigest()
