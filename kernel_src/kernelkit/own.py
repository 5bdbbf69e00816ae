"""Code of the user's own: networks and steps that a run folder or a recipe names.

It is a folder of packages and modules, such as one would put on `PYTHONPATH`. The builder packs it
as a wheel `kernelkit-own`. On Kaggle the bootstrap installs that wheel, after it has checked every
byte. At home the variable `KERNELKIT_OWN` names the folder itself. An installed wheel wins, since
the notebook's fingerprint covers it.

Nothing else can be named: no module of the standard library, of the image or of kernelkit. So a
configuration from elsewhere can choose among the user's own classes, and run nothing else.
"""

import hashlib
import importlib
import importlib.metadata
import importlib.util
import inspect
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from kernelkit.errors import OwnCodeError, as_sentence, listed
from kernelkit.files import expanded

__all__ = [
    "OWN_DISTRIBUTION",
    "OWN_FOLDER",
    "OwnCode",
    "load_own",
    "own_code",
    "own_fingerprint",
    "refuse_shadows",
]

# The wheel of the user's own code, by its name on Kaggle.
OWN_DISTRIBUTION = "kernelkit-own"
# The variable that names the folder at home.
OWN_FOLDER = "KERNELKIT_OWN"

# What lies beside code in a repository, and no notebook needs.
_BESIDE = frozenset(("conftest", "noxfile", "setup", "test", "tests"))
# What every session imports, or runs before anything else.
_TAKEN = frozenset(("bootstrap", "kernelkit", "mounted"))
_NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*(:[A-Za-z_]\w*)?", re.ASCII)
# How many names an error lists.
_SHOWN = 8


@dataclass(frozen=True)
class OwnCode:
    """The user's own packages and modules, where they lie.

    Attributes
    ----------
    folder
        What a package's folder lies in.
    modules
        Their names, sorted.
    """

    folder: Path
    modules: tuple[str, ...]

    @classmethod
    def below(cls, folder: Path) -> "OwnCode":
        """What can be imported from a folder: its modules, and its folders that hold modules.

        Tests, a `setup.py` and hidden folders are left out.

        Raises
        ------
        OwnCodeError
            There is no such folder, or no module in it.
        """
        if not folder.is_dir():
            found = "a file" if folder.exists() else "no such folder"
            raise OwnCodeError(
                f"{folder}: there is {found}, wanted the folder of your own code. Check the path"
            )
        names = {
            child.stem if child.is_file() else child.name
            for child in folder.iterdir()
            if child.suffix == ".py" or (child.is_dir() and any(child.glob("*.py")))
        }
        modules = sorted(name for name in names - _BESIDE if name.isidentifier())
        if not modules:
            raise OwnCodeError(
                f"{folder}: found no package and no module in it. Name the folder that your "
                "package's folder lies in"
            )
        return cls(folder.resolve(), tuple(modules))

    def files(self, module: str) -> list[Path]:
        """The files of a module or package, in the order of their names."""
        path = self.folder / module
        if not path.is_dir():
            return [path.with_suffix(".py")]
        return sorted(file for file in path.rglob("*") if _is_packed(file, path))

    def fingerprint(self, module: str) -> str:
        """A hash of the names and contents of a module's or package's files."""
        digest = hashlib.sha256()
        for path in self.files(module):
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            digest.update(f"{path.relative_to(self.folder).as_posix()} {content}\n".encode())
        return digest.hexdigest()


