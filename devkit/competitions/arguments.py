"""What command lines share: `--name`, and arguments that a competition of one's own fills in."""

import argparse
import os
import tomllib
from pathlib import Path
from typing import Any

from devkit.arguments import Arguments
from devkit.competitions.own import OwnCompetition, all_names, find
from devkit.make import make_command
from kernelkit.files import expanded
from kernelkit.own import OWN_FOLDER

__all__ = ["add_name", "fill_in"]


def add_name(parser: argparse.ArgumentParser, default: str = "the only one there") -> None:
    """Let a command line name a competition of one's own. It is the option `own_competition`.

    The help says the default, in words.
    """
    variable: dict[str, Any] = {"variable": "NAME"} if isinstance(parser, Arguments) else {}
    parser.add_argument(
        "--name",
        dest="own_competition",
        metavar="NAME",
        help=f"a competition of your own below competitions/ (default: {default})",
        **variable,
    )


def fill_in(
    parser: argparse.ArgumentParser,
    options: argparse.Namespace,
    **places: str | tuple[str, str | None],
) -> OwnCompetition | None:
    """Fill in the arguments that were not given, from a competition of the user's own.

    It is the one that `--name` names. If there is only one, it need not be named. But if a recipe
    was given and no name, no competition of one's own is meant.

    Parameters
    ----------
    parser
        It ends the command if an argument was not given and nothing fills it in.
    options
        What was parsed. Arguments that were not given are None. It is changed.
    places
        For each argument, the attribute of `OwnCompetition` that fills it in. A pair adds what is
        taken if there is no such competition. Without it, the argument is then missing.

    Returns
    -------
    The competition that is meant, or None.

    Raises
    ------
    SettingsError
        There is no such competition.

    Examples
    --------
    >>> options = argparse.Namespace(own_competition=None, recipe="hubmap", models=None)
    >>> places = {"recipe": "training_recipe", "models": ("models_folder", "build/models")}
    >>> fill_in(argparse.ArgumentParser(), options, **places)
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
            is_option = f"--{argument} " in parser.format_usage()
            name = f"--{argument}" if is_option else argument
            parser.error(f"give {argument.upper()}= ({name}), or {_others()}")
        elif otherwise[0] is not None:
            setattr(options, argument, Path(otherwise[0]))
    if own is not None:
        _use_code(own)
    return own


def _others() -> str:
    """How a competition of one's own is given instead."""
    names = all_names()
    if names:
        return f"NAME={' or '.join(names)}, which is a competition of your own"
    return f"make a competition of your own with {make_command('new', NAME='my-competition')}"


def _use_code(own: OwnCompetition) -> None:
    """Let this process and its children find the code that the competition's settings name."""
    try:
        named = tomllib.loads(own.settings_file.read_text(encoding="utf-8")).get("own")
    except (OSError, ValueError):
        return  # the commands that need the settings say what is wrong with them
    if named and isinstance(named, str):
        os.environ.setdefault(OWN_FOLDER, str(own.folder / expanded(named)))
