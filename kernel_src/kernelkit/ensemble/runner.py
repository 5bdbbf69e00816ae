"""`BatchRunner`: gate and members answer batch by batch, as the device's memory allows.

Before the first batch of a size, a memory plan chooses the batch. If memory still runs out, the
batch is halved, and the same images are tried again. At a batch of one image the largest members
move to host memory.
"""

import logging
import time
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from kernelkit.checkpoints import Member
from kernelkit.ensemble.answers import Answers, join
from kernelkit.ensemble.asked import Asked, gate_place
from kernelkit.ensemble.device import is_out_of_memory, not_finite_message, release_cached
from kernelkit.ensemble.gates import TileGate
from kernelkit.ensemble.graphs import GraphRecorder
from kernelkit.ensemble.memory import MemoryPlan
from kernelkit.ensemble.placement import Placement
from kernelkit.ensemble.questions import Question
from kernelkit.ensemble.spread import Spread
from kernelkit.ensemble.tree import MergeTree, check_level
from kernelkit.ensemble.turns import alone, together
from kernelkit.errors import CheckpointError, DeviceError, NetworkError
from kernelkit.recipe import EnsembleRecipe
from kernelkit.vocabulary import Level

__all__ = ["BatchRunner", "Request"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Request:
    """What is requested beside the ensemble's answer.

    Attributes
    ----------
    with_spread
        Also measure how far the members lie apart.
    level
        Whose answers are kept apart.
    ask_gated
        Whether the members are asked about what the gate finds empty.
    """

    with_spread: bool = False
    level: Level = "ensemble"
    ask_gated: bool = False


class BatchRunner:
    """The members of an ensemble and of its gate, asked batch by batch.

    Parameters
    ----------
    recipe
        The ensemble.
    members, gate_members
        Those that answer, and those of the gate.
    placement
        All of them, on the device or on the host.
    batch
        The most images at once.

    Attributes
    ----------
    tree
        The members, merged as the recipe says.
    batch
        The most images at once. The memory plan lowers it, or memory that runs out.
    memory
        The memory plan in force, or None before the first batch.
    warm_up_seconds
        The time for memory plans, compiling and recording.
    """

    def __init__(
        self,
        recipe: EnsembleRecipe,
        members: Sequence[Member],
        gate_members: Sequence[Member],
        placement: Placement,
        batch: int,
    ) -> None:
        self.batch = batch
        self.memory: MemoryPlan | None = None
        self.warm_up_seconds = 0.0
        self._recipe = recipe
        self._members = list(members)
        self._placement = placement
        self._device = placement.device
        self._precision = placement.precision
        self._execution = placement.execution
        self._notes = placement.notes
        self._classes = members[0].classes
        self._ready: set[Hashable] = set()
        self._takes: dict[Hashable, bool] = {}
        self._recorder = GraphRecorder(self._notes)
        self.tree = MergeTree(placement.of(self._members), recipe)
        self._gate: TileGate | None = None
        if recipe.gate:
            placed = placement.of(gate_members)
            message = not_finite_message(self._precision)
            self._gate = TileGate(placed, recipe.gate, self._classes, message)
        self._records = self._execution.cuda_graph and self._can_record()

    def run(self, asked: Asked, request: Request) -> Answers:
        """Ask about images, as many at once as the device's memory allows.

        Raises
        ------
        DeviceError
            The device has too little memory for one image and one member.
        """
        with together(self._device):
            return join(list(self._batches(asked, request)))

    def plan(self, asked: Asked, level: Level = "ensemble") -> MemoryPlan:
        """Measure what one such image needs, and adopt the batch that fits."""
        layers = len(self.tree.layers(level))
        with alone(self._device):
            question = asked.empty(1).question(slice(1))
            plan = self._placement.plan(self.tree, question, self.batch, layers)
        if plan.batch < self.batch:
            self._notes.add(
                f"the batch is {plan.batch}, because {self.batch} tiles need too much memory"
            )
        self.batch, self.memory = plan.batch, plan
        return plan

    def get_ready(self, asked: Asked, level: Level, *, with_spread: bool = False) -> None:
        """Plan the memory for images of some shapes, and make programs for their batch."""
        check_level(self._recipe, level)
        if (asked.shapes, level) in self._ready:
            return
        start = time.perf_counter()
        with alone(self._device):
            _log.info("memory plan:\n%s", self.plan(asked, level))
            self._ready.add((asked.shapes, level))
            request = Request(with_spread, level)
            if self._is_of_one_batch(request):
                self.run(asked.empty(self.batch), request)
        self.warm_up_seconds += time.perf_counter() - start

    def takes(self, asked: Asked) -> bool:
        """Whether all networks look at images of such shapes."""
        if asked.shapes not in self._takes:
            try:
                self.run(asked.empty(1), Request())
                self._takes[asked.shapes] = True
            except (CheckpointError, NetworkError):
                self._takes[asked.shapes] = False
        return self._takes[asked.shapes]

    @torch.no_grad()
    def seen(self, asked: Asked) -> dict[str, list[Tensor]]:
        """What each member of ensemble and gate sees of images, by its name."""
        question = asked.question(slice(len(asked)))
        found: dict[str, list[Tensor]] = {}
        for members, images in self.tree.inputs(question):
            for placed in members:
                found.setdefault(placed.member.name, []).append(images)
        if self._gate is not None:
            for name in self._gate.names:
                found.setdefault(name, []).append(question.inputs[gate_place(self._recipe)])
        return found

    def ask_all(self) -> None:
        """Ask all members in all views again."""
        self.tree = MergeTree(self._placement.of(self._members), self._recipe)
        self.forget_graphs()

    def forget_graphs(self) -> None:
        """Drop what was recorded, because other members are asked or weights have moved."""
        self._recorder.forget()

    @torch.no_grad()
    def _batches(self, asked: Asked, request: Request) -> Iterator[Answers]:
        """Iterate over the answers, batch by batch, until all images are done."""
        done = 0
        while done < len(asked):
            try:
                self.get_ready(asked, request.level, with_spread=request.with_spread)
                batch = slice(done, done + self.batch)
                answers = self._answer(asked.question(batch), request)
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
            else:
                yield answers
                done = batch.stop
                continue
            # not in the handler, because the error keeps all tensors of the failed batch alive
            self._make_room()

    def _answer(self, question: Question, request: Request) -> Answers:
        """The members' answer about what the gate lets pass. All else has the probability 0."""
        if self._gate is None:
            return self._ask_members(question, request)
        emptiness = self._gate(question.inputs[gate_place(self._recipe)])
        if request.ask_gated:
            return replace(self._ask_members(question, request), gate=emptiness)
        is_full = self._gate.lets_pass(emptiness)
        passing = is_full if is_full.ndim == 1 else is_full.any(1)
        places = passing.nonzero()[:, 0]
        layers = len(self.tree.layers(request.level))
        shape = len(question), layers * self._classes, *question.size
        probabilities = question.inputs[0].new_zeros(shape)
        deviation = None
        if request.with_spread:
            deviation = probabilities.new_zeros(len(question), self._classes, *question.size)
        if len(places):
            answers = self._ask_members(question.part(places), request)
            probabilities[places] = answers.probabilities
            if deviation is not None and answers.spread is not None:
                deviation[places] = answers.spread
        if is_full.ndim == 2:
            probabilities *= is_full.repeat(1, layers)[..., None, None]
            if deviation is not None:
                deviation *= is_full[..., None, None]
        return Answers(probabilities, deviation, self._precision, emptiness)

    def _ask_members(self, question: Question, request: Request) -> Answers:
        count = len(question)
        if count < self.batch and self._is_of_one_batch(request):
            # fill up the last batch, and make no more programs
            question = question.filled(self.batch)
        spread = Spread() if request.with_spread else None
        probabilities = self._ask(question, spread, request.level)
        deviation = None if spread is None else spread.deviation()[:count]
        return Answers(probabilities[:count], deviation, self._precision)

    def _is_of_one_batch(self, request: Request) -> bool:
        """Whether programs answer that are made for one size of batch.

        How far members lie apart is not in a graph, so none is recorded for that.
        """
        return self._execution.compile or (self._records and not request.with_spread)

    def _ask(self, question: Question, spread: Spread | None, level: Level) -> Tensor:
        if self._records and spread is None and self._placement.all_on_device:
            return self._replayed(question, level)
        return self.tree(question, spread, level)

    def _replayed(self, question: Question, level: Level) -> Tensor:
        """The members' answer by a graph that was recorded for such questions."""

        def ask(*inputs: Tensor) -> Tensor:
            return self.tree(replace(question, inputs=inputs), None, level)

        return self._recorder((type(question), question.frame, level), ask, *question.inputs)

    def _can_record(self) -> bool:
        if self._device.type == "cuda" and not self.tree.views.rotating:
            return True
        self._notes.add("CUDA graphs are not used: they need a GPU, and no rotating views")
        return False

    def _make_room(self) -> None:
        """After memory ran out: halve the batch, or move the largest member to the host."""
        self.forget_graphs()
        release_cached(self._device)
        if self.batch > 1:
            self.batch //= 2
            self._notes.add(f"memory ran out, so the batch is {self.batch} from then on")
        elif not self._placement.keep_largest_on_host():
            raise DeviceError(
                f"{self._recipe.name}: {self._device} has too little memory for one tile and one "
                "member. Use smaller tiles, or a device with more memory"
            )
