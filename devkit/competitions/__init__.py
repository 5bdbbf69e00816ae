"""Competitions of the user's own: `competitions/<name>/`, made by `make new`, named by `NAME=`."""

from devkit.competitions.arguments import add_name, fill_in
from devkit.competitions.folders import competition_folder, models_folder
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
    "competition_folder",
    "competitions_folder",
    "fill_in",
    "find",
    "models_folder",
    "refuse_name",
]
