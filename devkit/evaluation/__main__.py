"""`python -m devkit.evaluation validate`, `tune` or `shift`, which `make` calls by these names."""

import argparse
import sys

from devkit.evaluation import shift, tune, validate

_COMMANDS = {"validate": validate.main, "tune": tune.main, "shift": shift.main}


def main(arguments: list[str] | None = None) -> int:
    """Run one of the commands. Each has its own --help."""
    parser = argparse.ArgumentParser(prog="python -m devkit.evaluation", description=__doc__)
    parser.add_argument("command", choices=_COMMANDS)
    given = sys.argv[1:] if arguments is None else arguments
    return _COMMANDS[parser.parse_args(given[:1]).command](given[1:])


if __name__ == "__main__":
    sys.exit(main())
