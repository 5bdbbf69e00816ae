"""`ProgramLoader`: a program, or the weights that it was made of if it does not load here."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from kernelkit.checkpoints.checkpoint_files import checkpoint_stem
from kernelkit.checkpoints.engine_record import EngineRecord
from kernelkit.checkpoints.loaded import Declared, Loaded
from kernelkit.checkpoints.network_loader import NetworkLoader, find_description
from kernelkit.checkpoints.onnx_file import refuse_large
from kernelkit.checkpoints.onnx_session import OnnxSession
from kernelkit.checkpoints.programs import load_program
from kernelkit.checkpoints.runtime import Runtime
from kernelkit.checkpoints.snapshots import Choice, Snapshot
from kernelkit.errors import CheckpointError
from kernelkit.files import file_sha256

__all__ = ["ProgramLoader"]


class ProgramLoader:
    """The steps of a program. It is loaded in the last one, since it may run code.

    Parameters
    ----------
    choice
        The file.
    is_trusted
        Whether it may run code when it is loaded.
    folders
        Where a description of its weights may lie. The last is the run's.
    description
        What the folders say of the network. It may be empty.
    runtime
        Where it runs.
    """

    def __init__(
        self,
        choice: Choice,
        is_trusted: bool,
        folders: Sequence[Path],
        description: Mapping[str, Any],
        runtime: Runtime,
    ) -> None:
        self._choice, self._path, self._folders = choice, choice.snapshot.path, folders
        self._is_trusted = is_trusted
        self._description, self._runtime = description, runtime
        self._sha256 = ""

    def read(self) -> None:
        """Hash the file.

        Raises
        ------
        CheckpointError
            It is an ONNX file that is too large.
        """
        if not self._path.is_file():  # loading says what is wrong with it
            return
        if self._path.suffix == ".onnx":
            refuse_large(self._path)
        self._sha256 = file_sha256(self._path)

    def finish(self) -> Loaded:
        """Load the program, or else the weights that it was made of.

        Raises
        ------
        CheckpointError
            Neither can be loaded.
        """
        can_run = self._is_trusted or self._path.suffix == ".onnx"
        record = EngineRecord.beside(self._path) if can_run else None
        try:
            if record is None or not self._sha256:  # loading says that there is no file
                return self._loaded()
            record.refuse_changed(self._path, self._sha256)
            return replace(self._loaded(), origin_sha256=record.weights_sha256)
        except CheckpointError as error:
            if record is None:
                raise
            loaded = self._weights_instead(record)
            reason = str(error).removeprefix(f"{self._path}: ")
            note = (
                f"{self._path}: this engine does not load here, so the weights answer that it was "
                f"made of. The reason: {reason}"
            )
            return replace(loaded, notes=[note, *loaded.notes])

    def _weights_instead(self, record: EngineRecord) -> Loaded:
        """The network that the engine was made of, or all of an ensemble as one."""
        weights = record.place_beside(self._path)
        if record.is_ensemble:
            loaded = self._ensemble_instead(weights, record)
        else:
            loaded = self._member_instead(weights)
        if loaded.sha256 != record.weights_sha256:
            raise CheckpointError(
                f"{weights}: these are not the weights that {self._path.name} was made of. Make "
                "the engine again"
            )
        return loaded

    def _member_instead(self, weights: Path) -> Loaded:
        snapshot = Snapshot.read(weights, checkpoint_stem(weights))
        _, source = find_description(self._folders, self._folders[-1], required=True)
        network = NetworkLoader(Choice(snapshot, "best"), self._description, source)
        network.read()
        return network.finish()

    def _ensemble_instead(self, folder: Path, record: EngineRecord) -> Loaded:
        if self._runtime.merged is None or not folder.is_dir():
            raise CheckpointError(
                f"{folder}: the weights of the ensemble are not there. Make the engine again"
            )
        module, channels, classes, sha256 = self._runtime.merged(folder)
        return Loaded(
            module=module,
            kind="segmenter",
            sha256=sha256,
            architecture=f"an ensemble of {record.made_of}",
            io=Declared(channels, classes),
        )

    def _loaded(self) -> Loaded:
        declared = Declared.of(self._description)
        program = load_program(
            self._path, self._is_trusted, declared.channels, declared.classes, self._runtime
        )
        notes = [program.note] if program.note else []
        if self._path.suffix == ".onnx":
            notes.append(f"{self._path}: it is run by {program.runs_by}")
        if isinstance(program.module, OnnxSession):
            notes += program.module.notes
        return Loaded(
            module=program,
            kind="classifier" if program.is_classifier else "program",
            sha256=self._sha256,
            architecture=f"a {self._path.suffix} program",
            io=Declared(program.channels, program.classes),
            size=program.size,
            runs_by=program.runs_by,
            notes=notes,
        )
