"""Copies of an ensemble on several devices. Two on the processor stand for two GPUs."""

import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from kernelkit.ensemble import MegaModel
from kernelkit.ensemble.replicas import Replicas
from kernelkit.errors import DeviceError, NotFiniteError
from tests.made.ensembles import ensemble
from tests.made.networks import tiles

pytestmark = pytest.mark.timeout(60)


@pytest.fixture(scope="module")
def model(models: tuple[Path, object]) -> MegaModel:
    folder, _ = models
    recipe = ensemble(runs=["fpn"], views="hubmap")
    return MegaModel(folder, recipe=recipe, precision="fp32", device="cpu")


@pytest.fixture(scope="module")
def two(model: MegaModel) -> Iterator[Replicas]:
    replicas = Replicas.on(["cpu", "cpu"], model)
    yield replicas
    replicas.close()


def test_copies_answer_with_the_same_bytes(model: MegaModel, two: Replicas) -> None:
    """Whichever copy is free answers, and each question gets its own answer."""
    batches = [tiles(2, seed=seed) for seed in range(6)]
    asked = [two.ask(partial(MegaModel.predict, pixels=batch)) for batch in batches]
    for batch, answer in zip(batches, asked, strict=True):
        wanted = model.predict(batch).probabilities
        np.testing.assert_array_equal(answer.result().probabilities, wanted)


def test_copies_work_side_by_side(two: Replicas) -> None:
    """Two questions that wait for each other are both answered, each by a copy of its own."""
    both_there = threading.Barrier(2, timeout=30)

    def question(copy: MegaModel) -> MegaModel:
        both_there.wait()
        return copy

    asked = [two.ask(question) for _ in range(2)]
    assert {answer.result() for answer in asked} == set(two.copies)


def test_an_error_belongs_to_its_question(two: Replicas) -> None:
    """The copy answers the next ones."""
    asked = [two.ask(lambda _: 1 / 0) for _ in range(3)]
    for answer in asked:
        with pytest.raises(ZeroDivisionError):
            answer.result()
    assert two.ask(lambda copy: copy.classes).result() == 1
    assert len(two.copies) == 2


def test_the_question_of_a_device_that_fails_goes_to_another(model: MegaModel) -> None:
    """It gets no more questions, and a note says why. The last device keeps its error."""
    replicas = Replicas.on(["cpu", "cpu"], model)
    broken = replicas.copies[1]

    def question(copy: MegaModel) -> MegaModel:
        if copy is broken:
            raise DeviceError("too little memory")
        return copy

    asked = [replicas.ask(question) for _ in range(6)]
    assert {answer.result() for answer in asked} == {model}
    assert replicas.copies == (model,)
    assert "cpu is not used any more, because: too little memory" in replicas.notes
    assert not replicas.ask_less("folds")  # waits for the copies that are left
    broken = model
    with pytest.raises(DeviceError, match="too little memory"):
        replicas.ask(question).result()
    assert replicas.ask(lambda copy: copy.classes).result() == 1
    replicas.close()


def test_answers_that_are_no_numbers_are_no_fault_of_a_device(two: Replicas) -> None:
    """A gate finds them while it is asked. All copies answer the next questions."""

    def question(_: MegaModel) -> None:
        raise NotFiniteError("the networks gave NaN or infinity")

    with pytest.raises(NotFiniteError):
        two.ask(question).result()
    assert len(two.copies) == 2


def test_less_is_asked_of_all_copies_between_two_questions(two: Replicas) -> None:
    """A copy that is busy is waited for, and answers its question in full."""
    begun, may_end = threading.Event(), threading.Event()

    def question(copy: MegaModel) -> float:
        begun.set()
        may_end.wait(30)
        return copy.cost

    answer = two.ask(question)
    begun.wait(30)
    asks_less = threading.Thread(target=two.ask_less, args=("views",))
    asks_less.start()
    may_end.set()
    asks_less.join(30)
    assert answer.result() == 1
    assert [copy.cost for copy in two.copies] == [0.5, 0.5]
    assert any("the time is short" in note for note in two.notes)
    two.ask_all()
    assert two.cost == 1


def test_a_device_that_does_not_work_is_left_out(model: MegaModel) -> None:
    """A note says so. The others do the work."""
    replicas = Replicas.on(["cpu", "cuda:77"], model)
    assert replicas.copies == (model,)
    [note] = [note for note in replicas.notes if "cuda:77" in note]
    assert note.startswith("cuda:77 is not used, because: ")
    assert replicas.ask(lambda copy: copy.classes).result() == 1


def test_without_any_device_there_is_an_error(model: MegaModel) -> None:
    """It is that of the last one."""
    with pytest.raises(DeviceError, match="cuda:78"):
        Replicas.on(["cuda:77", "cuda:78"], model)


def test_one_copy_is_asked_in_the_caller_s_thread(model: MegaModel) -> None:
    """So one device works as it does without replicas."""
    replicas = Replicas([model])
    assert replicas.ask(lambda _: threading.get_ident()).result() == threading.get_ident()
    with pytest.raises(ZeroDivisionError):
        replicas.ask(lambda _: 1 / 0)
