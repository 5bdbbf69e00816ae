"""`Loaded`: a network with its weights, and what was found on the way."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from kernelkit.vocabulary import MemberKind

__all__ = ["Declared", "Loaded"]


@dataclass(frozen=True)
class Declared:
    """The channels of input and output, if somebody says so."""

    channels: int | None
    classes: int | None

    @classmethod
    def of(cls, description: Mapping[str, Any]) -> "Declared":
        """What a network's description declares, in the words of either library."""
        return cls(
            description.get("in_channels", description.get("in_chans")),
            description.get("classes", description.get("num_classes")),
        )


@dataclass(frozen=True)
class Loaded:
    """A network with its weights. The fields are as those of a member."""

    module: nn.Module
    kind: MemberKind
    sha256: str
    architecture: str
    io: Declared
    size: tuple[int, int] | None = None
    origin_sha256: str = ""
    is_averaged: bool = False
    runs_by: str = f"torch {torch.__version__}"
    beside: Mapping[str, Tensor] = field(default_factory=dict)
    notes: Sequence[str] = ()
