"""`MemberLoader`: one checkpoint becomes a member, in three steps.

So several members can load side by side. Networks are built and asked in the caller's thread only:
libraries, and code of a user's own, may share something. Files are read and hashed in any thread.
"""

from pathlib import Path

from kernelkit.checkpoints.member import Member
from kernelkit.checkpoints.network_loader import NetworkLoader, find_description
from kernelkit.checkpoints.program_loader import ProgramLoader
from kernelkit.checkpoints.programs import is_program
from kernelkit.checkpoints.runtime import Runtime
from kernelkit.checkpoints.snapshots import Choice
from kernelkit.checkpoints.trained_with import read_trained_with

__all__ = ["MemberLoader"]


class MemberLoader:
    """Loads one checkpoint of a fold, in three steps. Making it is the first: a network is built.

    Parameters
    ----------
    fold, run
        Its folders. They are the same if the run has no folds.
    choice
        The checkpoint, and which of its weights.
    programs
        Whether it may be a program that runs code when it is loaded.
    runtime
        Where it runs if it is a program.

    Raises
    ------
    CheckpointError
        The network cannot be built.
    """

    def __init__(
        self, fold: Path, run: Path, choice: Choice, programs: bool, runtime: Runtime
    ) -> None:
        self._fold, self._run, self._choice = fold, run, choice
        self._path = choice.snapshot.path
        self._folders = (self._path.parent, fold, run)
        self._steps: ProgramLoader | NetworkLoader
        if is_program(self._path):
            description, _ = find_description(self._folders, run, required=False)
            self._steps = ProgramLoader(choice, programs, self._folders, description, runtime)
        else:
            self._steps = NetworkLoader(
                choice, *find_description(self._folders, run, required=True)
            )

    @property
    def size(self) -> int:
        """Bytes of its file, or of the files that it was unpacked into."""
        files = self._path.rglob("*") if self._path.is_dir() else (self._path,)
        return sum(path.stat().st_size for path in files)

    def read(self) -> None:
        """Read and hash its file. Any thread may do that.

        Raises
        ------
        CheckpointError
            The file cannot be read, or its weights do not fit the network.
        """
        self._steps.read()

    def finish(self) -> Member:
        """Ask what cannot be known otherwise, and return the member.

        Raises
        ------
        CheckpointError
            A program cannot be loaded, or the network answers with what an ensemble cannot use.
        """
        loaded, choice = self._steps.finish(), self._choice
        for parameter in loaded.module.parameters():  # a TorchScript module has no requires_grad_
            parameter.requires_grad_(False)
        return Member(
            module=loaded.module,
            kind=loaded.kind,
            run=self._run.name,
            fold="0" if self._fold == self._run else self._fold.name,
            path=self._path,
            weights_sha256=loaded.sha256,
            architecture=loaded.architecture,
            parameters=sum(parameter.numel() for parameter in loaded.module.parameters()),
            score=choice.snapshot.score,
            channels=3 if loaded.io.channels is None else loaded.io.channels,
            classes=1 if loaded.io.classes is None else loaded.io.classes,
            size=loaded.size,
            origin_sha256=loaded.origin_sha256 or loaded.sha256,
            is_averaged=loaded.is_averaged or choice.snapshot.kind != "raw",
            trained_with=read_trained_with(self._folders).with_buffers(loaded.beside),
            runs_by=loaded.runs_by,
            notes=(*filter(None, (choice.note,)), *loaded.notes),
        )
