"""What lies beside an engine: of which weights it was made, and where these are.

`make engine` writes `best.onnx` and `best.onnx.json`. The weights lie in the same run folder. So if
the engine does not load somewhere, they are there to answer instead.
"""

from dataclasses import asdict, dataclass, fields
from pathlib import Path, PurePosixPath
from typing import Any, Self

from kernelkit.checkpoints.descriptions import read_content
from kernelkit.errors import CheckpointError

__all__ = ["ENGINE_SUFFIX", "EngineRecord"]

# Added to the name of an engine's file.
ENGINE_SUFFIX = ".json"


@dataclass(frozen=True)
class EngineRecord:
    """What is known of an engine.

    Attributes
    ----------
    weights
        The file of the weights, from the engine's folder. For a whole ensemble it is the folder of
        its runs.
    weights_sha256
        The hash of these weights. For an ensemble, it is also one of how they are merged.
    engine_sha256
        The hash of the engine's file when it was compared with the weights.
    made_of
        The members, by name.
    made_on
        The device, in words.
    made_by
        The versions of what made it.
    largest_difference
        Between its probabilities and those of the weights, on real tiles.
    """

    weights: str
    weights_sha256: str
    engine_sha256: str
    made_of: str
    made_on: str
    made_by: str
    largest_difference: float

    @classmethod
    def beside(cls, engine: Path) -> Self | None:
        """The record of an engine, or None if it has none.

        Raises
        ------
        CheckpointError
            The file is no such record, or names weights outside of the run folder.
        """
        path = engine.with_name(engine.name + ENGINE_SUFFIX)
        if not path.exists():
            return None
        content = read_content(path)
        names = [field.name for field in fields(cls)]
        for name in names:
            wanted = int | float if name == "largest_difference" else str
            if not isinstance(content.get(name), wanted):
                raise CheckpointError(
                    f"{path}: found no {name}, so this is no record of an engine. Make the engine "
                    "again"
                )
        record = cls(**{name: content[name] for name in names})
        place = PurePosixPath(record.weights)
        if place.is_absolute() or place.parts[:1] != ("..",) or ".." in place.parts[1:]:
            raise CheckpointError(
                f"{path}: found weights at {record.weights:.80}, wanted a place in the same fold. "
                "Make the engine again"
            )
        return record

    def refuse_changed(self, engine: Path, found: str) -> None:
        """Refuse an engine that was replaced or damaged since it was compared with the weights.

        Parameters
        ----------
        found
            The hash of its file.

        Raises
        ------
        CheckpointError
            It is another one.
        """
        if found != self.engine_sha256:
            raise CheckpointError(
                f"{engine}: this is not the file that was compared with its weights. Copy it "
                "again, or make the engine again"
            )

    @property
    def is_ensemble(self) -> bool:
        """Whether the engine was made of a whole ensemble."""
        return not PurePosixPath(self.weights).suffix

    def place_beside(self, engine: Path) -> Path:
        """The file of the weights, or the folder of the ensemble's runs."""
        return engine.parent.parent / PurePosixPath(self.weights).relative_to("..")

    def plain(self) -> dict[str, Any]:
        """The record as JSON has it."""
        return asdict(self)
