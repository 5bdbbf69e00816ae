"""`python -m devkit.evaluation validate`, `tune` or `shift`, which `make` calls by these names."""

import importlib
import sys

from devkit.arguments import Arguments

_COMMANDS = ("validate", "tune", "shift")


def main(arguments: list[str] | None = None) -> int:
    """Run one of the commands. Each has its own --help."""
    parser = Arguments(prog="python -m devkit.evaluation", description=__doc__)
    parser.add_argument("command", choices=_COMMANDS)
    given = sys.argv[1:] if arguments is None else arguments
    name = parser.parse_args(given[:1]).command
    return int(importlib.import_module(f"devkit.evaluation.{name}").main(given[1:]))


if __name__ == "__main__":
    sys.exit(main())
