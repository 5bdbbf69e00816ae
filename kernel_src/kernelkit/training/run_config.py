"""The cfg.yaml of a run folder: what was trained, on what, and all that inference needs.

It has five sections.

- KERNELKIT says which version wrote it. Of such a file, inference reads DATA and MODEL alone.
- MODEL holds the arguments that the network is built with.
- DATA says how pixels became the network's input, and what its answers mean.
- TRAIN is the training recipe of the run, with every default. A key that is not there is null.
- FOLDS says how many images each fold validates on. Which ones stands in folds.csv.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import BaseModel

import kernelkit
from kernelkit.errors import TrainingError
from kernelkit.yamlfile import read_yaml

if TYPE_CHECKING:
    from kernelkit.training.recipe import RunRecipe

__all__ = ["config_text", "refuse_other_config", "run_config", "train_section"]

# What another version may write otherwise, though the run is the same.
_OF_THE_WRITER = ("KERNELKIT",)


def run_config(run: "RunRecipe", validation: Sequence[int]) -> dict[str, Any]:
    """The content of a run's cfg.yaml.

    Parameters
    ----------
    run
        What is trained, with the mean and the std that its pixels are normalised by.
    validation
        How many images each fold validates on.
    """
    return {
        "KERNELKIT": {"version": kernelkit.__version__},
        "MODEL": run.description,
        "DATA": _plain(_data(run)),
        "TRAIN": train_section(run),
        "FOLDS": {"count": len(validation), "validation": list(validation), "table": "folds.csv"},
    }


def train_section(run: "RunRecipe") -> dict[str, Any]:
    """The training recipe of a run as plain values, without keys that are null."""
    return dict(_without_null(run.plain()))


def _without_null(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_null(part) for key, part in value.items() if part is not None}
    return [_without_null(part) for part in value] if isinstance(value, list | tuple) else value


def _data(run: "RunRecipe") -> dict[str, Any]:
    """How pixels became the network's input, and what its answers mean."""
    given, tiles = run.input, run.tiles
    data: dict[str, Any] = {
        "bands": given.bands,
        "decibel": given.decibel,
        "minmax": given.minmax or False,
        **({} if given.decibel or given.minmax else {"divide": given.divide}),
        "mean": given.mean,
        "std": given.std,
        "fill": tiles.fill,
    }
    if tiles.whole:
        data |= {"pad": tiles.pads, "resample": given.resample}
        data |= {"size": run.size} if run.size else {}
    else:
        data["scale"] = tiles.scale
    data["task"] = run.task
    if run.task == "segment":
        data["activation"] = run.activation
        if run.competition.classes:
            data["classes"] = _names_of_outputs(run)
    return data


def _names_of_outputs(run: "RunRecipe") -> list[str]:
    """The class of each of the network's outputs. What is not submitted is background."""
    names = ["background"] * run.outputs
    for number, name in zip(run.class_numbers, run.classes, strict=True):
        names[number] = name
    return names


def _plain(value: Any) -> Any:
    """A value as YAML has it, at every depth: sections and tuples become mappings and lists."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, Mapping):
        return {key: _plain(part) for key, part in value.items()}
    return [_plain(part) for part in value] if isinstance(value, tuple) else value


def config_text(config: Mapping[str, Any]) -> str:
    """The YAML text of a run's cfg.yaml."""
    return yaml.safe_dump(
        dict(config), sort_keys=False, default_flow_style=None, allow_unicode=True, width=100
    )


def refuse_other_config(path: Path, config: Mapping[str, Any]) -> None:
    """Refuse to go on in the folder of a run that was trained with other settings.

    Raises
    ------
    TrainingError
        The cfg.yaml that lies there cannot be read, or says otherwise.
    """
    found = read_yaml(path, TrainingError)
    # what was written is compared as it is read, since YAML has no tuples and rounds no number
    wanted = yaml.safe_load(config_text(config))
    for key in (key for key in {**wanted, **found} if key not in _OF_THE_WRITER):
        difference = _difference(found.get(key), wanted.get(key), key)
        if difference is not None:
            where, there, here = difference
            raise TrainingError(
                f"{path}: found {where} {there}, and this training has {here}. Choose another "
                "output, remove that run, or correct the recipe"
            )


def _difference(found: Any, wanted: Any, where: str) -> tuple[str, str, str] | None:
    """The first value that differs, with its place in the file. None if nothing does."""
    if isinstance(found, Mapping) and isinstance(wanted, Mapping):
        for key in dict.fromkeys((*wanted, *found)):
            one = _difference(found.get(key), wanted.get(key), f"{where}.{key}")
            if one is not None:
                return one
        return None
    return None if found == wanted else (where, _shown(found), _shown(wanted))


def _shown(value: Any) -> str:
    if value is None:
        return "nothing"
    text = str(value)
    return text if len(text) <= 60 else f"{text[:60]}..."
