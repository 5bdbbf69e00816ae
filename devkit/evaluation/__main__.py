"""`python -m devkit.evaluation validate` or `tune`, which `make validate` and `make tune` call."""

import argparse
import sys

from devkit.evaluation import tune, validate

_COMMANDS = {"validate": validate.main, "tune": tune.main}


def main(arguments: list[str] | None = None) -> int:
    """Run one of the commands. Each has its own --help."""
    parser = argparse.ArgumentParser(prog="python -m devkit.evaluation", description=__doc__)
    parser.add_argument("command", choices=_COMMANDS)
    given = sys.argv[1:] if arguments is None else arguments
    return _COMMANDS[parser.parse_args(given[:1]).command](given[1:])


if __name__ == "__main__":
    sys.exit(main())