def own_code() -> OwnCode | None:
    """The code of the user's own in this session, or None if there is none.

    Raises
    ------
    OwnCodeError
        `KERNELKIT_OWN` names no folder with code, or code that would hide something else.
    """
    try:
        installed = importlib.metadata.distribution(OWN_DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        named = os.environ.get(OWN_FOLDER)
        if not named:
            return None
        code = OwnCode.below(expanded(named))
        refuse_shadows(code)
        return code
    tops = {file.parts[0].removesuffix(".py") for file in installed.files or ()}
    modules = sorted(name for name in tops if name.isidentifier())
    return OwnCode(Path(str(installed.locate_file(""))).resolve(), tuple(modules))


def load_own(name: str) -> Any:
    """Import what a recipe or a run folder names.

    Parameters
    ----------
    name
        `package.module` for a module, `package.module:Name` for a class or a function in it.

    Raises
    ------
    OwnCodeError
        The name has another form, or is of no module of the user's own. The module cannot be
        imported, or has no such class or function of its own.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise OwnCodeError(
            f"found {name!r:.80}, wanted package.module or package.module:Name of your own code"
        )
    code = _code_of(name)
    module_name, _, attribute = name.partition(":")
    module = _imported(module_name, code)
    return _found(module, attribute, code) if attribute else module


def own_fingerprint(name: str) -> str:
    """A hash of all code in the package, or the module at the top, of what `load_own` takes.

    Raises
    ------
    OwnCodeError
        As `load_own`.
    """
    return _code_of(name).fingerprint(_top(name))


def _code_of(name: str) -> OwnCode:
    """The user's own code, if it has what `name` names."""
    code = own_code()
    if code is None:
        raise OwnCodeError(
            f"{name}: this session has no code of your own. Give its folder, such as OWN=my-code "
            f"for make, own in kaggle.toml, or {OWN_FOLDER}"
        )
    if _top(name) not in code.modules:
        raise OwnCodeError(
            f"{name}: {_top(name)} is no code of your own. {code.folder} has "
            f"{listed(code.modules, _SHOWN) or 'none'}, and only these can be named"
        )
    return code


def _top(name: str) -> str:
    return name.partition(":")[0].split(".")[0]


def refuse_shadows(code: OwnCode) -> None:
    """Refuse modules whose names are those of something else that a session imports.

    Raises
    ------
    OwnCodeError
        Such a module.
    """
    for module in code.modules:
        if module in _TAKEN:
            other = "kernelkit's"
        elif module in sys.stdlib_module_names:
            other = "the standard library's"
        else:
            places = [place for place in _places(module) if not place.is_relative_to(code.folder)]
            if not places:
                continue
            other = f"another one at {places[0]}"
        raise OwnCodeError(
            f"{code.folder}: {module} has the name of {other}, and one would hide the other. "
            "Rename yours"
        )


def _imported(name: str, code: OwnCode) -> ModuleType:
    if str(code.folder) not in sys.path:
        sys.path.append(str(code.folder))  # last, so that it hides nothing
        importlib.invalidate_caches()
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and f"{name}.".startswith(f"{error.name}."):
            raise OwnCodeError(
                f"{name}: there is no such module in {code.folder}. Correct the name"
            ) from error
        raise _broken(name, code, error) from error
    except (Exception, SystemExit) as error:  # whatever code does when it is imported
        raise _broken(name, code, error) from error
    places = (module.__file__, *getattr(module, "__path__", ()))
    others = [p for p in places if p and not Path(p).resolve().is_relative_to(code.folder)]
    if others:
        raise OwnCodeError(
            f"{name}: it was imported from {others[0]} instead of {code.folder}. Rename yours"
        )
    return module


def _broken(name: str, code: OwnCode, error: BaseException) -> OwnCodeError:
    reason = as_sentence(error) if isinstance(error, Exception) else "it ends the program"
    return OwnCodeError(f"{name} of {code.folder} cannot be imported ({reason}). Correct it")


def _found(module: ModuleType, attribute: str, code: OwnCode) -> Any:
    """A class or function that the user's own code defines."""
    own = {name: thing for name, thing in vars(module).items() if _is_own(thing, code)}
    if attribute in own:
        return own[attribute]
    if hasattr(module, attribute):
        raise OwnCodeError(
            f"{module.__name__}:{attribute} is no class or function of your own code. Name one "
            "that it defines"
        )
    there = listed([name for name in own if not name.startswith("_")], _SHOWN) or "none"
    raise OwnCodeError(
        f"{module.__name__} of {code.folder} has no {attribute} (it has {there}). Correct the name"
    )


def _is_own(thing: Any, code: OwnCode) -> bool:
    is_code = inspect.isclass(thing) or inspect.isfunction(thing)
    return is_code and str(thing.__module__).split(".")[0] in code.modules


def _is_packed(file: Path, package: Path) -> bool:
    parts = file.relative_to(package).parts
    is_left_out = any(part.startswith(".") or part == "__pycache__" for part in parts)
    return file.is_file() and not is_left_out and file.suffix not in (".pyc", ".pyo")


def _places(module: str) -> list[Path]:
    """Where Python would import a module from now."""
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):  # half imported, or made by hand
        return []
    if spec is None:
        return []
    if spec.submodule_search_locations is not None:
        return [Path(place).resolve() for place in spec.submodule_search_locations]
    return [Path(spec.origin).resolve()] if spec.origin else []
