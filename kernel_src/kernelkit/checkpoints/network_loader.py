"""`NetworkLoader`: a network that its folder describes, filled with the weights of a checkpoint."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from kernelkit.checkpoints.descriptions import DESCRIPTIONS, from_folder_name, read_description
from kernelkit.checkpoints.loaded import Declared, Loaded
from kernelkit.checkpoints.networks import build_empty, describe
from kernelkit.checkpoints.own_network import ask, with_code
from kernelkit.checkpoints.snapshots import Choice
from kernelkit.checkpoints.states import ChosenState, choose_state, load_state, weights_sha256
from kernelkit.checkpoints.stored_states import refuse_odd_tensors
from kernelkit.checkpoints.weights import read_weights
from kernelkit.errors import CheckpointError

__all__ = ["NetworkLoader", "find_description"]


class NetworkLoader:
    """The steps of a network that its folder describes. Making it builds the network.

    Parameters
    ----------
    choice
        The checkpoint, and which of its weights.
    description
        The network.
    source
        Where the description was found, for errors.

    Raises
    ------
    CheckpointError
        The network cannot be built.
    """

    def __init__(self, choice: Choice, description: Mapping[str, Any], source: str) -> None:
        self._choice, self._description = choice, description
        self._module = build_empty(description, source)
        self._chosen: ChosenState | None = None
        self._sha256 = ""

    def read(self) -> None:
        """Read and hash the weights, and put them into the network.

        Raises
        ------
        CheckpointError
            The file cannot be read, or its weights do not fit the network.
        """
        path, module = self._choice.snapshot.path, self._module
        stored, wanted = read_weights(path), module.state_dict()
        chosen = choose_state(stored, wanted, self._choice.snapshot, self._choice.prefer)
        refuse_odd_tensors(chosen.state, path)
        load_state(module, chosen.state, describe(self._description), str(path))
        self._sha256 = weights_sha256(module.state_dict())
        # what is left of the file may be as large as the network
        self._chosen = replace(chosen, state={})

    def finish(self) -> Loaded:
        """Return the network. One of the user's own class is asked first.

        Raises
        ------
        CheckpointError
            It answers with what an ensemble cannot use.
        """
        path, description, chosen = self._choice.snapshot.path, self._description, self._chosen
        assert chosen is not None
        loaded = Loaded(
            module=self._module,
            kind="classifier" if description.get("arch") == "timm" else "segmenter",
            sha256=self._sha256,
            architecture=describe(description),
            io=Declared.of(description),
            is_averaged=chosen.is_averaged,
            beside=chosen.beside,
            notes=chosen.notes(path),
        )
        return _asked(loaded, description["network"], path) if "network" in description else loaded


def _asked(loaded: Loaded, name: str, path: Path) -> Loaded:
    """A network of the user's own class, with what it was found to answer with."""
    found = ask(loaded.module, path, loaded.io.channels, loaded.io.classes)
    return replace(
        loaded,
        kind="classifier" if found.is_classifier else "segmenter",
        sha256=with_code(loaded.sha256, name),
        io=Declared(found.channels, found.classes),
        size=found.size,
        notes=[*filter(None, (found.note,)), *loaded.notes],
    )


def find_description(
    folders: Sequence[Path], run: Path, required: bool
) -> tuple[Mapping[str, Any], str]:
    """Find the description of a network, and where it is from: the folders, or the run's name.

    Parameters
    ----------
    folders
        Where it may lie. The first that has one counts.
    run
        The run's folder, whose name may be a description too.
    required
        Whether there has to be one. If there is none, it is empty.

    Raises
    ------
    CheckpointError
        One cannot be read, or there is none.
    """
    for path in (folder / name for folder in folders for name in DESCRIPTIONS):
        if path.exists():
            description = read_description(path)
            if description is not None:
                return description, str(path)
    description = from_folder_name(run.name)
    if description is None and required:
        raise CheckpointError(
            f"{run}: nothing says which network this is. Write a cfg.yaml with a section MODEL "
            "(arch, encoder_name, ...), or name the folder like Unet_resnet34_scse"
        )
    return description or {}, str(run)
