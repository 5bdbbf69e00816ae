"""How every command reads its arguments: one look of --help, and one line for what is wrong.

A command's module imports little. It parses and checks its arguments, and only then imports what
does the work. So --help and every argument error come at once.
"""

import argparse
import difflib
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from devkit.make import make_command

__all__ = [
    "Arguments",
    "add_competition",
    "add_json",
    "add_prediction",
    "add_profile",
    "add_set",
    "add_training_recipe",
    "add_workers",
    "number_from_0",
    "number_from_1",
]

# The exit code of a command line that is not understood, as argparse has it.
_NOT_UNDERSTOOD = 2
_REQUIRED = "the following arguments are required: "
_UNKNOWN = "unrecognized arguments: "
_CHOICE = re.compile(r"argument (.+?): invalid choice: (.+) \(choose from (.+)\)$", re.S)
_ARGUMENT = re.compile(r"argument (.+?): (.+)$", re.S)


class Arguments(argparse.ArgumentParser):
    """The arguments of a command. Its help names the variable of make for each.

    Parameters
    ----------
    target
        The command's name in the Makefile, such as `train`. Empty if it has none.
    prog
        How Python starts it, such as `python -m devkit.training`.
    options
        As of `argparse.ArgumentParser`. The description is the module's docstring as a rule.
    """

    def __init__(self, target: str = "", prog: str | None = None, **options: Any) -> None:
        self._variables: dict[str, str] = {}
        self._names: list[str] = []  # of options
        self._target = target
        super().__init__(
            prog=prog,
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            **options,
        )

    def add_argument(self, *names: str, variable: str = "", **options: Any) -> argparse.Action:
        """Add an argument as argparse does. The help says its default.

        Parameters
        ----------
        names
            The name of a place, or those of an option.
        variable
            The variable of make behind it, such as `RECIPE`.
        options
            As of `argparse.ArgumentParser.add_argument`.
        """
        text = options.get("help") or ""
        default = options.get("default")
        if default not in (None, False, [], "", argparse.SUPPRESS) and "default" not in text:
            text += " (default: %(default)s)"
        if variable:
            text += f" [{variable}={'1' if options.get('action') == 'store_true' else ''}]"
        action = super().add_argument(*names, **{**options, "help": text})
        self._names += names
        if variable:
            self._variables["/".join(names)] = variable
        return action

    def add_folder(self, *names: str, **options: Any) -> argparse.Action:
        """Add an argument that is a folder. The parameters are those of `add_argument`."""
        return self.add_argument(*names, type=Path, metavar="FOLDER", **options)

    def add_models(self, help: str) -> argparse.Action:
        """Add the models folder, which is named by its place and may be left out."""
        return self.add_argument(
            "models", type=Path, nargs="?", metavar="MODELS", variable="MODELS", help=help
        )

    def leave_to_parent(self) -> None:
        """Leave each argument so far without a value of its own, if it is not given.

        A command below another parser has the same options as that one then, in both places.
        """
        for action in self._actions:
            action.default = argparse.SUPPRESS

    def format_help(self) -> str:
        """The help, below the line that make needs."""
        variables = " ".join(f"{name}=" for name in dict.fromkeys(self._variables.values()))
        by_make = f"make {self._target} {variables}".rstrip() + "\n\n" if self._target else ""
        return by_make + super().format_help()

    def as_command(self, arguments: Sequence[str], **variables: object) -> str:
        """Return the command of these arguments, as it can be pasted.

        It is one of make, unless one of the arguments has no variable of make.

        Parameters
        ----------
        arguments
            What the command line was.
        variables
            More variables of make, over those that the arguments give. Those that are None or
            empty change nothing.
        """
        options = self.parse_args(arguments)
        given: dict[str, object] = {}
        is_of_make = True
        for action in self._actions:
            value = getattr(options, action.dest, action.default)
            if value == action.default:
                continue
            variable = self._variables.get("/".join(action.option_strings or [action.dest]))
            if variable is None:
                is_of_make = False
            else:
                given[variable] = " ".join(map(str, value)) if isinstance(value, list) else value
        if is_of_make:
            more = {name: value for name, value in variables.items() if value}
            return make_command(self._target, **given | more)
        options_of = {each: names.split("/")[-1] for names, each in self._variables.items()}
        added = {name: value for name, value in variables.items() if value and name not in given}
        words = [word for name, value in added.items() for word in (options_of[name], str(value))]
        return f"PYTHONPATH=kernel_src .venv/bin/{self.prog} {shlex.join([*arguments, *words])}"

    def error(self, message: str) -> NoReturn:
        """End the command in one line, with exit code 2."""
        name = self._target or self.prog.split()[-1]
        more = f"make help-{self._target}" if self._target else f"{self.prog} --help"
        print(f"{name} failed: {self._in_words(message)}. See {more}", file=sys.stderr)
        sys.exit(_NOT_UNDERSTOOD)

    def _in_words(self, message: str) -> str:
        """What argparse says, in the words of all errors."""
        if message.startswith(_REQUIRED):
            names = message.removeprefix(_REQUIRED).split(", ")
            return f"give {' and '.join(map(self._named, names))}"
        if message.startswith(_UNKNOWN):
            words = message.removeprefix(_UNKNOWN)
            known = [name for name in self._names if name.startswith("--")]
            near = _meant(words.split()[0].split("=")[0], known)
            return f"found {words}, which is unknown{near}"
        if found := _CHOICE.match(message):
            name, value = found[1], found[2].strip("'")
            choices = [choice.strip("'") for choice in found[3].split(", ")]
            return (
                f"found {value} as {self._named(name)}, wanted one of {', '.join(choices)}"
                f"{_meant(value, choices)}"
            )
        if found := _ARGUMENT.match(message):
            return f"{self._named(found[1])}: {found[2]}"
        return message

    def _named(self, name: str) -> str:
        """An argument by its variable of make, and as Python's command line has it."""
        variable = self._variables.get(name)
        return f"{variable}= ({name})" if variable else name


