"""Competitions of the user's own: `competitions/<name>/`, made by `make new`, named by `NAME=`."""

from devkit.competitions.arguments import add_name, fill_in
from devkit.competitions.own import (
    COMPETITIONS,
    OwnCompetition,
    all_names,
    competitions_folder,
    find,
    refuse_name,
)

__all__ = [
    "COMPETITIONS",
    "OwnCompetition",
    "add_name",
    "all_names",
    "competitions_folder",
    "fill_in",
    "find",
    "refuse_name",
]
