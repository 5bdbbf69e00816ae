"""Which settings a command line means: those of a competition of one's own, or of a file."""

import argparse
from pathlib import Path

from devkit.arguments import Arguments
from devkit.competitions import OwnCompetition
from devkit.errors import SettingsError
from devkit.kaggle.settings.loading import find_settings

__all__ = ["add_settings", "chosen_file"]


def add_settings(parser: Arguments) -> None:
    """Let a command line name a settings file."""
    parser.add_argument(
        "--settings",
        type=Path,
        metavar="FILE",
        variable="SETTINGS",
        help="the settings file (default: that of your own competition, or kaggle.toml)",
    )


def chosen_file(options: argparse.Namespace) -> Path:
    """Return the settings file that a command line means.

    Parameters
    ----------
    options
        What was parsed: `settings` and `own_competition`. If the file is that of a competition of
        the user's own, this competition is named from then on.

    Raises
    ------
    SettingsError
        There is no such file, or another competition is named beside it. Or none is named, and
        there are several.
    """
    path: Path | None = options.settings
    if path is not None:
        if not path.exists():
            raise SettingsError(f"{path}: there is no such file. Correct SETTINGS (--settings)")
        own = OwnCompetition.of_settings(path)
        name = own.name if own else None
        if options.own_competition not in (None, "", name):
            raise SettingsError(
                f"found NAME={options.own_competition} and SETTINGS={path}, which has other "
                "settings. Give one of them"
            )
        options.own_competition = name
        if own is None:
            return path
    return find_settings(options.own_competition)