def _meant(word: str, known: Sequence[str]) -> str:
    """A sentence that names what is spelt like a word, or nothing."""
    near = difflib.get_close_matches(word, known, 1)
    return f". Did you mean {near[0]}" if near else ""


def add_training_recipe(parser: Arguments) -> None:
    """Add the training recipe, and the folder of the competition that it is of."""
    parser.add_argument(
        "recipe", nargs="?", variable="RECIPE", help="a training recipe: a name or a YAML file"
    )
    add_competition(parser)


def add_competition(parser: Arguments, help: str = "the competition's folder") -> None:
    """Add the competition's folder."""
    parser.add_folder("--competition", variable="COMPETITION", help=help)


def add_prediction(parser: Arguments, images: str) -> None:
    """Add a recipe, the folder of images that it is for, in words, and that of trained runs."""
    parser.add_argument(
        "recipe", nargs="?", variable="RECIPE", help="a recipe: a name or a YAML file"
    )
    add_competition(parser, images)
    parser.add_folder(
        "--models",
        variable="MODELS",
        help="the folder of trained runs",
    )


def add_workers(parser: Arguments, help: str, default: int = 0) -> None:
    """Add how many processes work beside this one."""
    parser.add_argument(
        "--workers", type=number_from_0, default=default, variable="WORKERS", help=help
    )


def add_json(parser: Arguments) -> None:
    """Add the wish for JSON. Nothing else is then on the standard output."""
    parser.add_argument("--json", action="store_true", variable="JSON", help="print JSON")


def add_profile(parser: Arguments) -> None:
    """Add the name of the image's profile."""
    parser.add_argument(
        "--profile",
        default="kaggle-py312",
        metavar="NAME",
        variable="PROFILE",
        help="the image, by its profile below wheels/profiles",
    )


def add_runs(parser: Arguments) -> None:
    """Add which runs of a training recipe are meant."""
    parser.add_argument(
        "--run", action="append", default=[], variable="RUN", help="one of the runs, all if none"
    )


def add_set(parser: Arguments, example: str) -> None:
    """Add what changes keys of a recipe. The example is one such change."""
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        variable="SET",
        help=f"change a key of the recipe, such as {example}",
    )


def number_from_0(text: str) -> int:
    """Read a whole number that is not negative. It is a `type` of argparse."""
    return _number(text, 0)


def number_from_1(text: str) -> int:
    """Read a whole number above 0. It is a `type` of argparse."""
    return _number(text, 1)


def _number(text: str, least: int) -> int:
    if not (text.isascii() and text.isdecimal() and int(text) >= least):
        raise argparse.ArgumentTypeError(
            f"found {text!r:.40}, wanted a whole number from {least} on"
        )
    return int(text)
