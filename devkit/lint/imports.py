"""Lint: does every import find something on the image, and reach for no network?"""

import ast
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from devkit.image.profiles import Profile
from devkit.image.standard_library import REMOVED, standard_library
from devkit.lint.source import nodes_of

__all__ = ["AT_HOME", "ImportRules", "dotted_name", "imported_modules", "standard_library"]

_NETWORK = frozenset(
    (
        *("socket", "ssl", "socketserver", "ftplib", "smtplib", "poplib", "imaplib", "nntplib"),
        *("telnetlib", "xmlrpc", "http.client", "http.server", "urllib.request"),
        *("requests", "urllib3", "httpx", "aiohttp", "websocket", "websockets", "paramiko"),
        *("boto3", "botocore", "s3fs", "gcsfs", "google.cloud", "googleapiclient"),
        *("gdown", "wget", "pooch", "kaggle", "kagglehub", "huggingface_hub"),
        *("wandb", "mlflow", "neptune", "comet_ml", "torch.hub", "torch.utils.model_zoo"),
    )
)
# what the dataset never ships
AT_HOME = frozenset(("devkit", "tests", "benchmarks", "build_dataset", "build_backend"))


@dataclass(frozen=True)
class _Import:
    module: str
    line: int
    is_optional: bool = False


def imported_modules(tree: ast.Module) -> list[str]:
    """Return the dotted names that the code imports from outside its own package.

    >>> imported_modules(ast.parse("from os import path; from . import near; import numpy.linalg"))
    ['os', 'numpy.linalg']
    """
    return [found.module for found in _imports(tree)]


@dataclass(frozen=True)
class ImportRules:
    """What code may import.

    Attributes
    ----------
    profile
        The image.
    vendored
        Top-level modules of the vendored wheels.
    package
        The folder of the kernel-safe package itself.
    only_standard_library
        True for what runs before anything is installed.
    """

    profile: Profile
    vendored: Collection[str]
    package: Path
    only_standard_library: bool = False
    _standard: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_standard", standard_library(self.profile.python_minor))

    def findings(self, tree: ast.Module) -> Iterator[tuple[int, str]]:
        """Iterate over lines, and what is wrong with the import there."""
        for found in _imports(tree):
            network = _network_part(found.module)
            if network:
                yield found.line, f"{network} reaches for the network, which is off in the kernel"
            elif not found.is_optional:
                problem = self._problem(found.module)
                if problem:
                    yield found.line, problem
        for node in nodes_of(tree):
            if isinstance(node, ast.Attribute):
                name = dotted_name(node)
                if name in _NETWORK and "." in name:
                    yield node.lineno, f"{name} reaches for the network, which is off in the kernel"

    def _problem(self, module: str) -> str | None:
        top = module.split(".")[0]
        python = "{}.{}".format(*self.profile.python_minor)
        if top in AT_HOME:
            return f"{top} stays at home: the dataset ships {self.package.name} only"
        if top in self._standard or (self.package.parent / f"{top}.py").is_file():
            return None
        if self.only_standard_library:
            return f"{top} is not in the standard library, and nothing else is there this early"
        if top == self.package.name:
            return None if self._has(module) else f"there is no module {module} in {self.package}"
        if top in self.vendored or self.profile.provides(module):
            return None
        if top in REMOVED:
            return f"{top} is no longer in the standard library of Python {python}"
        return (
            f"{top} is neither in the standard library of Python {python}, nor in the image "
            f"{self.profile.name}, nor vendored. Add its package to wheels/requirements.in"
        )

    def _has(self, module: str) -> bool:
        path = self.package.parent.joinpath(*module.split("."))
        return path.is_dir() or path.with_suffix(".py").is_file()


def dotted_name(node: ast.expr) -> str:
    """Return `a.b.c` of such an expression, and "" of any other.

    >>> dotted_name(ast.parse("a.b.c", mode="eval").body)
    'a.b.c'
    """
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        head = dotted_name(node.value)
        return f"{head}.{node.attr}" if head else ""
    return ""


def _network_part(module: str) -> str | None:
    parts = module.split(".")
    heads = (".".join(parts[:length]) for length in range(1, len(parts) + 1))
    return next((head for head in heads if head in _NETWORK), None)


def _imports(tree: ast.Module) -> Iterator[_Import]:
    """Every import, in functions too. Those of types only never run, so they are left out."""
    optional: set[ast.AST] = set()
    unused: set[ast.AST] = set()
    for node in nodes_of(tree):
        if isinstance(node, ast.Try) and any(map(_catches_import_error, node.handlers)):
            optional.update(inner for child in node.body for inner in ast.walk(child))
        if isinstance(node, ast.If) and dotted_name(node.test).endswith("TYPE_CHECKING"):
            unused.update(inner for child in node.body for inner in ast.walk(child))
    for node in nodes_of(tree):
        if node in unused:
            continue
        for module in _modules(node):
            yield _Import(module, getattr(node, "lineno", 0), node in optional)


def _catches_import_error(handler: ast.ExceptHandler) -> bool:
    caught = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(
        isinstance(kind, ast.Name) and kind.id in ("ImportError", "ModuleNotFoundError")
        for kind in caught
    )


def _modules(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
        # `from torch import hub` imports torch.hub
        dotted = (f"{node.module}.{alias.name}" for alias in node.names)
        yield next((name for name in dotted if name in _NETWORK), node.module)
    elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
        named = dotted_name(node.func) in ("__import__", "importlib.import_module", "import_module")
        if named and isinstance(node.args[0].value, str):
            yield node.args[0].value
