"""`MegaModel`: every member in the device's memory, one answer a tile.

>>> model = MegaModel(folder, threshold=0.3)                   # doctest: +SKIP
>>> probabilities = model.predict(pixels)                       # doctest: +SKIP
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from kernelkit.checkpoints import Member, load_members
from kernelkit.device import choose_device, choose_precision
from kernelkit.errors import CheckpointError
from kernelkit.merge import Domain, combine, convert
from kernelkit.normalise import normalise
from kernelkit.recipe import EnsembleRecipe, Merge, MergeStep
from kernelkit.tta import view_set

__all__ = ["MegaModel"]

Preprocess = Callable[[Tensor], Tensor]


class Answer(NamedTuple):
    """An answer (N, K, h, w) and the domain it is in."""

    values: Tensor
    domain: Domain


class MegaModel:
    """All members of an ensemble in the device's memory."""

    def __init__(
        self,
        folder: str | Path,
        threshold: float = 0.3,
        averaging_mode: str = "mean",
        preprocess_fn: Preprocess | None = None,
        *,
        precision: str = "auto",
        device: str = "auto",
        batch: int = 8,
    ) -> None:
        step = MergeStep.model_validate({"how": averaging_mode, "of": "probabilities"})
        ensemble = EnsembleRecipe(
            name=Path(folder).name,
            thresholds=(threshold,),
            merge=Merge(folds=step, models=step),
        )
        self._set_up(folder, ensemble, preprocess_fn, precision, device, batch)

    @classmethod
    def from_recipe(
        cls,
        folder: str | Path,
        ensemble: EnsembleRecipe,
        *,
        precision: str = "auto",
        device: str = "auto",
        batch: int = 8,
    ) -> Self:
        """The ensemble that a recipe describes, its runs taken from `folder`."""
        model = cls.__new__(cls)
        model._set_up(folder, ensemble, None, precision, device, batch)
        return model

    def _set_up(
        self,
        folder: str | Path,
        ensemble: EnsembleRecipe,
        preprocess_fn: Preprocess | None,
        precision: str,
        device: str,
        batch: int,
    ) -> None:
        self.recipe = ensemble
        self.batch = batch
        self.device = choose_device(device)
        self.precision = choose_precision(precision, self.device)
        self.members = load_members(folder, ensemble.runs)
        self.classes = self._agreed_classes()
        self._views = view_set(ensemble.views)
        self._preprocess = preprocess_fn or (lambda tiles: normalise(tiles, ensemble.input))
        for member in self.members:
            member.module.to(self.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def predict(self, pixels: NDArray, indices: Sequence[int] | None = None) -> Tensor:
        """Probabilities of a batch of tiles.

        Parameters
        ----------
        pixels
            (N, C, h, w) in the source's dtype; any N, any h and w.
        indices
            The tiles' indices in their grid, which `rotating` views go by; 0, 1, ... if None.

        Returns
        -------
        float32 (N, K, h, w) on the model's device.
        """
        indices = range(len(pixels)) if indices is None else indices
        answers = [
            self._predict(pixels[i : i + self.batch], indices[i : i + self.batch])
            for i in range(0, len(pixels), self.batch)
        ]
        return torch.cat(answers)

    def preprocess_and_infer(self, pixels: NDArray) -> NDArray[np.bool_]:
        """Masks (N, K, h, w) of a batch of tiles: probabilities above the thresholds."""
        thresholds = torch.tensor(self.recipe.thresholds, device=self.device)
        masks = self.predict(pixels) > thresholds[:, None, None]
        return masks.cpu().numpy()

    @property
    def fingerprint(self) -> str:
        """A short hash of all weights and of every setting that the answer depends on."""
        settings = {
            "weights": [member.weights_sha256 for member in self.members],
            "recipe": self.recipe.model_dump(mode="json"),
            "precision": str(self.precision),
        }
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]

    def describe(self) -> list[dict[str, Any]]:
        """One row a member, for a table."""
        return [
            {
                "member": member.name,
                "network": member.architecture,
                "parameters": member.parameters,
                "score": member.score,
                "checkpoint": member.path.name,
            }
            for member in self.members
        ]

    @torch.no_grad()
    def _predict(self, pixels: NDArray, indices: Sequence[int]) -> Tensor:
        tiles = self._preprocess(torch.from_numpy(np.ascontiguousarray(pixels)).to(self.device))
        height, width = tiles.shape[-2:]
        tiles = _pad(tiles, 32).to(memory_format=torch.channels_last)
        passes = self._views.passes(indices, square=tiles.shape[-2] == tiles.shape[-1])
        merge = self.recipe.merge

        def views(member: Member) -> Iterator[Answer]:
            for view in passes:
                yield Answer(view.undo(self._logits(member, view.apply(tiles))), "logits")

        def folds(members: Iterable[Member]) -> Iterator[Answer]:
            for member in members:
                yield self._merge(views(member), merge.views)

        def models() -> Iterator[Answer]:
            for _, members in groupby(self.members, key=lambda member: member.run):
                yield self._merge(folds(members), merge.folds)

        merged = self._merge(models(), merge.models)
        answer = convert(merged.values, merged.domain, "probabilities", self.recipe.activation)
        return answer[..., :height, :width]

    def _merge(self, answers: Iterable[Answer], step: MergeStep) -> Answer:
        activation = self.recipe.activation
        converted = (convert(a.values, a.domain, step.of, activation) for a in answers)
        merged = combine(converted, step.how, temperature=step.temperature, activation=activation)
        return Answer(merged, step.of)

    def _logits(self, member: Member, tiles: Tensor) -> Tensor:
        half = self.precision != torch.float32
        with torch.autocast(self.device.type, self.precision, enabled=half):
            answer = member.module(tiles.contiguous(memory_format=torch.channels_last))
        return (answer[0] if isinstance(answer, tuple) else answer).float()

    def _agreed_classes(self) -> int:
        classes = {member.classes for member in self.members}
        if len(classes) > 1:
            counts = ", ".join(f"{member.name} {member.classes}" for member in self.members)
            raise CheckpointError(
                f"the members answer with different numbers of classes ({counts}); "
                "name runs that go together."
            )
        return classes.pop()


def _pad(tiles: Tensor, stride: int) -> Tensor:
    height, width = tiles.shape[-2:]
    return F.pad(tiles, (0, -width % stride, 0, -height % stride), mode="replicate")
