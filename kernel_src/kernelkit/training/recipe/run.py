"""A run: what is trained, with everything that follows from the recipe that predicts with it."""

from collections.abc import Mapping, Sequence
from typing import Any, Self

from pydantic import Field

from kernelkit.recipe import Competition, Gate, ImageKind, NetworkInput, Tiles
from kernelkit.recipe.words import Word
from kernelkit.training.recipe.settings import RunKeys
from kernelkit.vocabulary import Activation, Nodata

__all__ = ["RunRecipe"]


class RunRecipe(RunKeys):
    """One run, merged and checked. `TrainingRecipe.load` makes it.

    It has the keys of train.yaml, and these.

    Attributes
    ----------
    name
        The name of the run, which is that of its folder.
    predicts
        The recipe that predicts with it.
    competition
        That of the recipe. Its `images` are the training images.
    tiles
        Those of the recipe. The `scale` is that of the training.
    input
        What the network is given.
    auto_statistics
        Whether mean and std are those of the training windows. Until `with_statistics` is called
        they are 0 and 1.
    activation
        How logits become probabilities.
    nodata
        What pixels without data are, as in the recipe.
    when
        Which images the ensemble is for.
    gate
        For a classifier, the gate that asks it.
    """

    name: Word
    predicts: Word
    competition: Competition
    tiles: Tiles
    input: NetworkInput
    auto_statistics: bool = False
    activation: Activation
    nodata: Nodata
    when: ImageKind = ImageKind()
    gate: Gate | None = Field(None)

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the submitted classes. One without a name if there is one row per image."""
        return self.competition.classes or ("",)

    @property
    def class_numbers(self) -> tuple[int, ...]:
        """The network's output of each class."""
        return self.competition.labels

    @property
    def outputs(self) -> int:
        """How many outputs the network has. With softmax the first is the background."""
        if self.task == "classify":
            if self.gate is not None and self.gate.per_class:
                return len(self.classes)
            return self.model.classes or 2
        if self.activation == "softmax":
            return self.model.classes or max(self.class_numbers) + 1
        return self.model.classes or max(len(self.classes), max(self.class_numbers) + 1)

    @property
    def description(self) -> dict[str, Any]:
        """The network in words, as the section MODEL of cfg.yaml has it."""
        return self.model.description(len(self.input.bands), self.outputs)

    @property
    def scale(self) -> int:
        """How many times smaller than the source the training images are."""
        return self.tiles.scale

    @property
    def window_size(self) -> tuple[int, int] | None:
        """Height and width of the windows. None if they are those of each picture, or differ."""
        sizes = {self._size_of(name) for name in self.windows}
        return sizes.pop() if len(sizes) == 1 else None

    @property
    def crop_size(self) -> tuple[int, int] | None:
        """Height and width of what the network is trained on. None if pictures say it."""
        return (self.crop.size, self.crop.size) if self.crop else self.window_size

    def _size_of(self, name: str) -> tuple[int, int] | None:
        window = self.windows[name]
        if window.size is not None:
            return window.size, window.size
        return None if self.size is None else (self.size[0], self.size[1])

    def problem_of(self, height: int, width: int) -> str:
        """Return what keeps the network from being trained on this size. Empty if nothing does."""
        stride = self.model.stride
        if not height % stride and not width % stride:
            return ""
        near = [max(stride, side // stride * stride) for side in (height, width)]
        key = "crop.size" if self.crop else "size" if self.size else "the size of the windows"
        is_padded = self.tiles.whole and not self.crop and self.size is None
        pads = " or the recipe's pads" if is_padded else ""
        return (
            f"found that {self.model} is trained on {height} x {width} px, wanted multiples of"
            f" {stride}, such as {near[0]} x {near[1]}. Correct {key}{pads}"
        )

    @property
    def snapshot_epochs(self) -> tuple[int, ...]:
        """The epochs after which a snapshot is saved, counted from 1."""
        if not self.schedule.snapshots:
            return ()
        period = self.epochs // self.schedule.restarts
        return tuple(range(period, self.epochs + 1, period))

    @property
    def validated_epochs(self) -> tuple[int, ...]:
        """The epochs after which the weights are judged, counted from 1."""
        if self.validate_ is None:
            return ()
        every = self.validate_.every
        return tuple(n for n in range(1, self.epochs + 1) if n % every == 0 or n == self.epochs)

    def frozen(self, epoch: int) -> tuple[str, ...]:
        """The parts of the network that stay as they are in an epoch, counted from 0."""
        # 0.7 of ten epochs are seven, although their product is a little more than that
        return tuple(
            part for part, share in self.freeze.items() if epoch < share * self.epochs - 1e-6
        )

    def with_statistics(self, mean: Sequence[float], std: Sequence[float]) -> Self:
        """Return the run with mean and std of the training windows, one per band of the input."""
        content = self.input.model_dump() | {"mean": tuple(mean), "std": tuple(std)}
        return self.model_copy(update={"input": NetworkInput.model_validate(content)})

    def plain(self) -> Mapping[str, Any]:
        """Return all keys and values, written as YAML has them."""
        content: dict[str, Any] = self.model_dump(mode="json", by_alias=True)
        return content
