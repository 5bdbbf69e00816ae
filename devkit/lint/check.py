"""Lint what goes to Kaggle: would it import, parse and stay within bounds on the image?

Checks the kernel-safe package, what lies beside it, and the code cells of notebooks: every import
is met by the standard library of the image's Python, by the image, or by a vendored wheel; the
syntax is that Python's; nothing reaches for the network, names a folder of this machine, or writes
below the input mounts. Run alone: `python -m devkit.lint --profile kaggle-py312`.
"""

import ast
import json
import sys
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from devkit.errors import ToolError
from devkit.image.profiles import Profile
from devkit.lint.imports import ImportRules, dotted_name, imported_modules
from devkit.lint.paths import builder_paths, collect_constants, input_writes, shell_problems
from devkit.lint.source import Unit, read_units
from devkit.tools import REPOSITORY, run_tool

__all__ = ["KERNEL_SOURCE", "NOTEBOOKS", "Finding", "kernel_files", "lint", "outside_modules"]

KERNEL_SOURCE = REPOSITORY / "kernel_src"
NOTEBOOKS = REPOSITORY / "notebooks"


@dataclass(frozen=True, order=True)
class Finding:
    """One thing that would fail on Kaggle: where, and a sentence."""

    path: Path
    cell: int
    line: int
    message: str

    def __str__(self) -> str:
        shown = self.path
        if self.path.is_relative_to(REPOSITORY):
            shown = self.path.relative_to(REPOSITORY)
        cell = f"cell {self.cell}:" if self.cell else ""
        return f"{shown}:{cell}{self.line}: {self.message}"


def kernel_files(source: Path = KERNEL_SOURCE, notebooks: Path = NOTEBOOKS) -> list[Path]:
    """The modules below `source`, and the notebooks that run offline on Kaggle.

    A notebook that stays at home says so in its metadata: `{"kernelkit": {"runs": "at home"}}`.
    """
    offline = [path for path in sorted(notebooks.glob("*.ipynb")) if not _stays_at_home(path)]
    return [*sorted(source.rglob("*.py")), *offline]


def outside_modules(files: Sequence[Path]) -> list[str]:
    """The dotted names of all modules that the files import, sorted."""
    trees = [unit.tree for path in files for unit in read_units(path)]
    return sorted({module for tree in trees if tree for module in imported_modules(tree)})


def lint(
    files: Sequence[Path],
    profile: Profile,
    vendored: Collection[str],
    source: Path = KERNEL_SOURCE,
) -> list[Finding]:
    """What would fail on the image, in the order of files and lines.

    Parameters
    ----------
    vendored
        The top-level modules of the vendored wheels.
    source
        The folder with the package and what lies beside it.

    Raises
    ------
    DatasetError
        When a notebook cannot be read.
    ToolError
        When ruff, which checks the syntax, does not run.
    """
    findings = set(_syntax(files, profile))
    broken = {(finding.path, finding.cell) for finding in findings}
    rules = ImportRules(profile, vendored, source / "kernelkit")
    for path in files:
        known: dict[str, ast.expr] = {}
        is_early = path.parent == source
        own_rules = replace(rules, only_standard_library=True) if is_early else rules
        for unit in read_units(path):
            problems = list(shell_problems(unit.commands))
            if unit.tree is not None:
                collect_constants(unit.tree, known)
                problems += own_rules.findings(unit.tree)
                problems += builder_paths(unit.tree)
                problems += input_writes(unit.tree, known)
                problems += _hidden_downloads(unit.tree)
            elif (unit.path, unit.cell or 0) not in broken:
                problems.append((1, "cannot be parsed by the Python that runs the lint"))
            findings.update(_finding(unit, line, message) for line, message in problems)
    return sorted(findings)


def _finding(unit: Unit, line: int, message: str) -> Finding:
    return Finding(unit.path, unit.cell or 0, line, message)


def _stays_at_home(notebook: Path) -> bool:
    metadata = json.loads(notebook.read_text(encoding="utf-8")).get("metadata", {})
    return metadata.get("kernelkit", {}).get("runs") == "at home"


def _syntax(files: Sequence[Path], profile: Profile) -> Iterator[Finding]:
    """Ask ruff, which knows the grammar of every Python, whichever one runs this."""
    if not files:
        return
    target = "py{}{}".format(*profile.python_minor)
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--no-cache", "--exit-zero"]
    command += ["--target-version", target, "--select", "E902", "--output-format", "json"]
    answer = run_tool([*command, *map(str, files)])
    try:
        reports = json.loads(answer)
    except ValueError:
        raise ToolError(f"ruff answered in a form that is not JSON: {answer[:200]}") from None
    by_name = {str(path.resolve()): path for path in files}
    for report in reports:
        path = by_name[str(Path(report["filename"]).resolve())]
        line = report["location"]["row"]
        yield Finding(path, report.get("cell") or 0, line, report["message"])


def _hidden_downloads(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Calls that make a library fetch weights or packages."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        for keyword in node.keywords:
            value = keyword.value.value if isinstance(keyword.value, ast.Constant) else None
            if (keyword.arg == "pretrained" and value is True) or (
                keyword.arg == "encoder_weights" and isinstance(value, str)
            ):
                name = dotted_name(node.func) or "this call"
                yield (
                    node.lineno,
                    (
                        f"{name}({keyword.arg}={value!r}) fetches weights, and the network is "
                        "off in the kernel: load them from a dataset"
                    ),
                )
        for argument in node.args[:1]:
            words = [w.value for w in ast.walk(argument) if isinstance(w, ast.Constant)]
            if "pip" in words and "install" in words and "--no-index" not in words:
                yield node.lineno, "pip install without --no-index needs the network"
