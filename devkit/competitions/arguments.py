"""What command lines share: `--name`, and arguments that a competition of one's own fills in."""

import argparse
from pathlib import Path

from devkit.competitions.own import OwnCompetition, all_names, find
from devkit.errors import SettingsError

__all__ = ["add_name", "fill_in"]

# What an argument is called for make, and in a sentence.
_CALLED = {
    "recipe": ("RECIPE", "recipe"),
    "competition": ("COMPETITION", "folder of the competition"),
    "models": ("MODELS", "folder of trained runs"),
}


def add_name(parser: argparse.ArgumentParser) -> None:
    """Let a command line name a competition of one's own. It is the option `own_competition`."""
    parser.add_argument(
        "--name",
        dest="own_competition",
        metavar="NAME",
        help="a competition of your own below competitions/ (default: the only one there)",
    )


def fill_in(
    options: argparse.Namespace, **places: str | tuple[str, str | None]
) -> OwnCompetition | None:
    """Fill in the arguments that were not given, from a competition of the user's own.

    It is the one that `--name` names. If there is only one, it need not be named. But if a recipe
    was given and no name, no competition of one's own is meant.

    Parameters
    ----------
    options
        What was parsed. Arguments that were not given are None. It is changed.
    places
        For each argument, the attribute of `OwnCompetition` that fills it in. A pair adds what is
        taken if there is no such competition. Without it, the argument is then an error.

    Returns
    -------
    The competition that is meant, or None.

    Raises
    ------
    SettingsError
        There is no such competition. Or an argument was not given, and nothing fills it in.

    Examples
    --------
    >>> options = argparse.Namespace(own_competition=None, recipe="hubmap", models=None)
    >>> fill_in(options, recipe="training_recipe", models=("models_folder", "build/models"))
    >>> options.models
    PosixPath('build/models')
    """
    own = find(options.own_competition)
    if not options.own_competition and getattr(options, "recipe", None):
        own = None
    for argument, place in places.items():
        if getattr(options, argument) is not None:
            continue
        attribute, *otherwise = (place,) if isinstance(place, str) else place
        if own is not None:
            found = getattr(own, attribute)
            setattr(options, argument, str(found) if argument == "recipe" else found)
        elif not otherwise:
            raise SettingsError(_missing(argument))
        elif otherwise[0] is not None:
            setattr(options, argument, Path(otherwise[0]))
    return own


def _missing(argument: str) -> str:
    variable, words = _CALLED[argument]
    names = all_names()
    if names:
        there = f"NAME={names[0]} of your own" if len(names) == 1 else f"NAME={' or '.join(names)}"
    else:
        there = "make a competition of your own with make new NAME=my-competition"
    return f"no {words} is given. Give {variable}=, or {there}"
