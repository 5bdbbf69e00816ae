"""Where recipes lie: kernelkit's by name, those of the user's own competitions, or a YAML file.

>>> from kernelkit.own_recipes import PREDICTING
>>> RecipeShelf("recipe", "recipe", PREDICTING).names()
['clouds', 'hubmap', 'nuclei', 'salt', 'unosat']
"""

from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from kernelkit.errors import RecipeError, kind_of
from kernelkit.own_recipes import own_recipe, own_recipe_names
from kernelkit.yamlfile import parse_yaml, read_yaml

__all__ = ["FoundRecipe", "RecipeShelf"]


@dataclass(frozen=True)
class FoundRecipe:
    """A recipe as its file has it.

    Attributes
    ----------
    content
        Its keys and values, not checked yet.
    source
        What error messages call it.
    folder
        Where paths in it begin.
    """

    content: dict[str, Any]
    source: str
    folder: Path

    @classmethod
    def read(cls, path: Path) -> "FoundRecipe":
        """The recipe in a YAML file.

        Raises
        ------
        RecipeError
            There is no such file, or it is not YAML.
        """
        return cls(read_yaml(path, RecipeError, "1.2"), str(path), path.parent)

    @classmethod
    def parse(cls, text: str | bytes, source: str, folder: Path = Path()) -> "FoundRecipe":
        """The recipe in a YAML text.

        Raises
        ------
        RecipeError
            It is not YAML.
        """
        return cls(parse_yaml(text, source, RecipeError, "1.2"), source, folder)


@dataclass(frozen=True)
class RecipeShelf:
    """The recipes of one kind.

    Attributes
    ----------
    kind
        What such a recipe is called.
    folder
        Where kernelkit's own lie in the package.
    own_file
        What the file is called in the folder of a competition of the user's own.
    """

    kind: str
    folder: str
    own_file: str

    @property
    def _packaged(self) -> Traversable:
        return resources.files("kernelkit").joinpath(self.folder)

    def names(self) -> list[str]:
        """The names of kernelkit's own recipes, sorted."""
        paths = [Path(file.name) for file in self._packaged.iterdir()]
        return sorted(path.stem for path in paths if path.suffix == ".yaml")

    def find(self, name_or_path: str | Path) -> FoundRecipe:
        """The recipe of this name, or in this YAML file.

        Raises
        ------
        RecipeError
            There is no such recipe, it is not YAML, or there are two of this name.
        """
        if not isinstance(name_or_path, str | Path):
            raise RecipeError(
                f"found {kind_of(name_or_path)} as a {self.kind}, wanted a name or a path. Name one"
                f" of {', '.join(self.names())}"
            )
        path = Path(name_or_path)
        if path.suffix in (".yaml", ".yml"):
            return FoundRecipe.read(path)
        name = str(name_or_path)
        is_packaged, own = name in self.names(), own_recipe(name, self.own_file)
        if is_packaged and own is not None:
            raise RecipeError(
                f"{own}: {name} is a {self.kind} of kernelkit too, and one would hide the other."
                " Rename the folder"
            )
        if is_packaged:
            return FoundRecipe.parse((self._packaged / f"{name}.yaml").read_bytes(), name)
        if own is not None:
            return FoundRecipe.read(own)
        known = [*self.names(), *own_recipe_names(self.own_file)]
        raise RecipeError(
            f"{name_or_path}: there is no such {self.kind}. Name one of {', '.join(known)}, or give"
            " the path of a .yaml file"
        )
