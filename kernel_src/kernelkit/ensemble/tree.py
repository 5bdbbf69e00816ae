"""`MergeTree`: views become a member's answer, and members the ensemble's.

Members are merged level by level: folds become a model's answer, models a scale's, and scales one.
Or they are merged all at once. Each step says in which domain it merges. Answers are converted
between the steps if needed. A branch is asked only when its turn comes. So only one member's answer
is in memory at a time.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from dataclasses import replace
from typing import Any, get_args

from torch import Tensor

from kernelkit.ensemble.merge import Answer, combine
from kernelkit.ensemble.questions import Question
from kernelkit.ensemble.scales import Scale, ScaleMember, labels_of_layers, scales_of
from kernelkit.ensemble.spread import Spread
from kernelkit.ensemble.tta import MixedViews, View, view_set
from kernelkit.ensemble.weights import flat_weight, weight_of
from kernelkit.errors import RecipeError
from kernelkit.recipe import EnsembleRecipe, MergeStep
from kernelkit.vocabulary import GiveUp, Level, choices

__all__ = ["MergeTree", "check_level"]


class MergeTree:
    """The members of an ensemble, merged as its recipe says.

    Parameters
    ----------
    placed
        All members, those of each run next to each other.
    recipe
        Says which members see which scale, and how each step merges.

    Attributes
    ----------
    views
        In which views each image is seen. `ask_less` may leave some out.

    Raises
    ------
    RecipeError
        The recipe names runs or members that are not there, or leaves some out.
    """

    def __init__(self, placed: Sequence[ScaleMember], recipe: EnsembleRecipe) -> None:
        self.views = view_set(recipe.views)
        self._recipe = recipe
        self._scales = scales_of(recipe, placed)

    def __call__(
        self, question: Question, spread: Spread | None = None, level: Level = "ensemble"
    ) -> Tensor:
        """Probabilities of a batch of images, float32 (N, L K, h, w): layer after layer.

        Parameters
        ----------
        spread
            Takes each member's answer, if it is given.
        level
            What the layers are: members, models, or the ensemble's one answer.

        Raises
        ------
        RecipeError
            As `check_level`.
        """
        check_level(self._recipe, level)
        if level == "ensemble":
            return self._probabilities(self._merged(question, spread))
        ask = self._member_answers if level == "member" else self._model_answers
        layers: Tensor | None = None
        for number, answer in enumerate(ask(question, spread)):
            probabilities = self._probabilities(answer)
            count, classes, *size = probabilities.shape
            if layers is None:
                total = len(self.layers(level)) * classes
                layers = probabilities.new_empty(count, total, *size)
            layers[:, number * classes : (number + 1) * classes] = probabilities
        assert layers is not None
        return layers

    def layers(self, level: Level) -> tuple[str, ...]:
        """The names of the layers of an answer, in their order.

        They are names of members or of runs. A run that looks at several scales has `@` and the
        scale behind it. The ensemble's one answer has an empty name.

        Raises
        ------
        RecipeError
            As `check_level`.
        """
        check_level(self._recipe, level)
        if level == "ensemble":
            return ("",)
        labels = labels_of_layers(self._scales)
        return tuple(
            name + labels[scale.place, run]
            for scale in self._scales
            for run, members in scale.models.items()
            for name in ([run] if level == "model" else [placed.member.name for placed in members])
        )

    @property
    def cost(self) -> float:
        """The networks' passes per image, each counted by the pixels that it looks at."""
        views = 1 if self.views.rotating else len(self.views.views)
        return views * sum(scale.passes for scale in self._scales)

    @property
    def asked(self) -> dict[str, Any]:
        """Who is asked in which views, for a fingerprint."""
        return {
            "views": [view.name for view in self.views.views],
            "scales": [
                [scale.step.label, [p.member.name for m in scale.models.values() for p in m]]
                for scale in self._scales
            ],
        }

    def ask_less(self, what: GiveUp) -> str | None:
        """Ask half as much from now on, and return what is still asked. None if nothing is left.

        Raises
        ------
        RecipeError
            `what` is none of these words.
        """
        match what:
            case "views":
                return self._ask_less_views()
            case "folds":
                return self._ask_less_folds()
            case "scales":
                return self._ask_less_scales()
        raise RecipeError(f'there is no "{what}" to leave out. Choose {choices(GiveUp)}')

    def _ask_less_views(self) -> str | None:
        before = len(self.views.views)
        if self.views.rotating or before == 1:
            return None
        self.views = self.views.heaviest(_half(self.views.views))
        return f"{len(self.views.views)} of {before} views"

    def _ask_less_folds(self) -> str | None:
        before = max(len(members) for scale in self._scales for members in scale.models.values())
        if before == 1:
            return None
        self._scales = [
            replace(s, models={run: members[: _half(members)] for run, members in s.models.items()})
            for s in self._scales
        ]
        return f"{(before + 1) // 2} of {before} folds of a model"

    def _ask_less_scales(self) -> str | None:
        before = self._scales
        if len(before) == 1:
            return None
        # of equal weights the first ones stay, since sorting is stable
        heaviest = sorted(range(len(before)), key=lambda i: -before[i].step.weight)[: _half(before)]
        self._scales = [before[i] for i in sorted(heaviest)]
        return f"{len(self._scales)} of {len(before)} scales"

    def inputs(self, question: Question) -> Iterator[tuple[list[ScaleMember], Tensor]]:
        """Iterate over each scale's models: their members, and the images as they see them."""
        for scale in self._scales:
            seen = question.seen(scale)
            for members in scale.models.values():
                yield members, seen

    def _merged(self, question: Question, spread: Spread | None) -> Answer:
        """The ensemble's one answer."""
        merge, recipe = self._recipe.merge, self._recipe
        if merge.members is not None:
            weights = [
                scale.step.weight * flat_weight(recipe, run, placed.member.name)
                for scale in self._scales
                for run, members in scale.models.items()
                for placed in members
            ]
            return self._merge(self._member_answers(question, spread), merge.members, weights)

        def scales() -> Iterator[Answer]:
            for scale in self._scales:
                weights = [weight_of(recipe, run) for run in scale.models]
                yield self._merge(self._models_at(scale, question, spread), merge.models, weights)

        return self._merge(scales(), merge.scales, [scale.step.weight for scale in self._scales])

    def _member_answers(self, question: Question, spread: Spread | None) -> Iterator[Answer]:
        for scale in self._scales:
            ask = self._asking(scale, question, spread)
            for members in scale.models.values():
                yield from map(ask, members)

    def _model_answers(self, question: Question, spread: Spread | None) -> Iterator[Answer]:
        for scale in self._scales:
            yield from self._models_at(scale, question, spread)

    def _models_at(
        self, scale: Scale, question: Question, spread: Spread | None
    ) -> Iterator[Answer]:
        ask = self._asking(scale, question, spread)
        for members in scale.models.values():
            weights = [weight_of(self._recipe, placed.member.name) for placed in members]
            yield self._merge(map(ask, members), self._recipe.merge.folds, weights)

    def _asking(
        self, scale: Scale, question: Question, spread: Spread | None
    ) -> Callable[[ScaleMember], Answer]:
        """What asks one member at a scale, in all views. The images are made ready once."""
        merge, activation = self._recipe.merge, self._recipe.activation
        seen = question.seen(scale)
        passes = self.views.passes(question.indices, square=seen.shape[-2] == seen.shape[-1])

        def ask(member: ScaleMember) -> Answer:
            answer = self._merge(_views(member, seen, passes), merge.views, self.views.weights)
            answer = question.fitted(answer, scale, merge.of_members.of, activation)
            if spread is not None:
                spread.add(self._probabilities(answer))
            return answer

        return ask

    def _merge(
        self, answers: Iterable[Answer], step: MergeStep, weights: Sequence[float] | None = None
    ) -> Answer:
        merged = combine(
            (answer.to(step.of, self._recipe.activation) for answer in answers),
            step.how,
            weights=weights,
            temperature=step.temperature,
            activation=self._recipe.activation,
        )
        return Answer(merged, step.of)

    def _probabilities(self, answer: Answer) -> Tensor:
        return answer.to("probabilities", self._recipe.activation)


def check_level(recipe: EnsembleRecipe, level: Level) -> None:
    """Refuse a level that the recipe's merging does not have.

    Raises
    ------
    RecipeError
        There is no such level, or all members are merged at once and have no models.
    """
    if level not in get_args(Level):
        raise RecipeError(f'there is no level "{level}". Choose {choices(Level)}')
    if level == "model" and recipe.merge.members is not None:
        raise RecipeError(
            f"{recipe.name}: merge.members merges all members at once, so there is no answer per "
            'model. Choose the level "member" or "ensemble"'
        )


def _views(
    member: ScaleMember, images: Tensor, passes: Sequence[View | MixedViews]
) -> Iterator[Answer]:
    for view in passes:
        yield Answer(view.undo(member(view.apply(images))), "logits")


def _half(parts: Sized) -> int:
    return (len(parts) + 1) // 2
