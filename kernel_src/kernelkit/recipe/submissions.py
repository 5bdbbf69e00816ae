"""The sections about what work stores, and about the submissions that are made of it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from kernelkit.recipe.ensemble import EnsembleRecipe, PostprocessStep, Thresholds
from kernelkit.recipe.section import Section
from kernelkit.recipe.tiles import Stitching, Tiles
from kernelkit.recipe.words import Patterns
from kernelkit.vocabulary import Level, StoredAt, StoredWhat

__all__ = ["StorePlan", "StoreRecipe", "Variant", "Variants", "plan_of", "refuse_contradictions"]

_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,79}")


class StoreRecipe(Section):
    """What work puts into the store. What is left out is chosen as the submissions need it.

    Attributes
    ----------
    what
        "masks" are decided bits. Of "probabilities" other thresholds, runs and steps make other
        masks within seconds. The default is "probabilities" if there are submissions, else "masks".
    level
        Whose probabilities are kept apart: those of each "member", of each "model", or of the
        "ensemble". The default is the coarsest that serves every submission.
    at
        At which size probabilities are kept: at that of the "network", or at the "size" of the
        submitted masks. The default is "size" for whole pictures. For tiles it is that of the
        stitching: "network" with `upsample: band`, else "size", which then is the image's own.
    """

    what: StoredWhat | None = None
    level: Level | None = None
    at: StoredAt | None = None

    @model_validator(mode="after")
    def _masks_have_no_levels(self) -> Self:
        if self.what == "masks":
            for name in ("level", "at"):
                if getattr(self, name) is not None:
                    raise ValueError(
                        f"found {name}: {getattr(self, name)} with masks, which are decided"
                        f" already. Leave out {name}, or write what: probabilities"
                    )
        return self


class Variant(Section):
    """One submission. What is left out is as the ensembles of the recipe say.

    Attributes
    ----------
    runs
        Glob patterns of the runs that are merged. Left out, all are.
    thresholds
        One value for all classes, or one per class.
    postprocess
        Steps on the finished mask.
    gate
        With "off", pictures that the gate finds empty have masks too.
    mask
        With "gate", the mask is the first pixel if the gate finds that the picture is not empty.
        It stands for all that is there, in files that only ask whether something is.
    """

    runs: Patterns | None = None
    thresholds: Thresholds | None = None
    postprocess: tuple[PostprocessStep, ...] | None = None
    gate: Literal["off"] | None = None
    mask: Literal["gate"] | None = None

    @classmethod
    def short_forms(cls) -> Any:
        """Return the type of nothing. Then the ensembles say everything."""
        return type(None)

    @model_validator(mode="before")
    @classmethod
    def _from_nothing(cls, value: Any) -> Any:
        return {} if value is None else value  # `all:` without anything behind it

    @model_validator(mode="after")
    def _the_gate_alone(self) -> Self:
        others = sorted(self.model_fields_set - {"mask"})
        if self.mask == "gate" and others:
            raise ValueError(
                f"found mask: gate with {', '.join(others)}, which it does not use. Leave that out"
            )
        return self


def _file_names(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    seen: dict[str, str] = {}
    for name in value:
        if not isinstance(name, str) or not _FILE_NAME.fullmatch(name):
            raise ValueError(
                f"found {name!r:.60}, which becomes the name of a file. Use letters, digits, _, -"
                " and ., and a letter or a digit first"
            )
        if name.lower() in seen:
            raise ValueError(
                f"found {seen[name.lower()]} and {name}, which are one file where case does not"
                " count. Rename one of them"
            )
        seen[name.lower()] = name
    return value


Variants = Annotated[dict[str, Variant], BeforeValidator(_file_names), Field(default={})]


@dataclass(frozen=True, slots=True)
class StorePlan:
    """What work puts into the store for the images of one ensemble.

    Attributes
    ----------
    what, level, at
        As of a `StoreRecipe`, decided. Of masks, level and at are those of the recipe's ensemble.
    size
        Height and width of the submitted masks, or None for the image's own.
    ask_gated
        Whether members are asked about pictures that the gate finds empty.
    """

    what: StoredWhat
    level: Level
    at: StoredAt
    size: tuple[int, int] | None
    ask_gated: bool

    def key(self, ensemble: EnsembleRecipe) -> dict[str, Any]:
        """What of this decides on the bytes in the store, for a key. It can be written as JSON."""
        if self.what == "masks":
            return {"what": "masks", "size": self.size, "thresholds": ensemble.thresholds}
        return {
            "what": "probabilities",
            "level": self.level,
            "at": self.at,
            "size": self.size if self.at == "size" else None,
            "ask_gated": self.ask_gated,
        }


def plan_of(
    store: StoreRecipe,
    submissions: Mapping[str, Variant],
    ensemble: EnsembleRecipe,
    tiles: Tiles,
    stitching: Stitching,
    size: tuple[int, int] | None,
) -> StorePlan:
    """What work stores for an ensemble, with every default decided.

    Parameters
    ----------
    size
        Of the submitted masks.
    """
    variants = submissions.values()
    what = store.what or ("probabilities" if submissions else "masks")
    level = store.level
    if level is None:
        chooses = any(variant.runs is not None for variant in variants)
        finest: Level = "model" if ensemble.merge.members is None else "member"
        level = finest if chooses else "ensemble"
    return StorePlan(
        what=what,
        level="ensemble" if what == "masks" else level,
        at=store.at or _usual_place(tiles, stitching),
        size=size if tiles.whole else None,
        ask_gated=any(variant.gate == "off" for variant in variants) and ensemble.gate is not None,
    )


def refuse_contradictions(
    store: StoreRecipe,
    submissions: Mapping[str, Variant],
    ensembles: tuple[EnsembleRecipe, ...],
    tiles: Tiles,
    stitching: Stitching,
) -> None:
    """Refuse what the store cannot hold, and variants that it cannot serve.

    Raises
    ------
    ValueError
        With what was found, and what to do.
    """
    if store.at and not tiles.whole and tiles.scale > 1 and stitching.upsample != "tile":
        _refuse_place(store.at, "network", "band")
    elif store.at and not tiles.whole and tiles.scale > 1:
        _refuse_place(store.at, "size", "tile")
    if store.level == "model":
        flat = [ensemble.name for ensemble in ensembles if ensemble.merge.members is not None]
        if flat:
            raise ValueError(
                f"found store.level: model, but {flat[0]} merges all members at once. Write level:"
                " member, or level: ensemble"
            )
    for name, variant in submissions.items():
        _refuse_variant(name, variant, store, ensembles, tiles)


def _refuse_place(found: StoredAt, wanted: StoredAt, upsample: str) -> None:
    if found != wanted:
        raise ValueError(
            f"found store.at: {found} with upsample: {upsample}, whose probabilities are kept at"
            f" the other size. Write at: {wanted}, or change stitching.upsample"
        )


def _refuse_variant(
    name: str,
    variant: Variant,
    store: StoreRecipe,
    ensembles: tuple[EnsembleRecipe, ...],
    tiles: Tiles,
) -> None:
    place = f"submissions.{name}"
    given = [key for key in ("runs", "thresholds", "gate", "mask") if getattr(variant, key)]
    if store.what == "masks" and given:
        raise ValueError(
            f"found {place}.{given[0]}, but store.what is masks, which are decided already. Write"
            " what: probabilities"
        )
    if variant.runs is not None and store.level == "ensemble":
        raise ValueError(
            f"found {place}.runs, but store.level is ensemble, in which runs are merged already."
            " Write level: member"
        )
    for key in ("gate", "mask"):
        if getattr(variant, key) is None:
            continue
        without = [ensemble.name for ensemble in ensembles if ensemble.gate is None]
        if without and (key == "mask" or len(without) == len(ensembles)):
            raise ValueError(
                f"found {place}.{key}: {getattr(variant, key)}, but {without[0]} has no gate. Give"
                " it one, or leave that out"
            )
        if not tiles.whole:
            raise ValueError(
                f"found {place}.{key}: {getattr(variant, key)} with tiles, which are found empty"
                " one by one. It takes tiles: whole"
            )


def _usual_place(tiles: Tiles, stitching: Stitching) -> StoredAt:
    if tiles.whole or stitching.upsample == "tile":
        return "size"
    return "network"
