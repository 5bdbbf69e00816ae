"""The report: on which machine, with what, and what came of it."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from devkit.gpu.machine import Interpreter
from devkit.gpu.steps import Step

__all__ = ["Report"]


@dataclass(frozen=True)
class Report:
    """What a check found.

    Attributes
    ----------
    interpreter
        Which Python it ran in, on which devices.
    rehearsed_on
        The device that it was rehearsed on, or nothing if it ran on a GPU.
    versions
        Of the packages that matter.
    added
        The wheels that were added to it.
    steps
        What was run.
    """

    interpreter: Interpreter
    rehearsed_on: str
    versions: dict[str, str]
    added: Sequence[str] = ()
    steps: list[Step] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """0 if all steps ended well, else 1."""
        return 0 if self.steps and all(step.is_good for step in self.steps) else 1

    def __str__(self) -> str:
        lines = []
        if self.rehearsed_on:
            lines.append(
                f"A REHEARSAL on the device {self.rehearsed_on}. It shows that the tests run, and "
                "nothing about a GPU."
            )
        else:
            lines += [f"device: {device}" for device in self.interpreter.devices]
        versions = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        lines += [
            f"Python: {self.interpreter}",
            f"CUDA {self.interpreter.cuda or 'none'}, cuDNN {self.interpreter.cudnn or 'none'}",
            f"packages: {versions}",
            f"added from wheels: {', '.join(self.added) or 'none'}",
        ]
        for step in self.steps:
            lines.append(
                f"{step.name}: {_in_words(step)}, {step.seconds:.0f} s, of processors "
                f"{step.processor_seconds:.0f} s ({step.log})"
            )
            skipped = step.results.get("skipped", {})
            lines += [f"  {count} skipped: {reason}" for reason, count in skipped.items()]
            lines += [f"  {problem}" for problem in step.problems]
        if self.steps:
            lines.append("all is well" if self.exit_code == 0 else "NOT all is well")
        return "\n".join(lines)

    def save(self, output: Path) -> None:
        """Write `report.json` and `report.txt` into a folder."""
        values = asdict(self) | {
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "exit_code": self.exit_code,
        }
        text = json.dumps(values, indent=1, default=str)
        for name, content in (("report.json", text), ("report.txt", str(self))):
            unfinished = output / f".{name}"
            unfinished.write_text(f"{content}\n", encoding="utf-8")
            unfinished.replace(output / name)


def _in_words(step: Step) -> str:
    counts = step.results.get("counts")
    if counts:
        return ", ".join(f"{count} {result.lower()}" for result, count in counts.items())
    return "done" if step.is_good else f"exit code {step.exit_code}"
