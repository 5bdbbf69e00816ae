"""Lint what goes to Kaggle: would it import, parse and stay within bounds on the image?

It looks at the kernel-safe package, at what lies beside it, and at the code cells of notebooks:

- The standard library of the image's Python, the image or a vendored wheel has every import.
- The syntax is that Python's.
- Nothing reaches for the network, names a folder of this machine, or writes below the input mounts.

Run it alone with `python -m devkit.lint --profile kaggle-py312`.
"""

import ast
import json
import sys
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from devkit.errors import ToolError
from devkit.image.profiles import Profile
from devkit.lint.imports import AT_HOME, ImportRules, dotted_name, imported_modules
from devkit.lint.paths import builder_paths, collect_constants, input_writes, shell_problems
from devkit.lint.source import Unit, nodes_of, read_notebook, read_units
from devkit.tools import REPOSITORY, run_tool

__all__ = ["KERNEL_SOURCE", "NOTEBOOKS", "Finding", "kernel_files", "lint", "outside_modules"]

KERNEL_SOURCE = REPOSITORY / "kernel_src"
NOTEBOOKS = REPOSITORY / "notebooks"


@dataclass(frozen=True, order=True)
class Finding:
    """One thing that would fail on Kaggle.

    Attributes
    ----------
    path, cell, line
        Where it is. The cell is 0 in a module.
    message
        What it is, in a sentence.
    """

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


def kernel_files(
    source_folder: Path = KERNEL_SOURCE, notebooks_folder: Path = NOTEBOOKS
) -> list[Path]:
    """Return the modules below `source_folder`, and the notebooks that run offline on Kaggle.

    The backend that builds the package stays at home. A notebook that does so says it in its
    metadata: `{"kernelkit": {"runs": "at home"}}`.
    """
    modules = [path for path in sorted(source_folder.rglob("*.py")) if path.stem not in AT_HOME]
    offline = [
        path for path in sorted(notebooks_folder.glob("*.ipynb")) if not _stays_at_home(path)
    ]
    return [*modules, *offline]


def outside_modules(files: Sequence[Path]) -> list[str]:
    """Return the dotted names of all modules that the files import, sorted."""
    trees = [unit.tree for path in files for unit in read_units(path)]
    return sorted({module for tree in trees if tree for module in imported_modules(tree)})


def lint(
    files: Sequence[Path],
    profile: Profile,
    vendored: Collection[str],
    source_folder: Path = KERNEL_SOURCE,
) -> list[Finding]:
    """Find what would fail on the image, in the order of files and lines.

    Parameters
    ----------
    files
        Modules and notebooks.
    profile
        The image.
    vendored
        The top-level modules of the vendored wheels.
    source_folder
        The folder with the package and what lies beside it.

    Raises
    ------
    LintError
        A file cannot be read, or a notebook is none.
    ToolError
        ruff, which checks the syntax, did not run.
    """
    findings = set(_syntax(files, profile))
    broken = {(finding.path, finding.cell) for finding in findings}
    rules = ImportRules(profile, vendored, source_folder / "kernelkit")
    for path in files:
        known: dict[str, ast.expr] = {}
        is_early = path.parent == source_folder
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
    metadata = read_notebook(notebook).get("metadata", {})
    return bool(metadata.get("kernelkit", {}).get("runs") == "at home")


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
        raise ToolError(f"ruff's answer is not JSON: {answer[:200]}", answer) from None
    by_name = {str(path.resolve()): path for path in files}
    for report in reports:
        path = by_name[str(Path(report["filename"]).resolve())]
        line = report["location"]["row"]
        yield Finding(path, report.get("cell") or 0, line, report["message"])


def _hidden_downloads(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Calls that make a library fetch weights or packages."""
    for node in nodes_of(tree):
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
                        "off in the kernel. Load them from a dataset"
                    ),
                )
        for argument in node.args[:1]:
            words = [w.value for w in ast.walk(argument) if isinstance(w, ast.Constant)]
            if "pip" in words and "install" in words and "--no-index" not in words:
                yield node.lineno, "pip install without --no-index needs the network"
